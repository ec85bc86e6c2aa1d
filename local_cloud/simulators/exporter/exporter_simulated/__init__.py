"""A simulator of aerospike-prometheus-exporter: the same metric names and labels, read over the info protocol.

Names, labels, configuration keys and the order of calls are facts from the public source of the real exporter
(aerospike/aerospike-prometheus-exporter, v1.34.0). It works against a real server too. Only the standard library.
"""

import json
from pathlib import Path


def version() -> str:
    """The version that the package simulates, marked as SIMULATED."""
    try:
        release = json.loads((Path(__file__).resolve().parent.parent / "release.json").read_text())
        return f"v{release['version']} SIMULATED"
    except (OSError, ValueError, KeyError):
        return "from the source tree, SIMULATED"
