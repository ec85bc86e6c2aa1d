#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Install dashboards from an archive for Grafana."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: grafana_archive
short_description: Install dashboards from an archive for Grafana
description:
  - Downloads a C(.tar.gz) once, extracts the dashboards (JSON) below one of its folders, sets their data source, and
    replaces the dashboards of an earlier archive on the host.
  - If the site doesn't have the archive, the module warns and RV(present) is false. That is no failure.
author: Pegasus authors
options:
  url: {description: URL of the archive., type: str, required: true}
  inside: {description: "The folder in the archive, below its single top folder.", type: str, required: true}
  folder: {description: The folder that Grafana reads. Other files are removed., type: path, required: true}
  datasource: {description: The uid of the data source., type: str, required: true}
  placeholder:
    description: Placeholder of the data source in the dashboards. C(${DS_EXPRESSION}), for Grafana itself, is built in.
    type: str
    default: ${DS_AEROSPIKE_PROMETHEUS}
  timeout: {description: Seconds for the download., type: int, default: 30}
attributes:
  check_mode: {description: Reports whether it would download., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Install the dashboards of Aerospike's monitoring stack
  aerospike_community.pegasus.grafana_archive:
    url: https://github.com/aerospike/aerospike-monitoring/archive/refs/tags/v3.18.0.tar.gz
    inside: config/grafana/dashboards
    folder: /etc/grafana/aerospike
    datasource: pegasus-prometheus
"""

RETURN = r"""
present: {description: Whether the dashboards of this URL are installed., returned: success, type: bool}
dashboards: {description: Their paths below the folder., returned: success, type: list, elements: str}
"""

import io
import json
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.monitoring.web import ArchiveError, download

# File in the folder with the URL of its archive. Grafana reads *.json only.
STAMP = "source.txt"
# Grafana's data source for expressions. An import would replace the placeholder, but the dashboards are provisioned.
EXPRESSION, EXPRESSION_UID = "${DS_EXPRESSION}", "__expr__"


def dashboards_in(archive: bytes, inside: str, placeholder: str, datasource: str) -> dict[str, str]:
    """Return the dashboards by their path below ``inside``, with the data source set. Raises ArchiveError."""
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
        raise ArchiveError(f"the archive can't be read: {error}") from error
    if not found:
        raise ArchiveError(f"expected dashboards (*.json) in the archive's folder {inside}, found none")
    return found


def replace(folder: Path, dashboards: dict[str, str], url: str) -> None:
    """Replace the folder's content. The stamp is written last, so that the next call repeats an interrupted one."""
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
    """Return the URL of the folder's dashboards, or "" if there are none."""
    stamp = folder / STAMP
    return stamp.read_text(encoding="utf-8").strip() if stamp.is_file() else ""


def names_in(folder: Path) -> list[str]:
    """Return the paths of the folder's dashboards."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.json"))


def main() -> None:
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
            module.warn(f"Grafana has no dashboards from {params['url']}: the artifact source doesn't have the archive")
            module.exit_json(changed=False, present=False, dashboards=names_in(folder))
            return
        found = dashboards_in(archive, params["inside"], params["placeholder"], params["datasource"])
        if not module.check_mode:
            replace(folder, found, params["url"])
    except (ArchiveError, OSError) as error:
        module.fail_json(
            msg=f"{params['url']}: {error}. Check pegasus_artifact_source and grafana_prometheus_stack_version. Set "
            f"grafana_prometheus_stack_version to '' to skip these dashboards"
        )
    module.exit_json(changed=True, present=True, dashboards=sorted(found))


if __name__ == "__main__":
    main()
