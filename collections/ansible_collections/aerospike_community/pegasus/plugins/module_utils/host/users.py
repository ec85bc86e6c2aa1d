# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Users of a host."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Mapping
from typing import Any


class UserError(Exception):
    """A user can't be created. The text has the output of useradd."""


def exists(name: str) -> bool:
    """Return whether the host has a user."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def create(user: Mapping[str, Any], run: Callable[..., tuple]) -> None:
    """Create a user with a group of the same name.

    :param user: name, home, shell, system, as in the option ``users`` of host_service
    :raises UserError: useradd failed
    """
    command = ["useradd", "--no-create-home", "--home-dir", user["home"], "--shell", user["shell"]]
    try:
        grp.getgrnam(user["name"])
        command += ["--gid", user["name"]]
    except KeyError:
        command.append("--user-group")
    if user["system"]:
        command.append("--system")
    rc, out, err = run([*command, user["name"]])
    if rc != 0:
        raise UserError(f"'{' '.join(command)} {user['name']}' failed (exit status {rc}): {(err or out).strip()}")
