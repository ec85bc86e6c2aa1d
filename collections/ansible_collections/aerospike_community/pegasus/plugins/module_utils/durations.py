# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Durations as users write them."""

from __future__ import annotations

import re

UNIT_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_PART = re.compile(r"(\d{1,12})\s*([dhms])", re.ASCII)
_WHOLE = re.compile(r"(?:\d{1,12}\s*[dhms]\s*)+", re.ASCII)
MAX_SECONDS = 3650 * UNIT_SECONDS["d"]  # beyond it, dates overflow; 0 means never
FORMS = "20h 30m, 90m, 3600s, 2d, plain seconds, or 0 for never"


def parse_duration(text: str | int) -> int:
    """Return a duration in seconds; 0 means never.

    :param text: seconds, or numbers with the units d, h, m and s, each at most once: `20h 30m`, `90m`, `3600s`
    :raises ValueError: another form; the text says what was found and what was expected
    """
    stripped = str(text).strip().lower()
    if re.fullmatch(r"\d{1,12}", stripped, re.ASCII):
        return _limited(text, int(stripped))
    if not _WHOLE.fullmatch(stripped):
        raise ValueError(f"{text!r} isn't a duration. Expected {FORMS}.")
    parts = _PART.findall(stripped)
    units = [unit for _, unit in parts]
    if len(set(units)) != len(units):
        raise ValueError(f"{text!r} names a unit twice. Expected {FORMS}.")
    return _limited(text, sum(int(number) * UNIT_SECONDS[unit] for number, unit in parts))


def _limited(text: str | int, seconds: int) -> int:
    if seconds > MAX_SECONDS:
        most = MAX_SECONDS // UNIT_SECONDS["d"]
        raise ValueError(f"{text!r} is more than ten years. Expected at most {most}d; {FORMS}.")
    return seconds


def format_duration(seconds: int) -> str:
    """Return a duration as text in the largest possible units: 90000 is '1d 1h', 0 is 'never'."""
    if seconds <= 0:
        return "never"
    parts = []
    for unit, size in UNIT_SECONDS.items():
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts)
