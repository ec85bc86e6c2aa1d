"""The inventory plugin, against moto."""

from __future__ import annotations

import re

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible_collections.aerospike_community.pegasus.plugins.doc_fragments.ec2 import ModuleDocFragment
from ansible_collections.aerospike_community.pegasus.plugins.inventory import ec2 as inventory_ec2
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.check import examine
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance

pytestmark = pytest.mark.slow  # launches in moto, half a second each

REGION = "us-east-1"
NAME = inventory_ec2.InventoryModule.NAME
SERVERS = {"kind": "server", "name": "Bench", "nodes": 3, "instance_type": "i4i.large"}
CLIENTS = {"kind": "client", "name": "BenchClient", "nodes": 1, "instance_type": "c6i.large"}
MONITOR = {"kind": "monitor", "name": "BenchGrafana", "nodes": 1, "instance_type": "t3.medium"}
CONFIG = {
    "pegasus_cluster_name": "Bench",
    "pegasus_region": REGION,
    "pegasus_ec2_access_key": "testing",
    "pegasus_ec2_secret_key": "testing",
}


def instance_ids(ec2):
    """Name -> id of every instance."""
    return {
        Instance.from_description(description).name: description["InstanceId"]
        for reservation in ec2.describe_instances()["Reservations"]
        for description in reservation["Instances"]
    }


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a configuration; returns the function that writes one of its files."""
    monkeypatch.setattr(constants, "CONFIG_FILE", str(tmp_path / "ansible.cfg"))
    monkeypatch.delenv("PEGASUS_CONFIG", raising=False)

    def write(name, **values):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))
        return path

    write("group_vars/all/config.yml", **CONFIG)
    write("inventories/aws/group_vars/all.yml", pegasus_ec2_endpoint_url="")
    return write


@pytest.fixture
def read(project):
    """Read the inventory as Ansible does, with options in its file."""
    # What Ansible's loader does for a plugin that it finds by its name.
    documented = [inventory_ec2.DOCUMENTATION, ModuleDocFragment.DOCUMENTATION]
    options = {key: option for text in documented for key, option in yaml.safe_load(text)["options"].items()}
    constants.config.initialize_plugin_configuration_definitions("inventory", NAME, options)

    def read_inventory(**changed):
        file = project("inventories/aws/pegasus.aws_ec2.yml", plugin=NAME, **changed)
        data = InventoryData()
        plugin = inventory_ec2.InventoryModule()
        plugin._load_name = plugin.NAME
        assert plugin.verify_file(str(file)) and not plugin.verify_file(str(file.with_name("all.yml")))
        plugin.parse(data, DataLoader(), str(file))
        return data

    return read_inventory


def hosts(data, group):
    return {host.name for host in data.groups[group].get_hosts()}


def test_hosts_are_named_by_their_launch_and_grouped_by_kind_and_state(ec2, run, read):
    run(groups=[SERVERS | {"nodes": 12}, CLIENTS, MONITOR])
    run(groups=[SERVERS | {"add": 2}])
    ec2.stop_instances(InstanceIds=[instance_ids(ec2)["Bench-2"]])
    ec2.terminate_instances(InstanceIds=[instance_ids(ec2)["Bench-3"]])
    data = read()
    servers = {f"Bench-{n}" for n in range(1, 15)} - {"Bench-3"}
    others = {"BenchClient-1", "BenchGrafana-1"}
    assert hosts(data, "servers") == servers
    assert (hosts(data, "clients"), hosts(data, "monitors")) == ({"BenchClient-1"}, {"BenchGrafana-1"})
    assert hosts(data, "aws_ec2") == servers | others
    assert hosts(data, "running") == (servers | others) - {"Bench-2"}
    variables = data.hosts["Bench-14"].vars
    assert variables["ec2_tags"]["pegasus:index"] == "14" and variables["ec2_tags"]["Name"] == "Bench-14"
    assert variables["ec2_private_ip_address"].startswith("172.31.")
    assert variables["ec2_placement"]["availability_zone"].startswith(REGION)
    assert variables["ec2_instance_type"] == "i4i.large"


def test_an_unreadable_inventory_has_a_reason(ec2, read, project):
    with pytest.raises(AnsibleParserError, match=re.escape("pegasus_cluster_name is 'Ben*'")):
        read(environment="Ben*")
    project("inventories/aws/group_vars/all.yml", pegasus_ec2_endpoint_url="http://127.0.0.1:1")
    with pytest.raises(AnsibleParserError, match=re.escape("No EC2 endpoint answers at http://127.0.0.1:1")):
        read()


def test_the_file_of_pegasus_config_overrides_config_yml(ec2, run, read, project, monkeypatch):
    run(groups=[SERVERS])
    run(environment="Other", groups=[SERVERS | {"name": "Other"}])
    monkeypatch.setenv("PEGASUS_CONFIG", str(project("other.yml", pegasus_cluster_name="Other")))
    assert hosts(read(), "servers") == {"Other-1", "Other-2", "Other-3"}
    assert hosts(read(environment="Bench"), "servers") == {"Bench-1", "Bench-2", "Bench-3"}


def test_the_plugin_reads_the_same_configuration_as_the_checks(read, project, monkeypatch, tmp_path):
    """With a template in the preset, and each layer overriding another key."""
    monkeypatch.setenv("PEGASUS_LOCAL_PORT", "4599")
    preset = {
        "pegasus_ec2_endpoint_url": "http://127.0.0.1:{{ lookup('env', 'PEGASUS_LOCAL_PORT') or 4570 }}",
        "pegasus_ec2_access_key": "preset",
        "pegasus_ec2_secret_key": "preset",
    }
    project("inventories/aws/group_vars/all.yml", **preset)
    config = {key: CONFIG[key] for key in ("pegasus_cluster_name", "pegasus_region")}
    project("group_vars/all/config.yml", pegasus_backend="aws", pegasus_ec2_access_key="config", **config)
    named = project("other.yml", **(config | {"pegasus_backend": "aws", "pegasus_region": "eu-west-1"}))
    monkeypatch.setenv("PEGASUS_CONFIG", str(named))
    connections = []

    class Recorder:
        def __init__(self, **connection):
            connections.append(connection)

        def describe_instances(self):
            return []

    monkeypatch.setattr(inventory_ec2, "Ec2", Recorder)
    read()
    assert connections == [
        {
            "environment": "Bench",
            "region": "eu-west-1",
            "endpoint_url": "http://127.0.0.1:4599",
            "access_key": "config",
            "secret_key": "preset",
        }
    ]
    report = examine(tmp_path, named, [], lambda raw: lambda key: raw[key])
    checked = {option: report.values.get(key) for option, key in inventory_ec2.KEYS.items()}
    assert checked == connections[0] | {"endpoint_url": checked["endpoint_url"]}
