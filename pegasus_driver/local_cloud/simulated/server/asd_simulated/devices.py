"""Raw devices of `storage-engine device`: opened, checked and marked as the real server does. Data stays in memory."""

import os
import stat
import struct
from pathlib import Path

from .config import ConfigError, NamespaceConfig
from .log import Log

HEADER_SIZE = 8 * 1024 * 1024
MAGIC = b"PEGASUS SIMULATED ASD"
HEADER = struct.Struct(">32s32s")


def open_devices(namespace: NamespaceConfig, log: Log) -> int:
    """The namespace's capacity in bytes. Raises ConfigError for what the real server crashes on."""
    if namespace.engine == "memory" and not namespace.devices and not namespace.files:
        return namespace.storage.get("data-size", 0)
    if namespace.files:
        filesize = namespace.storage["filesize"]
        for path in namespace.files:
            open_file(path)
        return filesize * len(namespace.files)
    return sum(open_device(namespace, path, log) for path in namespace.devices)


def open_file(path: str) -> None:
    """A storage file is made when it's missing. It stays empty: the data is in memory."""
    try:
        Path(path).open("ab").close()
    except OSError as error:
        raise refuse(f"unable to open file {path}: {error.strerror}") from error


def open_device(namespace: NamespaceConfig, path: str, log: Log) -> int:
    """The size of one device, with our header on it."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError as error:
        raise refuse(f"unable to open device {path}: {error.strerror}") from error
    try:
        if not stat.S_ISBLK(os.fstat(handle).st_mode):
            raise refuse(f"{path}: is not a block device, a regular file needs 'file' and 'filesize'")
        size = os.lseek(handle, 0, os.SEEK_END)
        if size <= HEADER_SIZE:
            raise refuse(f"{path} size {size} must be greater than header size {HEADER_SIZE}")
        check_header(namespace.name, path, os.pread(handle, HEADER_SIZE, 0), namespace.storage)
        os.pwrite(handle, HEADER.pack(MAGIC, namespace.name.encode()), 0)
        os.fsync(handle)
    except OSError as error:
        raise refuse(f"{path}: DEVICE FAILED: errno {error.errno} ({error.strerror})") from error
    finally:
        os.close(handle)
    log.info("drv_ssd", f"opened device {path}: usable size {size - HEADER_SIZE} (SIMULATED: data is kept in memory)")
    return size - HEADER_SIZE


def check_header(name: str, path: str, header: bytes, storage: dict[str, object]) -> None:
    """Accepts an erased device or one of ours with the same namespace."""
    if storage.get("cold-start-empty"):
        return
    magic, owner = HEADER.unpack_from(header)
    if magic.rstrip(b"\0") == MAGIC:
        previous = owner.rstrip(b"\0").decode()
        if previous != name:
            raise refuse(f"{path}: previous namespace {previous} now {name} - check config or erase device")
    elif header.count(0) != len(header):
        raise refuse(f"{path}: not an Aerospike device but not erased - check config or erase device")


def refuse(text: str) -> ConfigError:
    return ConfigError(text, "drv_ssd", "drv_ssd.c:2476")
