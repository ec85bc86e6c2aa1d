"""The simulated exporter: the names and labels of the real exporter, from a server's info protocol."""

import contextlib
import os
import re
import signal
import socketserver
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from exporter_simulated import config, info, metrics

from tests.contract.simulated_servers import TIMEOUT

SOURCE = Path(__file__).resolve().parents[2] / "local_cloud/simulators/exporter"

# Answers in the form of a real server (8.0), shortened.
ANSWERS = {
    "namespaces": "Test;bar",
    "logs": "0:stderr",
    "log/0": "misc:INFO;alloc:DEBUG",
    "build": "8.0.0.4",
    "cluster-name": "Benchmark",
    "service-clear-std": "172.31.0.10:3000",
    "node": "BB9020011AC4202",
    "get-config:context=service": "proto-fd-max=15000;enable-hist-info=false;cluster-name=Benchmark",
    "statistics": "cluster_size=3;client_connections=7;uptime=12;failed_best_practices=true;cluster_key=8C1A",
    "sets": "ns=Test:set=test:objects=42:data_used_bytes=1000:disable-eviction=false;",
    "latencies:": "batch-index:;{Test}-read:msec,100.0,10.00,5.00,0.00;{Test}-write:;{bar}-read:usec,8.5,0.0",
    "namespace/Test": "objects=42;client_write_success=1000;storage-engine=device;index-type=shmem;stop_writes=false;"
    "storage-engine.device[0]=/dev/nvme1n1p1;storage-engine.device[0].defrag_q=3;index-type.mounts-budget=0",
    "namespace/bar": "objects=0;storage-engine=memory",
}


class InfoHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        header = self.rfile.read(8)
        if len(header) < 8:
            return
        (value,) = struct.unpack(">Q", header)
        commands = self.rfile.read(value & 0xFFFFFFFFFFFF).decode().splitlines()
        body = "".join(f"{name}\t{ANSWERS.get(name, 'ERROR:4:unknown')}\n" for name in commands).encode()
        self.wfile.write(struct.pack(">Q", 2 << 56 | 1 << 48 | len(body)) + body)


@contextlib.contextmanager
def info_server() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), InfoHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextlib.contextmanager
def exporter(folder: Path, text: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program as its service starts it, on a free port; its address is in its log."""
    path = folder / "ape.toml"
    path.write_text(text)
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter_simulated", "--config", str(path)],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            assert "SIMULATED" in line
            if match := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                yield process, f"http://{match[1]}"
                return
        raise AssertionError("the program ended before it listened")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def get(url: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as reply:
        return reply.read().decode()


def samples(text: str) -> dict[str, float]:
    """`name{labels}` -> value; fails for anything that isn't Prometheus's text format."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r'([a-z_][a-zA-Z0-9_]*(?:\{(?:[a-z_]+="(?:[^"\\]|\\.)*",?)*\})?) (\S+)', line)
        assert match, line
        assert match[1] not in found, f"{match[1]} twice"
        found[match[1]] = float(match[2])
    return found


def test_names_labels_and_values(tmp_path: Path) -> None:
    with (
        info_server() as port,
        exporter(
            tmp_path,
            f'[Agent]\nbind = "127.0.0.1:0"\nlabels = {{zone="a"}}\n[Aerospike]\ndb_host = "127.0.0.1"\n'
            f"db_port = {port}\n",
        ) as (_, url),
    ):
        text = get(f"{url}/metrics")
        found = samples(text)
        assert samples(get(f"{url}/metrics"))["aerospike_node_ticks"] == 2
    node = 'cluster_name="Benchmark",service="172.31.0.10:3000",zone="a"'
    space = 'cluster_name="Benchmark",ns="Test",service="172.31.0.10:3000"'
    assert found["aerospike_node_ticks"] == 1
    build = 'build="8.0.0.4",cluster_name="Benchmark",node_id="BB9020011AC4202"'
    assert found[f'aerospike_node_up{{{build},service="172.31.0.10:3000",zone="a"}}'] == 1
    for name, value in (
        ("cluster_size", 3),
        ("client_connections", 7),
        ("failed_best_practices", 1),
        ("proto_fd_max", 15000),
        ("enable_hist_info", 0),
        ("pseudo_log_debug", 1),
        ("pseudo_log_detail", 0),
    ):
        assert found[f"aerospike_node_stats_{name}{{{node}}}"] == value
    assert f"aerospike_node_stats_cluster_key{{{node}}}" not in found, "text isn't a metric"
    engine = f'{{{space},storage_engine="device",zone="a"}}'
    assert found[f"aerospike_namespace_objects{engine}"] == 42
    assert found[f"aerospike_namespace_client_write_success{engine}"] == 1000
    assert found[f"aerospike_namespace_stop_writes{engine}"] == 0
    device = (
        'cluster_name="Benchmark",device="/dev/nvme1n1p1",device_index="0",ns="Test",service="172.31.0.10:3000",'
        'storage_engine="device",zone="a"'
    )
    assert found[f"aerospike_namespace_storage_engine_device_defrag_q{{{device}}}"] == 3
    index = 'cluster_name="Benchmark",index="shmem",ns="Test",service="172.31.0.10:3000",zone="a"'
    assert found[f"aerospike_namespace_index_type_mounts_budget{{{index}}}"] == 0
    one_set = '{cluster_name="Benchmark",ns="Test",service="172.31.0.10:3000",set="test",zone="a"}'
    assert found[f"aerospike_sets_objects{one_set}"] == 42
    assert "# TYPE aerospike_namespace_client_write_success counter" in text
    assert "# TYPE aerospike_namespace_objects gauge" in text
    assert "SIMULATED" in text.splitlines()[0]


