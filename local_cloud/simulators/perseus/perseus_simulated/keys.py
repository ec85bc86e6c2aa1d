"""Which keys exist: each instance numbers its records from its own start and publishes its range in a record.

The record is <namespace>/KeyRanges/ID, as in the real Perseus; here it has one bin per instance (`id<number>` holds
[first, next]), so that concurrent instances never overwrite each other.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from typing import Protocol

SET = "KeyRanges"
KEY = "ID"
_SPACE = 10_000_000_000_000  # keys reserved for each instance
_RANDOM = 2**63


class Store(Protocol):
    """The part of the database that is needed here."""

    def read_ranges(self) -> dict[str, list[int]]: ...

    def write_range(self, name: str, bounds: list[int]) -> None: ...


class RangesUnknown(RuntimeError):
    """The database has never answered, so no key can be generated."""


class KeyRanges:
    """Generates new keys and picks existing keys. Safe to use from several threads."""

    def __init__(self, store: Store, instance: int, errors: tuple[type[Exception], ...], say: Callable[[str], None]):
        self._store = store
        self._name = f"id{instance}"
        self._errors = errors
        self._say = say
        self._first = instance * _SPACE
        self._next: itertools.count[int] | None = None
        self._issued = self._first
        self._others: list[tuple[int, int]] = []
        self._lock = threading.Lock()
        self.refresh()

    def refresh(self) -> None:
        """Read the other instances' ranges and publish this instance's range. An error is printed, not raised."""
        try:
            ranges = self._store.read_ranges()
            with self._lock:
                if self._next is None:
                    self._first, self._issued = ranges.get(self._name, [self._first, self._first])
                    self._next = itertools.count(self._issued)
                self._others = [(low, high) for name, (low, high) in ranges.items() if name != self._name]
                bounds = [self._first, self._issued]
            self._store.write_range(self._name, bounds)
        except self._errors as error:
            self._say(message(error))

    def new(self) -> int:
        """The next key of this instance."""
        with self._lock:
            if self._next is None:
                raise RangesUnknown("the ranges of keys were never read")
            key = next(self._next)
            self._issued = key + 1
            return key

    def existing(self) -> int:
        """A key that an instance has written, each with the same probability; a random key while there is none."""
        with self._lock:
            if self._next is None:
                raise RangesUnknown("the ranges of keys were never read")
            ranges = [*self._others, (self._first, self._issued)]
        total = sum(high - low for low, high in ranges)
        if total < 1:
            return random.randrange(-_RANDOM, _RANDOM)
        place = random.randrange(total)
        for low, high in ranges:
            if place < high - low:
                return low + place
            place -= high - low
        return random.randrange(-_RANDOM, _RANDOM)

    def maybe_existing(self, hit_ratio: float) -> int:
        """An existing key with the given probability (0.0 to 1.0), else a key that almost certainly doesn't exist."""
        if random.random() > hit_ratio:
            return random.randrange(-_RANDOM, _RANDOM)
        return self.existing()


# The client's error codes, with the messages that the real Perseus prints.
_WORDS = {-8: "Cluster is empty", 11: "Cluster is empty", -10: "Connection refused", 20: "Namespace not found"}


def message(error: Exception) -> str:
    """One line for an error of the client."""
    code = getattr(error, "code", None)
    text = str(getattr(error, "msg", "") or error).strip().splitlines() or [type(error).__name__]
    if "namespace" in text[0].lower() and "partition" in text[0].lower():
        return "Namespace not found in partition map"
    return _WORDS.get(code, text[0]) if isinstance(code, int) else text[0]
