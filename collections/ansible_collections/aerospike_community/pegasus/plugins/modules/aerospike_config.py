#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Write aerospike.conf and apply it to a running server without a restart, if possible."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: aerospike_config
short_description: Write aerospike.conf and apply it to a running server without a restart, if possible
description:
  - Compares the file with the requested content, parameter by parameter. If a running server accepts all differences
    (C(set-config), C(tip)), applies them. Otherwise the result reports that a restart is due, and why.
  - A file newer than the start of the server has not been read by it, as in C(host_service). A file that was applied
    without a restart gets a time before the server's start. So the next run completes an interrupted run.
  - Restarts nothing.
author: Pegasus authors
options:
  path: {description: The file., type: path, default: /etc/aerospike/aerospike.conf}
  content: {description: Its content., type: str, required: true}
  version: {description: The installed version. It decides what needs a restart., type: str, required: true}
  service: {description: The server's unit., type: str, default: aerospike}
  host: {description: Address of the server., type: str, default: 127.0.0.1}
  port: {description: Service port., type: int, default: 3000}
attributes:
  check_mode: {description: Reports what it would change and whether that needs a restart., support: full}
  diff_mode: {description: Shows the difference of the file., support: full}
"""

EXAMPLES = r"""
- name: Configure the server
  aerospike_community.pegasus.aerospike_config:
    content: "{{ settings | aerospike_community.pegasus.aerospike_conf }}"
    version: 8.0.0.4
  register: configuration
"""

RETURN = r"""
changes:
  description: What changed, a line each, and whether it was applied or needs a restart.
  returned: always
  type: list
  elements: str
restart:
  description: Why the running server needs a restart, a line each; empty if it needs none.
  returned: success
  type: list
  elements: str
"""

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.aerospike.changes import commands, differences
from ..module_utils.aerospike.conf import parse
from ..module_utils.aerospike.info import InfoError, info_value
from ..module_utils.aerospike.settings import ConfError
from ..module_utils.host.systemd import Systemd, UnitState


class Configuration:
    """One call of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.params, self.check = module, module.params, module.check_mode
        self.path = Path(self.params["path"])
        self.changes: list[str] = []
        self.restart: list[str] = []

    def run(self) -> dict[str, object]:
        """Compare the contents, write the file, apply the differences. Raises ConfError and InfoError."""
        new = self.params["content"]
        old = self.path.read_text(encoding="utf-8", errors="replace") if self.path.is_file() else ""
        state = Systemd(self.module.run_command).state(self.params["service"])
        # The server has not read a file that was written after its start.
        unread = state.running and old != "" and self.path.stat().st_mtime > state.started_at
        if unread:
            self.restart.append(f"{self.path} was written after the server's start")
        if old != new:
            self.change(old, new, state, unread)
        header = {"before_header": str(self.path), "after_header": str(self.path)}
        diff = [{**header, "before": old, "after": new}] if old != new else []
        return {"changed": bool(self.changes), "changes": self.changes, "restart": self.restart, "diff": diff}

    def change(self, old: str, new: str, state: UnitState, unread: bool) -> None:
        """Write the file. Apply the differences if a running server accepts all of them."""
        if not state.running:
            self.changes += [f"wrote {self.path}", *sizes(new)]
            self.write(new)
            return
        try:
            found = differences(old, new)
        except ConfError:
            found = differences("", new)  # a broken file differs in everything
        applicable = [(difference, commands(difference, self.params["version"])) for difference in found]
        static = [difference for difference, orders in applicable if not orders]
        self.restart += [str(difference) for difference in static]
        how = "a restart is due, node by node" if static or unread else "applied without a restart"
        self.changes += [f"{difference} ({how})" for difference in found] or [f"wrote {self.path}: comments only"]
        self.write(new)
        if self.restart or self.check:
            return
        for _, orders in applicable:
            for command in orders:
                info_value(self.params["host"], command, port=self.params["port"])
        before = state.started_at - 1
        os.utime(self.path, (before, before))

    def write(self, text: str) -> None:
        """Replace the file atomically."""
        if self.check:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(name).chmod(0o644)
        self.module.atomic_move(name, str(self.path))


def sizes(text: str) -> list[str]:
    """Return the sizes of data and indexes, a line each. They are computed from the host, so users want to see them."""
    shown = []
    for path, values in parse(text).items():
        if path[-1] in ("data-size", "memory-size", "mounts-budget", "mounts-size-limit"):
            shown.append(f"{'.'.join(path)}: {values[0]}")
        elif path[-1] == "device":
            shown.append(f"{'.'.join(path)}: {len(values)} partitions")
    return shown


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/etc/aerospike/aerospike.conf"},
            "content": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "service": {"type": "str", "default": "aerospike"},
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 3000},
        },
        supports_check_mode=True,
    )
    configuration = Configuration(module)
    try:
        module.exit_json(**configuration.run())
    except (ConfError, InfoError, OSError) as error:
        module.fail_json(
            msg=f"{configuration.path}: {error}. The file was written, and the next run restarts the server",
            changes=configuration.changes,
        )


if __name__ == "__main__":
    main()
