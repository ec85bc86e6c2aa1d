#!/usr/bin/python
# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Bring a service of a host to its state in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_service
short_description: Bring a service of a host to its state in one call
description:
  - Installs distribution packages that are missing, makes users, directories and files, sets kernel settings, and
    starts, reloads or restarts the services that these belong to.
  - A service is restarted when a file with O(files[].effect=restart) is newer than the service's process. So a run
    that was cut short between the two is made good by the next.
author: Pegasus authors
options:
  packages:
    description:
      - Packages of the distribution. Those that are missing are installed, and no service is started by that.
      - C(name) takes any version, and leaves what is installed. C(name=version) demands one that the distribution has.
        The version is upstream's (V(2.42.0)), the package's whole one, or a pattern (V(2.42.*)). Where another one is
        installed, it is replaced. A service that runs goes on with the old one, unless O(restart_if_newer) names its
        program.
    type: list
    elements: str
    default: []
  packages_ahead:
    description:
      - Only begins to install O(packages), and goes on while that takes its time. A later call that asks for the same
        packages waits for it, and says what went wrong if they aren't there then.
    type: bool
    default: false
  users:
    description: Users, each with a group of its own name.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of user and group.
        type: str
        required: true
      home:
        description: Home directory; it is made only where O(directories) names it.
        type: path
        default: /nonexistent
      system:
        description: A system user.
        type: bool
        default: true
      shell:
        description: Login shell.
        type: path
        default: /usr/sbin/nologin
  directories:
    description: Directories, made with their parents.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      owner:
        description: User.
        type: str
        default: root
      group:
        description: Group.
        type: str
        default: root
      mode:
        description: Octal mode.
        type: str
        default: "0755"
  files:
    description: Files with their whole content. Each is put in place in one step. A missing folder is made.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      state:
        description: Whether the file exists.
        type: str
        choices: [present, absent]
        default: present
      content:
        description: The content.
        type: str
      secret_content:
        description: A content that is never shown, logged or part of a difference.
        type: str
      owner:
        description: User.
        type: str
        default: root
      group:
        description: Group.
        type: str
        default: root
      mode:
        description: Octal mode.
        type: str
        default: "0644"
      validate:
        description: A command that checks the new file (C(%s)) before it is put in place.
        type: str
        default: ""
      effect:
        description: What a change of this file means for the services.
        type: str
        choices: [restart, reload, none]
        default: restart
      passive:
        description:
          - A regular expression of parts, such as the addresses of a cluster's nodes, that may come and go without any
            effect on a service that runs, as long as one of those that it started with stays.
        type: str
        default: ""
      services:
        description: The services that a change concerns; empty for all of O(services).
        type: list
        elements: str
        default: []
  services:
    description: Services, brought to their state in this order.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The unit.
        type: str
        required: true
      enabled:
        description: Whether it starts with the host.
        type: bool
        default: true
      state:
        description: Its state.
        type: str
        choices: [started, stopped, unchanged]
        default: started
      settle_seconds:
        description: How long a service that was just started has to keep running, in seconds, before the start counts.
        type: float
        default: 1.0
      restart:
        description: >-
          Whether a running service is restarted when that is due. V(false) leaves it running and names it in
          RV(pending): another task restarts it, one host after the other for example.
        type: bool
        default: true
  sysctl:
    description: Kernel parameters. Set now, and at each boot by a file in /etc/sysctl.d.
    type: dict
    default: {}
  sysfs:
    description: Settings below /sys (V(kernel/mm/transparent_hugepage/enabled)), kept by a file in /etc/tmpfiles.d.
    type: dict
    default: {}
  kernel_settings_name:
    description: Names the files that keep O(sysctl) and O(sysfs).
    type: str
    default: pegasus
  restart_when:
    description: Restart the services although no file here says so, because another task changed something.
    type: bool
    default: false
  restart_if_newer:
    description: Files of others (a program, a licence). A service that is older than one of them is restarted.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Says what it would change.
    support: full
  diff_mode:
    description: Shows the differences of files, except secret ones.
    support: full
"""

EXAMPLES = r"""
- name: Run the exporter with its configuration
  aerospike_community.pegasus.host_service:
    files:
      - path: /etc/exporter.toml
        content: "{{ lookup('ansible.builtin.template', 'exporter.toml.j2') }}"
        mode: "0640"
    services:
      - name: exporter
