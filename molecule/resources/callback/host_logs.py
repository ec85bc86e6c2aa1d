"""Shows the logs of a scenario's hosts when one of them has failed: they are gone a moment later."""

from __future__ import annotations

import os
import sys
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: host_logs
type: notification
short_description: Shows the logs of a scenario's hosts when one of them has failed
description:
  - Failures that a rescue has taken care of, as those of what a role must refuse, don't count.
"""

ROOT = os.environ["MOLECULE_PROJECT_DIRECTORY"]
sys.path.insert(0, ROOT)
from tests.host_logs import containers_of, host_logs  # noqa: E402


class CallbackModule(CallbackBase):
    """Ansible's entry point."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "host_logs"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The end of a playbook."""
        ends = [stats.summarize(host) for host in stats.processed]
        if any(end["failures"] or end["unreachable"] for end in ends):
            self._display.display(host_logs(containers_of(f"pegasus.molecule={ROOT}")), color="dark gray")
