"""The checks before a cloud starts."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace

import pytest

from local_cloud import LocalCloudError, preflight
from local_cloud.settings import Settings

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
br-0123456789ab\t00001FAC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""


def _network(name, subnet, label=None, identity="f" * 64):
    labels = {"pegasus.local-cloud": label} if label else {}
    return {"Name": name, "Id": identity, "Labels": labels, "IPAM": {"Config": [{"Subnet": subnet}]}, "Options": {}}


def test_a_free_range_passes(tmp_path):
    settings = Settings(tmp_path, network="172.30.0.0/16")
    preflight.check_network(settings, [_network("bridge", "172.17.0.0/16"), _network("six", "fd00::/64")], ROUTES)


def test_an_overlapping_route_is_reported(tmp_path):
    with pytest.raises(LocalCloudError, match=r"172\.31\.0\.0/16 \(br-0123456789ab\)"):
        preflight.check_network(Settings(tmp_path), [], ROUTES)


def test_the_network_of_an_earlier_start_passes(tmp_path):
    settings = Settings(tmp_path)
    own = _network("pegasus-local", "172.31.0.0/16", str(settings.state), "0123456789ab" + "0" * 52)
    preflight.check_network(settings, [own], ROUTES)


def test_an_overlapping_network_is_reported(tmp_path):
    with pytest.raises(LocalCloudError, match=r"overlaps the engine's network mine \(172\.31\.8\.0/24\)") as caught:
        preflight.check_network(Settings(tmp_path), [_network("mine", "172.31.8.0/24")], "")
    assert "PEGASUS_LOCAL_NETWORK" in caught.value.next_step


def test_another_clouds_network_is_reported_with_its_folder(tmp_path):
    other = _network("pegasus-local", "172.31.0.0/16", "/other/.pegasus/local-cloud")
    with pytest.raises(LocalCloudError, match="/other/") as caught:
        preflight.check_network(Settings(tmp_path), [other], "")
    assert "stop" in caught.value.next_step.lower()


def test_the_listening_process_is_found():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert f"pid {os.getpid()}" in preflight.listener(port)
    assert preflight.listener(port) == ""


@pytest.mark.parametrize(
    ("build", "free", "passes"), [(True, 5, True), (True, 3, False), (False, 3, True), (False, 0.5, False)]
)
def test_space(tmp_path, monkeypatch, build, free, passes):
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free * preflight.GIB))
    if passes:
        preflight.check_space([tmp_path], build)
    else:
        with pytest.raises(LocalCloudError, match="GiB free") as caught:
            preflight.check_space([tmp_path], build)
        assert str(tmp_path) in caught.value.message


def test_the_last_cloud_restores_the_inotify_limit(tmp_path, monkeypatch):
    limit, notes = tmp_path / "limit", tmp_path / "notes"
    first, second, removed = tmp_path / "first", tmp_path / "second", tmp_path / "removed"
    for user in (first, second):
        user.mkdir()
    limit.write_text("128\n")
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 0)
    for user in (first, second, removed):
        preflight.raise_inotify_limit(user, limit, notes)
        assert limit.read_text() == "1024\n"
    preflight.restore_inotify_limit(first, limit, notes)
    assert limit.read_text() == "1024\n", "the second cloud needs it"
    preflight.restore_inotify_limit(second, limit, notes)
    assert limit.read_text() == "128\n"
    assert not notes.exists()


def test_an_administrators_change_of_the_inotify_limit_stays(tmp_path, monkeypatch):
    limit, notes = tmp_path / "limit", tmp_path / "notes"
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 0)
    limit.write_text("128\n")
    preflight.raise_inotify_limit(tmp_path, limit, notes)
    limit.write_text("4096\n")
    preflight.restore_inotify_limit(tmp_path, limit, notes)
    assert limit.read_text() == "4096\n"
    # A limit that was high enough isn't changed.
    preflight.raise_inotify_limit(tmp_path, limit, notes)
    preflight.restore_inotify_limit(tmp_path, limit, notes)
    assert limit.read_text() == "4096\n"


def test_without_root_too_many_instances_are_refused_with_the_sysctl(tmp_path, monkeypatch):
    limit = tmp_path / "limit"
    limit.write_text("128\n")
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 1000)
    preflight.raise_inotify_limit(tmp_path, limit, tmp_path / "notes")
    assert limit.read_text() == "128\n"
    assert preflight.why_no_more_instances(5, limit) == ""
    why = preflight.why_no_more_instances(40, limit)
    assert "128" in why
    assert "sysctl fs.inotify.max_user_instances=1024" in why


@pytest.mark.parametrize(
    ("files", "passes"),
    [(["cgroup.controllers"], True), (["systemd/cgroup.procs"], True), (["memory/cgroup.procs"], False)],
)
def test_cgroups_for_systemd(tmp_path, files, passes):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    if passes:
        preflight.check_cgroups(tmp_path)
    else:
        with pytest.raises(LocalCloudError, match="systemd") as caught:
            preflight.check_cgroups(tmp_path)
        assert "mount" in caught.value.next_step
