"""The simulated server as a process: exit codes, log, signals, devices, asinfo."""

import json
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys

import aerospike
import pytest
from aerospike import exception as errors
from asd_simulated import devices
from asd_simulated.config.model import ConfigError, NamespaceConfig
from asd_simulated.log import Log
from asd_simulated.release import Release, load_release

from tests.contract.simulated_servers import SERVER, TIMEOUT, values, wait_for


def run(*arguments: str, program: str = "asd", timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SERVER / program), *arguments], capture_output=True, text=True, timeout=timeout, cwd="/", check=False
    )


def test_version_says_simulated():
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout == "Aerospike Enterprise Edition SIMULATED build 8.0.0.4\n"


def test_release_file(tmp_path):
    path = tmp_path / "release.json"
    assert load_release(path) == Release("8.0.0.4", "enterprise")
    path.write_text(json.dumps({"version": "8.1.0.3", "edition": "community", "simulated": True}))
    assert load_release(path) == Release("8.1.0.3", "community")
    assert load_release(path).title == "Aerospike Community Edition SIMULATED"
    path.write_text(json.dumps({"version": "8.1.0.3", "edition": "home"}))
    with pytest.raises(ValueError, match="edition is 'home'"):
        load_release(path)


def test_another_release_and_edition(simulated_cluster, tmp_path):
    """As in the deb, release.json beside the package determines both."""
    server = tmp_path / "server"
    shutil.copytree(SERVER, server, ignore=shutil.ignore_patterns("__pycache__"))
    (server / "release.json").write_text(json.dumps({"version": "8.1.0.3", "edition": "community"}))
    node = simulated_cluster(1, server=server).nodes[0]
    assert node.info("build") == "8.1.0.3"
    assert node.info("edition") == "Aerospike Community Edition SIMULATED"
    assert node.info("quiesce:").startswith("ERROR:25:")
    client = aerospike.client({"hosts": [("127.0.0.1", node.port)]}).connect()
    client.put(("Test", "set", 1), {"a": 1})
    with pytest.raises(errors.AerospikeError) as refused:
        client.remove(("Test", "set", 1), policy={"durable_delete": True})
    assert refused.value.code == 25
    client.remove(("Test", "set", 1))
    client.close()


def test_a_refusal_is_on_stderr_with_exit_code_1(tmp_path):
    config = tmp_path / "bad.conf"
    config.write_text("service {\n  replication-facter 2\n}\n")
    for mode in (["--foreground"], []):  # parse errors come before the process goes to the background
        done = run("--config-file", str(config), *mode)
        assert done.returncode == 1
        assert re.search(
            r"SIMULATED CRITICAL \(config\): \(cfg\.c:1651\) line 2 :: unknown config parameter name "
            "'replication-facter'\n",
            done.stderr,
        )
    done = run("--config-file", str(tmp_path / "none"), "--foreground")
    assert done.returncode == 1
    assert "couldn't open configuration file" in done.stderr


def test_in_the_background_later_refusals_are_in_the_log_only(simulated_cluster):
    node = simulated_cluster(1, start=False).nodes[0]
    config = node.write_config()
    config.write_text(config.read_text().replace("cluster-name contract", ""))
    done = run("--config-file", str(config))
    assert (done.returncode, done.stderr) == (0, "")
    wait_for(
        lambda: "CRITICAL (config): (cfg.c:4386) must configure 'cluster-name'" in node.log, "the refusal in the log"
    )
    done = run("--config-file", str(config), "--foreground")
    assert (done.returncode, done.stderr) == (1, "")  # the configuration has no console sink


def test_a_port_in_use_is_named(simulated_cluster):
    node = simulated_cluster(1, start=False).nodes[0]
    with socket.socket() as taken:
        # As in the server: the port may have connections of an earlier test in TIME_WAIT.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", node.port))
        taken.listen()
        done = run("--config-file", str(node.write_config()), "--foreground")
    assert done.returncode == 1
    assert re.search(rf"CRITICAL \(socket\).*{node.port}", node.log)


def test_the_log_says_simulated_in_each_line_and_follows_a_rotation(simulated_cluster):
    node = simulated_cluster(1).nodes[0]
    assert "<><>  Aerospike Enterprise Edition SIMULATED build 8.0.0.4  <><>" in node.log
    path = node.folder / "asd.log"
    path.rename(node.folder / "asd.log.1")
    assert node.process is not None
    node.process.send_signal(signal.SIGHUP)
    wait_for(path.exists, "a new log")
    assert node.stop() == 0
    assert "SIGTERM received, shutting down" in node.log
    lines = (node.folder / "asd.log.1").read_text().splitlines() + node.log.splitlines()
    assert all(" SIMULATED " in line for line in lines)
    assert (node.folder / "stderr").read_text() == ""


