# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The timer that powers an instance off at its expiry, and the metric with that time. Pure.

The timer holds an absolute time, so a reboot doesn't extend the lifetime. Persistent makes it fire at the next start
if the time passed while the instance was stopped. The instance's shutdown behaviour makes the power-off a termination.
"""

from __future__ import annotations

from datetime import UTC, datetime

SERVICE_PATH = "/etc/systemd/system/pegasus-expiry.service"
TIMER_PATH = "/etc/systemd/system/pegasus-expiry.timer"
TIMER = "pegasus-expiry.timer"
SERVICE_UNIT = """\
[Unit]
Description=Power this Pegasus instance off at its expiry

[Service]
Type=oneshot
ExecStart=/usr/bin/systemctl --no-block poweroff
"""
TIMER_UNIT = """\
[Unit]
Description=The expiry of this Pegasus instance

[Timer]
OnCalendar={end}
Persistent=true
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
# Debian's node_exporter serves the metrics in this folder.
METRIC_PATH = "/var/lib/prometheus/node-exporter/pegasus-expiry.prom"
METRIC = "pegasus_expires_seconds"
METRIC_FILE = f"""\
# HELP {METRIC} When this instance expires, in seconds since 1970.
# TYPE {METRIC} gauge
{METRIC} {{seconds}}
"""
METRIC_NEVER = "# This instance doesn't expire.\n"
# systemd loads no timer without a time or beyond 2199. For `never`, the timer is also stopped and disabled.
NEVER = "2199-01-01 00:00:00 UTC"


def timer_time(expires: str) -> str:
    """The value of the tag (2026-01-31T12:00:00Z, or never) in systemd's form.

    :raises ValueError: it isn't a time
    """
    if expires == "never":
        return NEVER
    return datetime.strptime(expires, "%Y-%m-%dT%H:%M:%SZ").strftime("%Y-%m-%d %H:%M:%S UTC")


def expiry_files(expires: str) -> list[dict[str, str]]:
    """The units and the metric as files for the module host_service.

    :raises ValueError: it isn't a time
    """
    end = timer_time(expires)
    seconds = int(datetime.strptime(end, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC).timestamp())
    metric = METRIC_NEVER if expires == "never" else METRIC_FILE.format(seconds=seconds)
    return [
        {"path": METRIC_PATH, "content": metric, "effect": "none"},
        {"path": SERVICE_PATH, "content": SERVICE_UNIT, "effect": "none"},
        {"path": TIMER_PATH, "content": TIMER_UNIT.format(end=end)},
    ]
