# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Several nodes as one cluster: who answers, do they agree, wait until they do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from .info import InfoError, cluster_stable, info, info_pairs

POLL_SECONDS = 0.2
ASK_TIMEOUT = 3.0
# Nodes are asked at the same time, so that one that is gone costs its time limit once.
MAX_THREADS = 16


class ClusterError(Exception):
    """The nodes didn't form the expected cluster in time. ``answers`` holds what each said last."""

    def __init__(self, message: str, answers: dict[str, str]) -> None:
        super().__init__(message)
        self.answers = answers


def ask_all(hosts: Sequence[str], ask: Callable[[str], str]) -> tuple[dict[str, str], dict[str, str]]:
    """Ask every node at the same time; return the answers and the errors, by host."""
    answers: dict[str, str] = {}
    errors: dict[str, str] = {}
    if not hosts:
        return answers, errors

    def one(host: str) -> tuple[str, str, str]:
        try:
            return host, ask(host), ""
        except InfoError as error:
            return host, "", str(error)

    with ThreadPoolExecutor(min(len(hosts), MAX_THREADS)) as pool:
        for host, answer, error in pool.map(one, hosts):
            if error:
                errors[host] = error
            else:
                answers[host] = answer
    return answers, errors


def answering(hosts: Sequence[str], port: int) -> list[str]:
    """Return the hosts on which a node answers."""
    answers, _ = ask_all(hosts, lambda host: info(host, "node", port=port, timeout=ASK_TIMEOUT).get("node", ""))
    return [host for host in hosts if host in answers]


def partitions_to_move(hosts: Sequence[str], port: int) -> int:
    """How many partitions the nodes still have to send or receive; those that don't answer are left out."""
    answers, _ = ask_all(
        hosts,
        lambda host: info_pairs(host, "statistics", port=port, timeout=ASK_TIMEOUT).get(
            "migrate_partitions_remaining", ""
        ),
    )
    return sum(int(answer) for answer in answers.values() if answer.isdecimal())


def skipped(host: str) -> str:
    """What users read of a node that is left out because it doesn't answer."""
    advice = "restart-node brings it back; setup does where its instance is stopped"
    return f"the database on {host} is stopped: it is skipped ({advice})"


def wait_until_stable(hosts: Sequence[str], port: int, timeout: float, *, migrated: bool = False) -> str:
    """Wait until all hosts report a stable cluster of exactly their number, and return its key.

    :param timeout: seconds
    :param migrated: all partitions have to be where they belong, too
    :raises ClusterError: they don't in time
    """
    deadline = time.monotonic() + timeout
    while True:
        answers, errors = ask_all(
            hosts, lambda host: cluster_stable(host, len(hosts), port=port, timeout=ASK_TIMEOUT, migrated=migrated)
        )
        keys = set(answers.values())
        if not errors and len(keys) == 1:
            return keys.pop()
        if time.monotonic() > deadline:
            said = [f"  {host}: {errors.get(host) or 'key ' + answers.get(host, '')}" for host in hosts]
            raise ClusterError(
                f"the cluster is not stable: expected {len(hosts)} nodes with one cluster key within {timeout:.0f} s, "
                f"found {len(answers)} that see such a cluster, with {len(keys)} different keys:\n" + "\n".join(said),
                {**answers, **errors},
            )
        time.sleep(POLL_SECONDS)
