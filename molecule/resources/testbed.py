"""What molecule's containers need of this machine, beside the engine: the image, the packages, disks and their nodes.

    testbed.py prepare [HOST=DISKS ...]   builds the image and the packages, makes the disks; prints both as JSON
    testbed.py serve                      a process that serves the packages and an EC2 endpoint without machines,
                                          and is udev for the containers' disks
    testbed.py blank HOST                 gives a host that is stopped blank disks, as EC2 does at a stop and start
    testbed.py remove                     ends that process, and removes the disks and the packages

All of it is the local cloud's own code. State is in <checkout>/.pegasus/molecule.
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

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from local_cloud import (
    LocalCloudError,
    image,
)
from local_cloud.disks.store import DiskStore, KernelEvents, bring_to_layout, detach_under, layout_of, open_store
from local_cloud.engine import (
    Engine,
    EngineGone,
    connect,
)
from local_cloud.instances.reconciler import (
    BLOCK_RULES,
    TABLE_LOOK,
    is_container_init,
)
from local_cloud.mirror import Mirror
from local_cloud.packages import build
from local_cloud.preflight import (
    raise_inotify_limit,
    restore_inotify_limit,
)
from local_cloud.settings import (
    MIRROR_PORT,
    Settings,
)
from tests.ec2_endpoint import ec2_endpoint

STATE = ROOT / ".pegasus" / "molecule"
DISKS = STATE / "disks"
MIRROR = STATE / "mirror"
LOCK = STATE / "testbed.pid"
# The EC2 endpoint's URL.
EC2 = STATE / "ec2"
# Seconds for the process to come up, and to end.
PATIENCE = 20


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def name() -> str:
    """What the testbed's network and containers are called: group_vars/all.yml says the same."""
    return f"pegasus-molecule-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"


def prepare(wanted: dict[str, int]) -> None:
    """Make what the containers are made of, and print it."""
    STATE.mkdir(parents=True, exist_ok=True)
    settings = Settings(ROOT)
    engine = connect(settings)
    raise_inotify_limit(STATE)
    tag = image.ensure(engine, settings, say)
    build.build_mirror(ROOT, MIRROR, say)
    store, reason = open_store(DISKS)
    devices = {
        # A second create finds its disks: a container may hold them.
        host: [f"{disk.loop_path}:{disk.node}:rw" for disk in store.ensure_attached(host) or store.create(host, count)]
        for host, count in wanted.items()
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
    """Start the process that outlives this one, and wait until it is ready. Raises LocalCloudError."""
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
            raise LocalCloudError(f"the testbed's process ended: {log.read_text()[-400:]}", f"See {log}")


def run(ready_fd: int) -> None:
    """The process itself, until SIGTERM."""
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
        show_disks_until(stopping, engine, store)
    mirror.close()


def show_disks_until(stopping: threading.Event, engine: Engine, store: DiskStore | None) -> None:
    """Keep the containers' disk nodes as their partition tables are."""
    if store is None:
        stopping.wait()
        return
    events = KernelEvents()
    processes: dict[str, int] = {}
    while not stopping.is_set():
        for host in store.instances():
            processes[host] = _show_disks(engine, store, host, processes.get(host, 0))
        events.wait(TABLE_LOOK)


def _show_disks(engine: Engine, store: DiskStore, host: str, process: int) -> int:
    """Bring a container's /dev to what its disks hold; returns its first process, 0 where it doesn't run."""
    try:
        if not is_container_init(process):
            process = engine.process(f"{name()}-{host}")
        if process and is_container_init(process):
            disks = store.of(host)
            store.tell_kernel(disks)
            bring_to_layout(Path(f"/proc/{process}/root/dev"), layout_of(disks))
    except (OSError, EngineGone) as error:
        print(f"{host}: {error}", flush=True)
        return 0
    except Exception as error:  # docker's: the container isn't there yet, or any more
        print(f"{host}: {error}", flush=True)
        return 0
    return process


def blank(host: str) -> None:
    store, reason = open_store(DISKS)
    if store is None:
        raise LocalCloudError(f"{host} has no disks: {reason}", "Nothing to do.")
    store.blank(host)


def remove() -> None:
    """Undo prepare and serve, however far they came. Raises LocalCloudError for a disk that is still in use."""
    _end_process()
    left = detach_under(DISKS)
    if left:
        raise LocalCloudError("; ".join(left), "Remove the containers that use them, then run this again.")
    restore_inotify_limit(STATE)
    shutil.rmtree(STATE, ignore_errors=True)


def _end_process() -> None:
    """End the process that holds the lock; a process id alone could be somebody else's by now."""
    if not LOCK.exists():
        return
    lock = os.open(LOCK, os.O_RDWR | os.O_CLOEXEC)
    end = time.monotonic() + PATIENCE
    asked = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if not asked:
                os.kill(int(LOCK.read_text()), signal.SIGTERM)
                asked = True
            if time.monotonic() > end:
                raise LocalCloudError(f"the process {LOCK.read_text().strip()} doesn't end", "End it.") from None
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
            prepare({host: int(count) for host, _, count in (one.partition("=") for one in options.hosts)})
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
