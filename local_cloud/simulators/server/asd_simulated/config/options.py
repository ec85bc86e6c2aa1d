"""Finds a parameter of aerospike.conf in the table of options_table.py."""

from dataclasses import dataclass

from .options_table import PARAMETERS

U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1
WIDTHS = {"u8": 2**8 - 1, "u16": 2**16 - 1, "u32": U32_MAX, "u64": U64_MAX, "pow2": U64_MAX, "mult": U32_MAX}
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}


@dataclass(frozen=True)
class Option:
    """One parameter. `argument` is a context, a list of values, a length or a reason, depending on the type."""

    name: str
    kind: str
    low: int = 0
    high: int = U64_MAX
    argument: str = ""
    enterprise: bool = False
    since: tuple[int, ...] = ()
    until: tuple[int, ...] = ()

    def known_in(self, numbers: tuple[int, ...]) -> bool:
        return numbers >= self.since and (not self.until or numbers < self.until)


def number(text: str) -> int:
    """`text`, digits with an optional unit, as a number.

    :raises ValueError: for anything else, `4Gi` and `-1` included
    """
    digits, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in UNITS else (text, "")
    if not digits.isascii() or not digits.isdigit():
        raise ValueError(f"{text!r} isn't an unsigned number")
    value = int(digits) * UNITS.get(unit, 1)
    if value > U64_MAX:
        raise ValueError(f"{text!r} overflows 64 bits")
    return value


def _option(line: str) -> Option:
    name, kind, *rest = line.split()
    marks: dict[str, tuple[int, ...]] = {}
    words = []
    for word in rest:
        key, _, value = word.partition("=")
        if value and key in ("since", "until"):
            marks[key] = tuple(int(part) for part in value.split("."))
        else:
            words.append(word)
    enterprise = "E" in words
    words = [word for word in words if word != "E"]
    low, high, argument = 0, WIDTHS.get(kind, U64_MAX), ""
    if kind in ("open", "obsolete", "text", "mult"):
        argument = " ".join(words)
    elif "|" in kind:
        kind, argument = "choice", kind
    elif words:
        low = number(words[0])
        high = number(words[1]) if len(words) > 1 else high
    return Option(name, kind, low, high, argument, enterprise, marks.get("since", ()), marks.get("until", ()))


def _options(text: str) -> dict[str, tuple[Option, ...]]:
    found: dict[str, tuple[Option, ...]] = {}
    for line in filter(None, text.splitlines()):
        option = _option(line)
        found[option.name] = (*found.get(option.name, ()), option)
    return found


OPTIONS = {context: _options(text) for context, text in PARAMETERS.items()}


def find(context: str, name: str, release: tuple[int, ...]) -> Option | None:
    """The parameter of that name in a release, or None."""
    return next((option for option in OPTIONS[context].get(name, ()) if option.known_in(release)), None)
