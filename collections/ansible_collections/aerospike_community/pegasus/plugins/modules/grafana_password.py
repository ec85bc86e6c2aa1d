#!/usr/bin/python
# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Give the administrator of a running Grafana a password."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: grafana_password
short_description: Give the administrator of a running Grafana a password
description:
  - Grafana takes the password of its configuration at its first start only. This logs in with the wanted one, and where
    that is refused sets it by Grafana's own program, which needs no old password.
  - The password is handed over by standard input, so no list of processes shows it.
author: Pegasus authors
options:
  user: {description: The administrator's name., type: str, default: admin}
  password: {description: The wanted password., type: str, required: true}
  url: {description: Address of Grafana., type: str, default: "http://127.0.0.1:3000"}
  timeout: {description: Seconds until Grafana answers., type: int, default: 60}
attributes:
  check_mode: {description: Says whether it would; a Grafana that doesn't run yet will start with it., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Give Grafana's user the password
  aerospike_community.pegasus.grafana_password:
    password: "{{ grafana_prometheus_admin_password }}"
"""

RETURN = r"""
user: {description: The administrator's name., returned: success, type: str}
"""

import base64
import socket
import time
from http.client import HTTPException
from urllib.error import HTTPError, URLError

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

POLL_SECONDS = 0.5
ASK_TIMEOUT = 5.0
REFUSED = (401, 403)
PROGRAM = "grafana-cli"
ACCOUNT = "grafana"  # whose the database is: root would leave files there that Grafana can't write


class PasswordError(Exception):
    """The password isn't the wanted one, and couldn't be made it."""


def accepts(url: str, user: str, password: str) -> bool:
    """Whether Grafana lets the user in.

    :raises OSError: it doesn't answer, or neither yes nor no
    """
    login = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    try:
        open_url(f"{url}/api/user", headers={"Authorization": login}, timeout=ASK_TIMEOUT, use_proxy=False,
                 http_agent="pegasus").close()  # fmt: skip
    except HTTPError as error:
        if error.code in REFUSED:
            return False
        raise OSError(f"HTTP {error.code} {error.reason}") from error
    except (URLError, HTTPException, socket.timeout) as error:  # noqa: UP041
        raise OSError(str(getattr(error, "reason", error))) from error
    return True


def is_right(params: dict) -> bool:
    """Wait until Grafana answers; whether it takes the password. One refusal may be an accident of its start.

    :raises PasswordError: it doesn't answer in time
    """
    deadline, refusals = time.monotonic() + params["timeout"], 0
    while True:
        try:
            if accepts(params["url"], params["user"], params["password"]):
                return True
            refusals += 1
            if refusals == 2:
                return False
        except OSError as error:
            if time.monotonic() > deadline:
                raise PasswordError(
                    f"{params['url']}: expected Grafana's answer, found: {error}. See journalctl -u grafana-server"
                ) from error
        time.sleep(POLL_SECONDS)


def reset(module: AnsibleModule) -> None:
    """Set the password by Grafana's own program.

    :raises PasswordError: it failed, or Grafana refuses the user all the same
    """
    program = module.get_bin_path(PROGRAM, opt_dirs=["/usr/sbin", "/usr/share/grafana/bin"], required=True)
    command = ["runuser", "-u", ACCOUNT, "--", program, "admin", "reset-admin-password", "--password-from-stdin"]
    code, out, err = module.run_command(command, data=module.params["password"])
    if code:
        said = (err.strip() or out.strip() or "nothing").splitlines()[-1]
        raise PasswordError(f"{PROGRAM} admin reset-admin-password ended with {code}: {said}")
    if not is_right(module.params):
        raise PasswordError(
            f"Grafana refuses the user {module.params['user']} although its administrator's password was set. Expected "
            f"the name that it had at its first start in grafana_prometheus_admin_user. After five wrong logins it "
            f"refuses the user for five minutes: then run this again"
        )


def main() -> None:
    """Run the module."""
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
