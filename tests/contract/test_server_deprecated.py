"""The server logs what is deprecated, and nothing that Pegasus sends is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import aerospike
import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import editions, health, info
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.changes import commands, differences
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.conf import build, render
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.settings import Settings
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.survey import survey
from ansible_collections.aerospike_community.pegasus.plugins.modules import aerospike_ready
from asd_simulated.deprecated import COMMANDS
from exporter_simulated import config as exporter_config
from exporter_simulated.__main__ import Exporter

from tests.contract.simulated_servers import SimulatedNode, server_of, values, wait_for

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
DEPRECATED = {name for texts in COMMANDS.values() for name in texts if name}


def settings(node: SimulatedNode, version: str, **changes: object) -> str:
    """The configuration that Pegasus writes for this node."""
    values = {
        "version": version,
        "edition": "community",
        "cluster_name": "contract",
        "namespace": "Test",
        "data_size": "1G",
        "proto_fd_max": 1024,
        "memory_bytes": 16 * 2**30,
        "seeds": [HOST],
        "service_port": node.ports["service"],
        "fabric_port": node.ports["fabric"],
        "heartbeat_port": node.ports["heartbeat"],
        "admin_port": node.ports["admin"],
        "info_port": node.ports["info"],
        "extra": {"service": {"work-directory": f"{node.folder}/work"}},
    }
    return render(build(Settings.read({**values, **changes})))


def configuration(version: str, node: SimulatedNode) -> str:
    log = f"file {node.folder}/asd.log {{\n    context any info\n  }}"
    text = settings(node, version).replace("logging {", f"logging {{\n  {log}")
    return f"{text}\nmod-lua {{\n  user-path {node.folder}/lua\n}}\n"


@pytest.fixture(scope="module", params=["6.4.0.34", "8.0.0.15", "8.1.0.3", "8.1.1.2", "8.1.2.0"])
def node(request, simulated_cluster, tmp_path_factory) -> Iterator[tuple[SimulatedNode, str]]:
    version = request.param
    server = server_of(tmp_path_factory.mktemp("release"), version)
    (made,) = simulated_cluster(1, start=False, server=server, text=lambda node: configuration(version, node)).nodes
    made.start()
    wait_for(lambda: made.info("cluster-stable:size=1").isalnum(), "a cluster of one node")
    return made, version


def test_nothing_that_pegasus_sends_is_deprecated_or_unknown(node) -> None:
    server, version = node
    ready = aerospike_ready.Node(HOST, server.port, 1, "Test").query()
    assert ready["edition"] == "Aerospike Community Edition SIMULATED"
    assert ready["build"] == version
    assert editions.without_quiesce([HOST], server.port) == [HOST]
    assert survey([HOST], server.port).settled
    assert health.problems(health.query([HOST], server.port)) == []
    changed = settings(server, version, default_ttl=60, heartbeat_interval_ms=160)
    for difference in differences(settings(server, version), changed):
        for command in commands(difference, version) or ():
            assert info.info_value(HOST, command, port=server.port) == "ok"
    page = Exporter(exporter_config.Config(db_host=HOST, db_port=server.port)).scrape()
    assert "aerospike_node_up" in page
    client = aerospike.client({"hosts": [(HOST, server.port)]}).connect()
    client.put(("Test", "set", 1), {"a": 1})
    assert client.get(("Test", "set", 1))[2] == {"a": 1}
    client.close()
    for word in ("deprecated", "unrecognized"):
        assert [line for line in server.log.splitlines() if word in line] == []
    statistics = values(server.info("statistics"))
    assert statistics.get("deprecated_requests", "0") == "0"
    assert ("deprecated_requests" in statistics) == (version >= "8.1")


def test_each_release_logs_what_it_calls_deprecated(node) -> None:
    server, version = node
    numbers = tuple(int(part) for part in version.split("."))
    for since, texts in COMMANDS.items():
        for name, text in texts.items():
            logged = f"INFO (deprecation): (thr_info.c:886) {text}"
            server.info(name)
            assert (logged in server.log) == (numbers >= since), name
    assert server.info("get-config:context=namespace;id=Test")
    assert ("info parameter 'id' is deprecated" in server.log) == (numbers >= (8, 1))
    known = server.info("release")
    assert known.startswith("edition=Aerospike Community Edition SIMULATED;version=") == (numbers >= (8, 1, 1))


def test_the_parameters_of_8_1_2_are_dynamic_there_and_only_there(node) -> None:
    server, version = node
    refused = "ERROR:4:invalid set-config parameter"
    tracking = server.info("set-config:context=service;cgroup-mem-tracking=true")
    assert tracking == ("ok" if version == "8.1.2.0" else refused)
    # Of the Enterprise Edition.
    assert server.info("set-config:context=namespace;namespace=Test;tomb-raider-unmark-threads=2").startswith("ERROR:")
    name = "id" if version < "7.2" else "namespace"
    assert server.info(f"set-config:context=namespace;{name}=Test;force-long-queries=true") == "ok"


def test_no_deprecated_command_is_in_the_source() -> None:
    """Every call of an info command in the plugins, the driver and the playbooks."""
    found = []
    for path in [*ROOT.glob("collections/**/plugins/**/*.py"), *ROOT.glob("pegasus_driver/**/*.py")]:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and re.match(r"info(_value|_pairs)?$", ast.unparse(call.func).split(".")[-1]):
                texts = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
                found += [(path.name, text) for text in texts if re.split("[:/]", text)[0] in DEPRECATED]
    for path in [
        *ROOT.glob("collections/**/roles/**/*.yml"),
        *ROOT.glob("molecule/**/*.yml"),
        *ROOT.glob("playbooks/**/*.yml"),
    ]:
        for command in re.findall(r"asinfo.*-v,? [\"']?([a-z-]+)", path.read_text()):
            found += [(path.name, command)] if command in DEPRECATED else []
    # `edition` itself, for the releases before 8.1.1.
    assert [item for item in found if item != ("info.py", "edition")] == []
