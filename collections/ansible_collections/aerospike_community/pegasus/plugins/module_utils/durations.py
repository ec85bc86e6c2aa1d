"""Lengths of time as users write them."""

from __future__ import annotations

import re

UNIT_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_PART = re.compile(r"(\d{1,12})\s*([dhms])", re.ASCII)
_WHOLE = re.compile(r"(?:\d{1,12}\s*[dhms]\s*)+", re.ASCII)
LONGEST = 3650 * UNIT_SECONDS["d"]  # beyond it, dates overflow; 0 is for what shall have no end
FORMS = "20h 30m, 90m, 3600s, 2d, plain seconds, or 0 for never"


def parse_duration(text: str | int) -> int:
    """Return the seconds that `text` stands for; 0 means never.

    Accepts plain seconds, or numbers with the units d, h, m and s, each at most once: `20h 30m`, `90m`, `3600s`.
    Raises ValueError with what was found and what is expected.
    """
    said = str(text).strip().lower()
    if re.fullmatch(r"\d{1,12}", said, re.ASCII):
        return _limited(text, int(said))
    if not _WHOLE.fullmatch(said):
        raise ValueError(f"{text!r} isn't a length of time. Expected {FORMS}.")
    parts = _PART.findall(said)
    units = [unit for _, unit in parts]
    if len(set(units)) != len(units):
        raise ValueError(f"{text!r} names a unit twice. Expected {FORMS}.")
    return _limited(text, sum(int(number) * UNIT_SECONDS[unit] for number, unit in parts))


def _limited(text: str | int, seconds: int) -> int:
    if seconds > LONGEST:
        raise ValueError(f"{text!r} is more than ten years. Expected at most {LONGEST // UNIT_SECONDS['d']}d; {FORMS}.")
    return seconds


def format_duration(seconds: int) -> str:
    """Return `seconds` in the largest units that fit: 90000 is '1d 1h'; 0 is 'never'."""
    if seconds <= 0:
        return "never"
    parts = []
    for unit, size in UNIT_SECONDS.items():
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts)