"""

RETURN = r"""
changes:
  description: What was changed, a line each.
  returned: always
  type: list
  elements: str
restarted:
  description: Services that were started or restarted.
  returned: always
  type: list
  elements: str
pending:
  description: Running services whose restart is due, and was left to another task.
  returned: always
  type: list
  elements: str
refused:
  description: Kernel settings that this kernel doesn't let the host set.
  returned: always
  type: list
  elements: str
step:
  description: The step that failed.
  returned: failure
  type: str
journal:
  description: The last log lines of the service that didn't start.
  returned: failure
  type: list
  elements: str
"""

import grp
import os
import pwd
import re
import shlex
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host import kernel_settings
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.packages import (
    AptPackages,
    DnfPackages,
    PackageError,
    is_there,
    one_at_a_time,
    package_manager,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.systemd import (
    ServiceError,
    Started,
    Systemd,
    UnitState,
    telling_lines,
)

UNIT_FOLDERS = ("/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/", "/run/systemd/system/")
WEIGHT = {"none": 0, "reload": 1, "restart": 2}
PAST = {"start": "started", "stop": "stopped", "reload": "reloaded", "restart": "restarted"}


class StepError(Exception):
    """A step failed. ``lines`` holds log lines that explain it."""

    def __init__(self, message: str, lines: list[str] | None = None) -> None:
        super().__init__(message)
        self.lines = lines or []


class HostService:
    """One call of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params
        self.check = module.check_mode
        self.systemd = Systemd(module.run_command)
        self.changes: list[str] = []
        self.diff: list[dict[str, str]] = []
        self.refused: list[str] = []
        self.restarted: list[str] = []
        self.pending: list[str] = []
        self.unit_changed = False
        self.step = "read the parameters"
        # service -> the strongest effect of what this call changed
        self.effects: dict[str, str] = {}
        # What was started or reloaded: the service, how, when (seconds since 1970), and its state right afterwards
        self.watched: list[tuple[dict, str, float, Started]] = []

    def run(self) -> None:
        """Do all steps in order."""
        for step, function in (
            ("install packages", self.install_packages),
            ("make users", self.make_users),
            ("make directories", self.make_directories),
            ("write files", self.write_files),
            ("set kernel settings", self.set_kernel),
            ("bring services to their state", self.bring_services),
        ):
            self.step = step
            function()

    def result(self) -> dict[str, object]:
        """What the module returns."""
        return {
            "changed": bool(self.changes),
            "changes": self.changes,
            "restarted": self.restarted,
            "pending": self.pending,
            "refused": self.refused,
            "diff": self.diff,
        }

    def install_packages(self) -> None:
        """Install the distribution packages that are missing."""
        wanted = self.params["packages"]
        if not wanted:
            return
        manager = package_manager(self.module.run_command)
        missing = self.missing_packages(manager)
        if missing and self.params["packages_ahead"]:
            self.changes.append(f"began to install {', '.join(missing)}")
            if not self.check:
                in_background(lambda: manager.install(missing))
            return
        if missing and not self.check:
            with one_at_a_time():
                pass  # what another call has begun is there now
            missing = self.missing_packages(manager)
        if missing:
            if not self.check:
                manager.install(missing)
                present = manager.installed([package.partition("=")[0] for package in wanted])
                for package in missing:
                    if not is_there(package, present):
                        name, _, version = package.partition("=")
                        raise PackageError(
                            f"found {name} {present.get(name, '(not installed)')} after the installation, expected "
                            f"{version or 'any version'}: name one that the distribution has"
                        )
            self.changes.append(f"installed {', '.join(missing)}")

    def missing_packages(self, manager: AptPackages | DnfPackages) -> list[str]:
        """Those that are asked for and aren't there."""
        wanted = self.params["packages"]
        present = manager.installed([package.partition("=")[0] for package in wanted])
        return [package for package in wanted if not is_there(package, present)]

    def make_users(self) -> None:
        """Make the users that are missing; the others stay as they are."""
        for user in self.params["users"]:
            try:
                pwd.getpwnam(user["name"])
                continue
            except KeyError:
                self.changes.append(f"made user {user['name']}")
            if not self.check:
                command = ["useradd", "--user-group", "--no-create-home", "--home-dir", user["home"]]
                command += ["--shell", user["shell"]]
                try:
                    grp.getgrnam(user["name"])
                    command[1:2] = ["--gid", user["name"]]
                except KeyError:
                    pass
                self.must(command + (["--system"] if user["system"] else []) + [user["name"]])

    def make_directories(self) -> None:
        """Make the directories, with owner and mode."""
        for wanted in self.params["directories"]:
            path = Path(wanted["path"])
            if path.exists() and not path.is_dir():
                raise StepError(f"{path} is a file, expected a directory: move it away")
            if not path.is_dir():
                self.changes.append(f"made {path}")
                if self.check:
                    continue
                path.mkdir(parents=True)
                self.own(path, wanted, quiet=True)
            else:
                self.own(path, wanted)

    def write_files(self) -> None:
        """Write, or remove, the files whose content differs."""
        for wanted in self.params["files"]:
            path = Path(wanted["path"])
            if wanted["state"] == "absent":
                if path.is_symlink() or path.exists():
                    self.note(wanted, f"removed {path}")
                    if not self.check:
                        path.unlink()
                continue
            secret = wanted["secret_content"] is not None
            new = (wanted["secret_content"] if secret else wanted["content"]) or ""
            old = path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else None
            # A service is judged by the file's time (see outdated), so that is what a passive change keeps.
            quiet = wanted["passive"] and old is not None and only_passive(old, new, wanted["passive"])
            times = path.stat() if old != new and quiet else None
            if old != new:
                self.note({**wanted, "effect": "none"} if quiet else wanted, f"wrote {path}")
                if not secret:
                    header = {"before_header": str(path), "after_header": str(path)}
                    self.diff.append({**header, "before": old or "", "after": new})
                if not self.check:
                    self.replace(path, new, wanted)
                    if times:
                        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            if path.exists():
                self.own(path, wanted, quiet=old != new)

    def replace(self, path: Path, text: str, wanted: dict) -> None:
        """Put a checked file in place in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        new = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(text)
            self.own(new, wanted, quiet=True)
            if wanted["validate"]:
                command = [part.replace("%s", str(new)) for part in shlex.split(wanted["validate"])]
                rc, out, err = self.module.run_command(command)
                if rc != 0:
                    raise StepError(
                        f"{(err or out).strip()}\n{path} was left as it was: '{' '.join(command)}' refused the new "
                        f"content (exit status {rc})"
                    )
            self.module.atomic_move(str(new), str(path))
        finally:
            new.unlink(missing_ok=True)

    def own(self, path: Path, wanted: dict, quiet: bool = False) -> None:
        """Set owner, group and mode where they differ."""
        try:
            user, group = pwd.getpwnam(wanted["owner"]).pw_uid, grp.getgrnam(wanted["group"]).gr_gid
        except KeyError as error:
            if self.check:
                return
            raise StepError(f"{path}: {error.args[0]}; expected an existing user and group") from error
        found, mode = path.stat(), int(wanted["mode"], 8)
        if (found.st_uid, found.st_gid) != (user, group):
            if not quiet:
                self.changes.append(f"{path}: owner {wanted['owner']}:{wanted['group']}")
            if not self.check:
                os.chown(path, user, group)
        if found.st_mode & 0o7777 != mode:
            if not quiet:
                self.changes.append(f"{path}: mode {wanted['mode']}")
            if not self.check:
                path.chmod(mode)

    def note(self, wanted: dict, text: str) -> None:
        """Keep what a changed file means for the services."""
        self.changes.append(text)
        if wanted["path"].startswith(UNIT_FOLDERS):
            self.unit_changed = True
        for service in self.concerned(wanted):
            if WEIGHT[wanted["effect"]] > WEIGHT[self.effects.get(service, "none")]:
                self.effects[service] = wanted["effect"]

    def concerned(self, wanted: dict) -> list[str]:
        """The services that a file concerns."""
        return wanted["services"] or [service["name"] for service in self.params["services"]]

    def set_kernel(self) -> None:
        """Set sysctl and sysfs values, now and for the next boots."""
        sysctl = {name: text_of(value) for name, value in self.params["sysctl"].items()}
        sysfs = {name: text_of(value) for name, value in self.params["sysfs"].items()}
        name = self.params["kernel_settings_name"]
        files = (
            (f"/etc/sysctl.d/90-{name}.conf", [f"{key} = {value}" for key, value in sysctl.items()]),
            (f"/etc/tmpfiles.d/{name}.conf", [f"w /sys/{key} - - - - {value}" for key, value in sysfs.items()]),
        )
        keep = {"owner": "root", "group": "root", "mode": "0644", "validate": ""}
        for path, lines in files:
            text = "# Made by Pegasus.\n" + "".join(f"{line}\n" for line in lines)
            if lines and (not Path(path).is_file() or Path(path).read_text(encoding="utf-8") != text):
                self.changes.append(f"wrote {path}")
                if not self.check:
                    self.replace(Path(path), text, keep)
        live = {key.replace(".", "/"): value for key, value in sysctl.items()}
        for settings, root in ((live, Path("/proc/sys")), (sysfs, Path("/sys"))):
            outcome = kernel_settings.apply(settings, root, write=not self.check)
            self.changes += outcome.changed
            self.refused += outcome.refused

    def bring_services(self) -> None:
        """Enable the services, reload systemd where a unit changed, then start, reload or restart each service.

        systemd takes a good part of a second to reload, so it does that once, for all that was enabled too. And all
        services are started before the first one is watched.
        """
        if not self.check:
            enabled = [self.enable(service, self.systemd.state(service["name"])) for service in self.params["services"]]
            if self.unit_changed or any(enabled):
                self.systemd.call("daemon-reload")
        for service in self.params["services"]:
            state = self.systemd.state(service["name"])
            if state.needs_reload and not self.check:
                self.systemd.call("daemon-reload")
                state = self.systemd.state(service["name"])
            if not state.loaded:
                if self.check and self.changes:
                    self.changes.append(f"would start {service['name']}")
                    continue
                raise StepError(f"found no unit {service['name']}; expected one from a package or from 'files'")
            if self.enable(service, state) and not self.check:
                self.systemd.call("daemon-reload")
            if service["state"] == "stopped" and state.active not in ("inactive", "failed"):
                self.act(service, "stop")
            elif service["state"] == "started":
                self.start(service, state)
        self.see_them_stay()

    def enable(self, service: dict, state: UnitState) -> bool:
        """Enable or disable a unit that can be; whether that was necessary. systemd has to be reloaded then."""
        if state.enabled not in ("enabled", "disabled", "masked"):
            return False
        if (state.enabled == "enabled") == service["enabled"]:
            return False
        verb = "enable" if service["enabled"] else "disable"
        self.changes.append(f"{verb}d {service['name']}")
        if not self.check:
            if state.enabled == "masked":
                self.systemd.call("unmask", service["name"])
            self.systemd.call(verb, "--quiet", "--no-reload", service["name"])
        return True

    def start(self, service: dict, state: UnitState) -> None:
        """Start, restart or reload one service, as what changed demands."""
        name = service["name"]
        if not state.running:
            # A unit that failed too often refuses to start until it is forgiven.
            if not self.check:
                self.systemd.call("reset-failed", name)
            self.act(service, "restart" if state.active == "activating" else "start")
            return
        effect = self.effects.get(name, "none")
        if self.params["restart_when"] or self.outdated(name, "restart", state.started_at):
            effect = "restart"
        elif effect == "none" and self.outdated(name, "reload", state.changed_at):
            effect = "reload"
        if effect == "restart" and not service["restart"]:
            self.pending.append(name)
        elif effect != "none":
            self.act(service, effect)

    def outdated(self, service: str, effect: str, since: float) -> bool:
        """Whether a file with this effect was written after ``since`` (seconds since 1970)."""
        if not since:
            return False
        times = [
            Path(wanted["path"]).stat().st_mtime
            for wanted in self.params["files"]
            if wanted["effect"] == effect and service in self.concerned(wanted) and Path(wanted["path"]).is_file()
        ]
        if effect == "restart":
            # The change time: package managers set the time of modification to the time of the build.
            times += [Path(path).stat().st_ctime for path in self.params["restart_if_newer"] if Path(path).is_file()]
        return any(moment > since for moment in times)

    def act(self, service: dict, verb: str) -> None:
        """Run start, stop, reload or restart. What it started has to be watched: see_them_stay."""
        name = service["name"]
        self.changes.append(f"{PAST[verb]} {name}")
        if verb in ("start", "restart"):
            self.restarted.append(name)
        if self.check:
            return
        since = time.time()
        try:
            self.systemd.call(verb, name)
        except ServiceError as error:
            raise self.failure(name, verb, since, error) from error
        if verb != "stop":
            self.watched.append((service, verb, since, Started(self.systemd.state(name))))

    def see_them_stay(self) -> None:
        """Watch what was started until it has settled; a service that doesn't stay up is an error."""
        for service, verb, since, started in self.watched:
            try:
                self.systemd.wait_until_up(service["name"], service["settle_seconds"], since=started)
            except ServiceError as error:
                raise self.failure(service["name"], verb, since, error) from error

    def failure(self, name: str, verb: str, since: float, error: ServiceError) -> StepError:
        """What to say of a service that isn't up, with its own log lines since a moment (seconds since 1970)."""
        lines = telling_lines(self.systemd.log_lines(name, since=since))
        first = lines[0] if lines else "its log is empty"
        return StepError(
            f"{first}\nservice {name} could not be {PAST[verb]}: {error}. "
            f"'journalctl -u {name}' on this host shows all",
            lines,
        )

    def must(self, command: list[str]) -> None:
        """Run a command that has to succeed."""
        rc, out, err = self.module.run_command(command)
        if rc != 0:
            raise StepError(f"'{' '.join(command)}' failed (exit status {rc}): {(err or out).strip()}")


