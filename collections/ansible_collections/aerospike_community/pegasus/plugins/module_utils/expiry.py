"""The timer inside an instance that ends its life: the units, for the first boot and for a later change. Pure.

The timer holds an absolute time, so a reboot doesn't prolong a life; Persistent makes it fire at the next start when
the time passed while the instance was stopped. The instance's shutdown behaviour turns the power-off into its end.
"""

from __future__ import annotations

from datetime import datetime

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
# A timer without a time isn't loaded, nor one beyond 2199. One that never ends is stopped and disabled beside that.
NEVER = "2199-01-01 00:00:00 UTC"


def timer_time(expires: str) -> str:
    """A tag's value (2026-01-31T12:00:00Z, or never) as systemd writes a moment. Raises ValueError."""
    if expires == "never":
        return NEVER
    return datetime.strptime(expires, "%Y-%m-%dT%H:%M:%SZ").strftime("%Y-%m-%d %H:%M:%S UTC")


def expiry_files(expires: str) -> list[dict[str, str]]:
    """The units as files for the module host_service. Raises ValueError."""
    return [
        {"path": SERVICE_PATH, "content": SERVICE_UNIT, "effect": "none"},
        {"path": TIMER_PATH, "content": TIMER_UNIT.format(end=timer_time(expires))},
    ]
