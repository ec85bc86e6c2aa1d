"""threads.yaml, re-read each second: how many threads each workload has.

What the real one does with odd files is kept: a file that can't be parsed changes nothing, a deleted file is replaced
by the default, and a value of the wrong type ends the reloading for good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

NAMES = (
    "write",
    "read",
    "update",
    "delete",
    "expressionRead",
    "expressionWrite",
    "batchWrite",
    "batchRead",
    "numericSearch",
    "stringSearch",
    "geospatialSearch",
    "udf",
    "udfAggregation",
    "rangeQuery",
)
DEFAULT = "".join(f"{name}: {0 if name == 'delete' else 1}\n" for name in NAMES)
_LARGEST = 2**31 - 1


class ReloadDied(RuntimeError):
    """The file had a value that the real Perseus can't survive: it never reads the file again."""


def apply(folder: Path, setters: Mapping[str, Callable[[int], None]]) -> None:
    """Read threads.yaml in `folder` and hand each count to its workload's setter.

    `setters` has the names in lower case. Keys that aren't there are ignored, whatever their values. Values are
    applied in the file's order, up to the first that is wrong.
    """
    path = folder / "threads.yaml"
    try:
        if not path.exists():
            path.write_text(DEFAULT)
        documents = list(yaml.safe_load_all(path.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return
    if not documents:
        return  # an empty file
    content = documents[0]
    if content is None:
        raise ReloadDied("the document is null")
    if not isinstance(content, dict):
        return
    for name, value in content.items():
        setter = setters.get(str(name).lower())
        if setter is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _LARGEST:
            raise ReloadDied(f"{name}: {value!r} is not a whole number")
        setter(value)
