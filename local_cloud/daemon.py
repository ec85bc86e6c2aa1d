"""The daemon of a local cloud: endpoint, mirror and reconciler. `start` in cloud.py runs it in the background.

    python -m local_cloud.daemon
        --root <folder> --port <n> --network <range> --image <tag> --ready-fd <n>

It writes one line of JSON to the descriptor --ready-fd: {"ready": true}, or {"error": ..., "next_step": ...}. SIGTERM
ends the process and keeps the instances; `stop` in cloud.py removes them.
"""

import argparse
import contextlib
import fcntl
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from . import LocalCloudError
from .disks.store import DISK_BYTES, open_store
from .ec2.endpoint import Endpoint
from .ec2.moto_setup import prepare_environment, set_disk_size
from .ec2.state import Ec2State
from .engine import connect
from .files import replace_file
from .instances.reconciler import Reconciler
from .mirror import Mirror
from .preflight import why_no_more_instances
from .settings import ENDPOINT_HOST, MIRROR_PORT, Settings, debian_architecture

log = logging.getLogger("pegasus.daemon")


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="local_cloud.daemon")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--network", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    options = parser.parse_args()
    settings = Settings(options.root, options.port, options.network)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    # Keep running when the terminal is closed.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    try:
        lock = _lock(settings)
        cloud = _Cloud(settings, options.image)
    except Exception as error:
        known = isinstance(error, LocalCloudError)
        problem = str(error) if known else f"{type(error).__name__}: {error}"
        log.error("the start failed: %s", problem, exc_info=not known)
        _report(options.ready_fd, {"error": problem, "next_step": getattr(error, "next_step", "")})
        return 1
    _report(options.ready_fd, {"ready": True})
    log.info("ready: EC2 endpoint %s, mirror %s", settings.endpoint_url, settings.mirror_url)
    stopping.wait()
    log.info("stopping")
    cloud.close()
    os.close(lock)
    # Threads may still wait for the engine. They hold nothing that must be saved.
    logging.shutdown()
    os._exit(0)


class _Cloud:
    """The running parts of the cloud."""

    def __init__(self, settings: Settings, image: str) -> None:
        architecture = debian_architecture()
        engine = connect(settings)
        store, no_disks = open_store(settings.disks)
        prepare_environment(settings.state / "images.json", architecture)
        self.state = Ec2State(settings.network, settings.snapshot_file)
        set_disk_size(DISK_BYTES if store else 0)
        facts: dict[str, Any] = {
            "mirror_url": settings.mirror_url,
            "disks": store is not None,
            "disks_reason": no_disks,
            "architecture": architecture,
            "network": settings.network,
            "endpoint_url": settings.endpoint_url,
            "image": image,
            "pid": os.getpid(),
        }
        try:
            self.mirror = Mirror(settings.mirror, settings.gateway, MIRROR_PORT)
        except OSError as error:
            raise LocalCloudError(
                f"the artifact mirror can't listen on {settings.gateway}:{MIRROR_PORT}: {error.strerror or error}",
                f"Stop the program that uses port {MIRROR_PORT} (see ss -ltnp), then run this again.",
            ) from error
        self.reconciler = Reconciler(self.state, engine, image, store)
        self.endpoint = Endpoint(self.state, self.reconciler.wake)
        self.endpoint.admit = why_no_more_instances
        self.endpoint.away = self.reconciler.engine_away
        self.endpoint.facts = facts
        # Adopts an earlier daemon's instances before the first call can come.
        self.reconciler.start()
        try:
            self.endpoint.listen(ENDPOINT_HOST, settings.port)
        except OSError as error:
            raise LocalCloudError(
                str(error), "Stop the program that uses the port, or set PEGASUS_LOCAL_PORT to another."
            ) from error
        self.state.save()
        replace_file(settings.facts_file, json.dumps(facts, indent=2).encode())

    def close(self) -> None:
        self.reconciler.stop()
        self.endpoint.close()
        self.mirror.close()
        self.state.save()


def _lock(settings: Settings) -> int:
    """Take the lock that marks this cloud's daemon as alive; returns its descriptor. Raises LocalCloudError."""
    descriptor = os.open(settings.daemon_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LocalCloudError("another daemon of this local cloud is already running", "Run this again.") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _report(descriptor: int, record: dict[str, Any]) -> None:
    """Write the line to the starting process. If that was killed, the next start finds this daemon by its lock."""
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptor, (json.dumps(record) + "\n").encode())
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
