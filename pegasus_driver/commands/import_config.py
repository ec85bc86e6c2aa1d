"""`pegasus-driver import-config`: converts the original tool's configure.sh to a config.yml. Never runs the file.

It understands `NAME=value` with the shell's quotes, comments, `export`, and `$NAME` or `${NAME}` of an earlier
assignment. It reports and skips everything else: commands, substitutions, arithmetic.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pegasus_driver.errors import UsageError
from pegasus_driver.exit_codes import ExitCode

if TYPE_CHECKING:
    from pegasus_driver.world import World

TEMPLATE = Path("group_vars/all/config.yml")
MAX_BYTES = 1_000_000


def text(value: str) -> str:
    return value.strip()


def word(value: str) -> str:
    """Convert MEMORY, None: our values are lower case."""
    return value.strip().lower()


def whole(value: str) -> int:
    """Convert a number as shells write it; int() would also accept 1_000 and digits of other scripts."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()):
        raise ValueError(value)
    return int(value.strip(), 10)


def fraction(value: str) -> float:
    return float(value.strip())


def boolean(value: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    return words[value.strip().lower()]


@dataclass(frozen=True)
class Variable:
    """One variable of the original: our key, the conversion of its text, and what it must be."""

    key: str
    read: Callable[[str], Any]
    expected: str = "text"


def _of(read: Callable[[str], Any], expected: str, **names: str) -> dict[str, Variable]:
    return {name: Variable(key, read, expected) for name, key in names.items()}


# The original's names, for this command and for docs/configuration.md.
ORIGINAL: dict[str, Variable] = {
    **_of(
        text, "text",
        AWS_REGION="pegasus_region",
        AWS_EXPIRE="ec2_provision_expiry",
        VER="aerospike_server_version",
        CLUSTER_NAME="pegasus_cluster_name",
        CLUSTER_INSTANCE_TYPE="ec2_provision_cluster_instance_type",
        NAMESPACE_NAME="pegasus_namespace",
        PRIMARY_INDEX_STORAGE_PARTITIONS="nvme_partition_primary_index_partitions",
        SECONDARY_INDEX_STORAGE_PARTITIONS="nvme_partition_secondary_index_partitions",
        DATA_STORAGE_PARTITIONS="nvme_partition_data_partitions",
        GRAFANA_NAME="pegasus_monitoring_name",
        GRAFANA_INSTANCE_TYPE="ec2_provision_monitoring_instance_type",
        CLIENT_NAME="pegasus_client_name",
        CLIENT_INSTANCE_TYPE="ec2_provision_client_instance_type",
    ),
    **_of(
        word, "a word",
        NAMESPACE_COMPRESSION="aerospike_server_compression",
        NAMESPACE_PRIMARY_INDEX_STORAGE_TYPE="pegasus_primary_index_storage",
        NAMESPACE_SECONDARY_INDEX_STORAGE_TYPE="pegasus_secondary_index_storage",
        NAMESPACE_DATA_STORAGE_TYPE="pegasus_data_storage",
    ),
    **_of(
        whole, "a whole number",
        CLUSTER_NUMBER_OF_NODES="pegasus_cluster_nodes",
        NAMESPACE_DEFAULT_TTL="aerospike_server_default_ttl",
        NAMESPACE_REPLICATION_FACTOR="pegasus_replication_factor",
        NUMBER_OF_PARTITION_ON_EACH_NVME="nvme_partition_count",
        OVERPROVISIONING_PERCENTAGE="nvme_partition_overprovisioning",
        PARTITION_TREE_SPRIGS="aerospike_server_partition_tree_sprigs",
        CLIENT_NUMBER_OF_NODES="pegasus_client_nodes",
        RECORD_SIZE="perseus_client_record_size",
        BATCH_READ_SIZE="perseus_client_read_batch_size",
        BATCH_WRITE_SIZE="perseus_client_write_batch_size",
        NORMAL_RANGE="perseus_client_normal_time_range",
        MAX_RANGE="perseus_client_max_time_range",
    ),
    **_of(
        fraction, "a number",
        READ_HIT_RATIO="perseus_client_read_hit_ratio",
        CHANCE_OF_MAX="perseus_client_max_time_range_chance",
    ),
    **_of(
        boolean, "True or False",
        TRUNCATE_SET="perseus_client_truncate_set",
        STRING_INDEX="perseus_client_string_index",
        NUMERIC_INDEX="perseus_client_numeric_index",
        GEO_SPATIAL_INDEX="perseus_client_geo_spatial_index",
        UDF_AGGREGATION="perseus_client_udf_aggregation",
        UDF_AFFREGATION="perseus_client_udf_aggregation",  # the original's spelling
        RANGE_QUERY="perseus_client_range_query",
    ),
}  # fmt: skip
# Variables of earlier versions of the original, for features that it has dropped.
DROPPED = {"KEY_CACHE_CAPACITY", "KEY_CACHE_SAVE_RATIO"}

_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_NAME = re.compile(r"\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*)", re.ASCII)


class ShellError(ValueError):
    """A line contains more than an assignment of plain text."""


@dataclass
class Imported:
    """The result: our keys, the original name and line of each, and remarks (line, text)."""

    values: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, tuple[str, int]] = field(default_factory=dict)
    remarks: list[tuple[int, str]] = field(default_factory=list)


