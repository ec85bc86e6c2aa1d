"""Processes of the simulated server for tests: on loopback, with free ports and temporary folders."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERVER = Path(__file__).resolve().parents[2] / "local_cloud/simulators/server"
INFO_SECONDS = 10.0
# Seconds. It only ends a wait that would otherwise last forever: no test measures this time.
TIMEOUT = 60.0


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of `condition`.

    :raises AssertionError: there is none within the timeout.
    """
    deadline = time.monotonic() + TIMEOUT
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"expected within {TIMEOUT:.0f} s: {what}")
        time.sleep(0.02)
    return value


def free_ports(count: int) -> list[int]:
    """Ports without a listener, below the range of ports for outgoing connections."""
    found: list[int] = []
    first = 10000 + os.getpid() * 37 % 15000
    for port in range(first, first + 5000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} free ports from {first}")


def info(port: int, command: str, host: str = "127.0.0.1") -> str:
    """The answer to one info command, over the wire.

    :raises OSError: there is no answer
    """
    with socket.create_connection((host, port), timeout=INFO_SECONDS) as connection:
        body = f"{command}\n".encode()
        connection.sendall((2 << 56 | 1 << 48 | len(body)).to_bytes(8, "big") + body)
        stream = connection.makefile("rb")
        head = stream.read(8)
        if len(head) < 8:
            raise ConnectionError("closed")
        answer = stream.read(int.from_bytes(head, "big") & 0xFFFFFFFFFFFF).decode()
    return answer.rstrip("\n").split("\t", 1)[1]


def values(answer: str) -> dict[str, str]:
    """`a=1;b=2` as a dictionary."""
    return dict(part.split("=", 1) for part in answer.split(";") if "=" in part)


@dataclass
class SimulatedNode:
    """One server process. `index` counts from 1."""

    index: int
    folder: Path
    ports: dict[str, int]
    seeds: list[int]
    options: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The service port, on 127.0.0.1."""
        return self.ports["service"]

    @property
    def log(self) -> str:
        path = self.folder / "asd.log"
        return path.read_text() if path.exists() else ""

    def write_config(self) -> Path:
        seeds = "\n".join(f"    mesh-seed-address-port 127.0.0.1 {port}" for port in self.seeds)
        storage = self.options.get("storage", "storage-engine memory {\n    data-size 1G\n  }")
        lines = self.options.get("namespace_lines", "nsup-period 1")
        namespace = self.options.get("namespace", "Test")
        (self.folder / "work/smd").mkdir(parents=True, exist_ok=True)
        (self.folder / "lua").mkdir(exist_ok=True)
        path = self.folder / "aerospike.conf"
        path.write_text(f"""\
service {{
  cluster-name {self.options.get("cluster_name", "contract")}
  proto-fd-max 1024
  work-directory {self.folder}/work
}}
logging {{
  file {self.folder}/asd.log {{
    context any info
  }}
}}
network {{
  service {{
    address 127.0.0.1
    port {self.ports["service"]}
  }}
  heartbeat {{
    mode mesh
    address 127.0.0.1
    port {self.ports["heartbeat"]}
{seeds}
    interval 150
    timeout 10
  }}
  fabric {{
    address 127.0.0.1
    port {self.ports["fabric"]}
  }}
}}
namespace {namespace} {{
  replication-factor {self.options.get("replication_factor", 2)}
  {lines}
  {storage}
}}
mod-lua {{
  user-path {self.folder}/lua
}}
""")
        return path

    def start(self) -> None:
        """Start the process without waiting for it."""
        config = self.write_config()
        errors = (self.folder / "stderr").open("ab")
        with errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "asd_simulated", "--config-file", str(config), "--foreground"],
                cwd=self.options.get("server", SERVER),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait for the exit.

        :returns: the exit code, negative for a signal
        """
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        code = self.process.wait(TIMEOUT)
        self.process = None
        return code

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def info(self, command: str) -> str:
        """An info command's answer, "" if the node doesn't answer."""
        try:
            return info(self.port, command)
        except OSError:
            return ""

    def stats(self, namespace: str = "Test") -> dict[str, str]:
        return values(self.info(f"namespace/{namespace}"))


@dataclass
class SimulatedCluster:
    """Servers that know each other as seeds."""

    nodes: list[SimulatedNode] = field(default_factory=list)

    @property
    def hosts(self) -> list[tuple[str, int]]:
        """For the official client's configuration."""
        return [("127.0.0.1", node.port) for node in self.nodes]

    @property
    def running(self) -> list[SimulatedNode]:
        return [node for node in self.nodes if node.running]

    def stable_key(self, ignore_migrations: bool = False) -> str:
        """The key that all running nodes agree on, "" if they don't."""
        command = f"cluster-stable:size={len(self.running)};ignore-migrations={str(ignore_migrations).lower()}"
        keys = {node.info(command) for node in self.running}
        key = keys.pop() if len(keys) == 1 else ""
        return "" if key.startswith("ERROR") else key

    def wait_stable(self, ignore_migrations: bool = False) -> str:
        return wait_for(
            lambda: self.stable_key(ignore_migrations),
            f"{len(self.running)} nodes stable, ignore-migrations {ignore_migrations}",
        )

    def stop(self) -> None:
        for node in self.running:
            node.kill()


def make_cluster(folder: Path, nodes: int, **options: Any) -> SimulatedCluster:
    """Servers under `folder`, not yet started. Options: see the fixture simulated_cluster."""
    ports = free_ports(3 * nodes)
    triples = [
        dict(zip(("service", "fabric", "heartbeat"), ports[at : at + 3], strict=True)) for at in range(0, len(ports), 3)
    ]
    cluster = SimulatedCluster()
    for index, own in enumerate(triples, 1):
        (folder / f"node{index}").mkdir()
        cluster.nodes.append(
            SimulatedNode(index, folder / f"node{index}", own, [ports["heartbeat"] for ports in triples], options)
        )
    return cluster
