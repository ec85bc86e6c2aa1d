# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Prints the logs of the scenario's hosts after a failure, because molecule removes the hosts soon after."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.callback import CallbackBase

from tests.host_logs import containers_of, host_logs

DOCUMENTATION = """
name: host_logs
type: notification
short_description: Prints the logs of the scenario's hosts after a failure
description:
  - Failures that a rescue block handled, for example of a refusal that a scenario expects, don't count.
author: Pegasus authors
"""


class CallbackModule(CallbackBase):
    """Ansible's entry point."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "host_logs"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print the logs at the end of a playbook."""
        results = [stats.summarize(host) for host in stats.processed]
        if any(result["failures"] or result["unreachable"] for result in results):
            label = f"pegasus.molecule={os.environ['MOLECULE_PROJECT_DIRECTORY']}"
            self._display.display(host_logs(containers_of(label)), color="dark gray")
