"""An environment in the local cloud from setup to destroy, in a clean clone, as in the README.

The tests of a module run in order and share one environment (see conftest.py). Each checks the effect itself (the
protocols of the products, the container engine), not what Pegasus reports.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aerospike
import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import (
    InfoError,
    info_pairs,
    info_value,
)

from tests.e2e.checkout import Checkout, Run, ec2, get, instances, on_host, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
SERVERS, CLIENTS, HOSTS = 3, 1, 5


def repair(checkout: Checkout) -> str:
    """Restore the state from which each test starts. Return why that failed, or an empty text."""
    run = checkout.driver("setup")
    added = [node["index"] for node in run.end.get("report", {}).get("nodes", []) if node["kind"] == "server"][SERVERS:]
    for index in added if run.code == 0 else []:
        run = checkout.driver("remove-node", str(index), "--force")
    return "" if run.code == 0 else f"setup failed again: {run.why()}"


@pytest.fixture(scope="module")
def environment(checkout: Checkout) -> dict[str, Any]:
    """The first command of the README."""
    run = checkout.driver("setup")
    assert run.code == 0, run.why()
    assert [record["text"] for record in run.records if record["type"] == "warning" and not record["deprecation"]] == []
    return run.end["report"]


@pytest.fixture(scope="module")
def addresses(environment: dict[str, Any]) -> dict[str, list[str]]:
    return {
        kind: [node["address"] for node in environment["nodes"] if node["kind"] == kind]
        for kind in ("server", "client", "monitor")
    }


@pytest.fixture(scope="module")
def config(checkout: Checkout) -> dict[str, Any]:
    return yaml.safe_load((checkout.path / "group_vars/all/config.yml").read_text())


def reached(checkout: Checkout, address: str) -> bool:
    try:
        return on_host(checkout, address, "true") == ""
    except subprocess.CalledProcessError:
        return False


def block_devices(checkout: Checkout, address: str, pattern: str) -> int:
    """Count the block devices of a host that match. lsblk would list those of the machine that all containers share."""
    return len(on_host(checkout, address, "find", "/dev", "-type", "b", "-regex", f"'{pattern}'").split())


def of_kind(checkout: Checkout, name: str) -> list[str]:
    """Return the addresses of Benchmark-1, -2, ... (or BenchmarkClient-1, ...) by index."""
    found = {host.name: host.address for host in instances().values() if host.name.rpartition("-")[0] == name}
    return [found[key] for key in sorted(found, key=lambda text: int(text.rpartition("-")[2]))]


def process(checkout: Checkout, address: str, service: str) -> int:
    """Return the id of a service's process, 0 if it isn't running. It changes with each start."""
    return int(on_host(checkout, address, "systemctl", "show", "--property=MainPID", "--value", service))


def processes(checkout: Checkout) -> dict[str, int]:
    """Return the process of the main service of every host, by the host's name."""
    services = {"Benchmark": "aerospike", "BenchmarkClient": "perseus", "BenchmarkGrafana": "grafana-server"}
    return {
        name: process(checkout, instance.address, services[name.rpartition("-")[0]])
        for name, instance in instances().items()
        if instance.state == "running"
    }


def printed(run: Run) -> str:
    """Return everything that a run printed."""
    return json.dumps(run.records) + run.stderr


def scraped(checkout: Checkout) -> dict[str, str]:
    """Return the health of Prometheus's targets by address and port."""
    (monitor,) = of_kind(checkout, "BenchmarkGrafana")
    targets = get(f"http://{monitor}:9090/api/v1/targets?state=active")["data"]["activeTargets"]
    return {re.sub(r"^https?://([^/]+)/.*", r"\1", target["scrapeUrl"]): target["health"] for target in targets}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


def stable_key(address: str, size: int) -> str:
    return info_value(address, f"cluster-stable:size={size};ignore-migrations=true")


def test_setup_names_every_host(environment):
    names = [(node["kind"], node["index"], node["state"]) for node in environment["nodes"]]
    assert names == [("server", 1, "running"), ("server", 2, "running"), ("server", 3, "running"),
                     ("client", 1, "running"), ("monitor", 1, "running")]  # fmt: skip
    assert len({node["address"] for node in environment["nodes"]}) == HOSTS
    assert environment["simulated"] is True


