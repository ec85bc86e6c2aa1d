"""Raw devices and files of a storage engine: opened, checked and marked as in the real server. Content: journal.py."""

import os
import stat
import struct
from dataclasses import dataclass

from .config.model import ConfigError, NamespaceConfig
from .log import Log

HEADER_SIZE = 8 * 1024 * 1024
MAGIC = b"PEGASUS SIMULATED ASD"
HEADER = struct.Struct(">32s32s")


@dataclass(frozen=True)
class Device:
    """A device or file of a storage engine; `size` in bytes, header included."""

    path: str
    size: int


def capacity(namespace: NamespaceConfig, devices: list[Device]) -> int:
    """How much data a namespace may hold, in bytes."""
    return sum(device.size - HEADER_SIZE for device in devices) if devices else namespace.storage.get("data-size", 0)


def open_devices(namespace: NamespaceConfig, log: Log) -> list[Device]:
    """The namespace's devices or files; none if its data is only in memory.

    :raises ConfigError: a device on which the real server fails to start
    """
    if namespace.files:
        return [open_file(namespace, path, namespace.storage["filesize"], log) for path in namespace.files]
    return [open_device(namespace, path, log) for path in namespace.devices]


def open_file(namespace: NamespaceConfig, path: str, size: int, log: Log) -> Device:
    """A storage file, created if it is missing, with the configured size."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise refusal(f"unable to open file {path}: {error.strerror}") from error
    try:
        os.ftruncate(handle, size)
        return mark(namespace, path, handle, size, log)
    finally:
        os.close(handle)


def open_device(namespace: NamespaceConfig, path: str, log: Log) -> Device:
    """A raw device."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError as error:
        raise refusal(f"unable to open device {path}: {error.strerror}") from error
    try:
        if not stat.S_ISBLK(os.fstat(handle).st_mode):
            raise refusal(f"{path}: is not a block device, a regular file needs 'file' and 'filesize'")
        return mark(namespace, path, handle, os.lseek(handle, 0, os.SEEK_END), log)
    finally:
        os.close(handle)


def mark(namespace: NamespaceConfig, path: str, handle: int, size: int, log: Log) -> Device:
    """Check the device's header, and write ours."""
    if size <= HEADER_SIZE:
        raise refusal(f"{path} size {size} must be greater than header size {HEADER_SIZE}")
    try:
        check_header(namespace.name, path, os.pread(handle, HEADER_SIZE, 0), namespace.storage)
        os.pwrite(handle, HEADER.pack(MAGIC, namespace.name.encode()), 0)
        os.fsync(handle)
    except OSError as error:
        raise refusal(f"{path}: DEVICE FAILED: errno {error.errno} ({error.strerror})") from error
    log.info("drv_ssd", f"opened device {path}: usable size {size - HEADER_SIZE} (SIMULATED)")
    return Device(path, size)


def check_header(name: str, path: str, header: bytes, storage: dict[str, object]) -> None:
    """Accept an erased device, or one with our header and the same namespace."""
    if storage.get("cold-start-empty"):
        return
    magic, owner = HEADER.unpack_from(header)
    if magic.rstrip(b"\0") == MAGIC:
        previous = owner.rstrip(b"\0").decode()
        if previous != name:
            raise refusal(f"{path}: previous namespace {previous} now {name} - check config or erase device")
    elif header.count(0) != len(header):
        raise refusal(f"{path}: not an Aerospike device but not erased - check config or erase device")


def refusal(text: str) -> ConfigError:
    return ConfigError(text, "drv_ssd", "drv_ssd.c:2476")
