"""The operations, with the official client. A record that doesn't exist is a result here, not an error."""

from __future__ import annotations

import contextlib

# The client imports json when it first sends a GeoJSON value, and crashes if two threads do so concurrently (19.3.0).
import json  # noqa: F401
import os
import random
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from . import keys

Bins = dict[str, Any]


class Database:
    """One connected client. `aerospike` is the module, which may come from a zip."""

    def __init__(self, aerospike: ModuleType, hosts: list[tuple[str, int]], user: str, password: str) -> None:
        # After the client's import: they are in the same folder.
        from aerospike_helpers.batch import records
        from aerospike_helpers.expressions import Cond, Eq, IntBin, Sub
        from aerospike_helpers.operations import expression_operations, operations

        self._aerospike = aerospike
        self._records = records
        self._operations = operations
        self.error: type[Exception] = aerospike.exception.AerospikeError
        self._missing = aerospike.exception.RecordNotFound
        config: dict[str, Any] = {"hosts": hosts, "max_conns_per_node": 3000}
        if user:
            config |= {"user": user, "password": password}
        difference = Sub(IntBin("keyPlus10"), IntBin("keyN"))
        expression = Cond(Eq(difference, 10), "Yes", "No").compile()
        self._read_expression = [expression_operations.expression_read("ExpRes", expression)]
        flags = aerospike.EXP_WRITE_EVAL_NO_FAIL | aerospike.EXP_WRITE_POLICY_NO_FAIL
        self._write_expression = [expression_operations.expression_write("ExpRes", expression, flags)]
        self._client = aerospike.client(config)
        self.namespace = ""
        self.set = ""

    def use(self, namespace: str, set_name: str) -> None:
        self.namespace, self.set = namespace, set_name

    def truncate(self) -> None:
        """Remove all records of the set, and the ranges of their keys."""
        for name in (self.set, keys.SET):
            self._client.truncate(self.namespace, name, 0)

    def close(self) -> None:
        self._client.close()

    # --- the operations of the workloads ---

    def write(self, key: int, bins: Bins) -> None:
        self._client.put(self._key(key), bins)

    def read(self, key: int) -> None:
        with contextlib.suppress(self._missing):
            self._client.get(self._key(key))

    def update(self, key: int) -> None:
        policy = {"exists": self._aerospike.POLICY_EXISTS_UPDATE}
        self._client.put(self._key(key), {"updateT": datetime.now(UTC).isoformat()}, policy=policy)

    def delete(self, key: int) -> None:
        with contextlib.suppress(self._missing):
            self._client.remove(self._key(key), policy={"durable_delete": True})

    def expression_read(self, key: int) -> None:
        with contextlib.suppress(self._missing):
            self._client.operate(self._key(key), self._read_expression)

    def expression_write(self, key: int) -> None:
        self._client.operate(self._key(key), self._write_expression)

    def batch_write(self, batch: list[tuple[int, Bins]]) -> None:
        records = [
            self._records.Write(self._key(key), [self._operations.write(name, value) for name, value in bins.items()])
            for key, bins in batch
        ]
        self._client.batch_write(self._records.BatchRecords(records))

    def batch_read(self, batch: list[int]) -> None:
        """Look up the records without their bins, as the real Perseus does."""
        self._client.batch_read([self._key(key) for key in batch], [])

    # --- the ranges of keys ---

    def read_ranges(self) -> dict[str, list[int]]:
        try:
            _, _, bins = self._client.get((self.namespace, keys.SET, keys.KEY))
        except self._missing:
            return {}
        return {name: value for name, value in bins.items() if isinstance(value, list) and len(value) == 2}

    def write_range(self, name: str, bounds: list[int]) -> None:
        self._client.put((self.namespace, keys.SET, keys.KEY), {name: bounds})

    # --- records ---

    def bins(self, key: int, size: int) -> Bins:
        """A record's bins; `size` in bytes is the average of the complete record, of which 173 are fixed."""
        point = {"type": "Point", "coordinates": [random.uniform(-180, 180), random.uniform(-90, 90)]}
        return {
            "keyN": key,
            "keyS": str(key),
            "keyPlus10": key + 10,
            "date": key,
            "loc": self._aerospike.GeoJSON(point),
            "dummy": filler(max(0, size - 173)),
        }

    def _key(self, key: int) -> tuple[str, str, int]:
        return self.namespace, self.set, key


def filler(size: int) -> bytes:
    """About `size` bytes (normally distributed), one third repeated three times, so that they can be compressed."""
    length = 4 if size <= 9 else max(1, round(random.gauss(size, size / 10)))
    part = os.urandom(length // 3 + 1)
    return (part * 4)[:length]
