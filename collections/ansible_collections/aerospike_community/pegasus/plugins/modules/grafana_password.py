#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Set the password of a running Grafana's administrator."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: grafana_password
short_description: Set the password of a running Grafana's administrator
description:
  - Grafana reads the password of its configuration only at its first start. The module logs in with the password. If
    Grafana refuses it, the module sets it by Grafana's program, which doesn't need the old password.
  - The program reads the password from standard input, so no list of processes shows it.
author: Pegasus authors
options:
  user: {description: The administrator's name., type: str, default: admin}
  password: {description: The password to set., type: str, required: true}
  url: {description: Address of Grafana., type: str, default: "http://127.0.0.1:3000"}
  timeout: {description: Seconds until Grafana answers., type: int, default: 60}
attributes:
  check_mode: {description: Reports whether it would set the password of a running Grafana., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Set the password of Grafana's administrator
  aerospike_community.pegasus.grafana_password:
    password: "{{ grafana_prometheus_admin_password }}"
"""

RETURN = r"""
user: {description: The administrator's name., returned: success, type: str}
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.monitoring import web

POLL_SECONDS = 0.5
PROGRAM = "grafana-cli"
ACCOUNT = "grafana"  # owner of the database; root would leave files there that Grafana can't write


class PasswordError(Exception):
    """The password couldn't be checked or set."""


def is_right(params: dict) -> bool:
    """Wait until Grafana answers. Return whether it accepts the password. Raises PasswordError without an answer.

    One refusal isn't enough, because it may happen while Grafana starts.
    """
    deadline, refusals = time.monotonic() + params["timeout"], 0
    while True:
        try:
            web.query(f"{params['url']}/api/user", web.login(params["user"], params["password"]))
            return True
        except web.RefusedError:
            refusals += 1
            if refusals == 2:
                return False
        except OSError as error:
            if time.monotonic() > deadline:
                raise PasswordError(
                    f"{params['url']}: expected an answer of Grafana, found: {error}. See journalctl -u grafana-server"
                ) from error
        time.sleep(POLL_SECONDS)


def reset(module: AnsibleModule) -> None:
    """Set the password by Grafana's program. Raises PasswordError if it fails, or Grafana still refuses the user."""
    program = module.get_bin_path(PROGRAM, opt_dirs=["/usr/sbin", "/usr/share/grafana/bin"], required=True)
    command = ["runuser", "-u", ACCOUNT, "--", program, "admin", "reset-admin-password", "--password-from-stdin"]
    code, out, err = module.run_command(command, data=module.params["password"])
    if code:
        output = (err.strip() or out.strip() or "no output").splitlines()[-1]
        raise PasswordError(f"{PROGRAM} admin reset-admin-password exited with {code}: {output}")
    if not is_right(module.params):
        raise PasswordError(
            f"Grafana refuses the user {module.params['user']} although the administrator's password was set. Check "
            f"that grafana_prometheus_admin_user is the name from Grafana's first start. After five wrong logins, "
            f"Grafana refuses the user for five minutes: wait and run this again"
        )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": "admin"},
            "password": {"type": "str", "required": True, "no_log": True},
            "url": {"type": "str", "default": "http://127.0.0.1:3000"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.params["timeout"] = 0
    changed = False
    try:
        changed = not is_right(module.params)
        if changed and not module.check_mode:
            reset(module)
    except PasswordError as error:
        if not module.check_mode:
            module.fail_json(msg=f"Grafana's password: {error}")
    module.exit_json(changed=changed, user=module.params["user"])


if __name__ == "__main__":
    main()
