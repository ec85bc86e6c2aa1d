#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Collect a host's logs and configuration in one archive on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_logs
short_description: Collect a host's logs and configuration in one archive on the host
description:
  - The archive has the requested files, the journals and units of services, and the output of commands that describe
    the machine. Passwords, tokens and keys are masked in every line.
  - The user that Ansible logs in as can read the archive, so that fetching it needs no privileges.
author: Pegasus authors
options:
  name: {description: The host's name, also the archive's folder., type: str, required: true}
  files: {description: Files to collect, as absolute glob patterns., type: list, elements: str, default: []}
  services: {description: Services whose journal and unit are collected., type: list, elements: str, default: []}
  max_bytes: {description: Size limit of each file and command output. The end is kept., type: int, default: 20000000}
  journal_lines: {description: Number of the last lines of each journal., type: int, default: 50000}
attributes:
  check_mode: {description: Does nothing., support: full}
  diff_mode: {description: There is no diff., support: none}
"""

EXAMPLES = r"""
- name: Collect the logs
  aerospike_community.pegasus.host_logs:
    name: Benchmark-1
    files: [/etc/aerospike/aerospike.conf, /var/log/aerospike/*.log]
    services: [aerospike]
"""

RETURN = r"""
path: {description: The archive on the host. The caller removes it., returned: success, type: str}
members: {description: Members of the archive., returned: success, type: list, elements: str}
problems: {description: Files that could not be read., returned: success, type: list, elements: str}
"""

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.log_archive import Archive, journal_commands
from ..module_utils.host.systemd import Systemd

MACHINE = (
    ("machine/os-release", ["cat", "/etc/os-release"]),
    ("machine/kernel", ["uname", "-a"]),
    ("machine/uptime", ["uptime"]),
    ("machine/memory", ["free", "-m"]),
    ("machine/disks", ["lsblk", "--output", "NAME,TYPE,SIZE,FSTYPE,MOUNTPOINT,MODEL"]),
    ("machine/space", ["df", "--human-readable"]),
    ("machine/addresses", ["ip", "address"]),
    ("machine/sockets", ["ss", "--listening", "--tcp", "--numeric"]),
    ("machine/failed-units", ["systemctl", "--failed", "--no-pager", "--no-legend"]),
    ("machine/timers", ["systemctl", "list-timers", "--no-pager", "--no-legend"]),
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "str", "default": []},
            "services": {"type": "list", "elements": "str", "default": []},
            "max_bytes": {"type": "int", "default": 20_000_000},
            "journal_lines": {"type": "int", "default": 50_000},
        },
        supports_check_mode=True,
    )
    params = module.params
    if module.check_mode:
        module.exit_json(changed=False, path="", members=[], problems=[])
    systemd = Systemd(module.run_command)
    services = [name for name in params["services"] if systemd.state(name).loaded]
    descriptor, path = tempfile.mkstemp(prefix="pegasus-logs-", suffix=".tar.gz")  # mode 0600
    try:
        archive = Archive(Path(path), params["name"])
        archive.add_files(params["files"], params["max_bytes"])
        archive.add_commands(
            journal_commands(services, params["journal_lines"]), module.run_command, params["max_bytes"]
        )
        archive.add_commands(MACHINE, module.run_command, params["max_bytes"])
        archive.close()
        if "SUDO_UID" in os.environ:  # root by sudo: give the archive to the user that fetches it
            os.fchown(descriptor, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))
    except OSError as error:
        Path(path).unlink(missing_ok=True)
        module.fail_json(msg=f"the log archive can't be written in {Path(path).parent}: {error.strerror}")
    finally:
        os.close(descriptor)
    module.exit_json(changed=False, path=path, members=archive.members, problems=archive.problems)


if __name__ == "__main__":
    main()
