"""Logs of hosts that are containers, for the report of a failed test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

# Failed units, the end of the journal, and the end of each product's log.
COMMANDS = """
systemctl --failed --no-legend --plain
journalctl --no-pager --lines 60 --output short-precise
for file in /var/log/aerospike/*.log /var/log/perseus/*.log /var/log/grafana/*.log; do
  [ -f "$file" ] && echo "--- $file" && tail -n 30 "$file"
done
true
"""


def host_logs(containers: Iterable[str]) -> str:
    """The logs of these containers, or the reason why a container's logs can't be read."""
    logs = []
    for container in containers:
        try:
            done = subprocess.run(
                ["docker", "exec", container, "sh", "-c", COMMANDS],
                capture_output=True, text=True, errors="replace", timeout=60, check=False,
            )  # fmt: skip
            text = done.stdout + done.stderr
        except (OSError, subprocess.TimeoutExpired) as error:
            text = f"{error}\n"
        logs.append(f"=== {container}\n{text}")
    return "".join(logs)


def containers_of(label: str) -> list[str]:
    """The names of the running containers with a label, given as name=value."""
    try:
        done = subprocess.run(
            ["docker", "ps", "--filter", f"label={label}", "--format", "{{.Names}}"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    return sorted(done.stdout.split())
