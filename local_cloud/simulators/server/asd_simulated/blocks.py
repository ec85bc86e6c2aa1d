"""The write blocks of a namespace's devices: what space is left, and when there is none.

As in the real server, a record is appended to an open block, and the space of its old version is free again only when
its block is: once a block holds less than `defrag-lwm-pct`, its records move on. Blocks in the post-write cache wait,
and some are kept in reserve for that moving: a write that would need those is refused. So a small device is full long
before its records fill it. Facts: public source of Community Edition 6.4.0.34, 7.1.0.23 and 8.1.2.0.
"""

from collections import deque
from collections.abc import Callable

from .config.model import NamespaceConfig

HEADER_SIZE = 8 * 1024 * 1024
BLOCK_SIZE = 8 * 1024 * 1024  # since 7.0
RESERVE = 8
# Data in memory only: records never move from one stripe to another.
STRIPE_RESERVE = 1
STRIPES_MIN = 8
STRIPE_SIZE_MAX = 2 * 2**40
# Who writes: clients, the partition's master, migrations. Each fills its own block.
MASTER, PROLE, UNCACHED = range(3)


class OutOfSpaceError(Exception):
    """No block is left for a write."""


class Block:
    """`filled` bytes are written, `used` bytes of them are current. `into`: the block that its records moved to."""

    __slots__ = ("closed", "filled", "into", "used")

    def __init__(self) -> None:
        self.filled = 0
        self.used = 0
        self.closed = False  # whether its records may move
        self.into: Block | None = None


class Device:
    """A device, file or stripe of memory: `count` blocks of `size` bytes, its header included.

    :param lwm: returns the bytes below which a block's records move
    :param cached: returns how many written blocks stay in the post-write cache
    """

    def __init__(
        self, total: int, size: int, reserve: int, lwm: Callable[[], int], cached: Callable[[int], int]
    ) -> None:
        self.total = total - (total - HEADER_SIZE) % size
        self.size = size
        self.reserve = reserve
        self.lwm = lwm
        self.cached = cached
        self.free = max(0, (self.total - HEADER_SIZE) // size)
        self.used = 0
        self.writes = 0
        self.moved = 0
        self._open: list[Block | None] = [None, None, None]
        self._cache: deque[Block] = deque()
        self._target: Block | None = None

    @property
    def avail_pct(self) -> int:
        return self.free * self.size * 100 // self.total

    def place(self, size: int, who: int) -> Block:
        """Append `size` bytes.

        :returns: the block that holds them
        :raises OutOfSpaceError: no block is left, and nothing has changed
        """
        block = self._open[who]
        if block is None or block.filled + size > self.size:
            if block is not None:
                self._open[who] = None
                self._written(block, who)
            if self.free <= self.reserve:
                raise OutOfSpaceError
            self.free -= 1
            block = self._open[who] = Block()
        block.filled += size
        block.used += size
        self.used += size
        return block

    def restore(self, size: int) -> Block:
        """Place `size` bytes that the device held before a restart: there was space for them."""
        block = self._open[UNCACHED]
        if block is None or (block.filled + size > self.size and self.free):
            if block is not None:
                self._close(block)
            self.free -= 1
            block = self._open[UNCACHED] = Block()
        block.filled += size
        block.used += size
        self.used += size
        return block

    def release(self, block: Block, size: int) -> None:
        """Free `size` bytes that were placed in `block`."""
        while block.into is not None:
            if block.into.into is not None:
                block.into = block.into.into  # the next time, the way is half as long
            block = block.into
        block.used -= size
        self.used -= size
        if block.closed:
            self._settle(block)

    def _written(self, block: Block, who: int) -> None:
        """A block is full."""
        self.writes += 1
        if self.cached(who):
            self._cache.append(block)
        else:
            self._close(block)
        limit = self.cached(MASTER)
        while len(self._cache) > limit:
            self._close(self._cache.popleft())

    def _close(self, block: Block) -> None:
        block.closed = True
        self._settle(block)

    def _settle(self, block: Block) -> None:
        """Free the block if nothing in it is current, or move the little that is."""
        if block.used == 0:
            block.closed = False
            self.free += 1
        elif block.used < self.lwm():
            self._move(block)

    def _move(self, block: Block) -> None:
        target = self._target
        if target is None or target.filled + block.used > self.size:
            if self.free == 0:
                return
            self._target = Block()
            self.free -= 1
            if target is not None:
                self._close(target)
            target = self._target
        target.filled += block.used
        target.used += block.used
        block.into, block.used, block.closed = target, 0, False
        self.moved += 1
        self.free += 1


def block_size(namespace: NamespaceConfig) -> int:
    return BLOCK_SIZE if namespace.numbers >= (7,) else namespace.storage.get("write-block-size", 2**20)


def layout(namespace: NamespaceConfig, sizes: list[int]) -> list[Device]:
    """The devices of a namespace, `sizes` in bytes; without any, the stripes of its memory.

    Before 7.0, data in memory has no blocks: none are returned.
    """
    size = block_size(namespace)

    def lwm() -> int:
        return size * namespace.storage.get("defrag-lwm-pct", 50) // 100

    def cached(who: int) -> int:
        replicas = namespace.storage.get("cache-replica-writes", False)
        if namespace.engine != "device" or who == UNCACHED or (who == PROLE and not replicas):
            return 0
        if namespace.numbers >= (7,):
            return namespace.storage.get("post-write-cache", 256 * 2**20) // size
        return 0 if namespace.storage.get("data-in-memory") else namespace.storage.get("post-write-queue", 256)

    if sizes:
        return [Device(total, size, RESERVE, lwm, cached) for total in sizes]
    if namespace.numbers < (7,):
        return []
    data_size = namespace.storage.get("data-size", 0)
    stripes = max(STRIPES_MIN, -(-data_size // STRIPE_SIZE_MAX))
    return [Device(data_size // stripes, size, STRIPE_RESERVE, lwm, cached) for _ in range(stripes)]
