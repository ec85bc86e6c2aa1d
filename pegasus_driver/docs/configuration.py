"""Writes docs/configuration.md and docs/config.schema.json from the roles' specifications.

    python -m pegasus_driver.docs [--check]

With --check it writes nothing and fails when one of them isn't what it would write; CI runs it so.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils import durations
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.check import FILE_ONLY_KEYS
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.file import read_config
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.fixed_values import FIXED, REBUILD
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.rules import FORMS, LIMITS
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.schema import (
    RUN_KEYS,
    Option,
    is_template,
    load_schema,
)

from pegasus_driver import COLLECTION, ROOT
from pegasus_driver.commands.import_config import ORIGINAL

COMMAND = "python -m pegasus_driver.docs"
PAGE = Path("docs/configuration.md")
SCHEMA = Path("docs/config.schema.json")
CONFIG = Path("group_vars/all/config.yml")
# Values of any kind may be made by Ansible; this is how a template looks.
TEMPLATE = {"type": "string", "pattern": r"\{\{|\{%"}
TEMPLATE_REFERENCE = {"$ref": "#/definitions/template"}
JSON_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}
PARTITIONS = "such as 1-3,7-9, or nothing"
# What a value has to be, where neither the type nor a limit says it.
WORDS = {
    "ec2_provision_expiry": durations.FORMS,
    "pegasus_namespace": "1 to 31 characters without blanks",
    "aerospike_server_partition_tree_sprigs": "a power of two, 256 to 268435456",
    "nvme_partition_data_partitions": PARTITIONS,
    "nvme_partition_primary_index_partitions": PARTITIONS,
    "nvme_partition_secondary_index_partitions": PARTITIONS,
}

INTRODUCTION = """\
# Configuration

Made by `{command}` from the roles' `meta/argument_specs.yml`; don't edit it.

`group_vars/all/config.yml` is the one file to edit. Each key is a role's variable. What wins, from the weakest: the
role's default, the backend's preset (`inventories/<backend>/group_vars/all.yml`), `config.yml`, the file that
`--config` (or `PEGASUS_CONFIG`) names, `-e key=value`. Such a file needs `pegasus_backend`, `pegasus_cluster_name` and
`pegasus_region`, and otherwise only what differs from `config.yml`: several environments live side by side that way.

    ./pegasus-driver validate                      # every mistake at once: key, line, found, expected
    ./pegasus-driver validate --config other.yml -e pegasus_cluster_nodes=5
    ./pegasus-driver import-config configure.sh --to other.yml     # from the original tool's file, which isn't run

**Original** is the name in the original tool's configure.sh. **Fixed**: can't be changed while the cluster runs; setup
refuses it and names the command that rebuilds the cluster (`{rebuild}`).

The same rules run in every action of the driver and in the first play of every playbook. What needs EC2's or the
artifact source's answer (the instance types' disks, memory and architecture, the image, the room for an index on disk,
the packages of each part's version, Perseus's branch, what a running cluster can't change) is checked before anything
is launched, and by `validate` where they can be asked, together with all else. A wrong configuration ends the driver
with exit code 7, whoever finds it.

A newer `aerospike_server_version` is brought to a running cluster node by node. An earlier release (8.0 after 8.1) is
refused by the nodes that have the newer one, and another edition before anything is launched.

Rules across keys:

- Data in memory wants both indexes in memory. An index on disk wants data on disk and the enterprise edition;
  compression wants the enterprise edition, too.
- What is on disk needs at least one partition of each disk, no partition has two purposes, and none is beyond
  `nvme_partition_count`. The server's instance type has to have instance-store disks.
- An index on disk needs 4096 x copies x sprigs x 4 KiB in the cluster, spread over the nodes, within its partitions.
- Wherever the index is, each sprig takes 5 bytes of memory on every node that has a copy. They, and data in memory, fit
  into 90 percent of the instance type's memory.
- `pegasus_replication_factor` is at most `pegasus_cluster_nodes`; the community edition has at most 8 nodes; a licence
  has to be valid today and for that many nodes. `add-nodes` counts the nodes that exist, too.
- `aerospike_server_default_ttl` above 0 sets the server's nsup-period (120 seconds, or `aerospike_server_nsup_period`).
- `perseus_client_normal_time_range` is at most `perseus_client_max_time_range`; the three names differ.
- In `threads.yaml`: known workloads, plain whole numbers from 0 to 500, each once; a query workload above 0 needs its
  setting.
