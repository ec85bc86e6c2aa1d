"""Package managers: versions, locks, repairs, services that don't start."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host import packages as host_packages


def test_an_installation_that_never_ends_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_packages, "TURN_SECONDS", 0)
    with (
        host_packages.one_at_a_time(),
        pytest.raises(host_packages.PackageError, match="another installation"),
        host_packages.one_at_a_time(),
    ):
        pass


@pytest.mark.parametrize(
    ("kind", "requested"),
    [
        (host_packages.AptPackages, ["git", "prometheus=2.42.0*", "x=1.*", "/var/tmp/a_1=2.deb"]),
        (host_packages.DnfPackages, ["git", "prometheus-2.42.0*", "x-1.*", "/var/tmp/a_1=2.deb"]),
    ],
)
def test_the_package_managers_syntax_for_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, requested: list[str]
) -> None:
    (tmp_path / "mirror_main_binary-amd64_Packages").touch()
    monkeypatch.setattr(host_packages, "APT_LISTS", tmp_path)
    monkeypatch.setattr(host_packages, "no_service_starts", contextlib.nullcontext)
    commands: list[list[str]] = []
    manager = kind(lambda command, **_: commands.append(command) or (0, "", ""))
    manager.install(["git", "prometheus=2.42.0", "x=1.*", "/var/tmp/a_1=2.deb"])
    assert [command[-len(requested) :] for command in commands] == [requested]


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("8.0.0.4-1+simulated", "8.0.0.4"),
        ("1:12.4.3", "12.4.3"),
        ("8.0.0.4-1.el9", "8.0.0.4"),
        ("1.25.0~rc1", "1.25.0"),
    ],
)
def test_upstream_versions(version: str, upstream: str) -> None:
    assert host_packages.upstream_version(version) == upstream


@pytest.mark.parametrize(
    ("package", "there"),
    [
        ("tools", True),
        ("tools=11.2.2", True),
        ("tools=11.2.*", True),
        ("tools=11.2.2-1debian12", True),
        ("tools=11.2", False),
        ("tools=11.3.*", False),
        ("other", False),
    ],
)
def test_a_package_is_installed_in_the_requested_version(package: str, there: bool) -> None:
    assert host_packages.is_installed(package, {"tools": "11.2.2-1debian12"}) is there


def test_no_service_starts_and_other_policies_stay(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with host_packages.no_service_starts(policy):
        assert "exit 101" in policy.read_text() and policy.stat().st_mode & 0o111
    assert not policy.exists()
    policy.write_text(host_packages.POLICY_TEXT)  # an interrupted run's
    with host_packages.no_service_starts(policy):
        pass
    assert not policy.exists()
    policy.write_text("theirs")
    with host_packages.no_service_starts(policy):
        assert policy.read_text() == "theirs"
    assert policy.read_text() == "theirs"


def test_apt_is_repaired_and_retried_before_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mirror_main_binary-amd64_Packages").touch()
    monkeypatch.setattr(host_packages, "APT_LISTS", tmp_path)
    monkeypatch.setattr(host_packages, "POLICY", tmp_path / "policy")
    monkeypatch.setattr(host_packages.no_service_starts.__wrapped__, "__defaults__", (tmp_path / "policy",))  # type: ignore[attr-defined]
    calls: list[str] = []

    def run(command: list[str], **_: Any) -> tuple[int, str, str]:
        calls.append("update" if "update" in command else command[0])
        return (100, "", "E: Unable to locate package x") if "install" in command else (0, "", "")

    with pytest.raises(host_packages.PackageError, match="apt-get install x failed: E: Unable to locate package x"):
        host_packages.AptPackages(run).install(["x"])
    assert calls == ["apt-get", "dpkg", "update", "apt-get"]


@pytest.mark.parametrize(
    ("lists", "packages", "calls"),
    [
        ([], ["git"], ["update", "install"]),
        ([], ["/var/tmp/a.deb"], ["install"]),
        (["mirror_main_binary-amd64_Packages.lz4"], ["git"], ["install"]),
    ],
)
def test_apt_updates_missing_package_lists_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: list[str], packages: list[str], calls: list[str]
) -> None:
    """A new host finds no package without lists, and an attempt takes seconds."""
    for name in lists:
        (tmp_path / name).touch()
    monkeypatch.setattr(host_packages, "APT_LISTS", tmp_path)
    monkeypatch.setattr(host_packages, "no_service_starts", contextlib.nullcontext)
    runs: list[str] = []
    host_packages.AptPackages(
        lambda command, **_: runs.append("update" if "update" in command else "install") or (0, "", "")  # type: ignore[func-returns-value]
    ).install(packages)
    assert runs == calls


def test_half_installed_packages_are_missing() -> None:
    out = "ii \taerospike-tools\t11.2.2-1\niU \taerospike-server-community\t8.0.0.4-1\n"
    manager = host_packages.AptPackages(lambda command, **_: (1, out, ""))
    assert manager.installed(["aerospike-tools", "aerospike-server-community", "absent"]) == {
        "aerospike-tools": "11.2.2-1"
    }


class Dnf:
    """rpm and dnf."""

    def __init__(self, answer: tuple[int, str, str]) -> None:
        self.answer, self.commands = answer, []  # type: ignore[var-annotated]

    def __call__(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        self.commands.append(command)
        return self.answer


def test_versions_that_rpm_reports() -> None:
    run = Dnf((1, "aerospike-server-enterprise\t8.0.0.15-1.amzn2023\npackage aerospike-tools is not installed\n", ""))
    found = host_packages.DnfPackages(run).installed(["aerospike-server-enterprise", "aerospike-tools"])
    assert found == {"aerospike-server-enterprise": "8.0.0.15-1.amzn2023"}
    assert host_packages.upstream_version(found["aerospike-server-enterprise"]) == "8.0.0.15"
    assert run.commands[0][:2] == ["rpm", "-q"]


def test_dnf_installs_files_with_their_dependencies() -> None:
    run = Dnf((0, "", ""))
    host_packages.DnfPackages(run).install(["/tmp/a.rpm", "/tmp/b.rpm"])
    assert run.commands == [
        ["dnf", "-y", "-q", "install", "--setopt=install_weak_deps=False", "/tmp/a.rpm", "/tmp/b.rpm"]
    ]
    with pytest.raises(
        host_packages.PackageError, match=r"dnf install /tmp/a.rpm failed: Error:\nnothing provides libx"
    ):
        host_packages.DnfPackages(Dnf((1, "", "Error:\nnothing provides libx\n"))).install(["/tmp/a.rpm"])
