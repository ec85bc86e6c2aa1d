"""Keeps containers as EC2 wants its instances: compares the two, acts on the difference, notes what was reached.

Level-triggered: each look starts from the states as they are now, never from what was done before. So a crash of this
process, an engine that restarts, or a container that somebody removed by hand need no code of their own.
"""

from __future__ import annotations

import enum
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from docker.errors import APIError, NotFound

from local_cloud.disks.store import (
    PARTITION_MAJOR,
    DiskError,
    DiskStore,
    KernelEvents,
    bring_to_layout,
    foreign_devices,
    layout_of,
)
from local_cloud.ec2.endpoint import PENDING, RUNNING, SHUTTING_DOWN, STOPPED, STOPPING, TERMINATED, Endpoint, Instance
from local_cloud.engine import Container, ContainerPlan, Engine, EngineGone, explanation

log = logging.getLogger("pegasus.instances")

# Containers that are made, stopped or removed at the same time; more only makes each slower.
WORKERS = 4
# Seconds from one look to the next when nothing wakes the loop. Close together at first: an engine may tell of an end
# before it lists it. The last, again and again, finds what no event told.
LOOKS = (0.2, 0.5, 1.0, 3.0, 10.0)
ENGINE_RETRY = 1.0
# Seconds without the engine until EC2's callers are told. A restart of it takes less.
ENGINE_PATIENCE = 5.0
DISK_LOOK = 2.0
TABLE_LOOK = 0.4
# A start that fails is tried again this often, in case the engine was only busy.
ATTEMPTS = 3
# An instance that goes down by itself sooner than this many seconds after its start, several times, is broken.
TOO_SOON = 5.0

USER_ADMIN = 1000
BLOCK_RULES = (f"b {PARTITION_MAJOR}:* rw",)


class Act(enum.Enum):
    """What an instance's container needs."""

    LAUNCH = "launch"  # make it and start it
    START = "start"  # start it with blank disks, as EC2 does after a stop
    RESUME = "resume"  # it runs already: note that
    STOP = "stop"
    REMOVE = "remove"
    REBOOT = "reboot"
    LOST = "lost"  # it should be there and isn't
    DOWN = "down"  # it went down without being asked to: find out why
    SETTLE_STOPPED = "settle stopped"


@dataclass(frozen=True)
class Step:
    """One act on one instance. instance is None for a container that no instance asks for."""

    act: Act
    instance_id: str
    instance: Instance | None = None
    container: Container | None = None


def plan(wanted: Iterable[Instance], found: Iterable[Container]) -> list[Step]:
    """What to do, from the instances as EC2 has them and the containers that exist. Pure."""
    steps = []
    containers = {container.instance_id: container for container in found}
    for instance in wanted:
        container = containers.pop(instance.id, None)
        act = _act(instance, container)
        if act:
            steps.append(Step(act, instance.id, instance, container))
    # Left by an earlier life of the cloud, whose instances nobody knows.
    steps += [Step(Act.REMOVE, instance_id, None, container) for instance_id, container in containers.items()]
    return steps


def _act(instance: Instance, container: Container | None) -> Act | None:
    # A paused container is asleep, not down.
    runs = container is not None and container.state in ("running", "paused", "restarting")
    if instance.state == PENDING:
        if container is None:
            return Act.LAUNCH
        if container.state == "created":
            # A crash between making and starting it.
            return Act.LAUNCH
        return Act.RESUME if runs else Act.START
    if instance.state == RUNNING:
        if container is None:
            return Act.LOST
        if instance.reboot_wanted:
            return Act.REBOOT
        return None if runs else Act.DOWN
    if instance.state == STOPPING:
        return Act.STOP if runs else Act.SETTLE_STOPPED
    if instance.state == STOPPED:
        if container is None:
            return Act.LOST
        return Act.STOP if runs else None
    if instance.state == SHUTTING_DOWN:
        return Act.REMOVE
    return Act.REMOVE if container is not None else None


@dataclass
class _Trouble:
    """How often in a row something failed for an instance."""

    failures: int = 0
    started: float = 0.0
    early_ends: int = 0