def test_every_node_is_in_the_same_stable_cluster(environment, addresses):
    keys = {stable_key(address, SERVERS) for address in addresses["server"]}
    assert keys == {environment["cluster"]["key"]}
    assert environment["cluster"]["size"] == SERVERS


def log_tail(checkout: Checkout, address: str) -> str:
    return on_host(checkout, address, "tail", "-n", "40", "/var/log/perseus/perseus.log")


def rows_of(checkout: Checkout, address: str) -> list[int]:
    """Return the total of each row that Perseus printed last."""
    text = log_tail(checkout, address)
    return [int(line.rsplit("|", 2)[1].replace(",", "")) for line in text.splitlines() if re.match(r"\|\s*\d", line)]


def operations(address: str, namespace: str) -> int:
    """Return the successful client operations that a server counted, including the records of batches."""
    values = info_pairs(address, f"namespace/{namespace}")
    names = (
        "client_read_success",
        "client_read_not_found",
        "client_write_success",
        "client_delete_success",
        "batch_sub_read_success",
        "batch_sub_read_not_found",
        "batch_sub_write_success",
    )
    return sum(int(values.get(name, 0)) for name in names)


def test_clients_print_rows_and_the_servers_count_them(environment, checkout, addresses, config):
    for address in addresses["client"]:
        rows = rows_of(checkout, address)
        assert rows and all(total > 0 for total in rows[-3:]), rows
    before = sum(operations(address, config["pegasus_namespace"]) for address in addresses["server"])
    until(
        lambda: sum(operations(a, config["pegasus_namespace"]) for a in addresses["server"]) > before + 50,
        20,
        "servers count operations",
    )
    assert all(client["rate"] > 0 for client in environment["clients"])


def test_every_prometheus_target_is_up(environment, addresses):
    (monitor,) = addresses["monitor"]
    targets = get(f"http://{monitor}:9090/api/v1/targets?state=active")["data"]["activeTargets"]
    assert {target["health"] for target in targets} == {"up"}
    scraped = {re.sub(r"^https?://([^/]+)/.*", r"\1", target["scrapeUrl"]) for target in targets}
    expected = {f"{address}:9100" for group in addresses.values() for address in group}
    expected |= {f"{address}:9145" for address in addresses["server"]}
    assert expected <= scraped
    # Each exporter reports the figures of its own server.
    found = get(f"http://{monitor}:9090/api/v1/query?query=aerospike_node_stats_cluster_size")["data"]["result"]
    assert {sample["value"][1] for sample in found} == {str(SERVERS)} and len(found) == SERVERS, found