"""


def sections(root: Path) -> list[tuple[str, list[str]]]:
    """The sections of config.yml with their keys, those behind "#" too, in its order."""
    found: list[tuple[str, list[str]]] = []
    for line in (root / CONFIG).read_text(encoding="utf-8").splitlines():
        heading = re.match(r"# --- (.+?) -+$", line)
        key = re.match(r"(?:# )?([a-z0-9_]+): ", line)
        if heading:
            found.append((re.sub(r" \(.*\)", "", heading[1]), []))
        elif key and found:
            found[-1][1].append(key[1])
    return found


def page(root: Path) -> str:
    """docs/configuration.md."""
    schema = load_schema(COLLECTION)
    shipped = read_config(root / CONFIG).values
    presets = {name: read_config(root / f"inventories/{name}/group_vars/all.yml").values for name in ("aws", "local")}
    wiring = read_config(root / "group_vars/all/wiring.yml").values
    parts = [INTRODUCTION.format(command=COMMAND, rebuild=REBUILD)]
    listed: set[str] = set()
    for title, keys in sections(root):
        parts += [f"## {title}\n", _table([(schema[key], _default(schema[key], shipped, presets)) for key in keys])]
        listed.update(keys)
    rest = [option for key, option in schema.items() if key not in listed and key not in wiring and key not in RUN_KEYS]
    parts.append("# Further keys\n\nNot in the shipped config.yml; they may be added to it.\n")
    owners = sorted({option.roles[0] for option in rest})
    for owner in owners:
        own = [option for option in rest if option.roles[0] == owner]
        title = f"Role {owner}" if owner else "Where an environment runs"
        parts += [f"## {title}\n", _table([(one, _default(one, shipped, presets)) for one in own])]
    run = ", ".join(f"`{key}`" for key in RUN_KEYS)
    parts.append(f"Only for one run, with `-e`, never in a file: {run}.\n")
    return "\n".join(parts)


def _default(option: Option, shipped: Mapping[str, Any], presets: Mapping[str, Mapping[str, Any]]) -> str:
    """The value that counts when nothing is changed."""
    own = [f"{backend}: {_code(values[option.name])}" for backend, values in presets.items() if option.name in values]
    if option.name not in shipped and own:
        return "; ".join(own)
    return _code(shipped.get(option.name, option.default))


def _code(value: Any) -> str:
    if value is None:
        return "none"
    if is_template(value):
        return "derived"
    return f"`{json.dumps(value) if not isinstance(value, str) or not value else value}`"


def _table(rows: Sequence[tuple[Option, str]]) -> str:
    lines = ["| key | original | default | values | meaning |", "|---|---|---|---|---|"]
    original: dict[str, list[str]] = {}
    for name, variable in ORIGINAL.items():
        original.setdefault(variable.key, []).append(name)
    fixed = {key for key, _, _ in FIXED.values()}
    for option, default in rows:
        names = "<br>".join(f"`{name}`" for name in original.get(option.name, []))
        meaning = _plain(option.description) + (" **Fixed.**" if option.name in fixed else "")
        cells = [f"`{option.name}`", names, default, _values(option), meaning]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _values(option: Option) -> str:
    if option.name in WORDS:
        return WORDS[option.name]
    if option.name in LIMITS:
        return LIMITS[option.name].text
    if option.name in FORMS:
        return FORMS[option.name].expected
    return option.expected


def _plain(text: str) -> str:
    """Ansible's markup as Markdown."""
    return re.sub(r"\b[A-Z]\(([^)]*)\)", r"`\1`", text)


def json_schema(root: Path) -> dict[str, Any]:
    """docs/config.schema.json: editors complete and check config.yml by it."""
    schema = load_schema(COLLECTION)
    wiring = read_config(root / "group_vars/all/wiring.yml").values
    keys = {key: option for key, option in schema.items() if key not in wiring and key not in RUN_KEYS}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Pegasus: config.yml",
        "description": f"Made by {COMMAND}; don't edit it.",
        "type": "object",
        "properties": {key: _property(option) for key, option in keys.items()},
        "required": ["pegasus_backend", "pegasus_cluster_name", "pegasus_region"],
        "additionalProperties": False,
        "definitions": {"template": TEMPLATE},
    }


def _property(option: Option) -> dict[str, Any]:
    described: dict[str, Any] = {"description": _plain(option.description)}
    if option.default is not None and not option.no_log and not is_template(option.default):
        described["default"] = option.default
    value = _value_schema(option)
    return described | (value if option.name in FILE_ONLY_KEYS else {"anyOf": [value, TEMPLATE_REFERENCE]})


def _value_schema(option: Option) -> dict[str, Any]:
    if option.choices and option.type != "list":
        return {"enum": list(option.choices)}
    if option.name == "aerospike_server_partition_tree_sprigs":
        return {"enum": [2**power for power in range(8, 29)]}
    if option.type in ("str", "path"):
        if option.name in FORMS:
            return {"type": "string", "pattern": f"^({FORMS[option.name].pattern})$"}
        return {"type": ["string", "integer"]}  # partitions: 1, expiry: 3600
    value: dict[str, Any] = {"type": JSON_TYPES[option.type]}
    if option.name in LIMITS:
        limits = LIMITS[option.name]
        value |= {"minimum": limits.low} | ({} if limits.high is None else {"maximum": limits.high})
    if option.type == "list":
        value["items"] = _value_schema(Option("", option.elements or "str", choices=option.choices))
    if option.options:
        value["properties"] = {name: _property(inner) for name, inner in option.options.items()}
        value["additionalProperties"] = False
    return value


def _one_key_a_line(schema: dict[str, Any]) -> str:
    """JSON in which a change of one key is a change of one line."""
    properties = ",\n".join(f"    {json.dumps(key)}: {json.dumps(one)}" for key, one in schema["properties"].items())
    rest = {key: value for key, value in schema.items() if key != "properties"}
    head = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in rest.items())
    return f'{{\n{head},\n  "properties": {{\n{properties}\n  }}\n}}\n'


def made(root: Path) -> dict[Path, str]:
    """Both files' text, by path from the project's folder."""
    return {PAGE: page(root), SCHEMA: _one_key_a_line(json_schema(root))}


def stale(root: Path) -> list[Path]:
    """The files that aren't what would be written now."""
    paths = made(root)
    return [
        path
        for path, text in paths.items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text
    ]


def main(arguments: Sequence[str]) -> int:
    """Write, or check. Returns an exit code."""
    root = ROOT
    if "--check" in arguments:
        found = stale(root)
        for path in found:
            print(f"{path} is stale: run {COMMAND}", file=sys.stderr)
        return int(bool(found))
    for path, text in made(root).items():
        (root / path).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