def test_latencies_are_cumulative_buckets() -> None:
    text = metrics.render(metrics.collect(ANSWERS, config.Config()), {})
    found = samples(text)

    def bucket(limit: str) -> float:
        label = f'cluster_name="Benchmark",le="{limit}",ns="Test",service="172.31.0.10:3000"'
        return found[f"aerospike_latencies_read_ms_bucket{{{label}}}"]

    assert [bucket(limit) for limit in ("1", "2", "4", "+Inf")] == [90, 95, 100, 100]
    count = 'cluster_name="Benchmark",ns="Test",service="172.31.0.10:3000"'
    assert found[f"aerospike_latencies_read_ms_count{{{count}}}"] == 100
    assert any(name.startswith("aerospike_latencies_read_us_count{") for name in found)
    few = metrics.render(metrics.collect(ANSWERS, config.Config(latency_buckets=1)), {})
    assert 'le="1"' in few
    assert 'le="2"' not in few


def test_allowlist_and_blocklist_filter_metrics() -> None:
    filters = {
        "namespace": config.Filter(allow=("client_*", "objects"), block=("objects",)),
        "node": config.Filter(block=("*",)),
    }
    names = {sample.name for sample in metrics.collect(ANSWERS, config.Config(filters=filters))}
    assert "aerospike_namespace_client_write_success" in names
    assert "aerospike_namespace_objects" not in names
    assert "aerospike_namespace_stop_writes" not in names
    assert not any(name.startswith("aerospike_node_stats_") for name in names)
    assert "aerospike_sets_objects" in names


def test_server_that_is_down_is_a_metric_not_an_error(tmp_path: Path) -> None:
    with info_server() as port:
        text = f'[Agent]\nbind = "127.0.0.1:0"\n[Aerospike]\ndb_host = "127.0.0.1"\ndb_port = {port}\n'
        with exporter(tmp_path, text) as (_, url):
            assert "aerospike_node_up" in get(f"{url}/metrics")
    with exporter(tmp_path, text) as (_, url):
        found = samples(get(f"{url}/metrics"))
        down = 'aerospike_node_up{build="",cluster_name="",node_id="",service=""}'
        assert found == {"aerospike_node_ticks": 1, down: 0}


def test_only_metrics_require_the_password(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("p:w\n")
    text = (
        '[Agent]\nbind = "127.0.0.1:0"\nbasic_auth_username = "prom"\n'
        f'basic_auth_password = "file:{tmp_path / "secret"}"\n[Aerospike]\ndb_host = "127.0.0.1"\ndb_port = 9\n'
    )
    with exporter(tmp_path, text) as (process, url):
        assert get(f"{url}/health") == "OK"
        assert "SIMULATED" in get(f"{url}/")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(f"{url}/metrics")
        assert "aerospike_node_up" in get(f"{url}/metrics", Authorization="Basic cHJvbTpwOnc=")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=TIMEOUT) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[Agent\n", "isn't valid TOML"),
        ('[Agent]\nbind = "9145"\nx = 1\n[Aerospike]\ndb_port = "3000"\n', "Aerospike.db_port"),
        ('[Agent]\nbind = "here"\n', "Agent.bind"),
        ("[Agent]\nenable_prometheus = false\n", "enable_prometheus"),
        ("[Agent]\nenable_open_telemetry = true\n", "enable_open_telemetry"),
        ('[Agent]\ncert_file = "x"\n', "TLS"),
        ('[Aerospike]\nuser = "x"\n', "login"),
        ('[Agent]\nbasic_auth_password = "env:PEGASUS_NOT_SET"\n', "credential"),
        ('[Aerospike]\nnamespace_metrics_allowlist = "x"\n', "namespace_metrics_allowlist"),
    ],
)
def test_wrong_configuration_stops_the_start(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "ape.toml"
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "exporter_simulated", "--config", str(path)],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 1
    assert expected in done.stderr
    assert "SIMULATED" in done.stderr


def test_shipped_configuration_is_accepted() -> None:
    assert config.load(SOURCE / "ape.toml").bind_port == 9145


def test_version_says_simulated() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "exporter_simulated", "--version"],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "SIMULATED" in done.stdout


def test_another_protocol_is_refused() -> None:
    class Web(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(info.InfoError, match="not the info protocol"):
            info.request("127.0.0.1", server.server_address[1], ["build"], 5)
        server.shutdown()


def test_against_a_simulated_cluster(tmp_path: Path, simulated_cluster: Callable[..., Any]) -> None:
    cluster = simulated_cluster(nodes=2, cluster_name="Watched")
    node = cluster.nodes[0]
    text = f'[Agent]\nbind = "127.0.0.1:0"\n[Aerospike]\ndb_host = "127.0.0.1"\ndb_port = {node.port}\n'
    with exporter(tmp_path, text) as (_, url):
        found = samples(get(f"{url}/metrics"))
    service = f'service="127.0.0.1:{node.port}"'
    assert found[f'aerospike_node_stats_cluster_size{{cluster_name="Watched",{service}}}'] == 2
    identity = f'build="{node.info("build")}",cluster_name="Watched",node_id="{node.info("node")}"'
    assert found[f"aerospike_node_up{{{identity},{service}}}"] == 1
    space = f'cluster_name="Watched",ns="Test",{service},storage_engine="memory"'
    assert found[f"aerospike_namespace_objects{{{space}}}"] == 0
    for name in ("client_write_success", "client_read_success", "stop_writes", "data_used_pct"):
        assert f"aerospike_namespace_{name}{{{space}}}" in found
    assert any(name.startswith("aerospike_latencies_") for name in found)
