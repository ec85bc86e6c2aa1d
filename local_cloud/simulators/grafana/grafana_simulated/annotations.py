"""Annotations: marks on the time axis, kept in one JSON file in the data folder. Times in milliseconds since 1970."""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger("annotations")
CHANGEABLE = ("text", "tags", "time", "timeEnd")


class AnnotationError(ValueError):
    """An annotation that can't be stored."""


@dataclass
class Annotations:
    """All annotations, in the order in which they were added."""

    path: Path
    login: str
    _items: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        try:
            self._items = json.loads(self.path.read_text())
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            log.error("%s can't be read, starting without annotations: %s", self.path, error)

    def add(self, request: dict[str, Any]) -> int:
        """Store an annotation and return its id. The default time is now, the default end is the time."""
        now = int(time.time() * 1000)
        begin = request.get("time") or now
        item: dict[str, Any] = {
            "id": 0,
            "alertId": 0,
            "dashboardId": 0,
            "dashboardUID": str(request.get("dashboardUID") or ""),
            "panelId": request.get("panelId") or 0,
            "userId": 1,
            "login": self.login,
            "time": begin,
            "timeEnd": request.get("timeEnd") or begin,
            "text": request.get("text"),
            "tags": request.get("tags") or [],
            "created": now,
            "updated": now,
        }
        _check(item)
        with self._lock:
            item["id"] = max((other["id"] for other in self._items), default=0) + 1
            self._items.append(item)
            self._save()
        return int(item["id"])

    def change(self, number: int, request: dict[str, Any]) -> bool:
        """Replace the given fields of an annotation; False if it doesn't exist."""
        with self._lock:
            for place, item in enumerate(self._items):
                if item["id"] == number:
                    changed = item | {key: request[key] for key in CHANGEABLE if request.get(key) is not None}
                    _check(changed)
                    self._items[place] = changed | {"updated": int(time.time() * 1000)}
                    self._save()
                    return True
        return False

    def remove(self, number: int) -> bool:
        with self._lock:
            left = [item for item in self._items if item["id"] != number]
            found = len(left) < len(self._items)
            self._items = left
            if found:
                self._save()
        return found

    def find(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        """The annotations that match a query: from, to, tags (all, or any with matchAny), dashboardUID, limit."""
        begin, end = _number(query, "from", 0), _number(query, "to", 1 << 62)
        requested = set(query.get("tags", []))
        any_tag = query.get("matchAny", ["false"])[0] == "true"
        uids = query.get("dashboardUID", [])
        with self._lock:
            items = list(self._items)
        found = []
        for item in items:
            tags = set(item["tags"])
            if requested and not (requested & tags if any_tag else requested <= tags):
                continue
            if item["timeEnd"] < begin or item["time"] > end or (uids and item["dashboardUID"] not in uids):
                continue
            found.append(item)
        found.sort(key=lambda item: item["timeEnd"], reverse=True)
        return found[: _number(query, "limit", 100)]

    def get(self, number: int) -> dict[str, Any] | None:
        with self._lock:
            return next((item for item in self._items if item["id"] == number), None)

    def _save(self) -> None:
        """Write a temporary file and rename it: a crash leaves the old or the new file. A full disk is only logged."""
        temporary = self.path.with_name(f".{self.path.name}")
        try:
            temporary.write_text(json.dumps(self._items))
            temporary.replace(self.path)
        except OSError as error:
            log.error("%s can't be written: %s", self.path, error)


def _check(item: dict[str, Any]) -> None:
    if not isinstance(item["text"], str) or not item["text"]:
        raise AnnotationError("text field should not be empty")
    if not isinstance(item["tags"], list) or not all(isinstance(tag, str) for tag in item["tags"]):
        raise AnnotationError("tags must be a list of strings")
    for key in ("time", "timeEnd"):
        if not isinstance(item[key], int) or isinstance(item[key], bool):
            raise AnnotationError(f"{key} must be milliseconds since 1970")


def _number(query: dict[str, list[str]], key: str, default: int) -> int:
    text = query.get(key, [""])[0]
    return int(text) if text.lstrip("-").isdigit() else default
