#!/usr/bin/python
# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Join the archives of all hosts into one."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: logs_archive
short_description: Join the archives of all hosts into one
description:
  - Runs on the controller. Puts what M(aerospike_community.pegasus.host_logs) made on each host into one archive that
    only its owner can read, and removes the parts.
  - Fails, after the archive is written, when a running host is missing in it.
author: Pegasus authors
options:
  parts: {description: Folder with an archive per host (NAME.tar.gz)., type: path, required: true}
  path: {description: The archive to write., type: path, required: true}
  hosts: {description: Names of the hosts that should be in it., type: list, elements: str, required: true}
  skipped: {description: 'Sentences about hosts that were left out on purpose.', type: list, elements: str, default: []}
attributes:
  check_mode: {description: Does nothing., support: full}
  diff_mode: {description: Has none., support: none}
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
hosts: {description: The hosts that are in it., returned: always, type: list, elements: str}
missing: {description: Running hosts that could not be reached., returned: always, type: list, elements: str}
lines: {description: The same as sentences., returned: always, type: list, elements: str}
error_class: {description: C(ssh)., returned: failure, type: str}
"""

import os
import shutil
import tarfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def join(parts: Path, path: Path, hosts: list[str], skipped: list[str]) -> tuple[list[str], list[str]]:
    """Write the archive and remove the parts; return (hosts that are in it, hosts that are missing). Raises OSError."""
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
        notes = [*skipped, *(f"{name}: could not be reached" for name in missing)]
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
    asked = module.params
    path = asked["path"]
    if module.check_mode:
        module.exit_json(changed=False, path=path, hosts=[], missing=[], lines=[])
    try:
        present, missing = join(Path(asked["parts"]), Path(path), asked["hosts"], asked["skipped"])
        size = Path(path).stat().st_size
    except (OSError, tarfile.TarError) as error:
        module.fail_json(msg=f"{path} can't be written: {error}", hosts=[], missing=[], lines=[], path=path)
    lines = [*asked["skipped"], f"logs of {len(present)} of {len(asked['hosts'])} hosts: {path} ({size / 1e6:.1f} MB)"]
    result = {"path": path, "hosts": present, "missing": missing, "lines": lines}
    if missing:
        module.fail_json(
            msg=f"could not be reached: {', '.join(missing)}\n{lines[-1]}",
            error_class="ssh",
            next_step="The archive is there, without these hosts. Try again when they answer.",
            **result,
        )
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()
