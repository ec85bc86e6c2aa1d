"""threads.yaml, re-read each second: how many threads each workload has.

Invalid files have the same effect as in the real Perseus: a file that can't be parsed changes nothing, a deleted file
is replaced by the default, and a value of the wrong type stops the reloading for good.
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
    """The file has a value that stops the reloading of the real Perseus: it never reads the file again."""


def apply(folder: Path, setters: Mapping[str, Callable[[int], None]]) -> None:
    """Read threads.yaml in `folder` and hand each count to its workload's setter.

    `setters` has the names in lower case. Other keys are ignored, with any value. Values are applied in the
    file's order, up to the first invalid one.

    :raises ReloadDied: a value has the wrong type
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
