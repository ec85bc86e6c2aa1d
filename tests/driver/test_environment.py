"""Hosts from a real EC2 endpoint (moto), with the shipped preset, and the commands that connect to a host."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import argcomplete
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


def test_hosts_are_found_by_tag_and_cached_for_completion(reachable: FakeWorld, moto: str) -> None:
    port = moto.rpartition(":")[2]
    access = access_of(reachable, PEGASUS_LOCAL_PORT=port)
    assert access.endpoint_url == moto and access.access_key == "local" and not access.public
    ec2 = boto3.client("ec2", "us-east-1", endpoint_url=moto, aws_access_key_id="x", aws_secret_access_key="y")

    def tags(name: str, kind: str, index: str, owner: str = "Bench") -> dict[str, str]:
        return {"Name": name, "pegasus:environment": owner, "pegasus:kind": kind, "pegasus:index": index}

    client = launch(ec2, **tags("BenchClient-1", "client", "1"))
    second = launch(ec2, **tags("Bench-10", "server", "10"))
    first = launch(ec2, **tags("Bench-2", "server", "2"))
    terminated = launch(ec2, **tags("Bench-3", "server", "3"))
    launch(ec2, **tags("Other-1", "server", "1", "Other"))
    ec2.stop_instances(InstanceIds=[second])
    ec2.terminate_instances(InstanceIds=[terminated])
    began = time.time()
    found = environment.find(access)
    assert [(host.name, host.index, host.state, host.instance_id) for host in found] == [
        ("Bench-2", 2, "running", first),
        ("Bench-10", 10, "stopped", second),
        ("BenchClient-1", 1, "running", client),
    ]
    assert found[0].address.startswith(("10.", "172."))
    hosts, at = environment.cached_hosts(access)
    assert hosts == found and at >= began - 1, "file systems have a coarser clock"


def test_an_unreachable_endpoint(reachable: FakeWorld) -> None:
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
        (["connect-cluster", "7"], "found no server with index 7, expected an existing index: 1, 2"),
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


@pytest.fixture
def tab(reachable: FakeWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], list[str]]:
    """Presses TAB at the end of a command line, as argcomplete's function for bash does; returns the candidates."""
    # Descriptor 9 is pytest's here.
    monkeypatch.setattr(argcomplete.CompletionFinder, "_init_debug_stream", lambda self: None)

    def press(line: str) -> list[str]:
        answer = tmp_path / "candidates"
        answer.write_text("")
        line = f"./pegasus-driver {line}"
        variables = {
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_SHELL": "bash",
            "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
            "_ARGCOMPLETE_COMP_WORDBREAKS": " =",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        reachable.environ = {**reachable.environ, **variables}
        assert reachable.run() == 0
        assert (reachable.text, reachable.errors) == ("", "")
        return answer.read_text().split()

    return press


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("stop-", ["stop-node"]),
        ("local st", ["start", "stop", "status"]),
        ("setup --out", ["--output"]),
        ("setup --output j", ["json"]),
        ("setup --output=j", ["json"]),
        ("setup --output=", ["auto", "plain", "json"]),
        ("setup --output=json ", []),
        ("setup ", []),
        ("add-nodes ", []),
        ("stop-node ", ["1", "2"]),
        ("stop-node --verbose 2", ["2"]),
        ("stop-node -e x=1 ", ["1", "2"]),
        ("stop-node 2 ", []),
        ("connect-client ", ["1", "2"]),
        ("connect-client 1 -- ", []),
        ("tail 1 ", ["2"]),
        ("completion z", ["zsh"]),
    ],
)
def test_completion(reachable: FakeWorld, tab: Callable[[str], list[str]], line: str, expected: list[str]) -> None:
    environment.cache_hosts(access_of(reachable), HOSTS)
    assert tab(line) == expected