def read_configure(content: str) -> Imported:
    """Read a configure.sh. Never runs or raises anything: the remarks report what was skipped."""
    found = Imported()
    shell: dict[str, str] = {}
    for number, line in _logical_lines(content):
        statement = line.strip()
        if not statement or statement.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(statement)
        if not match:
            found.remarks.append((number, f"found the command {_short(statement)}, expected NAME=value; skipped"))
            continue
        name, rest = match.groups()
        try:
            value = shell_value(rest, shell)
        except ShellError as error:
            found.remarks.append((number, f"{name}: {error}; skipped"))
            continue
        shell[name] = value
        _add(found, name, value, number)
    return found


def _add(found: Imported, name: str, value: str, line: int) -> None:
    if name not in ORIGINAL:
        from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.schema import nearest

        near = "" if name in DROPPED else nearest(name.lower(), [known.lower() for known in ORIGINAL]).upper()
        hint = f"; did you mean {near}?" if near else ""
        reason = "a variable of an earlier version without an equivalent" if name in DROPPED else "an unknown variable"
        found.remarks.append((line, f"{name}: found {reason}{hint}; skipped"))
        return
    variable = ORIGINAL[name]
    try:
        result = variable.read(value)
    except (ValueError, KeyError):
        found.remarks.append((line, f"{name}: found {_short(value)}, expected {variable.expected}; skipped"))
        return
    if variable.key in found.values:
        old, at = found.origin[variable.key]
        found.remarks.append((line, f"{name}: found it twice (line {at}: {old}); as in the shell, the last value wins"))
    found.values[variable.key] = result
    found.origin[variable.key] = (name, line)


def _logical_lines(content: str) -> list[tuple[int, str]]:
    """Return the logical lines, joined over open quotes and escaped line breaks, each with its first line's number."""
    lines: list[tuple[int, str]] = []
    pending, start = "", 0
    for number, line in enumerate(content.removeprefix("\ufeff").splitlines(), start=1):
        pending, start = (f"{pending}\n{line}", start) if pending else (line, number)
        if _is_open(pending):
            continue
        lines.append((start, pending))
        pending = ""
    if pending:
        lines.append((start, pending))
    return lines


def _is_open(text: str) -> bool:
    """Whether a quote is open at the end, or the line break is escaped."""
    quote, escaped, blank = "", False, True
    for char in text:
        if escaped:
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and blank:
            return False  # a comment: its quotes are text
        blank = not quote and char.isspace()
    return bool(quote) or escaped


def shell_value(rest: str, known: dict[str, str]) -> str:
    """Evaluate the text after `NAME=` as a POSIX shell does, with quotes and names.

    :raises ShellError: only a shell could evaluate it, or a name is unknown
    """
    value: list[str] = []
    quote = ""
    position = 0
    while position < len(rest):
        char = rest[position]
        if quote == "'":
            if char == "'":
                quote = ""
            else:
                value.append(char)
        elif char == "\\" and position + 1 < len(rest):
            following = rest[position + 1]
            if following != "\n":
                value.append(f"\\{following}" if quote and following not in '$`"\\' else following)
            position += 1
        elif char == quote:
            quote = ""
        elif char in "'\"" and not quote:
            quote = char
        elif char == "`" or rest.startswith(("$(", "$["), position):
            raise ShellError("found a command substitution, expected plain text (nothing in the file is run)")
        elif char == "$" and (match := _NAME.match(rest, position + 1)):
            name = match[1] or match[2]
            if name not in known:
                raise ShellError(f"found ${{{name}}}, which isn't set yet, expected the name of an earlier variable")
            value.append(known[name])
            position = match.end() - 1
        elif rest.startswith("${", position):
            raise ShellError("found an expansion other than ${NAME}, expected plain text")
        elif quote:
            value.append(char)
        elif char.isspace() or char == ";":
            _only_comment(rest[position:])
            break
        elif char in "&|<>()":
            raise ShellError(f"found {char!r}, expected plain text (nothing in the file is run)")
        else:
            value.append(char)
        position += 1
    if quote:
        raise ShellError(f"found an unclosed {quote}")
    return "".join(value)