@dataclass
class Reconciler:
    """Runs the comparison until stop(). `disks` is None where this machine attaches none."""

    endpoint: Endpoint
    engine: Engine
    image: str
    disks: DiskStore | None
    monotonic: Callable[[], float] = time.monotonic
    _wake: threading.Event = field(default_factory=threading.Event)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _busy: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _trouble: dict[str, _Trouble] = field(default_factory=dict)
    # Process ids of the inits of running instances, for their /dev; looked up when missing.
    _processes: dict[str, int] = field(default_factory=dict)
    _away_since: float | None = None
    _away_why: str = ""

    def start(self) -> None:
        """Begin, in threads of its own."""
        self._pool = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="instance")
        targets: list[tuple[str, Callable[[], None]]] = [("reconciler", self._run), ("engine-events", self._watch)]
        if self.disks is not None:
            targets.append(("disks", self._watch_disks))
        for name, target in targets:
            threading.Thread(target=target, name=name, daemon=True).start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        """Begin nothing more. What is under way is waited for no longer than it takes to notice."""
        self._stopping.set()
        self._wake.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- The loop -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        quiet = 0
        while not self._stopping.is_set():
            self._wake.clear()
            pause = LOOKS[min(quiet, len(LOOKS) - 1)]
            try:
                self._look()
                self._engine_is(away=False)
            except EngineGone as error:
                self._engine_is(away=True, why=str(error))
                pause = ENGINE_RETRY
            except Exception:
                log.exception("the comparison failed; it is tried again")
                pause = ENGINE_RETRY
            quiet = 0 if self._wake.wait(pause) else quiet + 1

    def _look(self) -> None:
        self.endpoint.forget_old(datetime.now(UTC))
        # In this order: what a step that ends meanwhile has changed may be missing in the list of containers, so its
        # instance is left for the next look; and a container that is listed has its instance in EC2 by then.
        with self._lock:
            busy = set(self._busy)
        found = self.engine.containers()
        wanted = self.endpoint.instances()
        for step in plan(wanted, found):
            if step.instance_id in busy:
                continue
            with self._lock:
                self._busy.add(step.instance_id)
            self._pool.submit(self._perform, step)
        if self.disks is not None:
            known = {instance.id for instance in wanted if instance.state != TERMINATED} | busy
            for instance_id in set(self.disks.instances()) - known - {one.instance_id for one in found}:
                log.info("%s: removing disks that no instance has", instance_id)
                self.disks.remove(instance_id)

    def _engine_is(self, away: bool, why: str = "") -> None:
        if away and self._away_since is None:
            log.error("the container engine doesn't answer: %s. Instances stay as they are until it does.", why)
            self._away_since, self._away_why = self.monotonic(), why
        elif self._away_since is not None and not away:
            log.info("the container engine answers again")
            self._away_since = None

    def engine_away(self) -> str:
        """Why no instance can follow, for EC2's callers; '' while the engine answers, or was just here."""
        since = self._away_since
        if since is None or self.monotonic() - since < ENGINE_PATIENCE:
            return ""
        return f"The container engine doesn't answer: {self._away_why}"

    def _watch(self) -> None:
        """Wakes the loop at each event of a container."""
        while not self._stopping.is_set():
            try:
                self.engine.watch(self.wake, self._stopping)
            except (EngineGone, APIError) as error:
                log.debug("events ended: %s", error)
            self.wake()
            self._stopping.wait(ENGINE_RETRY)

    # --- Acting -------------------------------------------------------------------------------------------------------

    def _perform(self, step: Step) -> None:
        """One step, in a thread of the pool. Nothing leaves it but notes in EC2's state."""
        begun = self.monotonic()
        again = True
        try:
            log.info("%s: %s", step.instance_id, step.act.value)
            self._handlers[step.act](self, step)
            self._trouble.setdefault(step.instance_id, _Trouble()).failures = 0
            log.info("%s: %s took %.1f s", step.instance_id, step.act.value, self.monotonic() - begun)
        except EngineGone as error:
            again = False  # the loop finds out, and tries again when the engine is back
            log.warning("%s: %s was interrupted, the engine went away: %s", step.instance_id, step.act.value, error)
        except NotFound as error:
            # Somebody removed the container meanwhile; the next look sees that.
            log.warning("%s: %s: %s", step.instance_id, step.act.value, explanation(error))
            again = self._failed(step, explanation(error))
        except APIError as error:
            again = self._failed(step, explanation(error))
        except (DiskError, OSError) as error:
            again = self._failed(step, str(error))
        except Exception as error:
            log.exception("%s: %s failed", step.instance_id, step.act.value)
            again = self._failed(step, f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                self._busy.discard(step.instance_id)
            if again:
                self.wake()

    def _failed(self, step: Step, why: str) -> bool:
        """Count; after several failures the instance ends, as on EC2. Returns whether to look again at once."""
        trouble = self._trouble.setdefault(step.instance_id, _Trouble())
        trouble.failures += 1
        log.error("%s: %s failed (%d of %d): %s", step.instance_id, step.act.value, trouble.failures, ATTEMPTS, why)
        if trouble.failures >= ATTEMPTS and step.act not in (Act.REMOVE, Act.STOP):
            self.endpoint.begin_termination(step.instance_id, "Server.InternalError", f"Server.InternalError: {why}")
            trouble.failures = 0
            return True
        self._stopping.wait(0.3)
        return trouble.failures < ATTEMPTS

    def _launch(self, step: Step) -> None:
        instance = _the_instance(step)
        if step.container is not None:
            self.engine.remove(step.container.id)
        disks = self.disks.create(instance.id, instance.disks) if self.disks is not None else []
        # Looked at again here: a real disk may have been plugged in since the start.
        if disks and foreign_devices():
            log.error("%s: a real disk appeared on block major %d: no disks", instance.id, PARTITION_MAJOR)
            assert self.disks is not None
            self.disks.remove(instance.id)
            disks = []
        container = self.engine.create(
            ContainerPlan(
                instance_id=instance.id,
                image=self.image,
                hostname=instance.hostname,
                address=instance.address,
                files=first_files(instance),
                devices={disk.node: disk.loop_path for disk in disks},
                device_rules=BLOCK_RULES if disks else (),
            )
        )
        if instance.user_data and not instance.user_data.startswith(b"#!"):
            log.error("%s: its user data isn't a script ('#!'): refused, see its /var/log/user-data.log", instance.id)
        self._start_container(instance.id, container)
        self.endpoint.move(instance.id, PENDING, RUNNING)

    def _start(self, step: Step) -> None:
        instance, container = _the_instance(step), _the_container(step)
        if self.disks is not None:
            self.disks.blank(instance.id)
        self._start_container(instance.id, container.id)
        self.endpoint.move(instance.id, PENDING, RUNNING)

    def _resume(self, step: Step) -> None:
        self.endpoint.move(step.instance_id, PENDING, RUNNING)

    def _stop(self, step: Step) -> None:
        self._processes.pop(step.instance_id, None)
        self.engine.stop(_the_container(step).id)
        self.endpoint.move(step.instance_id, STOPPING, STOPPED)

    def _settle_stopped(self, step: Step) -> None:
        self.endpoint.move(step.instance_id, STOPPING, STOPPED)

    def _remove(self, step: Step) -> None:
        self._processes.pop(step.instance_id, None)
        if step.container is not None:
            self.engine.remove(step.container.id)
        if self.disks is not None:
            self.disks.remove(step.instance_id)
        self._trouble.pop(step.instance_id, None)
        if step.instance is not None:
            self.endpoint.settle(step.instance_id, TERMINATED)

    def _reboot(self, step: Step) -> None:
        container = _the_container(step)
        self._processes.pop(step.instance_id, None)
        if container.state == "running":
            self.engine.stop(container.id)
        self._start_container(step.instance_id, container.id)
        self.endpoint.rebooted(step.instance_id)

    def _lost(self, step: Step) -> None:
        why = "Server.InternalError: the instance's container is gone; somebody removed it, or the engine's data"
        log.error("%s: %s", step.instance_id, why)
        self.endpoint.begin_termination(step.instance_id, "Server.InternalError", why)

    def _down(self, step: Step) -> None:
        """An instance that should run doesn't: it rebooted or powered itself off, or the engine cut it off."""
        instance, container = _the_instance(step), _the_container(step)
        self._processes.pop(instance.id, None)
        why = self.engine.why_stopped(container.id)
        log.info("%s: went down (%s)", instance.id, why or "cut off")
        if why == "poweroff":
            reason = "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
            if instance.on_power_off == "terminate":
                self.endpoint.begin_termination(instance.id, "Client.InstanceInitiatedShutdown", reason)
            else:
                self.endpoint.settle(instance.id, STOPPED, code="Client.InstanceInitiatedShutdown", reason=reason)
            return
        trouble = self._trouble.setdefault(instance.id, _Trouble())
        early = self.monotonic() - trouble.started < TOO_SOON and why != "reboot"
        trouble.early_ends = trouble.early_ends + 1 if early else 0
        if trouble.early_ends >= ATTEMPTS:
            last = self.engine.last_lines(container.id)
            log.error("%s: its container ends right after its start, again and again:\n%s", instance.id, last)
            self.endpoint.begin_termination(
                instance.id,
                "Server.InternalError",
                f"Server.InternalError: its container doesn't stay up: {last[-200:]}",
            )
            return
        self._start_container(instance.id, container.id)

    def _start_container(self, instance_id: str, container: str) -> None:
        disks = self.disks.ensure_attached(instance_id) if self.disks is not None else []
        trouble = self._trouble.setdefault(instance_id, _Trouble())
        trouble.started = self.monotonic()
        process = self.engine.start(container)
        if process and disks:
            self._processes[instance_id] = process
            self._give_nodes(instance_id, process)

    _handlers = {  # noqa: RUF012 - a table of this class's own methods
        Act.LAUNCH: _launch,
        Act.START: _start,
        Act.RESUME: _resume,
        Act.STOP: _stop,
        Act.SETTLE_STOPPED: _settle_stopped,
        Act.REMOVE: _remove,
        Act.REBOOT: _reboot,
        Act.LOST: _lost,
        Act.DOWN: _down,
    }

    # --- Disks: udev's part -------------------------------------------------------------------------------------------

    def _watch_disks(self) -> None:
        """Keeps the instances' /dev as the kernel's partitions are, at each event of the kernel and now and then."""
        events = KernelEvents()
        while not self._stopping.is_set():
            try:
                self._look_at_disks()
            except EngineGone:
                log.debug("disks: the engine doesn't answer")
            except Exception:
                log.exception("disks: the look failed; it is tried again")
            # A table that only this process reads is looked for; elsewhere the kernel tells of new partitions.
            events.wait(DISK_LOOK if self.disks and self.disks.kernel_reads else TABLE_LOOK)
        events.close()

    def _look_at_disks(self) -> None:
        assert self.disks is not None
        running = {one.id for one in self.endpoint.instances() if one.state == RUNNING and one.disks}
        for gone in set(self._processes) - running:
            self._processes.pop(gone, None)
        missing = running - set(self._processes)
        if missing:
            containers = {one.instance_id: one.id for one in self.engine.containers() if one.state == "running"}
            for instance_id in missing & set(containers):
                process = self.engine.process(containers[instance_id])
                if process:
                    self._processes[instance_id] = process
        for instance_id, process in list(self._processes.items()):
            self._give_nodes(instance_id, process)

    def _give_nodes(self, instance_id: str, process: int) -> None:
        assert self.disks is not None
        disks = self.disks.of(instance_id)
        if not disks:
            return
        try:
            if not is_container_init(process):
                raise ProcessLookupError("the instance's first process is gone")
            self.disks.tell_kernel(disks)
            bring_to_layout(Path(f"/proc/{process}/root/dev"), layout_of(disks))
        except OSError as error:
            # It goes down at this moment; a new process id is looked up when it runs again.
            log.debug("%s: its /dev: %s", instance_id, error)
            self._processes.pop(instance_id, None)


def is_container_init(process: int) -> bool:
    """Whether a process id still is the first process of a container: ids are used again."""
    try:
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return len(line.split()) > 2 and line.split()[-1] == "1"
    except OSError:
        pass
    return False


def first_files(instance: Instance) -> Mapping[str, tuple[bytes, int, int]]:
    """What an instance finds at its first boot: identity, key, user data. (content, mode, user id) by path."""
    machine = hashlib.sha256(instance.id.encode()).hexdigest()[:32]
    files = {"/etc/machine-id": (f"{machine}\n".encode(), 0o444, 0)}
    if instance.public_key:
        files["/home/admin/.ssh/authorized_keys"] = (instance.public_key.strip().encode() + b"\n", 0o600, USER_ADMIN)
    if instance.user_data:
        files["/var/lib/pegasus/user-data"] = (instance.user_data, 0o600, 0)
    return files


def _the_instance(step: Step) -> Instance:
    assert step.instance is not None
    return step.instance


def _the_container(step: Step) -> Container:
    assert step.container is not None
    return step.container
