#!/usr/bin/python
# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Collect a host's logs and configuration into one archive there."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_logs
short_description: Collect a host's logs and configuration into one archive there
description:
  - Takes named files, the journals and units of services, and what a few commands say of the machine. Passwords,
    tokens and keys are masked in every line.
  - The archive is readable by the user that Ansible logs in as, so that it can be fetched without more rights.
author: Pegasus authors
options:
  name: {description: The host's name; the archive's folder., type: str, required: true}
  files: {description: Absolute glob patterns of files to take., type: list, elements: str, default: []}
  services: {description: Services whose journal and unit are taken., type: list, elements: str, default: []}
  max_bytes: {description: Of each file and command so much is taken from the end., type: int, default: 20000000}
  journal_lines: {description: So many of the last lines of each journal., type: int, default: 50000}
attributes:
  check_mode: {description: Does nothing., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Collect the logs
  aerospike_community.pegasus.host_logs:
    name: Benchmark-1
    files: [/etc/aerospike/aerospike.conf, /var/log/aerospike/*.log]
    services: [aerospike]
"""

RETURN = r"""
path: {description: The archive on the host; the caller removes it., returned: success, type: str}
members: {description: What is in it., returned: success, type: list, elements: str}
problems: {description: What should be in it and could not be read., returned: success, type: list, elements: str}
"""

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.log_archive import (
    Archive,
    journal_commands,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.systemd import Systemd

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
    asked = module.params
    if module.check_mode:
        module.exit_json(changed=False, path="", members=[], problems=[])
    systemd = Systemd(module.run_command)
    services = [name for name in asked["services"] if systemd.state(name).loaded]
    descriptor, path = tempfile.mkstemp(prefix="pegasus-logs-", suffix=".tar.gz")  # mode 0600
    try:
        archive = Archive(Path(path), asked["name"])
        archive.add_files(asked["files"], asked["max_bytes"])
        archive.add_commands(journal_commands(services, asked["journal_lines"]), module.run_command, asked["max_bytes"])
        archive.add_commands(MACHINE, module.run_command, asked["max_bytes"])
        archive.close()
        if "SUDO_UID" in os.environ:  # as root by sudo: hand it to the user that fetches it
            os.fchown(descriptor, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))
    except OSError as error:
        Path(path).unlink(missing_ok=True)
        module.fail_json(msg=f"the archive of the logs can't be written in {Path(path).parent}: {error.strerror}")
    finally:
        os.close(descriptor)
    module.exit_json(changed=False, path=path, members=archive.members, problems=archive.problems)


if __name__ == "__main__":
    main()