def in_background(work: Callable[[], None]) -> None:
    """Do it in a process of its own, which outlives this one. What fails there shows when its result is asked for."""
    if os.fork():
        return
    # Nothing of the caller's: Ansible waits until its streams are closed, and sudo ends what is left of its session.
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    try:
        work()
    finally:
        os._exit(0)


def only_passive(old: str, new: str, pattern: str) -> bool:
    """Whether two texts differ in nothing but the parts that ``pattern`` finds, and have one of these in common."""
    found = re.compile(pattern)
    if found.sub("", old) != found.sub("", new):
        return False
    return bool({part[0] for part in found.finditer(old)} & {part[0] for part in found.finditer(new)})


def text_of(value: object) -> str:
    """A YAML value as the kernel writes it."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def argument_spec() -> dict:
    """The module's parameters, as DOCUMENTATION describes them."""
    owner = {"owner": {"type": "str", "default": "root"}, "group": {"type": "str", "default": "root"}}
    path = {"type": "path", "required": True}
    users = {
        "name": {"type": "str", "required": True},
        "home": {"type": "path", "default": "/nonexistent"},
        "system": {"type": "bool", "default": True},
        "shell": {"type": "path", "default": "/usr/sbin/nologin"},
    }
    files = {
        "path": path,
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "content": {"type": "str"},
        "secret_content": {"type": "str", "no_log": True},
        **owner,
        "mode": {"type": "str", "default": "0644"},
        "validate": {"type": "str", "default": ""},
        "effect": {"type": "str", "choices": ["restart", "reload", "none"], "default": "restart"},
        "passive": {"type": "str", "default": ""},
        "services": {"type": "list", "elements": "str", "default": []},
    }
    services = {
        "name": {"type": "str", "required": True},
        "enabled": {"type": "bool", "default": True},
        "state": {"type": "str", "choices": ["started", "stopped", "unchanged"], "default": "started"},
        "settle_seconds": {"type": "float", "default": 1.0},
        "restart": {"type": "bool", "default": True},
    }

    def several(options: dict) -> dict:
        return {"type": "list", "elements": "dict", "default": [], "options": options}

    return {
        "packages": {"type": "list", "elements": "str", "default": []},
        "packages_ahead": {"type": "bool", "default": False},
        "users": several(users),
        "directories": several({"path": path, **owner, "mode": {"type": "str", "default": "0755"}}),
        "files": {**several(files), "mutually_exclusive": [("content", "secret_content")]},
        "services": several(services),
        "sysctl": {"type": "dict", "default": {}},
        "sysfs": {"type": "dict", "default": {}},
        "kernel_settings_name": {"type": "str", "default": "pegasus"},
        "restart_when": {"type": "bool", "default": False},
        "restart_if_newer": {"type": "list", "elements": "path", "default": []},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    host = HostService(module)
    try:
        host.run()
    except (StepError, PackageError, ServiceError, OSError, ValueError) as error:
        lines = error.lines if isinstance(error, StepError) else []
        module.fail_json(msg=f"{error} [step: {host.step}]", step=host.step, journal=lines, changes=host.changes)
    module.exit_json(**host.result())


if __name__ == "__main__":
    main()
