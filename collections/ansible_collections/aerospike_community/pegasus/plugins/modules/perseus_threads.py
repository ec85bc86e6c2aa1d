#!/usr/bin/python
# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Give Perseus a new load."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: perseus_threads
short_description: Give Perseus a new load
description:
  - Checks a threads.yaml and puts it in place in one step (written beside it, then renamed). Perseus reads it every
    second, and a file that is half there, missing for a moment or wrong starts other workloads or ends its reloads.
  - A file that Perseus would misunderstand is refused as a whole, with every reason, and the live one stays.
author: Pegasus authors
options:
  content: {description: The text of threads.yaml., type: str, required: true}
  path:
    description: Where Perseus reads it. A missing folder is made.
    type: path
    default: /var/lib/perseus/threads.yaml
attributes:
  check_mode: {description: Checks the content and says whether it would change., support: full}
  diff_mode: {description: Shows the difference., support: full}
"""

EXAMPLES = r"""
- name: Set the load
  aerospike_community.pegasus.perseus_threads:
    content: "{{ lookup('ansible.builtin.file', 'threads.yaml') }}"
"""

RETURN = r"""
threads: {description: Threads by workload., returned: success, type: dict}
before: {description: "The same before; empty where there was no file, or no good one.", returned: success, type: dict}
problems: {description: What is wrong with the file., returned: failure, type: list, elements: str}
"""

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.threads_file import (
    ThreadsFileError,
    parse,
    render,
)


def replace(path: Path, text: str) -> None:
    """Write a file for everybody to read, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        new = Path(name)
        new.chmod(0o644)
        new.replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "content": {"type": "str", "required": True},
            "path": {"type": "path", "default": "/var/lib/perseus/threads.yaml"},
        },
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    try:
        threads = parse(module.params["content"])
    except ThreadsFileError as error:
        reasons = "\n".join(f"  {problem}" for problem in error.problems)
        module.fail_json(
            msg=f"threads.yaml was refused and the live load stays as it is:\n{reasons}", problems=error.problems
        )
    new = render(threads)
    try:
        old = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        if old != new and not module.check_mode:
            replace(path, new)
    except OSError as error:
        module.fail_json(msg=f"{path} can't be written: {error}")
    try:
        before = parse(old)
    except ThreadsFileError:
        before = {}
    difference = {"before_header": str(path), "after_header": str(path), "before": old, "after": new}
    module.exit_json(changed=old != new, threads=threads, before=before, diff=difference)


if __name__ == "__main__":
    main()
