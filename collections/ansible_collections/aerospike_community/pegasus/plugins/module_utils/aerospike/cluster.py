# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Query all nodes of a cluster, and wait until they agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from .info import InfoError, cluster_stable, info, info_pairs

POLL_SECONDS = 0.2
QUERY_TIMEOUT = 3.0
# Nodes are queried in parallel, so that several unreachable nodes cost only one timeout.
MAX_THREADS = 16


class ClusterError(Exception):
    """The nodes didn't form the expected cluster in time. ``answers``: the last answer or error of each, by host."""

    def __init__(self, message: str, answers: dict[str, str]) -> None:
        super().__init__(message)
        self.answers = answers


def query_all(hosts: Sequence[str], query: Callable[[str], str]) -> tuple[dict[str, str], dict[str, str]]:
    """Query all nodes in parallel. Return the answers and the errors, by host."""
    answers: dict[str, str] = {}
    errors: dict[str, str] = {}
    with ThreadPoolExecutor(MAX_THREADS) as pool:
        pending = {host: pool.submit(query, host) for host in hosts}
    for host, answer in pending.items():
        try:
            answers[host] = answer.result()
        except InfoError as error:
            errors[host] = str(error)
    return answers, errors


def answering(hosts: Sequence[str], port: int) -> list[str]:
    """Return the hosts whose node answers."""
    answers, _ = query_all(hosts, lambda host: info(host, "node", port=port, timeout=QUERY_TIMEOUT).get("node", ""))
    return [host for host in hosts if host in answers]


def partitions_to_move(hosts: Sequence[str], port: int) -> int:
    """Return how many partitions the nodes still have to send or receive. Nodes that don't answer aren't counted."""
    answers, _ = query_all(
        hosts,
        lambda host: info_pairs(host, "statistics", port=port, timeout=QUERY_TIMEOUT).get(
            "migrate_partitions_remaining", ""
        ),
    )
    return sum(int(answer) for answer in answers.values() if answer.isdecimal())


def skipped(host: str) -> str:
    """Return the message for a node that is skipped because it doesn't answer."""
    return f"the database on {host} is stopped: skipped (restart-node starts it; setup also starts a stopped instance)"


def wait_until_stable(hosts: Sequence[str], port: int, timeout: float, *, migrated: bool = False) -> str:
    """Wait until all hosts report a stable cluster of exactly their number. Return its key. Raises ClusterError.

    :param migrated: also wait until no partition is migrating
    """
    deadline = time.monotonic() + timeout
    while True:
        answers, errors = query_all(
            hosts, lambda host: cluster_stable(host, len(hosts), port=port, timeout=QUERY_TIMEOUT, migrated=migrated)
        )
        keys = set(answers.values())
        if not errors and len(keys) == 1:
            return keys.pop()
        if time.monotonic() > deadline:
            found = [f"  {host}: {errors.get(host) or 'key ' + answers.get(host, '')}" for host in hosts]
            raise ClusterError(
                f"the cluster is not stable: expected {len(hosts)} nodes with one cluster key within {timeout:.0f} s, "
                f"found {len(answers)} such nodes with {len(keys)} different keys:\n" + "\n".join(found),
                {**answers, **errors},
            )
        time.sleep(POLL_SECONDS)
