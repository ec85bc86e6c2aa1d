"""host_service with a fake systemd: what it changes, what it restarts, what it reports of a failure."""

from __future__ import annotations

import getpass
import grp
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host import files, systemd
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host import packages as host_packages
from ansible_collections.aerospike_community.pegasus.plugins.modules import host_service as subject

ME = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}


class Host:
    """systemctl and journalctl of a host with one service, and the calls to them."""

    def __init__(self) -> None:
        self.active, self.sub, self.enabled, self.load = "inactive", "dead", "disabled", "loaded"
        self.started = self.changed_at = 0.0
        self.result, self.exit_status, self.needs_reload = "success", 0, "no"
        self.log = ["fine"]
        self.calls: list[str] = []
        self.on_start: Callable[[], None] = self.up

    def up(self) -> None:
        self.active, self.sub, self.started, self.changed_at = "active", "running", time.time(), time.time()

    def fail(self) -> None:
        self.active, self.sub, self.result, self.exit_status = "failed", "failed", "exit-code", 1

    def run(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        if command[:2] == ["systemctl", "show"]:
            return 0, self.show(), ""
        if command[0] == "journalctl":
            return 0, "\n".join(self.log), ""
        if command[0] != "systemctl":
            self.calls.append(" ".join(command))
            return (1, "", "line 3: unknown word") if command[0] == "checker" else (0, "", "")
        self.calls.append(" ".join(command[1:]).replace("--quiet ", ""))
        verb = command[1]
        if verb in ("start", "restart"):
            self.on_start()
        elif verb == "stop":
            self.active, self.sub = "inactive", "dead"
        elif verb == "enable":
            self.enabled = "enabled"
        elif verb == "reload":
            self.changed_at = time.time()
        elif verb == "daemon-reload":
            self.needs_reload = "no"
        return 0, "", ""

    def show(self) -> str:
        def moment(value: float) -> str:
            return (
                time.strftime("Tue %Y-%m-%d %H:%M:%S", time.gmtime(value)) + f".{int(value % 1 * 1e6):06d} UTC"
                if value
                else ""
            )

        return (
            f"LoadState={self.load}\nActiveState={self.active}\nSubState={self.sub}\nUnitFileState={self.enabled}\n"
            f"Result={self.result}\nExecMainStatus={self.exit_status}\nNRestarts=0\nNeedDaemonReload={self.needs_reload}\n"
            f"ExecMainStartTimestamp={moment(self.started)}\nStateChangeTimestamp={moment(self.changed_at)}\n"
        )


def call(host: Host, check: bool = False, **params: Any) -> subject.HostService:
    """Call the module with validated parameters and defaults."""
    validated = ArgumentSpecValidator(subject.argument_spec()).validate(params)
    assert not validated.error_messages
    module = SimpleNamespace(
        params=validated.validated_parameters,
        check_mode=check,
        run_command=host.run,
        atomic_move=lambda a, b: os.replace(a, b),  # noqa: PTH105
    )
    service = subject.HostService(module)  # type: ignore[arg-type]
    service.run()
    return service


@pytest.fixture
def host() -> Host:
    return Host()


def service(**more: Any) -> list[dict[str, Any]]:
    return [{"name": "thing", "settle_seconds": 0, **more}]


def test_the_first_run_writes_enables_and_starts_the_second_changes_nothing(host: Host, tmp_path: Path) -> None:
    params = {"files": [{"path": str(tmp_path / "new/conf"), "content": "a\n", **ME}], "services": service()}
    first = call(host, **params)
    assert first.changes == [f"wrote {tmp_path}/new/conf", "enabled thing", "started thing"]
    assert first.services.restarted == ["thing"]
    assert (tmp_path / "new/conf").read_text() == "a\n"
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new/conf"]
    second = call(host, **params)
    nothing: dict[str, Any] = {"changes": [], "restarted": [], "pending": [], "refused": [], "diff": []}
    assert second.result() == {"changed": False, **nothing}


@pytest.mark.parametrize(("effect", "verb"), [("restart", "restart"), ("reload", "reload"), ("none", None)])
def test_a_changed_file_has_its_effect(host: Host, tmp_path: Path, effect: str, verb: str | None) -> None:
    host.up()
    host.enabled = "enabled"
    call(host, files=[{"path": str(tmp_path / "conf"), "content": "b", "effect": effect, **ME}], services=service())
    assert host.calls == ([f"{verb} thing"] if verb else [])


def test_a_change_affects_only_the_listed_services(host: Host, tmp_path: Path) -> None:
    host.up()
    host.enabled = "enabled"
    file = {"path": str(tmp_path / "conf"), "content": "b", "services": ["other"], **ME}
    call(host, files=[file], services=service())
    assert host.calls == []


@pytest.mark.parametrize(("effect", "verb"), [("restart", "restart thing"), ("reload", "reload thing")])
def test_the_next_run_completes_an_interrupted_run(host: Host, tmp_path: Path, effect: str, verb: str) -> None:
    """The file was written, and the run ended before the service was restarted."""
    host.up()
    host.enabled = "enabled"
    path = tmp_path / "conf"
    path.write_text("b")
    os.utime(path, (time.time() + 5, time.time() + 5))
    params = {"files": [{"path": str(path), "content": "b", "effect": effect, **ME}], "services": service()}
    assert call(host, **params).changes
    assert host.calls == [verb]


SEED = r"seed [^\n]*\n"


@pytest.mark.parametrize(
    ("new", "calls"),
    [
        ("a 1\nseed 10.0.0.1\nseed 10.0.0.2\nseed 10.0.0.3\n", []),  # one seed more
        ("a 1\nseed 10.0.0.2\n", []),  # one seed less
        ("a 2\nseed 10.0.0.1\nseed 10.0.0.2\nseed 10.0.0.3\n", ["restart thing"]),  # another line changed too
        ("a 1\nseed 10.0.0.8\nseed 10.0.0.9\n", ["restart thing"]),  # no known seed
    ],
)
def test_a_passive_part_changes_without_an_effect_on_a_running_service(
    host: Host, tmp_path: Path, new: str, calls: list[str]
) -> None:
    path = tmp_path / "conf"
    path.write_text("a 1\nseed 10.0.0.1\nseed 10.0.0.2\n")
    os.utime(path, (time.time() - 60, time.time() - 60))
    host.up()
    host.enabled = "enabled"
    params = {"files": [{"path": str(path), "content": new, "passive": SEED, **ME}], "services": service()}
    assert call(host, **params).changes[0] == f"wrote {path}"
    assert path.read_text() == new
    assert host.calls == calls
    host.calls.clear()
    assert call(host, **params).changes == []
    assert host.calls == []


def test_a_passive_change_keeps_a_restart_due(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_text("a 2\nseed 10.0.0.1\n")
    os.utime(path, (time.time() + 5, time.time() + 5))
    host.up()
    host.enabled = "enabled"
    file = {"path": str(path), "content": "a 2\nseed 10.0.0.1\nseed 10.0.0.2\n", "passive": SEED, **ME}
    call(host, files=[file], services=service())
    assert host.calls == ["restart thing"]


def test_a_program_that_is_newer_than_its_process_restarts_it(host: Host, tmp_path: Path) -> None:
    host.up()
    host.enabled, host.started = "enabled", time.time() - 100
    (tmp_path / "program").write_text("")
    call(host, services=service(), restart_if_newer=[str(tmp_path / "program"), str(tmp_path / "absent")])
    assert host.calls == ["restart thing"]
    host.calls.clear()
    host.started = time.time() + 100
    call(host, services=service(), restart_if_newer=[str(tmp_path / "program")])
    assert host.calls == []


def test_a_restart_is_left_to_another_task(host: Host, tmp_path: Path) -> None:
    host.up()
    host.enabled, host.started = "enabled", time.time() - 100
    (tmp_path / "program").write_text("")
    done = call(host, services=service(restart=False), restart_if_newer=[str(tmp_path / "program")])
    assert done.result()["pending"] == ["thing"] and host.calls == []
    # A stopped service is started anyway.
    host.active = host.sub = "inactive"
    started = call(host, services=service(restart=False), restart_if_newer=[str(tmp_path / "program")])
    assert started.result()["restarted"] == ["thing"] and started.result()["pending"] == []


def test_restart_when(host: Host) -> None:
    host.up()
    host.enabled = "enabled"
    call(host, services=service(), restart_when=True)
    assert host.calls == ["restart thing"]


def test_stopped_and_unchanged(host: Host) -> None:
    host.up()
    call(host, services=service(state="unchanged", enabled=False))
    assert host.calls == []
    assert call(host, services=service(state="stopped", enabled=False)).changes == ["stopped thing"]
    assert call(host, services=service(state="stopped", enabled=False)).changes == []


def test_systemd_is_reloaded_after_a_unit_changed(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "UNIT_FOLDERS", (str(tmp_path),))
    call(host, files=[{"path": str(tmp_path / "thing.service"), "content": "[Service]", **ME}], services=service())
    assert host.calls == ["enable --no-reload thing", "daemon-reload", "reset-failed thing", "start thing"]
    host.needs_reload = "yes"
    host.calls.clear()
    call(host, services=service())
    assert host.calls == ["daemon-reload"]


def test_systemd_is_reloaded_once_and_services_settle_in_parallel(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload of systemd takes a good part of a second, and each service is watched for a second."""
    clock = [0.0]
    slept = SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda seconds: clock.append(clock.pop() + seconds))
    monkeypatch.setattr(systemd, "time", slept)
    enabled, started, run = set(), set(), host.run

    def with_a_state_each(command: list[str], **options: Any) -> tuple[int, str, str]:
        if command[:2] == ["systemctl", "show"]:
            host.enabled = "enabled" if command[-1] in enabled else "disabled"
            host.active, host.sub = ("active", "running") if command[-1] in started else ("inactive", "dead")
            host.needs_reload = "yes" if enabled and "daemon-reload" not in host.calls else "no"
        elif command[1] == "enable":
            assert options["environ_update"] == {"SYSTEMCTL_SKIP_SYSV": "1"}
            enabled.add(command[-1])
        elif command[1] == "start":
            started.add(command[-1])
        return run(command, **options)

    host.run = with_a_state_each  # type: ignore[method-assign]
    names = ["one", "two", "three"]
    done = call(host, services=[{"name": name, "settle_seconds": 1.0} for name in names])
    assert done.services.restarted == names
    assert host.calls.count("daemon-reload") == 1
    assert 0.9 < clock[0] < 1.3


def test_a_failed_start_shows_the_critical_line_first(host: Host) -> None:
    host.on_start = host.fail
    host.log = [
        "INFO starting",
        "CRITICAL (config): (cfg.c:1651) line 34 :: unknown config parameter name 'x'",
        "INFO bye",
    ]
    with pytest.raises(subject.ServiceError) as caught:
        call(host, services=service())
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("CRITICAL (config)")
    assert "expected it active, found failed (failed), exit-code, exit status 1" in rest[0]
    assert caught.value.lines[0] == first
    assert "INFO bye" in caught.value.lines


def test_a_service_that_exits_soon_after_its_start_has_failed(host: Host) -> None:
    def short_life() -> None:
        host.up()
        answers = iter([host.show(), host.show()])

        def show() -> str:
            try:
                return next(answers)
            except StopIteration:
                host.fail()
                return Host.show(host)

        host.show = show  # type: ignore[method-assign]

    host.on_start = short_life
    with pytest.raises(subject.ServiceError, match="could not be started"):
        call(host, services=[{"name": "thing", "settle_seconds": 30}])


def test_a_missing_unit_is_reported(host: Host) -> None:
    host.load = "not-found"
    with pytest.raises(subject.ServiceError, match="found no unit thing; expected one from a package"):
        call(host, services=service())


def test_a_refused_file_keeps_the_old_content(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_text("good")
    with pytest.raises(
        subject.FileError, match=r"line 3: unknown word\n.*was not changed: 'checker --file .*' refused"
    ):
        call(
            host,
            files=[{"path": str(path), "content": "bad", "validate": "checker --file %s", **ME}],
            services=service(),
        )
    assert path.read_text() == "good"
    assert list(tmp_path.iterdir()) == [path]
    assert not any("start" in text for text in host.calls)


def test_a_secret_is_private_and_in_no_diff(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    done = call(host, files=[{"path": str(path), "secret_content": "s3cret", "mode": "0600", **ME}])
    assert path.read_text() == "s3cret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "s3cret" not in str(done.result())
    assert subject.argument_spec()["files"]["options"]["secret_content"]["no_log"] is True


def test_check_mode_changes_nothing_and_reports_the_same(host: Host, tmp_path: Path) -> None:
    params = {
        "directories": [{"path": str(tmp_path / "folder"), **ME}],
        "files": [{"path": str(tmp_path / "folder/conf"), "content": "a", **ME}],
        "services": service(),
    }
    planned = call(host, check=True, **params)
    assert list(tmp_path.iterdir()) == [] and host.calls == []
    done = call(host, **params)
    assert planned.changes == done.changes
    assert planned.files.diff == done.files.diff


def test_files_are_removed_and_modes_set(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_text("a")
    path.chmod(0o600)
    assert call(host, files=[{"path": str(path), "content": "a", **ME}]).changes == [f"{path}: mode 0644"]
    assert call(host, files=[{"path": str(path), "state": "absent"}]).changes == [f"removed {path}"]
    assert call(host, files=[{"path": str(path), "state": "absent"}]).changes == []


def test_only_missing_packages_are_installed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Manager({"curl": "8-1"})
    monkeypatch.setattr(host_packages, "package_manager", lambda run: manager)
    assert call(host, packages=["curl", "git"]).changes == ["installed git"]
    assert manager.requested == ["git"]


def test_packages_ahead_are_installed_while_the_caller_continues(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The call returns first and reports what it started. The next call waits and finds the packages."""
    manager = SlowManager(tmp_path)
    monkeypatch.setattr(host_packages, "package_manager", lambda run: manager)
    assert call(host, packages=["curl", "git"], packages_ahead=True).changes == ["started to install curl, git"]
    assert manager.installed(["curl", "git"]) == {}
    wait_for(manager.begun.exists)
    (tmp_path / "go").touch()
    assert call(host, packages=["curl", "git"]).changes == []
    assert manager.log.read_text().splitlines() == ["curl git"]


def test_a_failed_installation_ahead_is_repeated_by_the_next_call(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manager = SlowManager(tmp_path, fail_first=True)
    monkeypatch.setattr(host_packages, "package_manager", lambda run: manager)
    (tmp_path / "go").touch()
    call(host, packages=["curl"], packages_ahead=True)
    wait_for(manager.begun.exists)
    assert call(host, packages=["curl"]).changes == ["installed curl"]
    assert manager.log.read_text().splitlines() == ["curl", "curl"]


def test_packages_ahead_in_check_mode(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    manager = SlowManager(tmp_path)
    monkeypatch.setattr(host_packages, "package_manager", lambda run: manager)
    ahead = call(host, check=True, packages=["curl"], packages_ahead=True)
    assert ahead.changes == ["started to install curl"] and not manager.begun.exists()
    assert call(host, check=True, packages=["curl"]).changes == ["installed curl"]


@pytest.mark.parametrize(
    ("package", "installed"),
    [
        ("prometheus", []),
        ("prometheus=2.42.0", []),
        ("prometheus=2.42.*", []),
        ("prometheus=2.42.0+ds-5+b5", []),
        ("prometheus=2.45.1", ["prometheus=2.45.1"]),
        ("prometheus=2.4", ["prometheus=2.4"]),
    ],
)
def test_another_version_of_a_package_is_replaced_once(
    host: Host, monkeypatch: pytest.MonkeyPatch, package: str, installed: list[str]
) -> None:
    manager = Manager({"prometheus": "2.42.0+ds-5+b5"})
    monkeypatch.setattr(host_packages, "package_manager", lambda run: manager)
    expected = [f"installed {package}" for package in installed]
    assert call(host, check=True, packages=[package]).changes == expected and manager.requested == []
    assert call(host, packages=[package]).changes == expected
    assert call(host, packages=[package]).changes == []
    assert manager.requested == installed


def test_an_unexpected_installed_version_is_an_error(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    # 2.4.1* also matches 2.4.10.
    manager = Manager({}, {"prometheus": "2.4.10-1"})
    monkeypatch.setattr(host_packages, "package_manager", lambda run: manager)
    with pytest.raises(subject.PackageError, match=r"found prometheus 2.4.10-1 after .+, expected 2.4.1:"):
        call(host, packages=["prometheus=2.4.1"])


class Manager:
    """A package manager in memory. ``has``: versions of the distribution that differ from the requested versions."""

    def __init__(self, have: dict[str, str], has: dict[str, str] | None = None) -> None:
        self.have, self.has = have, has or {}
        self.requested: list[str] = []

    def installed(self, names: list[str]) -> dict[str, str]:
        assert all("=" not in name for name in names)
        return {name: version for name, version in self.have.items() if name in names}

    def install(self, packages: list[str]) -> None:
        self.requested += packages
        for package in packages:
            name, _, version = package.partition("=")
            self.have[name] = self.has.get(name, f"{version or 1}-1")


class SlowManager:
    """A package manager for several processes. It installs as soon as the file ``go`` exists, and holds the lock."""

    def __init__(self, folder: Path, fail_first: bool = False) -> None:
        self.folder, self.fail_first = folder, fail_first
        self.begun, self.log, self.have = folder / "begun", folder / "log", folder / "have"

    def installed(self, names: list[str]) -> dict[str, str]:
        have = self.have.read_text().split() if self.have.exists() else []
        return {name: "1-1" for name in names if name in have}

    def install(self, packages: list[str]) -> None:
        with host_packages.one_at_a_time():
            first = not self.begun.exists()
            self.begun.touch()
            wait_for((self.folder / "go").exists)
            with self.log.open("a") as stream:
                stream.write(" ".join(packages) + "\n")
            if not (first and self.fail_first):
                self.have.write_text(" ".join(packages))


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a timeout for processes that outlive their test."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_documentation_and_argument_spec_agree() -> None:
    documented = yaml.safe_load(subject.DOCUMENTATION)["options"]
    built = subject.argument_spec()
    assert documented.keys() == built.keys()
    for name, option in documented.items():
        assert option.get("default") == built[name].get("default"), name
        assert option.get("suboptions", {}).keys() == built[name].get("options", {}).keys(), name
        for inner, described in option.get("suboptions", {}).items():
            assert described.get("default") == built[name]["options"][inner].get("default"), (name, inner)
