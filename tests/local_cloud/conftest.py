"""Local clouds for tests, with their own port, network and folder, apart from the local cloud of the checkout."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.host_logs import containers_of, host_logs

PORT = "4571"
NETWORK = "172.30.0.0/16"


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """Return the condition's value once it is true. Fails the test after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


@dataclass
class Cloud:
    """A running cloud as users see it: through EC2 and ssh."""

    root: Path
    ec2: Any
    image_id: str
    key: Path
    lines: list[str] = field(default_factory=list)

    def launch(self, count: int = 1, instance_type: str = "t3.micro", **more: Any) -> list[str]:
        answer = self.ec2.run_instances(
            ImageId=self.image_id, InstanceType=instance_type, MinCount=count, MaxCount=count, KeyName="test", **more
        )
        return [instance["InstanceId"] for instance in answer["Instances"]]

    def launch_running(self, **more: Any) -> str:
        """Launch one instance and wait until it answers ssh."""
        (instance,) = self.launch(**more)
        self.wait_state(instance, "running")
        self.wait_ssh(instance)
        return instance

    def describe(self, instance: str) -> dict[str, Any]:
        return self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]

    def state(self, instance: str) -> str:
        return self.describe(instance)["State"]["Name"]

    def wait_state(self, instance: str, state: str) -> None:
        wait_until(lambda: self.state(instance) == state, f"{instance} is {state} (see daemon.log)")

    def ssh(self, instance: str, command: str, check: bool = True, stdin: str | None = None) -> str:
        """Run a command as admin; returns its output."""
        done = subprocess.run(
            [
                "ssh", "-i", str(self.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5",
                f"admin@{self.describe(instance)['PrivateIpAddress']}", command,
            ],
            capture_output=True, text=True, timeout=60, input=stdin or "",
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout if done.returncode == 0 else ""

    def wait_ssh(self, instance: str) -> None:
        wait_until(lambda: self.ssh(instance, "echo up", check=False), f"{instance} answers ssh")

    def boot_id(self, instance: str) -> str:
        """A value that changes at each start of the container: when its init started."""
        return self.ssh(instance, "stat -c %Y%z /proc/1/exe /run/systemd; cut -d' ' -f22 /proc/1/stat", check=False)


def docker(*arguments: str) -> str:
    """Run the docker client; returns its output."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session")
def local_environment() -> Iterator[None]:
    """Set the environment variables for the tests' clouds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEGASUS_LOCAL_PORT", PORT)
        patch.setenv("PEGASUS_LOCAL_NETWORK", NETWORK)
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        # Other tests cover the packages. These need one file in the mirror.
        from local_cloud import cloud

        patch.setattr(cloud, "build_mirror", lambda root, mirror, say: (mirror / "file").write_text("mirrored\n"))
        yield


@pytest.fixture
def cloud_root(local_environment: None) -> Iterator[Path]:
    """A folder for a cloud. The cloud is stopped after the test."""
    from local_cloud import cloud

    if not shutil.which("docker"):
        pytest.skip("no container engine")
    with tempfile.TemporaryDirectory(prefix="pegasus-test-") as folder:
        root = Path(folder).resolve()
        try:
            yield root
        finally:
            print_log(root)
            cloud.stop(root, print)


@pytest.fixture
def cloud(cloud_root: Path) -> Cloud:
    """A cloud without instances."""
    return start_cloud(cloud_root)


@pytest.fixture(scope="module")
def shared_cloud(local_environment: None) -> Iterator[Cloud]:
    """A cloud for those tests of a module that only add instances."""
    from local_cloud import cloud

    if not shutil.which("docker"):
        pytest.skip("no container engine")
    with tempfile.TemporaryDirectory(prefix="pegasus-test-") as folder:
        root = Path(folder).resolve()
        try:
            yield start_cloud(root)
        finally:
            print_log(root)
            cloud.stop(root, print)


def print_log(root: Path) -> None:
    """Print the daemon's log for pytest's report of a failed test. The hook below adds the hosts' logs."""
    log = root / ".pegasus/local-cloud/daemon.log"
    if log.exists():
        print(log.read_text())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Add the hosts' logs to a failed test's report before a fixture removes the hosts."""
    report = yield
    if report.failed:
        arguments = getattr(item, "funcargs", {})
        running = arguments.get("cloud") or arguments.get("shared_cloud")
        root = running.root if isinstance(running, Cloud) else arguments.get("cloud_root")
        if root is not None:
            containers = containers_of(f"pegasus.local-cloud={root / '.pegasus/local-cloud'}")
            report.sections.append(("The hosts' logs", host_logs(containers)))
    return report


def start_cloud(root: Path) -> Cloud:
    from local_cloud import cloud

    lines: list[str] = []
    status = cloud.start(root, lines.append)
    assert status.running
    ec2 = ec2_client()
    key = root / "key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with contextlib.suppress(ec2.exceptions.ClientError):
        ec2.import_key_pair(KeyName="test", PublicKeyMaterial=key.with_suffix(".pub").read_bytes())
    (image,) = ec2.describe_images(Owners=["136693071363"])["Images"]
    return Cloud(root, ec2, image["ImageId"], key, lines)


def ec2_client(region: str = "us-east-1", port: str = PORT) -> Any:
    import boto3

    return boto3.session.Session().client(
        "ec2",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=region,
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )


def traces(root: Path) -> dict[str, str]:
    """The parts of a cloud that exist on this machine; all are empty if none does."""
    state = root / ".pegasus/local-cloud"
    label = f"label=pegasus.local-cloud={state}"
    return {
        "containers": docker("ps", "--all", "--quiet", "--filter", label).strip(),
        "networks": docker("network", "ls", "--quiet", "--filter", label).strip(),
        "loops": "\n".join(line for line in _loops() if str(root) in line),
        "folder": str(state) if state.exists() else "",
        "daemon": "\n".join(line for line in _processes() if f"--root {root} " in line),
    }


def _loops() -> list[str]:
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            found.append(path.read_text().strip())
    return found


def _processes() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


class Helpers:
    """The functions above as a fixture, because test modules can't import each other."""

    wait_until = staticmethod(wait_until)
    docker = staticmethod(docker)
    traces = staticmethod(traces)
    start_cloud = staticmethod(start_cloud)
    ec2_client = staticmethod(ec2_client)


@pytest.fixture(scope="session")
def helpers() -> type[Helpers]:
    return Helpers
