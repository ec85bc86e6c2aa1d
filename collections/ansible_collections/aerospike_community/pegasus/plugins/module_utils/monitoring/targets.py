# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Prometheus's targets: which exist, and their health in Prometheus's API. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

AEROSPIKE_EXPORTER_PORT = 9145
NODE_EXPORTER_PORT = 9100
PERSEUS_EXPORTER_PORT = 9146
# Job and port of the exporter that a kind of host has besides node_exporter.
JOB_OF_KIND = {"server": ("aerospike", AEROSPIKE_EXPORTER_PORT), "client": ("perseus", PERSEUS_EXPORTER_PORT)}


def targets_of(hosts: Sequence[dict[str, Any]], cluster: str) -> list[dict[str, Any]]:
    """Return the targets of the hosts that run: node_exporter on each, and the exporter of the host's kind.

    :param hosts: records with name, kind (server, client, monitor), index, address and state
    :param cluster: the environment's name
    """
    targets = []
    for host in hosts:
        if host.get("state", "running") != "running" or not host.get("address"):
            continue
        labels = {"cluster": cluster, "index": str(host["index"]), "kind": host["kind"], "instance": host["name"]}
        if host["kind"] in JOB_OF_KIND:
            job, port = JOB_OF_KIND[host["kind"]]
            targets.append({"job": job, "address": f"{host['address']}:{port}", "labels": labels})
        targets.append({"job": "hosts", "address": f"{host['address']}:{NODE_EXPORTER_PORT}", "labels": labels})
    return targets


def target_groups(targets: Sequence[dict[str, Any]], job: str) -> list[dict[str, Any]]:
    """Return one job's targets as Prometheus's file service discovery has them."""
    return [
        {"targets": [target["address"]], "labels": dict(target["labels"])} for target in targets if target["job"] == job
    ]


def read_targets(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return job, instance, address, kind, url, health and last_error of each target in /api/v1/targets."""
    return [
        {
            "job": target["labels"].get("job", ""),
            "instance": target["labels"].get("instance", ""),
            "address": target.get("discoveredLabels", {}).get("__address__", ""),
            "kind": target["labels"].get("kind", ""),
            "url": target.get("scrapeUrl", ""),
            "health": target.get("health", "unknown"),
            "last_error": target.get("lastError", ""),
        }
        for target in answer.get("data", {}).get("activeTargets", [])
    ]


def targets_problem(expected: Sequence[dict[str, str]], found: Sequence[dict[str, Any]]) -> str:
    """Return which expected targets (records with job and address) aren't up among those of read_targets, or ""."""
    by_key = {(target["job"], target["address"]): target for target in found}
    lines = []
    for target in expected:
        key = (target["job"], target["address"])
        if key not in by_key:
            lines.append(f"{target['address']} ({target['job']}): Prometheus has no such target")
        elif by_key[key]["health"] != "up":
            record = by_key[key]
            reason = record["last_error"] or "not scraped yet"
            lines.append(f"{target['address']} ({target['job']}, {record['instance']}): {record['health']}, {reason}")
    if not lines:
        return ""
    return "\n  ".join([f"expected {len(expected)} targets that are up, found {len(lines)} that are not:", *lines])