@pytest.mark.parametrize("option", ["--config other.yml ", "--config=other.yml "])
def test_completion_uses_the_environment_of_the_line(
    reachable: FakeWorld, tab: Callable[[str], list[str]], option: str
) -> None:
    config = reachable.root / "group_vars/all/config.yml"
    (reachable.root / "other.yml").write_text(config.read_text().replace("Bench\n", "Other\n"))
    environment.cache_hosts(access_of(reachable), HOSTS)
    other = replace(access_of(reachable), environment="Other")
    other.state_dir.mkdir()
    environment.cache_hosts(other, [replace(HOSTS[0], index=7)])
    assert tab(f"stop-node {option}") == ["7"]


def test_completion_without_ec2_is_silent_and_queries_once(
    reachable: FakeWorld, tab: Callable[[str], list[str]]
) -> None:
    access = access_of(reachable)
    environment.cache_hosts(access, HOSTS)
    os.utime(access.cache, (1, 1))  # stale: completion queries EC2
    reachable.environ = {"PEGASUS_LOCAL_PORT": "1"}
    assert tab("stop-node ") == ["1", "2"], "a stale cache is better than nothing"
    assert access.cache.stat().st_mtime > 1, "the next TAB doesn't query again"
    (reachable.root / "group_vars/all/config.yml").write_text("pegasus_backend: [\n")
    assert tab("stop-node ") == []


def test_completion_scripts(world: FakeWorld) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert world.run("completion", shell) == 0
        assert f"{world.root}/pegasus-driver" in world.text
    assert world.run("completion", "tcsh") == ExitCode.USAGE
    assert "found 'tcsh', expected bash, zsh, fish" in world.errors


def test_bash_completes(tmp_path: Path) -> None:
    """In a real bash, with the real program."""
    script = f"""
        cd {tmp_path}; touch mine.yml; source <({ROOT}/pegasus-driver completion bash)
        function=$(complete -p pegasus-driver | sed 's/.* -F //; s/ .*//')
        try() {{
            COMP_LINE=$1 COMP_POINT=${{#1}} COMP_WORDS=($1); COMPREPLY=(); $function ${{COMP_WORDS[0]}}
            echo "$1:${{COMPREPLY[*]}}"
        }}
        try "./pegasus-driver stop-"
        try "~/pegasus-driver setup --output pl"
        try "pegasus-driver run mi"
    """
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert [line.rstrip() for line in done.stdout.splitlines()] == [
        "./pegasus-driver stop-:stop-node",
        "~/pegasus-driver setup --output pl:plain",
        "pegasus-driver run mi:mine.yml",
    ], done.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh isn't installed")
def test_zsh_completes() -> None:
    """In a real zsh, with the real program; _describe prints what it would show."""
    script = f"""
        cd {ROOT}; compdef() {{ function=$1 }}; _describe() {{ print -l -- "${{(@P)2}}" }}
        source <({ROOT}/pegasus-driver completion zsh)
        try() {{ BUFFER=$1; CURSOR=$#1; words=("${{(@s: :)1}}"); $function }}
        try "./pegasus-driver stop-"
        try "./pegasus-driver completion "
    """
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    words = [line.partition(":")[0].strip() for line in done.stdout.splitlines()]
    assert words == ["stop-node", "bash", "zsh", "fish"], done.stderr


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish isn't installed")
def test_fish_completes(tmp_path: Path) -> None:
    """In a real fish, with the real program."""
    script = f"""
        {ROOT}/pegasus-driver completion fish | source
        cd {tmp_path}; touch mine.yml
        for line in stop- "completion " "run mi"; complete -C "./pegasus-driver $line"; end
    """
    environ = {**os.environ, "HOME": str(tmp_path)}
    argv = ["fish", "--no-config", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60, env=environ)
    words = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert words == ["stop-node", "bash", "fish", "zsh", "mine.yml"], done.stderr


def test_a_tab_installs_nothing(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pegasus-driver", tmp_path)
    environ = {"PATH": os.environ["PATH"], "_ARGCOMPLETE": "1", "COMP_LINE": "pegasus-driver ", "COMP_POINT": "15"}
    done = subprocess.run(
        [tmp_path / "pegasus-driver"], capture_output=True, text=True, env=environ, check=False, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["pegasus-driver"]
