"""Hosts from a real EC2 endpoint (moto), with the preset's own text, and the commands that go to one host."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from pegasus_driver import config as configuration
from pegasus_driver import environment
from pegasus_driver.browser import has_browser
from pegasus_driver.environment import Access
from pegasus_driver.errors import CloudError, ConfigurationError
from pegasus_driver.exit_codes import ExitCode
from tests.driver.fakes import HOSTS, FakeWorld

ROOT = Path(__file__).parents[2]


def access_of(world: FakeWorld, **environ: str) -> Access:
    return environment.access(world.root, configuration.load(world.root, environ, world.root))


# --- EC2 ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def launch(ec2: Any, **tags: str) -> str:
    specification = [{"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]
    answer = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=specification)
    return str(answer["Instances"][0]["InstanceId"])


def test_hosts_are_found_by_tag_and_kept_for_completion(reachable: FakeWorld, moto: str) -> None:
    port = moto.rpartition(":")[2]
    access = access_of(reachable, PEGASUS_LOCAL_PORT=port)
    assert access.endpoint_url == moto and access.access_key == "local" and not access.public
    ec2 = boto3.client("ec2", "us-east-1", endpoint_url=moto, aws_access_key_id="x", aws_secret_access_key="y")

    def tags(name: str, kind: str, index: str, owner: str = "Bench") -> dict[str, str]:
        return {"Name": name, "pegasus:environment": owner, "pegasus:kind": kind, "pegasus:index": index}

    client = launch(ec2, **tags("BenchClient-1", "client", "1"))
    second = launch(ec2, **tags("Bench-10", "server", "10"))
    first = launch(ec2, **tags("Bench-2", "server", "2"))
    gone = launch(ec2, **tags("Bench-3", "server", "3"))
    launch(ec2, **tags("Other-1", "server", "1", "Other"))
    ec2.stop_instances(InstanceIds=[second])
    ec2.terminate_instances(InstanceIds=[gone])
    found = environment.find(access)
    assert [(one.name, one.index, one.state, one.instance_id) for one in found] == [
        ("Bench-2", 2, "running", first),
        ("Bench-10", 10, "stopped", second),
        ("BenchClient-1", 1, "running", client),
    ]
    assert found[0].address.startswith(("10.", "172."))
    hosts, at = environment.kept(access)
    assert hosts == found and time.time() - at < 60


def test_an_endpoint_that_is_not_there(reachable: FakeWorld) -> None:
    access = access_of(reachable, PEGASUS_LOCAL_PORT="1")
    with pytest.raises(CloudError) as error:
        environment.find(access, 1.0)
    assert "Could not connect" in error.value.message and "setup" in error.value.next_step


def test_the_preset_of_aws(reachable: FakeWorld) -> None:
    config = reachable.root / "group_vars/all/config.yml"
    config.write_text(config.read_text().replace("backend: local", "backend: aws"))
    access = access_of(reachable)
    assert access.endpoint_url == "" and access.public and access.region == "us-east-1"
    assert access.state_dir == reachable.root / ".pegasus/aws/us-east-1/Bench"
    config.write_text(config.read_text() + "pegasus_ec2_endpoint_url: \"{{ lookup('file', '/etc/passwd') }}\"\n")
    with pytest.raises(ConfigurationError, match="pegasus_ec2_endpoint_url: found a template"):
        access_of(reachable)


# --- connect, open --------------------------------------------------------------------------------------------------


def test_connect_becomes_ssh_with_the_environments_own_files(reachable: FakeWorld) -> None:
    reachable.run("connect-client", "2")
    (command,) = reachable.executed
    state = reachable.root / ".pegasus/local/us-east-1/Bench"
    assert command[:5] == ["ssh", "-F", "none", "-i", str(state / "id_ed25519")]
    assert f'UserKnownHostsFile="{state / "known_hosts"}"' in command and "HostKeyAlias=i-4" in command
    assert "StrictHostKeyChecking=accept-new" in command and command[-1] == "admin@172.31.0.13"
    reachable.run("connect-cluster", "1", "--", "grep", "-c", "--", "x", "/etc/hosts")
    assert reachable.executed[-1][-7:] == ["admin@172.31.0.10", "--", "grep", "-c", "--", "x", "/etc/hosts"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["connect-cluster", "2"], "Bench-2 (i-2) is stopped, expected running"),
        (["connect-cluster", "7"], "found no server with index 7; there are: 1, 2"),
        (["connect-client", "x"], "expected a node's index"),
        (["connect-client"], "required: NODE"),
        (["status", "--", "ls"], "found 'ls' after '--'"),
    ],
)
def test_connect_refuses(reachable: FakeWorld, argv: list[str], expected: str) -> None:
    assert reachable.run(*argv) == ExitCode.USAGE
    assert expected in reachable.errors and not reachable.executed


def test_connect_without_the_key(reachable: FakeWorld) -> None:
    (reachable.root / ".pegasus/local/us-east-1/Bench/id_ed25519").unlink()
    assert reachable.run("connect-client", "1") == ExitCode.USAGE
    assert "expected the environment's private key" in reachable.errors


def test_open(reachable: FakeWorld) -> None:
    assert reachable.run("open") == 0
    assert reachable.text == "http://172.31.0.14:3000\n" and not reachable.browsed
    reachable.environ = {"DISPLAY": ":0"}
    assert reachable.run("open") == 0
    assert reachable.browsed == ["http://172.31.0.14:3000"]
    reachable.hosts = HOSTS[:4]
    assert reachable.run("open") == ExitCode.EC2 and "no monitoring host" in reachable.errors


def test_a_browser_is_where_a_window_would_appear_or_where_the_user_names_one() -> None:
    assert has_browser({"WAYLAND_DISPLAY": "wayland-0"}) and has_browser({"DISPLAY": ":0"})
    assert not has_browser({}) and not has_browser({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "a b"})
    assert has_browser({"BROWSER": "w3m"}) and has_browser({"BROWSER": "helper", "SSH_CONNECTION": "a b"})


# --- completion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["stop-"], ["stop-node"]),
        (["local", "st"], ["start", "stop", "status"]),
        (["setup", "--out"], ["--output"]),
        (["setup", "--output", "j"], ["json"]),
        (["setup", "--output=j"], ["--output=json"]),
        (["setup", "--output", "=", "j"], ["json"]),
        (["setup", "--output", "="], ["auto", "plain", "json"]),
        (["setup", "--output=json", ""], []),
        (["setup", ""], []),
        (["stop-node", ""], ["1", "2"]),
        (["stop-node", "--verbose", "2"], ["2"]),
        (["stop-node", "-e", "x=1", ""], ["1", "2"]),
        (["stop-node", "2", ""], []),
        (["connect-client", ""], ["1", "2"]),
        (["connect-client", "1", "--", ""], []),
        (["tail", "1", ""], ["2"]),
        (["run", ""], ["<files>"]),
        (["completion", "z"], ["zsh"]),
        (["nonsense", ""], None),
    ],
)
def test_completion(reachable: FakeWorld, words: list[str], expected: list[str] | None) -> None:
    environment.keep(access_of(reachable), HOSTS)
    assert reachable.run("_complete", "--", *words) == 0
    assert not reachable.errors
    if expected is not None:
        assert reachable.text.split() == expected


@pytest.mark.parametrize("words", [["--config", "other.yml", ""], ["--config=other.yml", ""]])
def test_completion_of_the_environment_that_the_line_names(reachable: FakeWorld, words: list[str]) -> None:
    config = reachable.root / "group_vars/all/config.yml"
    (reachable.root / "other.yml").write_text(config.read_text().replace("Bench\n", "Other\n"))
    environment.keep(access_of(reachable), HOSTS)
    other = replace(access_of(reachable), environment="Other")
    other.state_dir.mkdir()
    environment.keep(other, [replace(HOSTS[0], index=7)])
    assert reachable.run("_complete", "--", "stop-node", *words) == 0
    assert reachable.text.split() == ["7"]


def test_completion_is_silent_without_ec2_and_asks_once(reachable: FakeWorld) -> None:
    access = access_of(reachable)
    environment.keep(access, HOSTS)
    os.utime(access.cache, (1, 1))  # old: EC2 is asked
    reachable.environ = {"PEGASUS_LOCAL_PORT": "1"}
    assert reachable.run("_complete", "--", "stop-node", "") == 0
    assert reachable.text.split() == ["1", "2"], "an old list is better than none"
    assert time.time() - access.cache.stat().st_mtime < 60, "and the next TAB doesn't ask again"
    (reachable.root / "group_vars/all/config.yml").write_text("pegasus_backend: [\n")
    assert reachable.run("_complete", "--", "stop-node", "") == 0
    assert reachable.text == "" and reachable.errors == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(world: FakeWorld, shell: str) -> None:
    assert world.run("completion", shell) == 0
    assert "_complete --" in world.text and "2>/dev/null" in world.text
    assert world.run("completion", "tcsh") == ExitCode.USAGE
    assert "found 'tcsh', expected bash, zsh, fish" in world.errors


def test_bash_completes(tmp_path: Path) -> None:
    """In a real bash, with the real program."""
    script = f"""
        cd {ROOT}; source <({ROOT}/pegasus-driver completion bash)
        complete -p pegasus-driver
        try() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pegasus_driver; echo "$*:${{COMPREPLY[*]}}"; }}
        try ./pegasus-driver stop-
        try ./pegasus-driver setup --output pl
        cd {tmp_path}; touch mine.yml; try {ROOT}/pegasus-driver run mi
    """
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "complete -F _pegasus_driver pegasus-driver",
        "./pegasus-driver stop-:stop-node",
        "./pegasus-driver setup --output pl:plain",
        f"{ROOT}/pegasus-driver run mi:mine.yml",
    ]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh isn't installed")
def test_zsh_completes(tmp_path: Path) -> None:
    """In a real zsh, with the real program; compadd and _files are what its editor would be given."""
    script = f"""
        cd {ROOT}; compdef() {{ }}; compadd() {{ print -- "$@" }}; _files() {{ print files }}
        source <({ROOT}/pegasus-driver completion zsh)
        try() {{ words=("$@"); CURRENT=$#; _pegasus_driver }}
        try ./pegasus-driver stop-
        try ./pegasus-driver completion ""
        try ./pegasus-driver run ""
    """
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["-- stop-node", "-- bash zsh fish", "files"], done.stderr


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish isn't installed")
def test_fish_completes(tmp_path: Path) -> None:
    """In a real fish, with the real program."""
    script = f"""
        cd {ROOT}; ./pegasus-driver completion fish | source
        complete -C "./pegasus-driver stop-"; complete -C "./pegasus-driver completion "
        cd {tmp_path}; touch mine.yml; complete -C "{ROOT}/pegasus-driver run mi"
    """
    environ = {**os.environ, "HOME": str(tmp_path)}
    argv = ["fish", "--no-config", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60, env=environ)
    assert done.stdout.splitlines() == ["stop-node", "bash", "fish", "zsh", "mine.yml"], done.stderr


def test_a_tab_installs_nothing(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pegasus-driver", tmp_path)
    environ = {"PATH": os.environ["PATH"], "PEGASUS_COMPLETE": "1"}
    command = [tmp_path / "pegasus-driver", "_complete", "--", ""]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["pegasus-driver"]
