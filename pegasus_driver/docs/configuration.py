"""Renders docs/configuration.md and docs/config.schema.json from the roles' specifications."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.file import read_config
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.fixed_values import FIXED, REBUILD
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.key_rules import FILE_ONLY, RUN_ONLY
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.schema import (
    Option,
    is_template,
    load_schema,
)

from pegasus_driver import COLLECTION
from pegasus_driver.commands.import_config import ORIGINAL

CONFIG = Path("group_vars/all/config.yml")
# Any value may be a template that Ansible renders.
TEMPLATE = {"type": "string", "pattern": r"\{\{|\{%"}
TEMPLATE_REFERENCE = {"$ref": "#/definitions/template"}
JSON_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}
INTRODUCTION = """\
# Configuration

`group_vars/all/config.yml` is the one file to edit. Each key is a role variable. Precedence, from lowest to highest:
the role's default, the backend's preset (`inventories/<backend>/group_vars/all.yml`), `config.yml`, the file that
`--config` (or `PEGASUS_CONFIG`) names, `-e key=value`. Such a file needs {file_keys}, and
otherwise only what differs from `config.yml`. Use one such file per environment to run several environments.

    ./pegasus-driver validate                      # every mistake at once: key, line, found, expected
    ./pegasus-driver validate --config other.yml -e pegasus_cluster_nodes=5
    ./pegasus-driver import-config configure.sh --to other.yml     # from the original tool's file, which isn't run

**Original** is the name in the original tool's configure.sh. **Fixed** keys can't change while the cluster runs: setup
refuses a change and names the command that rebuilds the cluster (`{rebuild}`).

Every action of the driver and the first play of every playbook apply the same rules. Rules that need EC2 or the
artifact source (disks, memory and architecture of the instance types, the image, room for an index on disk, the
packages of each part's version, Perseus's branch, fixed keys of a running cluster) are checked before a launch, and by
`validate` if EC2 and the artifact source are reachable. A wrong configuration always ends the driver with exit code 7.

Setup installs a newer `aerospike_server_version` on a running cluster node by node. Nodes refuse an earlier release
(8.0 after 8.1); another edition is refused before anything is launched.

Rules across keys:

- Data in memory requires both indexes in memory. An index on disk requires data on disk and the enterprise edition.
  Compression requires the enterprise edition too.
- Each purpose on disk needs at least one partition of each disk. No partition has two purposes, and none is beyond
  `nvme_partition_count`. The server's instance type must have instance-store disks.
- An index on disk needs 4096 x copies x sprigs x 4 KiB in the cluster, spread over the nodes, within its partitions.
- Each sprig takes 5 bytes of memory on every node that has a copy, even if the index is on disk. The sprigs and data in
  memory must fit into 90 percent of the instance type's memory.
- `pegasus_replication_factor` is at most `pegasus_cluster_nodes`. The community edition allows at most 8 nodes.
  A licence must be valid today and for that many nodes; `add-nodes` counts existing nodes too.
- `aerospike_server_default_ttl` above 0 sets the server's nsup-period (120 seconds, or `aerospike_server_nsup_period`).
- `perseus_client_normal_time_range` is at most `perseus_client_max_time_range`; the three names differ.
- In `threads.yaml`: known workloads, plain whole numbers from 0 to 500, each once; a query workload above 0 needs its
  setting.
"""


def sections(root: Path) -> list[tuple[str, list[str]]]:
    """Return the sections of config.yml with their keys, including commented keys, in the file's order."""
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
    """Render docs/configuration.md."""
    schema = load_schema(COLLECTION)
    shipped = read_config(root / CONFIG).values
    presets = {name: read_config(root / f"inventories/{name}/group_vars/all.yml").values for name in ("aws", "local")}
    wiring = read_config(root / "group_vars/all/wiring.yml").values
    file_keys = ", ".join(f"`{key}`" for key in _file_only(schema))
    parts = [INTRODUCTION.format(file_keys=file_keys, rebuild=REBUILD)]
    listed: set[str] = set()
    for title, keys in sections(root):
        parts += [f"## {title}\n", _table([(schema[key], _default(schema[key], shipped, presets)) for key in keys])]
        listed.update(keys)
    rest = [option for key, option in schema.items() if key not in {*listed, *wiring, *_run_only(schema)}]
    parts.append("# Further keys\n\nThe shipped config.yml doesn't contain these keys; add them where needed.\n")
    owners = sorted({option.roles[0] for option in rest})
    for owner in owners:
        own = [option for option in rest if option.roles[0] == owner]
        title = f"Role {owner}" if owner else "Where an environment runs"
        parts += [f"## {title}\n", _table([(option, _default(option, shipped, presets)) for option in own])]
    run = ", ".join(f"`{key}`" for key in _run_only(schema))
    parts.append(f"Only with `-e` for a single run, never in a file: {run}.\n")
    return "\n".join(parts)


def _run_only(schema: Mapping[str, Option]) -> list[str]:
    return [key for key, option in schema.items() if option.rule.scope == RUN_ONLY]


def _file_only(schema: Mapping[str, Option]) -> list[str]:
    return sorted(key for key, option in schema.items() if option.rule.scope == FILE_ONLY)


def _default(option: Option, shipped: Mapping[str, Any], presets: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the effective value of a key in the shipped project."""
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
        cells = [f"`{option.name}`", names, default, option.rule.text or option.expected, meaning]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Convert Ansible's markup to Markdown."""
    return re.sub(r"\b[A-Z]\(([^)]*)\)", r"`\1`", text)


def json_schema(root: Path, comment: str) -> str:
    """Render docs/config.schema.json, which editors use to complete and check config.yml.

    One line per key, so that a change of a key changes one line.
    """
    schema = load_schema(COLLECTION)
    wiring = read_config(root / "group_vars/all/wiring.yml").values
    keys = {key: option for key, option in schema.items() if key not in {*wiring, *_run_only(schema)}}
    head = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Pegasus: config.yml",
        "type": "object",
        "required": _file_only(schema),
        "additionalProperties": False,
        "definitions": {"template": TEMPLATE},
    }
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
    properties = ",\n".join(f"    {json.dumps(key)}: {json.dumps(_property(option))}" for key, option in keys.items())
    return "\n".join(
        [f'{{ "$comment": {json.dumps(comment)},', *lines, f'  "properties": {{\n{properties}\n  }}\n}}\n']
    )


def _property(option: Option) -> dict[str, Any]:
    described: dict[str, Any] = {"description": _plain(option.description)}
    if option.default is not None and not option.no_log and not is_template(option.default):
        described["default"] = option.default
    value = _value_schema(option)
    return described | (value if option.rule.scope == FILE_ONLY else {"anyOf": [value, TEMPLATE_REFERENCE]})


def _value_schema(option: Option) -> dict[str, Any]:
    if option.choices and option.type != "list":
        return {"enum": list(option.choices)}
    rule = option.rule
    if rule.choices:
        return {"enum": list(rule.choices)}
    if option.type in ("str", "path"):
        if rule.pattern:
            return {"type": "string", "pattern": f"^({rule.pattern})$"}
        return {"type": ["string", "integer"]}  # partitions: 1, expiry: 3600
    value: dict[str, Any] = {"type": JSON_TYPES[option.type]}
    limits = {"minimum": rule.minimum, "maximum": rule.maximum}
    value |= {name: limit for name, limit in limits.items() if limit is not None}
    if option.type == "list":
        value["items"] = _value_schema(Option("", option.elements or "str", choices=option.choices))
    if option.options:
        value["properties"] = {name: _property(inner) for name, inner in option.options.items()}
        value["additionalProperties"] = False
    return value
