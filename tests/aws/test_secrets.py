"""No secret appears in a file, log, event, artifact, output or process list: markers are planted and searched."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.aws.checkout import Checkout
from tests.aws.ec2_server import Ec2Server

# Random in each run, because this file is searched too.
SECRETS = {"AWS_SECRET_ACCESS_KEY": secrets.token_hex(20), "AWS_SESSION_TOKEN": secrets.token_hex(30)}
PASSWORD = secrets.token_hex(12)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # complete runs of the driver, on a busy machine


@contextmanager
def watched_processes(found: set[str], markers: list[bytes]) -> Iterator[None]:
    """Check the command line of every process continuously; add those with a marker to `found`."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    command = process.read_bytes()
                except OSError:
                    continue
                if any(marker in command for marker in markers):
                    found.add(command.replace(b"\0", b" ").decode(errors="replace"))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def files_with(folder: Path, markers: list[bytes]) -> list[str]:
    """The files below a folder with a marker in their content or name; links aren't followed."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if any(marker in content or marker in str(path).encode() for marker in markers):
            found.append(str(path.relative_to(folder)))
    return found


@pytest.mark.parametrize("where", ["environment", "configuration"])
def test_planted_credentials_appear_nowhere(
    server: Ec2Server, checkout: Callable[..., Checkout], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A setup that fails at ssh, then a setup that EC2 refuses: careless programs log everything about a refusal."""
    secret = SECRETS["AWS_SECRET_ACCESS_KEY"]
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    settings = {"grafana_prometheus_admin_password": PASSWORD}
    if where == "configuration":
        settings |= {"pegasus_ec2_access_key": "AKIAMARKERMARKER", "pegasus_ec2_secret_key": secret}
        settings |= {"pegasus_ec2_endpoint_url": server.url}
    project = checkout(**settings)
    project.credentials |= SECRETS if where == "environment" else {}
    markers = [marker.encode() for marker in (*SECRETS.values(), PASSWORD)]
    written = project.path / "group_vars/all/config.yml"
    planted = written.read_bytes()
    assert PASSWORD.encode() in planted

    in_processes: set[str] = set()
    with watched_processes(in_processes, markers):
        # Proves that the search works.
        control = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)", PASSWORD])
        try:
            runs = [project.driver("setup", "--verbose")]
            assert runs[0].code == 4, runs[0].text
            server.faults.append(lambda call, number: "SignatureDoesNotMatch" if call.service == "ec2" else None)
            runs.append(project.driver("setup", "--verbose"))
        finally:
            control.kill()
            control.wait()
    assert runs[1].code == 3 and "SignatureDoesNotMatch" in runs[1].text
    assert [command for command in in_processes if "time.sleep(3600)" not in command] == []
    assert len(in_processes) == 1

    for run in runs:
        assert not any(marker.decode() in run.stdout + run.stderr for marker in markers)
    written.unlink()  # the user put the password there
    assert len(list((project.path / ".pegasus" / "runs").iterdir())) == 2
    assert files_with(tmp_path, markers) == []
