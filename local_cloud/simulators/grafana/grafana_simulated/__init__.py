"""A simulator of Grafana: reads the provisioning folder, answers a part of the HTTP API, draws simple charts.

Paths, settings and the shapes of answers are facts from Grafana's public documentation (HTTP API, provisioning,
configuration; version 12.4). Needs Python 3.11 and PyYAML.
"""

from pathlib import Path

NOTICE = "SIMULATED: a stand-in made by Pegasus, not Grafana"


def version() -> str:
    """The version that the package simulates."""
    try:
        return (Path(__file__).resolve().parents[2] / "VERSION").read_text().strip()
    except OSError:
        return "0.0.0"
