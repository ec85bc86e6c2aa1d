#!/usr/bin/python
# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Give Grafana the dashboards of an archive, where a site has it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: grafana_archive
short_description: Give Grafana the dashboards of an archive, where a site has it
description:
  - Downloads a C(.tar.gz) once, takes the dashboards (JSON) below one of its folders, points them to a data source, and
    puts them in a folder of the host in place of those that an earlier archive left there.
  - A site that doesn't have the archive is no failure; a warning and RV(present) say so.
author: Pegasus authors
options:
  url: {description: Address of the archive., type: str, required: true}
  inside: {description: "The folder in the archive, below its only top folder.", type: str, required: true}
  folder: {description: Where Grafana reads them. It belongs to this module., type: path, required: true}
  datasource: {description: The uid of the data source., type: str, required: true}
  placeholder:
    description: What stands for the data source in the dashboards. C(${DS_EXPRESSION}), for Grafana itself, is known.
    type: str
    default: ${DS_AEROSPIKE_PROMETHEUS}
  timeout: {description: Seconds for the download., type: int, default: 30}
attributes:
  check_mode: {description: Says whether it would download., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Give Grafana the dashboards of Aerospike's monitoring stack
  aerospike_community.pegasus.grafana_archive:
    url: https://github.com/aerospike/aerospike-monitoring/archive/refs/tags/v3.18.0.tar.gz
    inside: config/grafana/dashboards
    folder: /etc/grafana/aerospike
    datasource: pegasus-prometheus
"""

RETURN = r"""
present: {description: Whether the dashboards of this address are there., returned: success, type: bool}
dashboards: {description: Their files below the folder., returned: success, type: list, elements: str}
"""

import io
import json
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring.archives import (
    ArchiveError,
    download,
)

# In the folder: what it was made of. Grafana reads *.json only.
STAMP = "source.txt"
# Provisioned dashboards aren't imported, so nobody fills this in: Grafana's source for calculations on other queries.
EXPRESSION, EXPRESSION_UID = "${DS_EXPRESSION}", "__expr__"


def dashboards_in(archive: bytes, inside: str, placeholder: str, datasource: str) -> dict[str, str]:
    """Return the dashboards of an archive by their path below ``inside``, pointed to the data source.

    :raises ArchiveError: it is no archive, or holds none there, or one that isn't JSON
    """
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for member in tar.getmembers():
                below = PurePosixPath(*PurePosixPath(member.name).parts[1:])
                if not member.isfile() or below.suffix != ".json" or not below.is_relative_to(inside):
                    continue
                name = below.relative_to(inside)
                source = tar.extractfile(member)
                if source is None or ".." in name.parts:
                    continue
                text = source.read().decode().replace(placeholder, datasource).replace(EXPRESSION, EXPRESSION_UID)
                json.loads(text)
                found[str(name)] = text
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise ArchiveError(f"it can't be read: {error}") from error
    if not found:
        raise ArchiveError(f"expected dashboards (*.json) in its folder {inside}, found none")
    return found


def replace(folder: Path, dashboards: dict[str, str], url: str) -> None:
    """Put the dashboards in place of what is there. The stamp comes last: without it the next call begins anew."""
    (folder / STAMP).unlink(missing_ok=True)
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name, text in dashboards.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / STAMP).write_text(f"{url}\n", encoding="utf-8")


def stamp_of(folder: Path) -> str:
    """The address that the folder's dashboards came from; nothing where there are none."""
    try:
        return (folder / STAMP).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def names_in(folder: Path) -> list[str]:
    """The dashboards that are there."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.json"))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "inside": {"type": "str", "required": True},
            "folder": {"type": "path", "required": True},
            "datasource": {"type": "str", "required": True},
            "placeholder": {"type": "str", "default": "${DS_AEROSPIKE_PROMETHEUS}"},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    params, folder = module.params, Path(module.params["folder"])
    if stamp_of(folder) == params["url"]:
        module.exit_json(changed=False, present=True, dashboards=names_in(folder))
    try:
        archive = download(module, params["url"], params["timeout"])
        if archive is None:
            module.warn(f"Grafana goes without the dashboards of {params['url']}: the artifact source doesn't have it")
            module.exit_json(changed=False, present=False, dashboards=names_in(folder))
        found = dashboards_in(archive, params["inside"], params["placeholder"], params["datasource"])
        if not module.check_mode:
            replace(folder, found, params["url"])
    except (ArchiveError, OSError) as error:
        module.fail_json(
            msg=f"{params['url']}: {error}. Check pegasus_artifact_source and grafana_prometheus_stack_version, or set "
            f"that one to '' to go without these dashboards"
        )
    module.exit_json(changed=True, present=True, dashboards=sorted(found))


if __name__ == "__main__":
    main()
