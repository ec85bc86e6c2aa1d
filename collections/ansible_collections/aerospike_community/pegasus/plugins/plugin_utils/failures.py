# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The hosts that have failed in this run: written by the callback ``failed_hosts``, read by action plugins.

With the strategy free, a host that waits for another one can't see its failure: ``ansible_play_hosts`` has the value of
the moment in which the task started. The file is in Ansible's own temporary folder of the run, which Ansible removes at
the end.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible import constants


@dataclass(frozen=True)
class FailedHost:
    """A host that failed. ``because``: the failed hosts for which it didn't wait; empty if the failure is its own."""

    name: str
    addresses: list[str] = field(default_factory=list)
    because: list[str] = field(default_factory=list)

    def is_among(self, awaited: Collection[str]) -> bool:
        """Return whether this is one of the awaited hosts, given by name or address."""
        return self.name in awaited or any(address in awaited for address in self.addresses)


def record(failed: FailedHost) -> None:
    """Add a host to the failed hosts of this run."""
    with _file().open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(failed)) + "\n")


def failed_hosts() -> list[FailedHost]:
    """Return the hosts that have failed in this run, in the order of their failures."""
    try:
        lines = _file().read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [FailedHost(**json.loads(line)) for line in lines]


def failed_among(awaited: Collection[str]) -> list[FailedHost]:
    """Return the failed hosts among the awaited ones, given by name or address."""
    return [failed for failed in failed_hosts() if failed.is_among(awaited)]


def not_waited_for(failed: Sequence[FailedHost]) -> dict[str, Any]:
    """Return the result of a task that waits no longer (module_utils/results.py)."""
    own = [host.name for host in failed if not host.because]
    causes = list(dict.fromkeys([*own, *(name for host in failed for name in host.because)]))
    others = [host.name for host in failed if host.because]
    text = f"not waited for: {', '.join(own or others)} failed"
    if not own:
        text += f", because {', '.join(causes)} failed"
    return {"failed": True, "changed": False, "msg": text, "not_waited_for": causes}


def _file() -> Path:
    return Path(constants.DEFAULT_LOCAL_TMP) / "failed-hosts"
