#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Join the archives of all hosts into one."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: logs_archive
short_description: Join the archives of all hosts into one
description:
  - Runs on the controller. Joins the archives of M(aerospike_community.pegasus.host_logs) into one archive that only
    its owner can read, and removes them.
  - Fails after it has written the archive if a running host is missing.
author: Pegasus authors
options:
  parts: {description: Folder with one archive per host (NAME.tar.gz)., type: path, required: true}
  path: {description: The archive to write., type: path, required: true}
  hosts: {description: Names of the expected hosts., type: list, elements: str, required: true}
  skipped: {description: 'Lines about hosts that are skipped.', type: list, elements: str, default: []}
attributes:
  check_mode: {description: Does nothing., support: full}
  diff_mode: {description: There is no diff., support: none}
"""

EXAMPLES = r"""
- name: Join the archives
  aerospike_community.pegasus.logs_archive:
    parts: .pegasus/logs/parts
    path: .pegasus/logs/Benchmark.tar.gz
    hosts: [Benchmark-1, Benchmark-2]
"""

RETURN = r"""
path: {description: The archive., returned: always, type: str}
hosts: {description: Hosts in the archive., returned: always, type: list, elements: str}
missing: {description: Running hosts that were unreachable., returned: always, type: list, elements: str}
lines: {description: The result as text., returned: always, type: list, elements: str}
error_class: {description: C(ssh)., returned: failure, type: str}
"""

import os
import shutil
import tarfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.results import SSH


def join(parts: Path, path: Path, hosts: list[str], skipped: list[str]) -> tuple[list[str], list[str]]:
    """Write the archive and remove the parts; return the hosts in it and the missing hosts.

    :raises OSError: the archive can't be written
    """
    present, missing = [], []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz", compresslevel=3) as target:
        for name in hosts:
            try:
                with tarfile.open(parts / f"{name}.tar.gz") as source:
                    for member in source:
                        target.addfile(member, source.extractfile(member))
                present.append(name)
            except FileNotFoundError:
                missing.append(name)
        notes = [*skipped, *(f"{name}: unreachable" for name in missing)]
        if notes:
            note = parts / "MISSING.txt"
            note.write_text("".join(f"{line}\n" for line in notes))
            target.add(note, "MISSING.txt")
    shutil.rmtree(parts)
    return present, missing


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "parts": {"type": "path", "required": True},
            "path": {"type": "path", "required": True},
            "hosts": {"type": "list", "elements": "str", "required": True},
            "skipped": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    params = module.params
    path = params["path"]
    if module.check_mode:
        module.exit_json(changed=False, path=path, hosts=[], missing=[], lines=[])
    try:
        present, missing = join(Path(params["parts"]), Path(path), params["hosts"], params["skipped"])
        size = Path(path).stat().st_size
    except (OSError, tarfile.TarError) as error:
        module.fail_json(msg=f"{path} can't be written: {error}", hosts=[], missing=[], lines=[], path=path)
    summary = f"logs of {len(present)} of {len(params['hosts'])} hosts: {path} ({size / 1e6:.1f} MB)"
    lines = [*params["skipped"], summary]
    result = {"path": path, "hosts": present, "missing": missing, "lines": lines}
    if missing:
        module.fail_json(
            msg=f"unreachable: {', '.join(missing)}\n{summary}",
            error_class=SSH,
            next_step="The archive exists without these hosts. Try again when they are reachable.",
            **result,
        )
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()