def _only_comment(rest: str) -> None:
    rest = rest.lstrip("; \t\n\r")
    if rest and not rest.startswith("#"):
        raise ShellError(f"found {_short(rest)} after the value, expected a comment or nothing")


def render_config(template: str, imported: Imported) -> str:
    """Return our config.yml with the imported values, keeping comments and order."""
    import yaml

    values = {"pegasus_backend": "aws", **imported.values}
    lines = []
    for line in template.splitlines():
        match = re.match(r"(?P<off># )?(?P<key>[a-z0-9_]+): *(?P<value>\S.*?)?(?P<comment> +#.*)?$", line)
        if match and match["key"] in values:
            value = yaml.safe_dump(values.pop(match["key"]), default_flow_style=True, width=1000).splitlines()[0]
            given = f"{match['key']}: {value}"
            comment = (match["comment"] or "").strip()
            lines.append(f"{given.ljust(40)}  {comment}" if comment else given)
        else:
            lines.append(line)
    for key, value in values.items():
        lines.append(yaml.safe_dump({key: value}).strip())
    return "\n".join(lines) + "\n"


def run_import(arguments: argparse.Namespace, world: World) -> ExitCode:
    """Write the file; report skipped lines, and mistakes in the result, on stderr."""
    path = world.folder / arguments.path
    imported = read_configure(_read(path))
    if not imported.values:
        raise UsageError(
            f"{path}: found no variable of the original tool, expected lines such as VER=8.0.0.4",
            "Give the path of the original tool's configure.sh.",
        )
    result = render_config((world.root / TEMPLATE).read_text(encoding="utf-8"), imported)
    target = world.folder / arguments.to if arguments.to else None
    if target and target.exists():
        raise UsageError(f"found the file {target}, expected no file", "Use another name, or remove the file.")
    if target:
        try:
            target.write_text(result, encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"{target} can't be written: {error.strerror}", "Use a folder that you can write to."
            ) from None
    else:
        world.stdout.write(result)
    for line, remark in imported.remarks:
        world.stderr.write(f"{path}:{line}: {remark}\n")
    mistakes = _mistakes(result, target, world)
    world.stderr.write("".join(f"{text}\n" for text in mistakes))
    world.stderr.write(
        f"{len(imported.values)} settings imported, {len(imported.remarks)} remarks. pegasus_backend is aws, as in the "
        "original tool: you pay for instances by the hour. To use this machine instead, set pegasus_backend: local and "
        "remove the instance types.\n"
    )
    if target:
        world.stderr.write(f"next: ./pegasus-driver validate --config {arguments.to}\n")
    return ExitCode.CONFIGURATION if mistakes else ExitCode.OK


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} can't be read: {error.strerror}", "Give the path of the original tool's configure.sh."
        ) from None
    if len(content) > MAX_BYTES:
        raise UsageError(
            f"{path}: found {len(content)} bytes, expected at most {MAX_BYTES}",
            "Give the path of the original tool's configure.sh.",
        )
    return content.decode("utf-8", errors="replace")


def _mistakes(result: str, target: Path | None, world: World) -> list[str]:
    """Check the new file and return its mistakes."""
    import tempfile

    from pegasus_driver import config as configuration

    with tempfile.TemporaryDirectory(prefix="pegasus-") as folder:
        path = target or Path(folder) / "config.yml"
        if not target:
            path.write_text(result, encoding="utf-8")
        environ = dict(world.environ) | {configuration.CONFIG_VARIABLE: str(path)}
        problems = configuration.examine(world.root, environ, world.folder).report.problems
        # The text on stdout has no file name yet.
        return [
            (problem if target or problem.file != str(path) else replace(problem, file="imported")).text
            for problem in problems
        ]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 60 else line[:57] + "...")
