#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Bring a service of a host to its state in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_service
short_description: Bring a service of a host to its state in one call
description:
  - Installs missing packages of the distribution, creates users, directories and files, sets kernel settings, and
    starts, reloads or restarts the services that these belong to.
  - A service is restarted if a file with O(files[].effect=restart) is newer than the service's process. So the next run
    completes a run that was interrupted between the two.
  - The action plugin of the same name renders the templates of files on the control machine. A file without content has
    its template at its own path below the role's C(templates), with the suffix C(.j2).
author: Pegasus authors
options:
  packages:
    description:
      - Packages of the distribution to install if they are missing. Their installation starts no service.
      - C(name) accepts any version, and keeps the installed version. C(name=version) requires a version that the
        distribution has. The version is upstream's (V(2.42.0)), the package's complete version, or a pattern
        (V(2.42.*)). Another installed version is replaced. A running service keeps its old program, unless
        O(restart_if_newer) names the program.
    type: list
    elements: str
    default: []
  packages_ahead:
    description:
      - Only start to install O(packages), and return while the installation runs. A later call for the same packages
        waits for it, and fails if they are missing then.
    type: bool
    default: false
  users:
    description: Users, each with a group of the same name.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of user and group.
        type: str
        required: true
      home:
        description: Home directory. Created only if O(directories) contains it.
        type: path
        default: /nonexistent
      system:
        description: Create a system user.
        type: bool
        default: true
      shell:
        description: Login shell.
        type: path
        default: /usr/sbin/nologin
  directories:
    description: Directories. Missing parents are created.
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
    description: Files. Each is replaced in one step. Missing directories are created.
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
      template:
        description: >-
          The template below the role's C(templates). By default the file's path with the suffix C(.j2). The action
          plugin replaces it by O(files[].content) or O(files[].secret_content).
        type: str
      secret:
        description: Pass the rendered template as O(files[].secret_content).
        type: bool
        default: false
      content:
        description: The complete content, instead of a template.
        type: str
      secret_content:
        description: Content that is never shown, logged or part of a diff.
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
        description: A command that checks the new file (C(%s)) before it replaces the old file.
        type: str
        default: ""
      effect:
        description: What a change of this file requires of its services.
        type: str
        choices: [restart, reload, none]
        default: restart
      passive:
        description:
          - A regular expression of parts, such as the addresses of server nodes, whose change has no effect on a
            running service, as long as one of the parts that it started with remains.
        type: str
        default: ""
      services:
        description: The services that read the file. Empty means all O(services).
        type: list
        elements: str
        default: []
  services:
    description: Services, handled in this order.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the unit.
        type: str
        required: true
      enabled:
        description: Whether the service starts at boot.
        type: bool
        default: true
      state:
        description: State of the service.
        type: str
        choices: [started, stopped, unchanged]
        default: started
      settle_seconds:
        description: Seconds that a service must stay up after its start before the start counts as successful.
        type: float
        default: 1.0
      restart:
        description: >-
          Whether to restart a running service if that is due. V(false) leaves it running and adds it to RV(pending), so
          that another task can restart it, for example one host after the other.
        type: bool
        default: true
  sysctl:
    description: Kernel parameters to set now. A file in /etc/sysctl.d sets them at boot.
    type: dict
    default: {}
  sysfs:
    description: >-
      Settings below /sys (V(kernel/mm/transparent_hugepage/enabled)) to set now. A file in /etc/tmpfiles.d sets them
      at boot.
    type: dict
    default: {}
  restart_when:
    description: Restart running services even if no file changed.
    type: bool
    default: false
  restart_if_newer:
    description: Other files, such as a program or a licence. A service that is older than one of them is restarted.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Reports what it would change.
    support: full
  diff_mode:
    description: Shows the differences of files, except of secret files.
    support: full
"""

EXAMPLES = r"""
- name: Run the exporter with its configuration
  aerospike_community.pegasus.host_service:
    files:
      - path: /etc/exporter.toml  # rendered from templates/etc/exporter.toml.j2
        mode: "0640"
    services:
      - name: exporter
"""

RETURN = r"""
changes:
  description: Changes, a line each.
  returned: always
  type: list
  elements: str
