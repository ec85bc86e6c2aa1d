"""Values of parameters: from a token to its type, within the parameter's limits."""

import grp
import pwd
from typing import Any

from ..release import Release
from .line import Line, text
from .model import NODES_MAX, ConfigError
from .options import U32_MAX, U64_MAX, WIDTHS, Option, number

TIME_UNITS = {"S": 1, "M": 60, "H": 3600, "D": 86400}


def convert(option: Option, line: Line, release: Release) -> Any:
    """The line's value in the parameter's type.

    :raises ConfigError: it isn't of that type, or outside its limits
    """
    value = line.value
    match option.kind:
        case "bool" | "flag":
            if option.kind == "flag" and not value:
                return True
            if value.lower() not in ("true", "false"):
                raise line.rule("must be true or false or yes or no" + (f", not {value}" if value else ""))
            return value.lower() == "true"
        case "str":
            return text(line)
        case "text":
            if len(text(line)) >= int(option.argument):
                raise line.rule(f"must be < {option.argument} characters long, not {value}")
            return value
        case "choice":
            if value not in option.argument.split("|"):
                raise line.error(f"{line.name} has unknown value '{value}'", "cfg.c:1643")
            return value
        case "sec":
            return bounded(line, seconds(line), option, " seconds")
        case "pct":
            try:
                percent = int(value)
            except ValueError:
                raise line.rule(f"must be a number, not {value}") from None
            if not -1 <= percent <= 100:
                raise line.rule(f"must be between 0 and 100 or -1, not {value}")
            return percent
        case "hex":
            try:
                node = int(value, 16)
            except ValueError:
                raise line.rule(f"must be a 64-bit hex number, not {value}") from None
            if not 1 <= node <= U64_MAX:
                raise line.rule(f"must be >= 1 and <= ffffffffffffffff, not {node:x}")
            return node
        case "cluster-name":
            if not 0 < len(value) < 64:
                raise ConfigError(f"bad cluster name '{value}'", where="cfg.c:5282")
            return value
        case "user" | "group":
            return known_account(option.kind, line)
    return integer(option, line, release)


def integer(option: Option, line: Line, release: Release) -> int:
    kind, low, high = option.kind, option.low, option.high
    if kind == "port":
        kind, low, high = "u16", 1024, 65535
    elif kind == "data-size":
        kind, low, high = "u64", (512 if release.numbers >= (8, 1) else 256) * 2**20, 256 * 2**40
    elif kind == "replication-factor":
        kind, low, high = "u32", 1, NODES_MAX[release.edition]
    if not line.value:
        raise line.rule("must specify an unsigned integer value")
    try:
        value = number(line.value)
    except ValueError:
        raise line.rule(f"must be an unsigned number, not {line.value}") from None
    if value > WIDTHS[kind]:
        names = {U32_MAX: "int", 2**16 - 1: "short", 2**8 - 1: "char"}
        raise line.error(f"{line.name} {value} overflows unsigned {names[WIDTHS[kind]]}", "cfg.c:1863")
    bounded(line, value, Option(option.name, kind, low, high))
    if kind == "pow2" and value & (value - 1):
        raise line.rule(f"must be an exact power of 2, not {value}")
    if kind == "mult" and value % int(option.argument):
        raise line.rule(f"must be an exact multiple of {option.argument}, not {value}")
    return value


def bounded(line: Line, value: int, option: Option, unit: str = "") -> int:
    if not option.low <= value <= option.high:
        limits = f"<= {option.high}{unit}"
        if option.low:
            limits = f">= {option.low}{unit} and {limits}"
        raise line.rule(f"must be {limits}, not {value}{unit}")
    return value


def seconds(line: Line) -> int:
    value = line.value
    if not value:
        raise line.rule("must specify an unsigned integer value with time unit (s, m, h, or d)")
    digits, unit = (value[:-1], value[-1].upper()) if value[-1:].upper() in TIME_UNITS else (value, "S")
    if not digits.isascii() or not digits.isdigit() or int(digits) * TIME_UNITS[unit] > U32_MAX:
        raise line.rule(f"must be a small enough unsigned number with time unit (s, m, h, or d), not {value}")
    return int(digits) * TIME_UNITS[unit]


def known_account(kind: str, line: Line) -> str:
    try:
        if kind == "user":
            pwd.getpwnam(line.value)
        else:
            grp.getgrnam(line.value)
    except KeyError:
        raise line.error(f"{kind} not found: {line.value}", "cfg.c:2290") from None
    return line.value
