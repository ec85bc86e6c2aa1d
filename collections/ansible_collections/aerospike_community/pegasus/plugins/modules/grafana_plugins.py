#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Install plugins for Grafana."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: grafana_plugins
short_description: Install plugins for Grafana
description:
  - Downloads each plugin (a C(.zip) with the plugin as its single top folder) that isn't installed in the requested
    version, and replaces another version in Grafana's plugin folder. Grafana reads its plugins when it starts.
  - If the site doesn't have a plugin, the module warns and lists it in RV(absent). That is no failure.
author: Pegasus authors
options:
  plugins: {description: "Exact versions by plugin id.", type: dict, required: true}
  url: {description: "URL of a plugin; C({id}) and C({version}) are replaced.", type: str, required: true}
  folder: {description: Grafana's plugin folder., type: path, default: /var/lib/grafana/plugins}
  timeout: {description: Seconds for each download., type: int, default: 30}
attributes:
  check_mode: {description: Reports whether it would download., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Install the plugins of the dashboards
  aerospike_community.pegasus.grafana_plugins:
    plugins: {grafana-polystat-panel: 2.1.14}
    url: https://grafana.com/api/plugins/{id}/versions/{version}/download
"""

RETURN = r"""
present: {description: Plugins installed in the requested version., returned: success, type: list, elements: str}
absent: {description: Plugins that the site doesn't have., returned: success, type: list, elements: str}
"""

import io
import json
import shutil
import zipfile
from pathlib import Path, PurePosixPath

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.monitoring.web import ArchiveError, download

EXECUTABLE = 0o111


def version_of(plugin: Path) -> str:
    """Return the version of an installed plugin, or "" if it isn't installed."""
    try:
        return str(json.loads((plugin / "plugin.json").read_text(encoding="utf-8"))["info"]["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def unpack(archive: bytes, name: str, folder: Path) -> None:
    """Replace an installed plugin by renaming, so that Grafana never finds an incomplete plugin. Raises ArchiveError.

    Nothing is added to the plugin, because Grafana refuses files that aren't in the plugin's signature.
    """
    fresh, target = folder / f".{name}.new", folder / name
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as source:
            for entry in source.infolist():
                parts = PurePosixPath(entry.filename).parts
                if entry.is_dir() or ".." in parts:
                    continue
                if parts[0] != name:
                    raise ArchiveError(f"expected everything in the folder {name}, found {entry.filename}")
                path = fresh.joinpath(*parts[1:])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(source.read(entry))
                path.chmod(0o755 if (entry.external_attr >> 16) & EXECUTABLE else 0o644)
        if not version_of(fresh):
            raise ArchiveError(f"expected {name}/plugin.json with a version, found none")
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise ArchiveError(f"the archive can't be unpacked: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "plugins": {"type": "dict", "required": True},
            "url": {"type": "str", "required": True},
            "folder": {"type": "path", "default": "/var/lib/grafana/plugins"},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    params, folder = module.params, Path(module.params["folder"])
    changed, present, absent = False, [], []
    for name, version in params["plugins"].items():
        if version_of(folder / name) == str(version):
            present.append(name)
            continue
        url = params["url"].replace("{id}", name).replace("{version}", str(version))
        try:
            archive = download(module, url, params["timeout"])
            if archive is None:
                absent.append(name)
                module.warn(f"Grafana has no plugin {name} {version}: the artifact source doesn't have {url}")
                continue
            if not module.check_mode:
                folder.mkdir(mode=0o755, parents=True, exist_ok=True)
                unpack(archive, name, folder)
        except (ArchiveError, OSError) as error:
            module.fail_json(msg=f"{url}: {error}. Check pegasus_artifact_source and grafana_prometheus_plugins")
        changed = True
        present.append(name)
    module.exit_json(changed=changed, present=present, absent=absent)


if __name__ == "__main__":
    main()
