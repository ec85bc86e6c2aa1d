"""The timer inside an instance that ends its life, and the metric that says when; at first boot and later. Pure.

The timer holds an absolute time, so a reboot doesn't prolong a life; Persistent makes it fire at the next start when
the time passed while the instance was stopped. The instance's shutdown behaviour turns the power-off into its end.
"""

from __future__ import annotations

from datetime import UTC, datetime

SERVICE_PATH = "/etc/systemd/system/pegasus-expiry.service"
TIMER_PATH = "/etc/systemd/system/pegasus-expiry.timer"
TIMER = "pegasus-expiry.timer"
SERVICE_UNIT = """\
[Unit]
Description=End this instance: its life in Pegasus is over

[Service]
Type=oneshot
ExecStart=/usr/bin/systemctl --no-block poweroff
"""
TIMER_UNIT = """\
[Unit]
Description=The end of this instance's life in Pegasus

[Timer]
OnCalendar={end}
Persistent=true
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
# Where Debian's node_exporter looks for metrics in files, which it serves beside its own.
METRIC_PATH = "/var/lib/prometheus/node-exporter/pegasus-expiry.prom"
METRIC = "pegasus_expires_seconds"
METRIC_FILE = f"""\
# HELP {METRIC} When this instance ends, in seconds since 1970.
# TYPE {METRIC} gauge
{METRIC} {{seconds}}
"""
METRIC_NEVER = "# This instance doesn't end.\n"
# A timer without a time isn't loaded, nor one beyond 2199. One that never ends is stopped and disabled beside that.
NEVER = "2199-01-01 00:00:00 UTC"


def timer_time(expires: str) -> str:
    """A tag's value (2026-01-31T12:00:00Z, or never) as systemd writes a moment. Raises ValueError."""
    if expires == "never":
        return NEVER
    return datetime.strptime(expires, "%Y-%m-%dT%H:%M:%SZ").strftime("%Y-%m-%d %H:%M:%S UTC")


def expiry_files(expires: str) -> list[dict[str, str]]:
    """Units and metric as files for the module host_service. Raises ValueError."""
    end = timer_time(expires)
    seconds = int(datetime.strptime(end, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC).timestamp())
    metric = METRIC_NEVER if expires == "never" else METRIC_FILE.format(seconds=seconds)
    return [
        {"path": METRIC_PATH, "content": metric, "effect": "none"},
        {"path": SERVICE_PATH, "content": SERVICE_UNIT, "effect": "none"},
        {"path": TIMER_PATH, "content": TIMER_UNIT.format(end=end)},
    ]