def test_asinfo(simulated_cluster):
    node = simulated_cluster(1).nodes[0]
    done = run("-h", "127.0.0.1", "-p", str(node.port), "-v", "cluster-stable:size=1", program="asinfo")
    assert (done.returncode, done.stdout.strip()) == (0, node.info("cluster-stable:"))
    done = run("-h", f"127.0.0.1:{node.port}", "-v", "cluster-stable:size=2", program="asinfo")
    assert (done.returncode, done.stdout.strip()) == (1, "ERROR:7:cluster not specified size")
    done = run("-p", str(node.ports["heartbeat"] + 3000), "-v", "build", program="asinfo")
    assert done.returncode == 1
    assert "doesn't answer" in done.stderr


def test_garbage_from_a_client_closes_its_connection_only(simulated_cluster):
    node = simulated_cluster(1).nodes[0]
    for garbage in (
        b"GET / HTTP/1.1\r\n\r\n",
        bytes([2, 3, 0, 0, 0, 0, 0, 5]) + b"hello",
        bytes([2, 9, 0, 0, 0, 0, 0, 1]) + b"x",
        bytes([2, 4, 0, 0, 0, 0, 0, 12]) + bytes(12),
        bytes([2, 3, 0, 0, 0, 0, 0, 22]) + bytes([22]) + bytes(19) + b"\xff\xff",
    ):
        with socket.create_connection(("127.0.0.1", node.port), timeout=TIMEOUT) as connection:
            connection.sendall(garbage)
            connection.settimeout(TIMEOUT)
            connection.recv(100)
    assert node.info("status") == "ok"
    assert int(values(node.info("statistics"))["demarshal_error"]) >= 4


# --- Devices: a loop device needs privileges, so the checks are tested on headers -------------------------------------


def test_a_regular_file_as_device_is_refused(tmp_path):
    path = tmp_path / "disk"
    path.write_bytes(bytes(16))
    space = NamespaceConfig("Test", engine="device", storage={"device": [str(path)]})
    with pytest.raises(ConfigError, match="is not a block device"):
        devices.open_devices(space, Log())
    space.storage["device"] = [str(tmp_path / "none")]
    with pytest.raises(ConfigError, match="unable to open device"):
        devices.open_devices(space, Log())


def test_headers_of_devices():
    ours = devices.HEADER.pack(devices.MAGIC, b"Test").ljust(4096, b"\0")
    devices.check_header("Test", "/dev/x", bytes(4096), {})
    devices.check_header("Test", "/dev/x", ours, {})
    devices.check_header("Test", "/dev/x", b"XFSB" + bytes(4092), {"cold-start-empty": True})
    with pytest.raises(ConfigError, match="not an Aerospike device but not erased - check config or erase device"):
        devices.check_header("Test", "/dev/x", b"XFSB" + bytes(4092), {})
    with pytest.raises(ConfigError, match="previous namespace Test now other - check config or erase device"):
        devices.check_header("other", "/dev/x", ours, {})


@pytest.fixture
def loop_device(tmp_path):
    """A 64 MiB loop device."""
    image = tmp_path / "image"
    with image.open("wb") as stream:
        stream.truncate(64 * 2**20)
    done = subprocess.run(["losetup", "--show", "--find", str(image)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no loop device here: {done.stderr.strip()}")
    yield done.stdout.strip()
    subprocess.run(["losetup", "--detach", done.stdout.strip()], check=True)


def test_a_device_is_marked_and_accepted_by_the_same_namespace_only(loop_device):
    space = NamespaceConfig("Test", engine="device", storage={"device": [loop_device]})
    assert devices.capacity(space, devices.open_devices(space, Log())) == 56 * 2**20
    assert devices.capacity(space, devices.open_devices(space, Log())) == 56 * 2**20
    with pytest.raises(ConfigError, match="previous namespace Test now Else"):
        devices.open_devices(NamespaceConfig("Else", engine="device", storage={"device": [loop_device]}), Log())


def test_stop_writes_when_full(simulated_cluster):
    node = simulated_cluster(
        1, replication_factor=1, storage="storage-engine memory {\n data-size 256M\nstop-writes-used-pct 1\n}"
    ).nodes[0]
    client = aerospike.client({"hosts": [("127.0.0.1", node.port)]}).connect()
    with pytest.raises(errors.AerospikeError) as refused:
        for number in range(10):
            client.put(("Test", "big", number), {"pad": "x" * 1_000_000})
    assert refused.value.code == 8
    assert node.stats()["stop_writes"] == "true"
    assert node.info("set-config:context=namespace;id=Test;stop-writes-used-pct=0") == "ok"
    client.put(("Test", "big", "more"), {"pad": "no limit"})
    client.close()


def test_the_limit_of_open_files_is_checked(simulated_cluster):
    node = simulated_cluster(1, start=False).nodes[0]
    done = subprocess.run(
        [sys.executable, "-m", "asd_simulated", "--config-file", str(node.write_config()), "--foreground"],
        cwd=SERVER,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512)),
    )
    assert done.returncode == 1
    assert "512 system file descriptors not enough, config specified 1024" in node.log
