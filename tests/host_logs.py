"""What hosts that are containers have to say when a test has failed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

# Units that failed, the journal's end, and the end of each product's own log.
COMMANDS = """
systemctl --failed --no-legend --plain
journalctl --no-pager --lines 60 --output short-precise
for file in /var/log/aerospike/*.log /var/log/perseus/*.log /var/log/grafana/*.log; do
  [ -f "$file" ] && echo "--- $file" && tail -n 30 "$file"
done
true
"""


def host_logs(containers: Iterable[str]) -> str:
    """The logs of these containers, one after the other; of one that can't be asked, why not."""
    told = []
    for container in containers:
        try:
            done = subprocess.run(
                ["docker", "exec", container, "sh", "-c", COMMANDS],
                capture_output=True, text=True, errors="replace", timeout=60, check=False,
            )  # fmt: skip
            text = done.stdout + done.stderr
        except (OSError, subprocess.TimeoutExpired) as error:
            text = f"{error}\n"
        told.append(f"=== {container}\n{text}")
    return "".join(told)


def containers_of(label: str) -> list[str]:
    """Names of the running containers that carry a label, given as name=value."""
    try:
        done = subprocess.run(
            ["docker", "ps", "--filter", f"label={label}", "--format", "{{.Names}}"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    return sorted(done.stdout.split())
