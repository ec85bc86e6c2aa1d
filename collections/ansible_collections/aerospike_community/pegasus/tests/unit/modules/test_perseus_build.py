"""perseus_build with a real git repository: when it builds, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.file_lock import held
from ansible_collections.aerospike_community.pegasus.plugins.modules import perseus_build
from ansible_collections.aerospike_community.pegasus.plugins.modules.perseus_build import BuildError, run

MAKE = (
    "import pathlib, zipfile; z = zipfile.ZipFile('out.jar', 'w'); z.writestr('a', pathlib.Path('source').read_text())"
)


def git(folder: Path, *arguments: str) -> str:
    """Run git with an author."""
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class FakeModule:
    """The parts of AnsibleModule that perseus_build uses."""

    def __init__(self, params: dict) -> None:
        self.params = params
        self.check_mode = False
        self.warnings: list[str] = []

    def run_command(self, command: list[str], cwd: str | None = None, **_: object) -> tuple[int, str, str]:
        """Run a command."""
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def warn(self, text: str) -> None:
        """Keep a warning."""
        self.warnings.append(text)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with one commit and a tag."""
    folder = tmp_path / "origin"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=master")
    (folder / "make.py").write_text(MAKE)
    commit(folder, "one")
    git(folder, "tag", "-a", "-m", "first", "v1")
    return folder


def commit(folder: Path, text: str) -> str:
    """Commit a change of the program."""
    (folder / "source").write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", text)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def module(tmp_path: Path, origin: Path, monkeypatch: pytest.MonkeyPatch) -> FakeModule:
    """A call of the module for that repository. All packages are installed."""

    class NoPackages:
        def installed(self, names: list[str]) -> dict[str, str]:
            return dict.fromkeys(names, "1")

    monkeypatch.setattr(perseus_build, "package_manager", lambda _: NoPackages())
    return FakeModule(
        {
            "repository": str(origin),
            "ref": "master",
            "command": f"{sys.executable} make.py",
            "artifact": "out.jar",
            "source": str(tmp_path / "host/source"),
            "jar": str(tmp_path / "host/perseus.jar"),
            "packages": ["git"],
            "keep": False,
            "build": True,
            "timeout": 60,
        }
    )


def content(module: FakeModule) -> str:
    """The source that the installed program was built from."""
    return zipfile.ZipFile(module.params["jar"]).read("a").decode()


def test_a_commit_is_built_once(module: FakeModule, origin: Path) -> None:
    first = run(module)
    assert (first["changed"], first["current"], content(module)) == (True, True, "one")
    assert run(module)["changed"] is False
    new = commit(origin, "two")
    again = run(module)
    assert (again["changed"], again["commit"], content(module)) == (True, new, "two")


def test_without_build_the_state_is_only_reported(module: FakeModule, origin: Path) -> None:
    module.params["build"] = False
    assert run(module)["current"] is False
    assert not Path(module.params["jar"]).exists()
    module.params["build"] = True
    run(module)
    module.params["build"] = False
    assert run(module)["current"] is True
    commit(origin, "two")
    assert run(module) | {"stamp": {}} == {
        "changed": False,
        "current": False,
        "commit": git(origin, "rev-parse", "HEAD"),
        "stamp": {},
    }


def test_tags_and_commits_are_valid_refs(module: FakeModule, origin: Path) -> None:
    one = git(origin, "rev-parse", "HEAD")
    commit(origin, "two")
    module.params["ref"] = "v1"
    assert (run(module)["commit"], content(module)) == (one, "one")
    module.params["ref"] = one
    assert run(module)["changed"] is False


def test_another_command_builds_again_and_an_equal_program_is_left_alone(module: FakeModule) -> None:
    run(module)
    before = Path(module.params["jar"]).stat()
    module.params["command"] += " again"
    assert run(module)["changed"] is True
    # zipfile stores the time of day, so the file is only left alone if its bytes are equal.
    after = Path(module.params["jar"]).stat()
    assert run(module)["changed"] is False
    assert (before.st_ino == after.st_ino) or before.st_mtime_ns < after.st_mtime_ns


def test_a_damaged_program_is_built_again(module: FakeModule) -> None:
    run(module)
    Path(module.params["jar"]).write_text("half")
    assert run(module)["changed"] is True
    assert content(module) == "one"


def test_an_unknown_ref_is_refused(module: FakeModule) -> None:
    module.params["ref"] = "nope"
    with pytest.raises(BuildError, match="has no branch or tag 'nope'"):
        run(module)


def test_an_unreachable_repository_fails_a_build_but_not_a_check(module: FakeModule) -> None:
    run(module)
    module.params["repository"] += "-gone"
    with pytest.raises(BuildError, match="could not query the repository"):
        run(module)
    module.params["build"] = False
    assert run(module)["current"] is True
    assert "Perseus stays at commit" in module.warnings[0]


def test_with_keep_an_unreachable_repository_leaves_the_program(module: FakeModule, origin: Path) -> None:
    """The build host of a setup continues with the installed program, and fails without one."""
    module.params["keep"] = True
    assert run(module)["changed"] is True
    repository = module.params["repository"]
    module.params["repository"] += "-gone"
    kept = run(module)
    assert (kept["changed"], kept["current"]) == (False, True)
    assert "Perseus stays at commit" in module.warnings[0]
    Path(module.params["jar"]).unlink()
    with pytest.raises(BuildError, match="could not query the repository"):
        run(module)
    module.params["repository"] = repository
    assert run(module)["changed"] is True
    new = commit(origin, "two")
    assert run(module)["commit"] == new
    assert (content(module), len(module.warnings)) == ("two", 1)


@pytest.mark.parametrize(
    ("command", "reason"),
    [("false", "exit status 1"), ("true", "found no such archive"), ("sleep 30", "was stopped after 1 s")],
)
def test_a_failed_build_leaves_the_program(module: FakeModule, origin: Path, command: str, reason: str) -> None:
    run(module)
    commit(origin, "two")
    module.params |= {"command": command, "timeout": 1 if command.startswith("sleep") else 60}
    with pytest.raises(BuildError, match=reason):
        run(module)
    assert content(module) == "one"


def test_calls_on_one_host_take_turns(module: FakeModule) -> None:
    module.params["timeout"] = 0
    other = held(Path(f"{module.params['source']}.lock"), 1, BuildError(""))
    with other, pytest.raises(BuildError, match="another build on this host"):
        run(module)
