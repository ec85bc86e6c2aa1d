"""The action host_service renders the templates of files; the text of a secret file stays secret."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.aerospike_community.pegasus.plugins.action import host_service as subject

pytestmark = pytest.mark.usefixtures("run_folder")


@pytest.fixture
def role(tmp_path: Path) -> Path:
    """A role's folder with one template."""
    template = tmp_path / "role/templates/etc/thing.conf.j2"
    template.parent.mkdir(parents=True)
    template.write_text("# {{ ansible_managed }}\n{% if size > 1 %}\nsize = {{ size }}\n{% endif %}\n")
    return tmp_path / "role"


def run(role: Path, files: Any, **variables: Any) -> list[dict[str, Any]]:
    """Run the action; return the files that the module gets."""
    sent: list[dict[str, Any]] = []
    action = object.__new__(subject.ActionModule)
    action._task = SimpleNamespace(
        args={"files": files, "services": []}, get_search_path=lambda: [str(role)], check_mode=False
    )
    action._loader = DataLoader()
    action._templar = Templar(action._loader)
    action._execute_module = (  # type: ignore[method-assign]
        lambda module_args, task_vars: sent.append(module_args) or {}
    )
    action.run(task_vars={"size": 5, **variables})
    return sent[0]["files"]


TEXT = f"# {subject.MANAGED}\nsize = 5\n"


def test_a_files_template_is_at_its_own_path(role: Path) -> None:
    (file,) = run(role, [{"path": "/etc/thing.conf", "mode": "0640"}])
    assert file == {"path": "/etc/thing.conf", "mode": "0640", "content": TEXT}


def test_a_template_may_have_another_name(role: Path) -> None:
    (file,) = run(role, [{"path": "/elsewhere", "template": "etc/thing.conf.j2"}])
    assert file == {"path": "/elsewhere", "content": TEXT}


def test_a_secret_file_keeps_its_text_in_the_secret_option(role: Path) -> None:
    (file,) = run(role, [{"path": "/etc/thing.conf", "secret": True}])
    assert file == {"path": "/etc/thing.conf", "secret_content": TEXT}


def test_a_user_can_set_ansible_managed(role: Path) -> None:
    (file,) = run(role, [{"path": "/etc/thing.conf"}], ansible_managed="us")
    assert file["content"].startswith("# us\n")


@pytest.mark.parametrize(
    "file", [{"path": "/a", "content": ""}, {"path": "/a", "secret_content": "x"}, {"path": "/a", "state": "absent"}]
)
def test_a_file_with_content_or_a_removed_file_needs_no_template(role: Path, file: dict[str, Any]) -> None:
    assert run(role, [file]) == [file]


def test_content_and_template_exclude_each_other(role: Path) -> None:
    with pytest.raises(AnsibleError, match="/a: found content and template; expected only one of them"):
        run(role, [{"path": "/a", "content": "", "template": "etc/thing.conf.j2"}])


def test_a_missing_template_and_an_undefined_variable_are_reported(role: Path) -> None:
    with pytest.raises(AnsibleError, match=r"etc/other\.conf\.j2"):
        run(role, [{"path": "/etc/other.conf"}])
    (role / "templates/etc/thing.conf.j2").write_text("{{ nobody_set_this }}")
    with pytest.raises(AnsibleError, match="nobody_set_this"):
        run(role, [{"path": "/etc/thing.conf"}])
