"""Lengths of time as users write them."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.durations import (
    format_duration,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20h 30m", 73800),
        ("20h30m", 73800),
        ("90m", 5400),
        ("3600s", 3600),
        ("24H", 86400),
        ("1d 2h", 93600),
        (" 7200 ", 7200),
        (7200, 7200),
        ("0", 0),
        (0, 0),
        ("0h", 0),
    ],
)
def test_duration(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "soon", "-5m", "1.5h", "2w", "1h and 5m", "5m 5m", "10 20"])
def test_duration_refused(text):
    with pytest.raises(ValueError, match=r"Expected 20h 30m, 90m, 3600s"):
        parse_duration(text)


@pytest.mark.parametrize(("seconds", "text"), [(73800, "20h 30m"), (90061, "1d 1h 1m 1s"), (0, "never")])
def test_duration_as_text(seconds, text):
    assert format_duration(seconds) == text
