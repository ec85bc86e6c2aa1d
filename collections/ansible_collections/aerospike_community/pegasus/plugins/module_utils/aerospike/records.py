# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Count the records of a cluster, and compare the count with an earlier one. Pure.

A record counts once, at the master of its partition (``master_objects``). The count is exact if no partition migration
is left. Between two counts, clients may have written and deleted records, and the servers may have expired or evicted
some. The servers count that too, so a loss differs from a removal:

- without any of this, the two counts must be the same;
- otherwise the second may be lower by as many records as were removed. Expiry and eviction count each copy of a record,
  and new records hide lost ones: this comparison finds only a loss that nothing else explains;
- a truncation isn't counted by the servers, so nothing can be compared after one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .survey import Survey

# A write or delete that timed out may have taken effect. Counters with xdr_ repeat a part of the others.
_WRITTEN = re.compile(r"(?!xdr_)\w*(write_success|write_timeout|udf_timeout)")
_REMOVED = re.compile(r"(?!xdr_)\w*(delete_success|delete_timeout|udf_timeout)|expired_objects|evicted_objects")


def snapshot(first: Survey, second: Survey) -> dict[str, Any]:
    """Return the count of the records, for a later ``compare``.

    Two surveys, because a record that is removed between the answers must not look lost: the operations so far are
    those of the first, the records those of the second.

    The result can be sent as JSON: ``{"exact": bool, "members": [host], "namespaces": {name: {"records": int,
    "nodes": {host: {"objects": int, "written": int, "removed": int}}, "truncated": {set or "": lut}}}}``. ``exact``:
    whether no partition migration was left.
    """
    namespaces = {}
    for name in second.namespaces:
        before = first.values(name)
        nodes = {
            host: {
                "objects": number(values, "objects"),
                "written": _counted(before.get(host, values), _WRITTEN),
                "removed": _counted(before.get(host, values), _REMOVED),
            }
            for host, values in second.values(name).items()
        }
        namespaces[name] = {"records": unique(second, name), "nodes": nodes, "truncated": _truncated(second, name)}
    exact = first.settled and second.settled and first.key == second.key
    return {"exact": exact, "members": list(second.nodes), "namespaces": namespaces}


def unique(survey: Survey, namespace: str) -> int:
    """Return the records of a namespace, each counted once."""
    return sum(number(values, "master_objects") for values in survey.values(namespace).values())


@dataclass
class Comparison:
    """``lines``: the figures, a line for each namespace. ``problems``: records that are missing, the same way."""

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def compare(before: Mapping[str, Any], after: Survey, since: str) -> Comparison:
    """Compare the records now with those of a snapshot.

    :param since: the moment of the snapshot, for messages: "the stop of node 2"
    """
    result = Comparison()
    for name, counted in before["namespaces"].items():
        _compare(name, counted, before["exact"], after, since, result)
    return result


def _compare(name: str, before: Mapping[str, Any], exact: bool, after: Survey, since: str, result: Comparison) -> None:
    """Compare one namespace. Without ``exact``, the count before may be too low, not too high."""
    expected, found = before["records"], unique(after, name)
    if not expected and not found:
        return
    text = f"namespace {name}: {expected:,} records before {since}, {found:,} after"
    if before["truncated"] != _truncated(after, name):
        result.lines.append(f"{text}; it was truncated meanwhile, so nothing can be compared")
        return
    growth = _Growth.of(before["nodes"], after.values(name))
    if growth.restarted:
        result.lines.append(
            f"{text}; {', '.join(growth.restarted)} started again meanwhile, so nothing can be compared"
        )
    elif not growth.written and not growth.removed:
        if found == expected or (found > expected and not exact):
            result.lines.append(text + ("" if exact else "; partition migrations were left before, so it isn't exact"))
        else:
            difference = f"{expected - found:,} are lost" if found < expected else f"{found - expected:,} more"
            result.problems.append(
                f"namespace {name}: expected {expected:,} records as before {since}, because nothing was written or "
                f"removed meanwhile, found {found:,}: {difference}"
            )
    elif found < expected - growth.removed:
        result.problems.append(
            f"namespace {name}: expected at least {expected - growth.removed:,} records ({expected:,} before {since}, "
            f"of which at most {growth.removed:,} were deleted, expired or evicted since), found {found:,}: at least "
            f"{expected - growth.removed - found:,} are lost"
        )
    else:
        result.lines.append(
            f"{text}; meanwhile {growth.written:,} writes, and at most {growth.removed:,} records deleted, expired or "
            f"evicted"
        )


@dataclass(frozen=True)
class _Growth:
    """What happened since a snapshot. ``restarted``: nodes whose counters began at 0 again."""

    written: int
    removed: int
    restarted: list[str]

    @classmethod
    def of(cls, before: Mapping[str, Mapping[str, int]], after: Mapping[str, Mapping[str, str]]) -> _Growth:
        """Add up the nodes. A node that has left took its last counters with it: no more than on the busiest node."""
        written, removed, restarted = 0, [0], []
        for host, values in after.items():
            was = before.get(host, {"written": 0, "removed": 0})
            more = _counted(values, _WRITTEN) - was["written"]
            fewer = _counted(values, _REMOVED) - was["removed"]
            if more < 0 or fewer < 0:
                restarted.append(host)
            written += more
            removed.append(fewer)
        left = len([host for host in before if host not in after])
        return cls(written, sum(removed) + left * max(removed), restarted)


def number(values: Mapping[str, str], name: str) -> int:
    """Return a statistic as a whole number, 0 if the node doesn't have it."""
    text = values.get(name, "")
    return int(text) if text.isdecimal() else 0


def _counted(values: Mapping[str, str], names: re.Pattern[str]) -> int:
    """Add the counters whose whole name matches."""
    return sum(number(values, name) for name in values if names.fullmatch(name))


def _truncated(survey: Survey, namespace: str) -> dict[str, str]:
    """Return the times of the last truncations: of the namespace ("") and of its sets, the latest of all nodes."""
    found: dict[str, str] = {}
    for host, values in survey.values(namespace).items():
        sets = survey.nodes[host].statistics.sets.get(namespace, ())
        for name, time in [
            ("", values.get("truncate_lut", "0")),
            *((s.get("set", ""), s.get("truncate_lut", "0")) for s in sets),
        ]:
            if time.isdecimal() and int(time) > int(found.get(name, "0")):
                found[name] = time
    return found
