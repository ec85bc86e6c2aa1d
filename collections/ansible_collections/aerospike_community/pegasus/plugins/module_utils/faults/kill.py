# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Kill a node's process, as a crash would."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from .stop import Stop

UNITS = Path("/run/systemd/system")


class Kill(Stop):
    """Kill the process with SIGKILL. The node stays down, even if its service restarts after a crash."""

    name = "kill"
    past = "killed"

    def inject(self) -> None:
        """Kill the process while systemd may not restart it."""
        self.process = self.main_process()
        no_restart = UNITS / f"{self.params['service']}.service.d" / "pegasus-killed.conf"
        no_restart.parent.mkdir(parents=True, exist_ok=True)
        try:
            no_restart.write_text("[Service]\nRestart=no\n", encoding="utf-8")
            self.systemd.call("daemon-reload")
            os.kill(self.process, signal.SIGKILL)
            self.wait_for_exit()
        finally:
            no_restart.unlink(missing_ok=True)
            self.systemd.call("daemon-reload")