def test_dashboards_are_in_grafana(environment, addresses, config):
    (monitor,) = addresses["monitor"]
    password = config["grafana_prometheus_admin_password"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(f"http://{monitor}:3000/api/search?type=dash-db", "not-the-password")
    assert refused.value.code == 401
    found = {entry["uid"] for entry in get(f"http://{monitor}:3000/api/search?type=dash-db", password)}
    assert {"pegasus-environment", "pegasus-cluster"} <= found
    assert environment["monitoring"]["grafana_url"].startswith(f"http://{monitor}:3000")


@pytest.fixture(scope="module")
def client(addresses: dict[str, list[str]]) -> Iterator[Any]:
    """The official client. It gets one node and finds the others."""
    connected = aerospike.client({"hosts": [(addresses["server"][0], 3000)]}).connect()
    yield connected
    connected.close()


def test_a_host_whose_key_changed_is_not_trusted(checkout, environment, addresses):
    """Keys are accepted on first contact and checked from then on. They belong to the instance, not to the address."""
    known = str(checkout.kept("Benchmark") / "known_hosts")

    def knows(name: str) -> bool:
        return subprocess.run(["ssh-keygen", "-F", name, "-f", known], capture_output=True).returncode == 0

    def connect() -> subprocess.CompletedProcess[str]:
        command = [checkout.path / "pegasus-driver", "connect-cluster", "2", "--", "hostname"]
        return subprocess.run(command, cwd=checkout.path, capture_output=True, text=True, timeout=120, check=False)

    assert all(knows(instance.id) and not knows(instance.address) for instance in instances().values())
    address = addresses["server"][1]
    kept = "/root/host-keys"
    try:
        # In one command: without keys, no other connection works.
        swap = f"mkdir {kept} && mv /etc/ssh/ssh_host_* {kept} && ssh-keygen -A"
        on_host(checkout, address, "sh", "-c", f"'{swap}'")
        refused = connect()
        assert refused.returncode == 255 and "REMOTE HOST IDENTIFICATION HAS CHANGED" in refused.stderr
    finally:
        on_host(checkout, address, "sh", "-c", f"'mv {kept}/* /etc/ssh && rmdir {kept}'")
    assert connect().returncode == 0


def test_a_second_setup_changes_nothing(checkout, environment):
    run = checkout.driver("setup")
    assert run.code == 0, run.why()
    assert run.end["changed"] == 0, [r for r in run.records if r.get("status") == "changed"]


def test_the_playbook_works_without_the_driver(checkout, environment):
    done = checkout.playbook("playbooks/setup.yml")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    recap = re.findall(
        r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", done.stdout, re.MULTILINE
    )
    assert len(recap) == HOSTS + 1
    assert {row[1:] for row in recap} == {("0", "0", "0")}, recap


def test_threads_reach_the_clients_and_nothing_else_changes(checkout, addresses):
    threads = checkout.path / "threads.yaml"
    original = threads.read_text()
    threads.write_text(original.replace("write: 1\n", "write: 2\n", 1))
    done = checkout.playbook("playbooks/setup.yml", "--tags", "threads")
    assert done.returncode == 0, done.stdout[-4000:]
    changed = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=([1-9]\d*)", done.stdout, re.MULTILINE)
    assert [name for name, _ in changed] == ["BenchmarkClient-1"]
    for address in addresses["client"]:
        assert "write: 2" in on_host(checkout, address, "cat", "/var/lib/perseus/threads.yaml")
        until(lambda a=address: re.search(r"\| Threads:\s*\| 2 ", log_tail(checkout, a)), 40, "two write threads")


@pytest.mark.follows("test_threads_reach_the_clients_and_nothing_else_changes")
def test_invalid_threads_never_reach_a_client(checkout, addresses):
    threads = checkout.path / "threads.yaml"
    good = threads.read_text()
    threads.write_text(good.replace("write: 2", 'write: "2"', 1))
    done = checkout.playbook("playbooks/setup.yml", "--tags", "threads")
    threads.write_text(good)
    assert done.returncode != 0
    assert "write" in done.stdout
    assert "write: 2\n" in on_host(checkout, addresses["client"][0], "cat", "/var/lib/perseus/threads.yaml")


def test_a_stopped_node_loses_no_record_and_restarts(checkout, environment, addresses, client):
    keys = [("Test", "e2e", number) for number in range(300)]
    for key in keys:
        client.put(key, {"n": key[2]})
    run = checkout.driver("stop-node", "2")
    assert run.code == 0, run.why()
    others = [address for number, address in enumerate(addresses["server"], 1) if number != 2]
    assert len({stable_key(address, 2) for address in others}) == 1
    with pytest.raises(InfoError, match="refused"):
        info_value(addresses["server"][1], "build")
    assert [record.record[2]["n"] for record in client.batch_read(keys).batch_records] == list(range(300))

    status = checkout.driver("status")
    assert status.code == 0 and status.end["report"]["cluster"]["stable"] is False
    assert [node["service"] for node in status.end["report"]["nodes"] if node["kind"] == "server"][1] == "stopped"
    assert "Benchmark-2: database: expected running, found stopped" in printed(status)

    run = checkout.driver("restart-node", "2")
    assert run.code == 0, run.why()
    assert len({stable_key(address, SERVERS) for address in addresses["server"]}) == 1
    assert [record.record[2]["n"] for record in client.batch_read(keys).batch_records] == list(range(300))


@pytest.mark.follows("test_threads_reach_the_clients_and_nothing_else_changes")
def test_copy_threads_is_verified_in_the_rows_of_perseus(checkout, addresses):
    edit(checkout.path / "threads.yaml", "write: 2\n", "write: 4\n")
    run = checkout.driver("copy-threads")
    assert run.code == 0, run.why()
    assert "Perseus runs the load of threads.yaml" in printed(run)
    for address in addresses["client"]:
        until(lambda a=address: re.search(r"\| Threads:\s*\| 4 ", log_tail(checkout, a)), 40, "four write threads")
    run = checkout.driver("copy-threads")
    assert run.code == 0 and run.end["changed"] == 0, run.why()


@pytest.mark.follows("test_copy_threads_is_verified_in_the_rows_of_perseus")
def test_a_client_that_does_not_apply_the_load_is_reported(checkout, addresses):
    (address,) = addresses["client"]
    number = process(checkout, address, "perseus")
    on_host(checkout, address, "kill", "-STOP", str(number))
    try:
        edit(checkout.path / "threads.yaml", "write: 4\n", "write: 2\n")
        run = checkout.driver("copy-threads", "-e", "perseus_client_threads_timeout=5")
    finally:
        on_host(checkout, address, "kill", "-CONT", str(number))
    assert run.code == 5, run.why()
    assert "BenchmarkClient-1" in printed(run) and re.search(r"its process has \d+ workload threads", printed(run))
    assert checkout.driver("copy-threads").code == 0


def test_an_unknown_node_is_refused_and_a_running_node_left_alone(checkout, environment, addresses):
    before = processes(checkout)
    for action in ("stop-node", "kill-node", "restart-node", "remove-node"):
        run = checkout.driver(action, "9")
        assert run.code == 2, run.why()
        assert "expected the index of a server node that exists: 1, 2, 3" in printed(run)
    run = checkout.driver("restart-node", "1")
    assert run.code == 0 and run.end["changed"] == 0 and "already running" in printed(run), run.why()
    assert processes(checkout) == before


def test_a_killed_node_is_reported_and_restarted(checkout, environment, addresses):
    run = checkout.driver("kill-node", "3")
    assert run.code == 0, run.why()
    server = addresses["server"][2]
    state = on_host(checkout, server, "systemctl", "show", "--property=Result,ExecMainStatus,ActiveState", "aerospike")
    assert set(state.split()) == {"Result=signal", "ExecMainStatus=9", "ActiveState=failed"}
    assert len({stable_key(address, 2) for address in addresses["server"][:2]}) == 1
    again = checkout.driver("kill-node", "3")
    assert again.code == 0 and again.end["changed"] == 0 and "already stopped" in printed(again), again.why()

    refused = checkout.driver("stop-node", "2")
    assert refused.code != 0 and "2 of 3 nodes would be down" in printed(refused), refused.why()
    assert info_value(addresses["server"][1], "build")

    # The clients continue without it and report that.
    number = process(checkout, addresses["client"][0], "perseus")
    run = checkout.driver("rerun-clients")
    assert run.code == 0, run.why()
    assert f"the database on {server} is stopped: skipped" in printed(run)
    assert process(checkout, addresses["client"][0], "perseus") != number

    # A setup restarts it.
    run = checkout.driver("setup")
    assert run.code == 0, run.why()
    assert len({stable_key(address, SERVERS) for address in addresses["server"]}) == 1


def test_force_stops_more_nodes_than_there_are_spare_copies(checkout, environment, addresses):
    assert checkout.driver("stop-node", "3").code == 0
    run = checkout.driver("stop-node", "2", "--force")
    assert run.code == 0, run.why()
    assert stable_key(addresses["server"][0], 1)
    for index in ("2", "3"):
        run = checkout.driver("restart-node", index)
        assert run.code == 0, run.why()
    assert len({stable_key(address, SERVERS) for address in addresses["server"]}) == 1


def test_added_nodes_are_used_without_a_setup(checkout, environment, config):
    before = processes(checkout)
    run = checkout.driver("add-nodes")
    assert run.code == 0, run.why()
    after = processes(checkout)
    assert {name: after[name] for name in before} == before  # nothing was restarted
    servers = of_kind(checkout, "Benchmark")
    assert sorted(set(after) - set(before)) == ["Benchmark-4"] and len(servers) == SERVERS + 1
    assert len({stable_key(address, SERVERS + 1) for address in servers}) == 1
    # Prometheus scrapes the new node, and the existing client uses it.
    health = scraped(checkout)
    assert health[f"{servers[3]}:9145"] == health[f"{servers[3]}:9100"] == "up"
    counted = operations(servers[3], config["pegasus_namespace"])
    until(lambda: operations(servers[3], config["pegasus_namespace"]) > counted + 20, 30, "the new node is used")


@pytest.mark.follows("test_added_nodes_are_used_without_a_setup")
def test_a_setup_keeps_the_added_nodes_and_restarts_nothing(checkout, environment):
    before = processes(checkout)
    run = checkout.driver("setup")
    assert run.code == 0, run.why()
    assert "keeps its 4 nodes, although 3 are configured" in printed(run)
    assert run.end["report"]["cluster"]["size"] == SERVERS + 1
    assert processes(checkout) == before
    again = checkout.driver("setup")
    assert again.code == 0 and again.end["changed"] == 0, [r for r in again.records if r.get("status") == "changed"]


@pytest.mark.follows("test_added_nodes_are_used_without_a_setup")
def test_a_removed_node_loses_no_record(checkout, environment, client):
    keys = [("Test", "removal", number) for number in range(500)]
    for key in keys:
        client.put(key, {"n": key[2]})
    removed = instances()["Benchmark-4"]
    run = checkout.driver("remove-node", "4")
    assert run.code == 0, run.why()
    assert "quiesced" in printed(run) and "no migration is left" in printed(run)
    assert "Benchmark-4" not in instances()
    servers = of_kind(checkout, "Benchmark")
    assert len(servers) == SERVERS and len({stable_key(address, SERVERS) for address in servers}) == 1
    assert [record.record[2]["n"] for record in client.batch_read(keys).batch_records] == list(range(500))
    until(lambda: not any(removed.address in target for target in scraped(checkout)), 40, "Prometheus forgets the node")

    again = checkout.driver("remove-node", "4")
    assert again.code == 0 and again.end["changed"] == 0 and "already terminated" in printed(again), again.why()
    run = checkout.driver("restart-node", "4")
    assert run.code == 2 and "is terminated; expected a node that exists" in printed(run), run.why()


def test_setup_clients_applies_the_configuration_of_the_clients(checkout, environment):
    before = processes(checkout)
    path = checkout.path / "group_vars/all/config.yml"
    edit(path, "perseus_client_record_size: 300 ", "perseus_client_record_size: 400 ")
    edit(path, "pegasus_client_nodes: 1 ", "pegasus_client_nodes: 2 ")
    run = checkout.driver("setup-clients")
    assert run.code == 0, run.why()
    after = processes(checkout)
    assert after.pop("BenchmarkClient-2") > 0
    assert after.pop("BenchmarkClient-1") != before.pop("BenchmarkClient-1")
    assert after == before
    for address in of_kind(checkout, "BenchmarkClient"):
        assert "recordSize: 400" in on_host(checkout, address, "cat", "/var/lib/perseus/configuration.yaml")
        assert all(total > 0 for total in rows_of(checkout, address)[-2:])
        assert scraped(checkout)[f"{address}:9100"] == "up"
    again = checkout.driver("setup-clients")
    assert again.code == 0 and again.end["changed"] == 0, again.why()


def test_a_failed_build_is_reported_and_leaves_perseus_running(checkout, environment):
    addresses = of_kind(checkout, "BenchmarkClient")
    before = [process(checkout, address, "perseus") for address in addresses]
    sums = [on_host(checkout, address, "sha256sum", "/opt/perseus/perseus.jar") for address in addresses]
    command = """sh -c 'echo "[ERROR] Main.java:[3,7] cannot find symbol"; seq 100; exit 1'"""
    run = checkout.driver("rebuild-clients", "-e", json.dumps({"perseus_client_build_command": command}))
    assert run.code == 5, run.why()
    assert "Main.java:[3,7] cannot find symbol" in printed(run)
    assert [process(checkout, address, "perseus") for address in addresses] == before
    assert [on_host(checkout, address, "sha256sum", "/opt/perseus/perseus.jar") for address in addresses] == sums


@pytest.mark.follows("test_setup_clients_applies_the_configuration_of_the_clients")
def test_perseus_is_built_once_copied_and_restarted(checkout, environment):
    addresses = of_kind(checkout, "BenchmarkClient")
    before = [process(checkout, address, "perseus") for address in addresses]
    # With another command, Perseus is built again. The build leaves a mark on the host that builds.
    command = "sh -c './build && echo x >> /var/tmp/builds'"
    changed = ["-e", json.dumps({"perseus_client_build_command": command})]
    run = checkout.driver("build-clients", *changed)
    assert run.code == 0, run.why()
    for address in addresses:
        assert json.loads(on_host(checkout, address, "cat", "/opt/perseus/perseus.jar.json"))["command"] == command
    assert [process(checkout, address, "perseus") for address in addresses] == before
    assert on_host(checkout, addresses[0], "cat", "/var/tmp/builds") == "x\n"
    with pytest.raises(subprocess.CalledProcessError):
        on_host(checkout, addresses[1], "ls", "/var/tmp/builds")

    ref = json.loads(on_host(checkout, addresses[0], "cat", "/opt/perseus/perseus.jar.json"))["commit"]
    run = checkout.driver("rebuild-clients", "--ref", ref, *changed)
    assert run.code == 0, run.why()
    after = [process(checkout, address, "perseus") for address in addresses]
    assert all(after) and not set(after) & set(before)
    assert on_host(checkout, addresses[0], "cat", "/var/tmp/builds") == "x\n"  # this commit was already built


def test_extend_changes_the_expiry_of_tag_and_instance(checkout, environment):
    def timer(address: str) -> str:
        return on_host(checkout, address, "systemctl", "show", "--property=ActiveState,UnitFileState",
                       "pegasus-expiry.timer")  # fmt: skip

    began = time.time()
    run = checkout.driver("extend", "2h")
    ended = time.time()
    assert run.code == 0, run.why()
    for instance in instances().values():
        end = datetime.strptime(instance.expires, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        assert began - 1 <= end.timestamp() - 7200 <= ended + 1  # the tag has whole seconds
        unit = on_host(checkout, instance.address, "cat", "/etc/systemd/system/pegasus-expiry.timer")
        assert f"OnCalendar={end:%Y-%m-%d %H:%M:%S} UTC" in unit
        listed = on_host(checkout, instance.address, "systemctl", "list-timers", "--no-pager", "pegasus-expiry.timer")
        assert f"{end:%Y-%m-%d %H:%M:%S}" in listed
        assert set(timer(instance.address).split()) == {"ActiveState=active", "UnitFileState=enabled"}
    run = checkout.driver("extend", "0")
    assert run.code == 0, run.why()
    for instance in instances().values():
        assert instance.expires == "never"
        assert set(timer(instance.address).split()) == {"ActiveState=inactive", "UnitFileState=disabled"}
    assert checkout.driver("extend", "0").end["changed"] == 0
    assert checkout.driver("extend", "soon").code == 2


def test_reap_terminates_expired_instances_and_reports_an_invalid_expiry(checkout, environment):
    before = instances()
    for name, text in (("BenchmarkClient-1", "2020-01-01T00:00:00Z"), ("BenchmarkGrafana-1", "tomorrow")):
        ec2().create_tags(Resources=[before[name].id], Tags=[{"Key": "pegasus:expires", "Value": text}])
    dry = checkout.driver("reap", "--dry-run")
    assert dry.code == 0 and "BenchmarkClient-1" in printed(dry), dry.why()
    assert set(instances()) == set(before)
    run = checkout.driver("reap")
    assert run.code == 0, run.why()
    assert "is 'tomorrow'" in printed(run)
    until(lambda: set(instances()) == set(before) - {"BenchmarkClient-1"}, 60, "one client is terminated")
    ec2().create_tags(Resources=[before["BenchmarkGrafana-1"].id], Tags=[{"Key": "pegasus:expires", "Value": "never"}])
    assert checkout.driver("reap").end["changed"] == 0


@pytest.mark.follows("test_copy_threads_is_verified_in_the_rows_of_perseus")
@pytest.mark.follows("test_a_killed_node_is_reported_and_restarted")
@pytest.mark.follows("test_a_removed_node_loses_no_record")
def test_every_action_has_an_annotation_in_grafana(checkout, addresses, config):
    """Each action above has one, from its start to its end. So have the phases of a setup."""

    def marked(tag: str) -> list[dict[str, Any]]:
        url = f"http://{addresses['monitor'][0]}:3000/api/annotations?limit=5000&tags=Benchmark&tags={tag}"
        return get(url, config["grafana_prometheus_admin_password"])

    spans = marked("pegasus")
    found: dict[str, set[str]] = {}
    for span in spans:
        action, _, what = span["text"].partition(": ")
        found.setdefault(action, set()).add(what)
    assert {
        "setup", "copy-threads", "stop-node", "restart-node", "kill-node", "add-nodes", "remove-node", "setup-clients",
        "build-clients", "rerun-clients", "extend", "reap",
    } <= found.keys()  # fmt: skip
    assert any("Benchmark-2" in what for what in found["stop-node"])
    assert any("Benchmark-3" in what for what in found["kill-node"])
    assert any("Benchmark-4" in what for what in found["remove-node"])
    assert any(" -> " in what for what in found["copy-threads"])
    phases = {span["text"].partition(": ")[0] for span in marked("pegasus-phase")}
    assert {"setup, Launch the instances", "setup, Set up the hosts"} <= phases
    assert all(span["timeEnd"] > span["time"] for span in spans)
    assert not {"status", "validate"} & found.keys(), "nothing was changed"


@pytest.mark.follows("test_setup_clients_applies_the_configuration_of_the_clients")
def test_a_stopped_instance_is_skipped_and_started_by_setup(checkout, environment):
    run = checkout.driver("setup-clients")
    assert run.code == 0, run.why()
    stopped = instances()["BenchmarkClient-2"]
    ec2().stop_instances(InstanceIds=[stopped.id])
    until(lambda: instances()["BenchmarkClient-2"].state == "stopped", 60, "a stopped client")
    run = checkout.driver("copy-threads")
    assert run.code == 0, run.why()
    assert "BenchmarkClient-2 is skipped: its instance is stopped" in printed(run)
    run = checkout.driver("setup-clients")
    assert run.code == 0, run.why()
    assert instances()["BenchmarkClient-2"].state == "running"


def test_a_node_with_blank_disks_is_prepared_again(checkout, environment):
    """After a stop and start of an instance, as in the EC2 console, its instance-store disks are blank."""
    if not json.loads((checkout.state / "facts.json").read_text())["disks"]:
        pytest.skip("the local cloud attaches no disks on this machine")
    before = processes(checkout)
    node = instances()["Benchmark-3"]
    ec2().stop_instances(InstanceIds=[node.id])
    until(lambda: instances()["Benchmark-3"].state == "stopped", 60, "a stopped node")
    run = checkout.driver("restart-node", "3")
    assert run.code != 0 and "the instance of Benchmark-3 is stopped" in printed(run), run.why()
    ec2().start_instances(InstanceIds=[node.id])
    until(lambda: instances()["Benchmark-3"].state == "running", 60, "a running node")
    address = instances()["Benchmark-3"].address
    until(lambda: reached(checkout, address), 60, "ssh")
    disks, partitions = "/dev/nvme[0-9]+n1", "/dev/nvme[0-9]+n1p[0-9]+"
    assert block_devices(checkout, address, partitions) == 0
    run = checkout.driver("restart-node", "3")
    assert run.code == 0, run.why()
    assert block_devices(checkout, address, partitions) == 5 * block_devices(checkout, address, disks) > 0
    assert len({stable_key(server, SERVERS) for server in of_kind(checkout, "Benchmark")}) == 1
    after = processes(checkout)
    assert {name for name in before if before[name] != after[name]} == {"Benchmark-3"}


def test_each_part_is_destroyed_and_set_up_alone(checkout, environment):
    existing = instances()
    for action, part in (("clients", "BenchmarkClient"), ("grafana", "BenchmarkGrafana"), ("cluster", "Benchmark")):
        run = checkout.driver(f"destroy-{action}")
        assert run.code == 0, run.why()
        left = {name for name in existing if name.rpartition("-")[0] != part}
        assert set(instances()) == left
        again = checkout.driver(f"destroy-{action}")
        assert again.code == 0 and again.end["changed"] == 0 and "nothing to destroy" in printed(again), again.why()
        run = checkout.driver(f"setup-{action}")
        assert run.code == 0, run.why()
        assert {name.rpartition("-")[0] for name in instances()} == {
            "Benchmark", "BenchmarkClient", "BenchmarkGrafana"
        }  # fmt: skip
        existing = instances()
    servers = of_kind(checkout, "Benchmark")
    assert len({stable_key(address, SERVERS) for address in servers}) == 1
    # The new cluster may have other addresses, so the clients must be set up for it.
    run = checkout.driver("setup-clients")
    assert run.code == 0, run.why()
    health = scraped(checkout)
    assert {f"{address}:9145" for address in servers} <= set(health) and set(health.values()) == {"up"}


def test_the_local_cloud_survives_a_crash(checkout, environment):
    before = of_kind(checkout, "Benchmark")
    pid = json.loads((checkout.state / "facts.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    run = checkout.driver("status")
    assert run.code == 0 and any("setup adopts it" in json.dumps(record) for record in run.records), run.records
    run = checkout.driver("setup")
    assert run.code == 0, run.why()
    assert run.end["changed"] == 0, [r for r in run.records if r.get("status") == "changed"]
    assert [node["address"] for node in run.end["report"]["nodes"] if node["kind"] == "server"] == before


def test_one_action_at_a_time(checkout, environment):
    first = subprocess.Popen([checkout.path / "pegasus-driver", "setup"], cwd=checkout.path, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)  # fmt: skip
    try:
        assert first.stdout is not None and "Pegasus setup" in first.stdout.readline()  # it holds the environment
        run = checkout.driver("setup")
        assert run.code == 2 and "has been running since" in printed(run), run.why()
    finally:
        text, _ = first.communicate(timeout=300)
    assert first.returncode == 0, text


def test_no_secret_is_left_in_the_run_folders(checkout, environment):
    """ansible-runner writes the environment of its process to disk. It must be removed."""
    runs = checkout.path / ".pegasus/runs"
    assert runs.stat().st_mode & 0o077 == 0
    marker = "MARKER-OF-A-SECRET"
    done = subprocess.run(
        [checkout.path / "pegasus-driver", "status"],
        cwd=checkout.path, capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | {"AWS_SECRET_ACCESS_KEY": marker, "MY_TOKEN": marker},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert marker not in done.stdout + done.stderr
    holders = [str(file) for file in runs.rglob("*") if file.is_file() and marker in file.read_text(errors="replace")]
    assert holders == []


def test_ctrl_c_then_destroy_leaves_nothing(checkout, environment):
    """Interrupt a setup in the middle. Destroy removes everything."""
    assert checkout.driver("destroy").code == 0
    process = subprocess.Popen(
        [checkout.path / "pegasus-driver", "setup", "--output", "json"],
        cwd=checkout.path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "Set up the hosts" in line:
            process.send_signal(signal.SIGINT)
            break
    rest, errors = process.communicate(timeout=120)
    assert process.returncode == 130, rest + errors
    assert json.loads(rest.strip().splitlines()[-1])["existing"], rest
    run = checkout.driver("destroy")
    assert run.code == 0, run.why()
    assert checkout.traces() == []
    assert not (checkout.kept("Benchmark") / "id_ed25519").exists()


def test_destroy_reports_that_nothing_exists(checkout):
    run = checkout.driver("destroy")
    assert run.code == 0
    assert "nothing to destroy" in run.end["message"]
