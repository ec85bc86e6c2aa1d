"""Prepares this machine for molecule's containers: the image, the packages, the disks and their device nodes.

    testbed.py prepare [HOST=DISKS ...]   build the image and the packages, create the disks; print both as JSON
    testbed.py serve                      start a process that serves the packages and an EC2 endpoint, and does udev's
                                          work for the containers' disks
    testbed.py blank HOST                 give a stopped host blank disks, as EC2 does at a stop and start
    testbed.py remove                     stop that process, and remove the disks and the packages

It uses the code of the local cloud. Its state is in <checkout>/.pegasus/molecule.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from local_cloud import LocalCloudError, image
from local_cloud.disks.loops import detach_under
from local_cloud.disks.store import open_store
from local_cloud.disks.udev import Udev
from local_cloud.engine import connect
from local_cloud.instances.reconciler import BLOCK_RULES
from local_cloud.mirror import Mirror
from local_cloud.packages.build import build_mirror
from local_cloud.preflight import raise_inotify_limit, restore_inotify_limit
from local_cloud.settings import MIRROR_PORT, Settings
from tests.ec2_endpoint import ec2_endpoint

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".pegasus" / "molecule"
DISKS = STATE / "disks"
MIRROR = STATE / "mirror"
LOCK = STATE / "testbed.pid"
# Contains the EC2 endpoint's URL.
EC2 = STATE / "ec2"
# Seconds for the process to stop.
STOP_TIMEOUT = 20


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def name() -> str:
    """The name of the testbed's network and the prefix of its containers' names, as in group_vars/all.yml."""
    return f"pegasus-molecule-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"


def prepare(disk_counts: dict[str, int]) -> None:
    """Build the image, the packages and the disks, and print what create.yml needs. Raises LocalCloudError."""
    STATE.mkdir(parents=True, exist_ok=True)
    settings = Settings(ROOT)
    engine = connect(settings)
    raise_inotify_limit(STATE)
    tag = image.ensure(engine, settings, say)
    build_mirror(ROOT, MIRROR, say)
    store, reason = open_store(DISKS)
    devices = {
        # A repeated create finds the disks of the existing containers.
        host: [f"{disk.loop_path}:{disk.node}:rw" for disk in store.ensure_attached(host) or store.create(host, count)]
        for host, count in disk_counts.items()
        if store is not None and count
    }
    print(
        json.dumps(
            {
                "name": name(),
                "image": tag,
                "capabilities": engine.capabilities,
                "devices": devices,
                "device_rules": list(BLOCK_RULES),
                "disks_reason": reason,
            }
        )
    )


def serve() -> None:
    """Start the background process, and wait until it is ready. Raises LocalCloudError."""
    log = STATE / "testbed.log"
    ready_end, child_end = os.pipe()
    with log.open("ab") as output:
        subprocess.Popen(
            [sys.executable, __file__, "run", "--ready-fd", str(child_end)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=[child_end],
        )
    os.close(child_end)
    with os.fdopen(ready_end) as stream:
        if stream.readline().strip() != "ready":
            raise LocalCloudError(f"the testbed's process exited: {log.read_text()[-400:]}", f"See {log}")


def run(ready_fd: int) -> None:
    """Be the background process, until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    facts = json.loads((STATE / "facts.json").read_text())
    mirror = Mirror(MIRROR, facts["mirror_url"].split("/")[2].split(":")[0], MIRROR_PORT)
    engine = connect(Settings(ROOT))
    store, _ = open_store(DISKS)
    with ec2_endpoint() as ec2:
        EC2.write_text(ec2)
        with os.fdopen(ready_fd, "w") as ready:
            ready.write("ready\n")
        if store is None:
            stopping.wait()
        else:
            Udev(store, engine, store.instances, lambda host: f"{name()}-{host}").run(stopping)
    mirror.close()


def blank(host: str) -> None:
    """Give a stopped host blank disks. Raises LocalCloudError."""
    store, reason = open_store(DISKS)
    if store is None:
        raise LocalCloudError(f"{host} has no disks: {reason}", "Nothing to do.")
    store.blank(host)


def remove() -> None:
    """Undo prepare and serve, even if they were interrupted. Raises LocalCloudError for a disk that is still in use."""
    _stop_process()
    problems = detach_under(DISKS)
    if problems:
        raise LocalCloudError("; ".join(problems), "Remove the containers that use them, then run this again.")
    restore_inotify_limit(STATE)
    shutil.rmtree(STATE, ignore_errors=True)


def _stop_process() -> None:
    """Stop the process that holds the lock. The process id alone may belong to another process by now."""
    if not LOCK.exists():
        return
    lock = os.open(LOCK, os.O_RDWR | os.O_CLOEXEC)
    end = time.monotonic() + STOP_TIMEOUT
    signalled = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if not signalled:
                os.kill(int(LOCK.read_text()), signal.SIGTERM)
                signalled = True
            if time.monotonic() > end:
                pid = LOCK.read_text().strip()
                raise LocalCloudError(
                    f"the testbed's process {pid} is still running {STOP_TIMEOUT} s after SIGTERM", f"kill -KILL {pid}"
                ) from None
            time.sleep(0.1)
    os.close(lock)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("prepare").add_argument("hosts", nargs="*", metavar="HOST=DISKS")
    verbs.add_parser("serve")
    verbs.add_parser("run").add_argument("--ready-fd", type=int, required=True)
    verbs.add_parser("blank").add_argument("host")
    verbs.add_parser("remove")
    options = parser.parse_args()
    try:
        if options.verb == "prepare":
            prepare({host: int(count) for host, _, count in (pair.partition("=") for pair in options.hosts)})
        elif options.verb == "serve":
            serve()
        elif options.verb == "run":
            run(options.ready_fd)
        elif options.verb == "blank":
            blank(options.host)
        else:
            remove()
    except LocalCloudError as error:
        say(f"testbed: {error.message}\nnext: {error.next_step}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
