# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Check the files that a launch needs besides config.yml: threads.yaml and the licence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from ..aerospike.licence import licence_problems, node_limit
from ..aerospike.settings import MAX_COMMUNITY_NODES
from ..perseus import threads as threads_file
from .report import Problem, Report

THREADS = Path("threads.yaml")
LICENCE = "aerospike_server_features_file"
# A query workload of threads.yaml -> the setting without which Perseus ignores the workload.
WORKLOAD_NEEDS = {
    "stringSearch": "perseus_client_string_index",
    "numericSearch": "perseus_client_numeric_index",
    "geospatialSearch": "perseus_client_geo_spatial_index",
    "udfAggregation": "perseus_client_udf_aggregation",
    "rangeQuery": "perseus_client_range_query",
}


def file_problems(report: Report, root: Path, today: date) -> list[Problem]:
    """Check threads.yaml and the licence."""
    assert report.places is not None
    found = list(_threads_problems(report, root / _threads_file(report)))
    path = _licence(report, root)
    if path:
        messages = licence_problems(path, report.values.get("pegasus_cluster_nodes"), today)
        found += [report.places.problem(LICENCE, message) for message in messages]
    return found


def _licence(report: Report, root: Path) -> Path | None:
    """Return the path of the licence for the servers, None if they need none."""
    name = report.values.get(LICENCE)
    if not name or report.values.get("aerospike_server_edition") != "enterprise":
        return None
    path = Path(str(name)).expanduser()
    return path if path.is_absolute() else root / path


def most_nodes(report: Report, root: Path) -> tuple[int, str]:
    """Return how many nodes the cluster may have, including nodes added later, and why; 0 for any number."""
    if report.values.get("aerospike_server_edition") == "community":
        return MAX_COMMUNITY_NODES, f"the community edition allows at most {MAX_COMMUNITY_NODES}"
    path = _licence(report, root)
    if not path and report.values.get("pegasus_artifact_source") == "upstream":
        return 1, f"without a licence ({LICENCE}) the enterprise edition allows at most 1"
    limit = node_limit(path) if path else 0
    return (limit, f"the licence ({LICENCE}) is for {limit}") if limit else (0, "")


def _threads_file(report: Report) -> str | Path:
    """Return the file of the live load: threads.yaml, unless -e names another."""
    try:
        return str(report.value("perseus_client_threads_file"))
    except LookupError:
        return THREADS


def _threads_problems(report: Report, path: Path) -> Iterator[Problem]:
    assert report.places is not None
    name = report.places.name(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        yield Problem(name, 0, "", f"found a file that can't be read ({error}), expected the live load")
        return
    try:
        threads = threads_file.parse(text)
    except threads_file.ThreadsFileError as error:
        for text in error.problems:
            match = re.match(r"line (\d+): (.*)", text, re.DOTALL)
            yield Problem(name, int(match[1]) if match else 0, "", match[2] if match else text)
        return
    for workload, key in WORKLOAD_NEEDS.items():
        if threads[workload] and report.values.get(key) is False:
            line = next((n for n, at in enumerate(text.splitlines(), 1) if re.match(rf"\ufeff?{workload} *:", at)), 0)
            yield Problem(
                name,
                line,
                workload,
                f"found {threads[workload]} threads while {key} is false, expected 0: Perseus would ignore them. "
                f"Set {key}: true in config.yml, or {workload}: 0",
            )
