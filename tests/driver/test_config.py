"""config.yml: what the driver checks before anything starts. The collection's unit tests cover the rules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pegasus_driver import config
from pegasus_driver.errors import ConfigurationError
from pegasus_driver.exit_codes import ExitCode
from pegasus_driver.view.report import how_to
from tests.driver.fakes import PRESET, FakeWorld, failed, stats

ROOT = Path(__file__).resolve().parents[2]


def test_the_shipped_configuration_is_valid() -> None:
    loaded = config.load(ROOT, {}, Path.cwd(), launching=True)
    assert loaded.environment and loaded.backend in ("local", "aws")


def test_all_mistakes_at_once(project: Path) -> None:
    path = project / "group_vars/all/config.yml"
    path.write_text(path.read_text().replace("nodes: 3", "nodes: many").replace("factor: 2", "factor: 0") + "x: 1\n")
    with pytest.raises(ConfigurationError) as caught:
        config.load(project, {}, project)
    first, *others = caught.value.message.splitlines()
    assert first == "the configuration has 3 mistakes:"
    assert others[0] == "  group_vars/all/config.yml:4: pegasus_cluster_nodes: found 'many', expected a whole number"
    assert len(others) == 3


def test_a_missing_file(project: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yml: found no such file"):
        config.load(project, {"PEGASUS_CONFIG": "nowhere.yml"}, project)


# --- in the command line


def test_config_names_another_environment(world: FakeWorld) -> None:
    text = (world.root / "group_vars/all/config.yml").read_text()
    (world.root / "other.yml").write_text(text.replace("Bench\n", "Other\n"))
    assert world.run("setup", "--config", "other.yml") == 0
    assert "Pegasus setup: Other" in world.text
    (request,) = world.requests
    assert list(request.arguments) == ["-e", f"@{world.root}/other.yml"]
    assert request.environ["PEGASUS_CONFIG"] == str(world.root / "other.yml")


def test_suggested_commands_name_the_same_environment(world: FakeWorld) -> None:
    """`destroy` without the file would remove another environment."""
    text = (world.root / "group_vars/all/config.yml").read_text()
    (world.root / "other.yml").write_text(text.replace("Bench\n", "Other\n"))
    world.rc = 2
    world.events = [failed("Other-1", action="x.y.host_service", msg="m"), stats(failures={"Other-1": 1})]
    assert world.run("setup", "--config", "other.yml") == ExitCode.HOST
    assert "./pegasus-driver destroy --config other.yml" in world.errors
    assert how_to({"nodes": [{}]}, " --config other.yml")[-1].endswith("./pegasus-driver destroy --config other.yml")


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("pegasus_cluster_name=Other", "the inventory reads the file"),
        ("pegasus_cluster_node=4", "did you mean pegasus_cluster_nodes?"),
        ("perseus_client_record_size=10", "expected a whole number, 178 to"),
    ],
)
def test_mistakes_in_extra_vars_stop_every_action_before_it_starts(world: FakeWorld, argument: str, said: str) -> None:
    for action in (["setup"], ["destroy"], ["status"], ["copy-threads"], ["stop-node", "1"]):
        assert world.run(*action, "-e", argument) == ExitCode.CONFIGURATION
        assert said in world.errors and "Nothing was started" in world.errors
    assert not world.requests and not world.cloud.calls


def test_wrong_threads_stop_only_the_actions_that_need_them(world: FakeWorld) -> None:
    threads = world.root / "threads.yaml"
    threads.write_text(threads.read_text().replace("stringSearch: 0", "stringSearch: 1"))
    for action in ("setup", "copy-threads"):
        assert world.run(action) == ExitCode.CONFIGURATION
        assert "stringSearch: found 1 threads while perseus_client_string_index is false" in world.errors
    assert world.run("setup", "-e", "perseus_client_string_index=true") == 0
    assert world.run("destroy") == 0


# --- validate -------------------------------------------------------------------------------------------------------


def test_validate_names_mistakes_and_starts_nothing(world: FakeWorld) -> None:
    assert world.run("validate", "-e", "pegasus_cluster_nodes=0") == ExitCode.CONFIGURATION
    assert "the configuration has 1 mistake:" in world.text
    assert "-e: pegasus_cluster_nodes: found 0, expected a whole number, 1 to 256" in world.text
    assert "not checked: the instance types" in world.text
    assert not world.requests and not world.cloud.calls and not world.errors


@pytest.mark.slow
def test_a_wrong_configuration_has_its_own_class(world: FakeWorld) -> None:
    """A script can distinguish it from a misspelled command and from another running action."""
    (world.root / "other.yml").write_text("pegasus_cluster_nodes: x\n")
    threads = (world.root / "threads.yaml").read_text()
    for wrong in (["--config", "other.yml"], ["--config", "nowhere.yml"], ["-e", "pegasus_cluster_nodes=0"]):
        assert world.run("validate", *wrong) == world.run("setup", *wrong) == ExitCode.CONFIGURATION == 7
    (world.root / "threads.yaml").write_text(threads + "nothing: 1\n")
    assert world.run("validate") == world.run("setup") == ExitCode.CONFIGURATION
    (world.root / "threads.yaml").write_text(threads)
    assert world.run("validate") == ExitCode.OK
    assert world.run("validate", "--confg", "other.yml") == world.run("validate", "-e", "x") == ExitCode.USAGE == 2


def test_validate_reports_what_it_could_not_check(world: FakeWorld) -> None:
    """The small project's local preset is empty: instance types have defaults, the endpoint doesn't exist."""
    preset = world.root / "inventories/local/group_vars"
    (preset / "all.yml").write_text(PRESET + 'ec2_provision_cluster_instance_type: "{{ unknown.type }}"\n')
    wiring = world.root / "group_vars/all/wiring.yml"
    wiring.write_text(wiring.read_text().replace('"https:/"', '"http://127.0.0.1:1"'))
    assert world.run("validate") == 0
    lines = world.text.splitlines()
    assert lines[0].startswith("no mistake found in ")
    assert any("ec2_provision_cluster_instance_type isn't known yet" in line for line in lines)
    assert any("can't be read from this machine" in line for line in lines)
    assert any("setup requires it" in line for line in lines)


def test_validate_as_json(world: FakeWorld) -> None:
    assert world.run("validate", "--output", "json", "-e", "perseus_client_recordsize=300") == 7
    record = json.loads(world.text)
    assert record["type"] == "end" and record["exit_code"] == 7 and record["result"] == "configuration"
    (mistake,) = record["mistakes"]
    assert mistake["key"] == "perseus_client_recordsize" and mistake["nearest"] == "perseus_client_record_size"
    assert mistake["file"] == "-e" and record["problems"] == [mistake["text"]]
    assert record["unchecked"] and record["elapsed"] >= 0


def test_validate_with_an_unreadable_file_as_json(world: FakeWorld) -> None:
    (world.root / "group_vars/all/config.yml").write_text("a: [\n")
    assert world.run("validate", "--output=json") == 7
    assert json.loads(world.text)["mistakes"][0]["line"] == 2


def test_validate_imports_nothing_of_ansible() -> None:
    """The time is printed but has no limit: the machine that runs this test may be busy."""
    code = (
        "import sys, time; from pegasus_driver.cli import main; "
        "code = main(['validate', '-e', 'pegasus_cluster_nodes=0', '-e', 'pegasus_cluster_node=0']); "
        "print('ansible' in sys.modules, 'boto3' in sys.modules, time.process_time(), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == ExitCode.CONFIGURATION, done.stderr
    ansible, boto3, seconds = done.stderr.split()
    assert (ansible, boto3) == ("False", "False")
    print(f"a whole offline validation took {float(seconds):.2f} s of processor time")


# --- what Ansible sees ------------------------------------------------------------------------------------------------


def test_every_playbook_begins_with_the_check() -> None:
    import yaml

    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        first = yaml.safe_load(path.read_text())[0]
        if path.name == "check.yml":
            (check, *_) = first["tasks"]
            assert "aerospike_community.pegasus.validate_configuration" in check and check["tags"] == ["always"]
        else:
            imported = first.get("ansible.builtin.import_playbook")
            if imported in ("setup.yml", "destroy-part.yml", "build-clients.yml"):  # they begin with the check
                continue
            assert imported in ("check.yml", "check-clients.yml") or path.name == "update-targets.yml", path.name


@pytest.mark.slow
def test_ansible_renders_the_values_that_query_the_artifact_source() -> None:
    """The defaults of the specifications are templates; Ansible renders only trusted ones."""
    arguments = ["-e", "pegasus_artifact_source=http://127.0.0.1:1"]
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "playbooks/validate.yml", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PEGASUS_LOCAL_PORT": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "http://127.0.0.1:1/download.aerospike.com/artifacts/aerospike-server-enterprise" in done.stderr


@pytest.mark.slow
def test_an_inventory_of_another_backend_is_found_by_the_first_play() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "inventories/aws", "playbooks/validate.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"AWS_EC2_METADATA_DISABLED": "true"},
    )
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, text
    assert "pegasus_backend: found 'local', but the inventory is for 'aws', expected the same" in text


@pytest.mark.slow
def test_ansible_finds_the_same_mistakes() -> None:
    """Raw ansible-playbook: merged variables, -e as text, all mistakes at once."""
    arguments = ["-e", "pegasus_cluster_node=4", "-e", "pegasus_cluster_nodes=1", "-e", '{"nvme_partition_count": 200}']
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "playbooks/validate.yml", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 2, text
    # Without the inventory its preset isn't loaded, so the preset's keys are missing too.
    assert "-e: nvme_partition_count: found 200, expected a whole number, 1 to 128" in text
    assert "-e: pegasus_cluster_node: found an unknown key" in text
    assert "pegasus_replication_factor: found 2, expected at most the number of nodes" in text
    assert "error_class: configuration" in text


@pytest.mark.slow
@pytest.mark.parametrize("count", ["x", "1.5"])
def test_an_invalid_number_of_nodes_is_refused_without_the_driver_too(count: str) -> None:
    arguments = ["-i", "localhost,", "--start-at-task", "Check how many nodes to add", "-e", f"add_nodes_count={count}"]
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "playbooks/add-nodes.yml", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"add_nodes_count: found {count}, expected how many nodes to add" in done.stdout
    assert "Could not match supplied host pattern" not in done.stderr