restarted:
  description: Services that were started or restarted.
  returned: success
  type: list
  elements: str
pending:
  description: Running services whose restart is due and left to another task.
  returned: success
  type: list
  elements: str
refused:
  description: Kernel settings that this kernel refused.
  returned: success
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

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host import kernel_settings, packages, users
from ..module_utils.host.files import FileError, Files
from ..module_utils.host.packages import PackageError
from ..module_utils.host.services import Services
from ..module_utils.host.systemd import ServiceError, Systemd, UnitState
from ..module_utils.host.users import UserError


class HostService:
    """One call of the module: its steps, and what they changed."""

    def __init__(self, module: AnsibleModule) -> None:
        self.params, self.check, self.run_command = module.params, module.check_mode, module.run_command
        self.step = "read the parameters"
        self.changes: list[str] = []
        self.refused: list[str] = []
        self.files = Files(module.run_command, module.atomic_move, self.changes, check=self.check)
        self.services = Services(Systemd(module.run_command), self.changes, check=self.check)
        names = [service["name"] for service in self.params["services"]]
        self.file_specs = [{**file, "services": file["services"] or names} for file in self.params["files"]]

    def run(self) -> None:
        """Run all steps in order."""
        for step, function in (
            ("install packages", self.install_packages),
            ("create users", self.create_users),
            ("create directories", self.create_directories),
            ("write files", self.write_files),
            ("set kernel settings", self.set_kernel),
            ("start services", self.apply_services),
        ):
            self.step = step
            function()

    def result(self) -> dict[str, object]:
        """Return the module's result."""
        return {
            "changed": bool(self.changes),
            "changes": self.changes,
            "restarted": self.services.restarted,
            "pending": self.services.pending,
            "refused": self.refused,
            "diff": self.files.diff,
        }

    def install_packages(self) -> None:
        """Install missing packages of the distribution."""
        names, ahead = self.params["packages"], self.params["packages_ahead"]
        if names:
            change = packages.ensure(names, self.run_command, ahead=ahead, check=self.check)
            self.changes += [change] if change else []

    def create_users(self) -> None:
        """Create missing users; existing users stay as they are."""
        for user in self.params["users"]:
            if not users.exists(user["name"]):
                self.changes.append(f"created user {user['name']}")
                if not self.check:
                    users.create(user, self.run_command)

    def create_directories(self) -> None:
        """Create directories, with owner and mode."""
        for directory in self.params["directories"]:
            self.files.create_directory(directory)

    def write_files(self) -> None:
        """Write or remove files that differ."""
        for file in self.file_specs:
            self.files.apply(file)

    def set_kernel(self) -> None:
        """Set sysctl and sysfs values of the running kernel."""
        for name, root in (("sysctl", kernel_settings.SYSCTL), ("sysfs", kernel_settings.SYSFS)):
            outcome = kernel_settings.apply(self.params[name], root, write=not self.check)
            self.changes += outcome.changed
            self.refused += outcome.refused

    def apply_services(self) -> None:
        """Start, restart or reload services if that is due."""

        def due(name: str, state: UnitState) -> str:
            if self.params["restart_when"]:
                return "restart"
            programs = self.params["restart_if_newer"]
            return self.files.due(name, self.file_specs, programs, state.started_at, state.changed_at)

        self.services.apply(self.params["services"], due, unit_changed=self.files.unit_changed)


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
        "template": {"type": "str"},
        "secret": {"type": "bool", "default": False},
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
        "files": {**several(files), "mutually_exclusive": [("content", "secret_content", "template")]},
        "services": several(services),
        "sysctl": {"type": "dict", "default": {}},
        "sysfs": {"type": "dict", "default": {}},
        "restart_when": {"type": "bool", "default": False},
        "restart_if_newer": {"type": "list", "elements": "path", "default": []},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    host = HostService(module)
    try:
        host.run()
    except (PackageError, UserError, FileError, ServiceError, OSError, ValueError) as error:
        lines = error.lines if isinstance(error, ServiceError) else []
        module.fail_json(msg=f"{error} [step: {host.step}]", step=host.step, journal=lines, changes=host.changes)
    module.exit_json(**host.result())


if __name__ == "__main__":
    main()
