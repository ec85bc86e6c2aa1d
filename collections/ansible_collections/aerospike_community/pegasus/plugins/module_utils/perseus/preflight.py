# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The check before each start of Perseus (ExecStartPre of its service): its two files, then the cluster.

Perseus replaces a missing file by its own default, which truncates data or starts other workloads. It hangs on an
incomplete configuration, and exits at once without a server. The check prevents such a start. It needs only Python 3.9.
The Ansible role perseus_client installs it in the same way as the exporter.
"""

from __future__ import annotations

import argparse
import sys
import syslog
import time
from functools import partial
from pathlib import Path
from typing import Any

from ..aerospike.cluster import answering, query_all
from ..aerospike.info import cluster_stable
from . import configuration as perseus_config
from . import threads as threads_file

POLL_SECONDS = 0.5


class NotReadyError(Exception):
    """Perseus must not start now."""


def check_files(folder: Path) -> dict[str, Any]:
    """Return the configuration. Raises NotReadyError if it or threads.yaml is incomplete or invalid."""
    configuration: dict[str, Any] = {}
    for name, read in (("configuration.yaml", perseus_config.read), ("threads.yaml", threads_file.parse)):
        path = folder / name
        try:
            content = read(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise NotReadyError(
                f"{path} is missing, incomplete or invalid. Run setup (for threads.yaml: copy-threads) to write it "
                f"again:\n{error}"
            ) from error
        configuration = configuration or content
    return configuration


def wait_for_cluster(hosts: list[str], port: int, timeout: float) -> int:
    """Wait until the nodes that answer form one stable cluster. Return their number. Raises NotReadyError.

    Nodes that don't answer are ignored, because Perseus may start while a node is down.
    """
    deadline = time.monotonic() + timeout
    while True:
        present = answering(hosts, port)
        keys, errors = query_all(present, partial(cluster_stable, size=len(present), port=port))
        if present and not errors and len(set(keys.values())) == 1:
            return len(present)
        if time.monotonic() > deadline:
            found = "; ".join(errors.values()) or (f"{len(set(keys.values()))} clusters" if present else "none")
            raise NotReadyError(
                f"expected a stable cluster of the nodes that answer among {', '.join(hosts)} within {timeout:.0f} s, "
                f"found {len(present)} such nodes: {found}"
            )
        time.sleep(POLL_SECONDS)


def main() -> int:
    """Return exit code 0 if Perseus may start, else 1."""
    parser = argparse.ArgumentParser(prog="perseus-preflight", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("/var/lib/perseus"), help="Perseus's working folder")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds to wait for the cluster")
    options = parser.parse_args()
    try:
        hosts = check_files(options.folder)["aerospikeConfiguration"]["hosts"]
        wait_for_cluster([host["ip"] for host in hosts], hosts[0]["port"], options.timeout)
    except NotReadyError as error:
        text = f"FAILED: Perseus is not started: {error}"
        # To Perseus's log through stderr, and to the journal.
        print(text, file=sys.stderr)
        syslog.openlog("perseus-preflight")
        for line in text.splitlines():
            syslog.syslog(syslog.LOG_ERR, line)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
