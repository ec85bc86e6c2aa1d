"""The addresses, names and files of a cloud."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_cloud import LocalCloudError
from local_cloud.settings import Settings, read_facts


def test_defaults(tmp_path):
    settings = Settings.from_environment(tmp_path, {})
    assert settings.endpoint_url == "http://127.0.0.1:4570"
    assert settings.mirror_url == "http://172.31.0.1:8570"
    assert settings.network_name == "pegasus-local"
    assert settings.state == tmp_path / ".pegasus/local-cloud"
    assert settings.label_filter == f"pegasus.local-cloud={tmp_path}/.pegasus/local-cloud"


def test_the_environment_changes_port_and_network(tmp_path):
    environ = {"PEGASUS_LOCAL_PORT": "4580", "PEGASUS_LOCAL_NETWORK": "10.9.0.0/16"}
    settings = Settings.from_environment(tmp_path, environ)
    assert settings.endpoint_url == "http://127.0.0.1:4580"
    assert settings.gateway == "10.9.0.1"
    assert settings.network_name == "pegasus-local-4580"


def test_a_symlink_to_the_root_is_the_same_cloud(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    link = tmp_path / "link"
    link.symlink_to(real)
    assert Settings.from_environment(link, {}) == Settings.from_environment(real, {})


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "45.70"])
def test_an_invalid_port_is_reported(port):
    with pytest.raises(LocalCloudError, match="PEGASUS_LOCAL_PORT"):
        Settings.from_environment(Path("/"), {"PEGASUS_LOCAL_PORT": port})


@pytest.mark.parametrize("network", ["172.31.0.0/24", "172.31.0.1/16", "8.8.0.0/16", "fd00::/16", "private"])
def test_an_invalid_network_is_reported(network):
    with pytest.raises(LocalCloudError, match="PEGASUS_LOCAL_NETWORK") as caught:
        Settings.from_environment(Path("/"), {"PEGASUS_LOCAL_NETWORK": network})
    assert "10.201.0.0/16" in caught.value.next_step


def test_unreadable_facts_are_empty(tmp_path):
    settings = Settings(tmp_path)
    assert read_facts(settings) == {}
    settings.state.mkdir(parents=True)
    settings.facts_file.write_text("{half")
    assert read_facts(settings) == {}
