"""Keeps containers in step with EC2's instances: compares both, acts on the difference, records the reached states.

Level-triggered: each comparison starts from the current states, never from earlier actions. Therefore a crash of this
process, a restart of the engine and a container removed by hand need no code of their own.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

from docker.errors import APIError

from local_cloud.disks.loops import DiskError
from local_cloud.disks.store import PARTITION_MAJOR, DiskStore, foreign_devices
from local_cloud.disks.udev import Udev
from local_cloud.ec2.state import PENDING, RUNNING, STOPPED, STOPPING, TERMINATED, Ec2State, Instance
from local_cloud.engine import Container, Engine, EngineGone, Files, container_name, explanation

from .plan import Action, Step, plan

log = logging.getLogger("pegasus.instances")

# Containers that are created, stopped or removed in parallel. A larger number only slows each of them down.
WORKERS = 4
# Seconds between two comparisons while no event wakes the loop. Short at first, because an engine may report an exit
# before its list shows it. The last interval repeats and finds changes without an event.
INTERVALS = (0.2, 0.5, 1.0, 3.0, 10.0)
ENGINE_RETRY = 1.0
# Seconds without the engine until EC2's callers get errors. The engine restarts faster than this.
ENGINE_TIMEOUT = 5.0
# How often a failing action is tried, in case the engine was busy.
ATTEMPTS = 3
# An instance that exits less than this many seconds after its start, several times in a row, is broken.
EARLY_EXIT = 5.0

USER_ADMIN = 1000
BLOCK_RULES = (f"b {PARTITION_MAJOR}:* rw",)


@dataclass
class _Failures:
    """Failures in a row of one instance."""

    actions: int = 0
    started: float = 0.0
    early_exits: int = 0


@dataclass
class Reconciler:
    """Repeats the comparison until stop(). `disks` is None on a machine that can't attach disks."""

    state: Ec2State
    engine: Engine
    image: str
    disks: DiskStore | None
    monotonic: Callable[[], float] = time.monotonic
    _wake: threading.Event = field(default_factory=threading.Event)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _busy: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _failures: dict[str, _Failures] = field(default_factory=dict)
    _away_since: float | None = None
    _away_why: str = ""

    def __post_init__(self) -> None:
        self._udev = Udev(self.disks, self.engine, self._running_with_disks, container_name) if self.disks else None

    def start(self) -> None:
        """Start the threads."""
        self._pool = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="instance")
        threading.Thread(target=self._run, name="reconciler", daemon=True).start()
        threading.Thread(target=self._watch, name="engine-events", daemon=True).start()
        if self._udev:
            threading.Thread(target=self._udev.run, args=[self._stopping], name="udev", daemon=True).start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        """Start no further actions. Doesn't wait for actions in progress."""
        self._stopping.set()
        self._wake.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def engine_away(self) -> str:
        """Why no instance can change its state, for EC2's callers; '' while the engine answers or may be restarting."""
        since = self._away_since
        if since is None or self.monotonic() - since < ENGINE_TIMEOUT:
            return ""
        return f"The container engine doesn't answer: {self._away_why}"

    def _run(self) -> None:
        quiet = 0
        while not self._stopping.is_set():
            self._wake.clear()
            pause = INTERVALS[min(quiet, len(INTERVALS) - 1)]
            try:
                self._compare()
                self._record_engine(away=False)
            except EngineGone as error:
                self._record_engine(away=True, why=str(error))
                pause = ENGINE_RETRY
            except Exception:
                log.exception("the comparison failed; retrying")
                pause = ENGINE_RETRY
            quiet = 0 if self._wake.wait(pause) else quiet + 1

    def _compare(self) -> None:
        self.state.forget_old(datetime.now(UTC))
        # The order matters. An action that finishes in between may be missing from the list of containers, so its
        # instance is skipped until the next comparison. And the instance of a listed container is in EC2's state.
        with self._lock:
            busy = set(self._busy)
        containers = self.engine.containers()
        instances = self.state.instances()
        for step in plan(instances, containers):
            if step.instance_id in busy:
                continue
            with self._lock:
                self._busy.add(step.instance_id)
            self._pool.submit(self._perform, step)
        if self.disks:
            known = {instance.id for instance in instances if instance.state != TERMINATED} | busy
            known |= {container.instance_id for container in containers}
            for instance_id in set(self.disks.instances()) - known:
                log.info("%s: removing disks without an instance", instance_id)
                self.disks.remove(instance_id)

    def _record_engine(self, away: bool, why: str = "") -> None:
        if away and self._away_since is None:
            log.error("the container engine doesn't answer: %s. Instances stay in their states until it does.", why)
            self._away_since, self._away_why = self.monotonic(), why
        elif self._away_since is not None and not away:
            log.info("the container engine answers again")
            self._away_since = None

    def _watch(self) -> None:
        """Wake the loop at each event of a container."""
        while not self._stopping.is_set():
            try:
                self.engine.watch(self.wake, self._stopping)
            except (EngineGone, APIError) as error:
                log.debug("the engine's events stopped: %s", error)
            self.wake()
            self._stopping.wait(ENGINE_RETRY)

    def _running_with_disks(self) -> list[str]:
        return [instance.id for instance in self.state.instances() if instance.state == RUNNING and instance.disks]

    def _perform(self, step: Step) -> None:
        """Perform one step in a thread of the pool. All results go into EC2's state and the log."""
        start = self.monotonic()
        compare_again = True
        try:
            log.info("%s: %s", step.instance_id, step.action.value)
            self._handlers[step.action](self, step)
            self._failures.setdefault(step.instance_id, _Failures()).actions = 0
            log.info("%s: %s took %.1f s", step.instance_id, step.action.value, self.monotonic() - start)
        except EngineGone as error:
            compare_again = False  # the loop notices that, and retries once the engine is back
            log.warning("%s: %s interrupted, the engine doesn't answer: %s", step.instance_id, step.action.value, error)
        except APIError as error:
            compare_again = self._record_failure(step, explanation(error))
        except (DiskError, OSError) as error:
            compare_again = self._record_failure(step, str(error))
        except Exception as error:
            log.exception("%s: %s failed", step.instance_id, step.action.value)
            compare_again = self._record_failure(step, f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                self._busy.discard(step.instance_id)
            if compare_again:
                self.wake()

    def _record_failure(self, step: Step, why: str) -> bool:
        """Count a failure, the last one of which terminates the instance. Returns whether to compare immediately."""
        failures = self._failures.setdefault(step.instance_id, _Failures())
        failures.actions += 1
        log.error("%s: %s failed (%d of %d): %s", step.instance_id, step.action.value, failures.actions, ATTEMPTS, why)
        if failures.actions >= ATTEMPTS and step.action not in (Action.REMOVE, Action.STOP):
            self.state.begin_termination(step.instance_id, "Server.InternalError", f"Server.InternalError: {why}")
            failures.actions = 0
            return True
        self._stopping.wait(0.3)
        return failures.actions < ATTEMPTS

    def _launch(self, step: Step) -> None:
        instance = _instance_of(step)
        if step.container is not None:
            self.engine.remove(step.container.id)
        disks = self.disks.create(instance.id, instance.disks) if self.disks else []
        # Checked again, because a real disk may have been plugged in since the start.
        if disks and foreign_devices():
            log.error("%s: no disks, because a real disk appeared on block major %d", instance.id, PARTITION_MAJOR)
            assert self.disks is not None
            self.disks.remove(instance.id)
            disks = []
        container = self.engine.create(
            instance.id,
            self.image,
            instance.hostname,
            instance.address,
            files=first_files(instance),
            devices={disk.node: disk.loop_path for disk in disks},
            device_rules=BLOCK_RULES if disks else (),
        )
        if instance.user_data and not instance.user_data.startswith(b"#!"):
            log.error("%s: user data refused: it isn't a script ('#!'), see its /var/log/user-data.log", instance.id)
        self._start_container(instance.id, container)
        self.state.move(instance.id, PENDING, RUNNING)

    def _start(self, step: Step) -> None:
        if self.disks:
            self.disks.blank(step.instance_id)
        self._start_container(step.instance_id, _container_of(step).id)
        self.state.move(step.instance_id, PENDING, RUNNING)

    def _resume(self, step: Step) -> None:
        self.state.move(step.instance_id, PENDING, RUNNING)

    def _stop(self, step: Step) -> None:
        self._forget_init(step.instance_id)
        self.engine.stop(_container_of(step).id)
        self.state.move(step.instance_id, STOPPING, STOPPED)

    def _settle_stopped(self, step: Step) -> None:
        self.state.move(step.instance_id, STOPPING, STOPPED)

    def _remove(self, step: Step) -> None:
        self._forget_init(step.instance_id)
        if step.container is not None:
            self.engine.remove(step.container.id)
        if self.disks:
            self.disks.remove(step.instance_id)
        self._failures.pop(step.instance_id, None)
        if step.instance is not None:
            self.state.settle(step.instance_id, TERMINATED)

    def _reboot(self, step: Step) -> None:
        container = _container_of(step)
        self._forget_init(step.instance_id)
        if container.state == "running":
            self.engine.stop(container.id)
        self._start_container(step.instance_id, container.id)
        self.state.rebooted(step.instance_id)

    def _handle_loss(self, step: Step) -> None:
        why = "Server.InternalError: the instance's container is missing: it was removed, or the engine lost its data"
        log.error("%s: %s", step.instance_id, why)
        self.state.begin_termination(step.instance_id, "Server.InternalError", why)

    def _handle_exit(self, step: Step) -> None:
        """Stop, terminate or restart an instance that rebooted, powered itself off, or was killed by the engine."""
        instance, container = _instance_of(step), _container_of(step)
        self._forget_init(instance.id)
        why = self.engine.why_stopped(container.id)
        log.info("%s: exited (%s)", instance.id, why or "killed")
        if why == "poweroff":
            reason = "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
            if instance.on_power_off == "terminate":
                self.state.begin_termination(instance.id, "Client.InstanceInitiatedShutdown", reason)
            else:
                self.state.settle(instance.id, STOPPED, code="Client.InstanceInitiatedShutdown", reason=reason)
            return
        failures = self._failures.setdefault(instance.id, _Failures())
        early = self.monotonic() - failures.started < EARLY_EXIT and why != "reboot"
        failures.early_exits = failures.early_exits + 1 if early else 0
        if failures.early_exits >= ATTEMPTS:
            output = self.engine.last_lines(container.id)
            log.error("%s: the container repeatedly exits right after its start:\n%s", instance.id, output)
            why = f"Server.InternalError: the container doesn't stay up: {output[-200:]}"
            self.state.begin_termination(instance.id, "Server.InternalError", why)
            return
        self._start_container(instance.id, container.id)

    def _start_container(self, instance_id: str, container: str) -> None:
        disks = self.disks.ensure_attached(instance_id) if self.disks else []
        self._failures.setdefault(instance_id, _Failures()).started = self.monotonic()
        init = self.engine.start(container)
        if init and disks and self._udev:
            self._udev.update(instance_id, init)

    def _forget_init(self, instance_id: str) -> None:
        if self._udev:
            self._udev.forget(instance_id)

    _handlers = {  # noqa: RUF012 - a table of this class's own methods
        Action.LAUNCH: _launch,
        Action.START: _start,
        Action.RESUME: _resume,
        Action.STOP: _stop,
        Action.SETTLE_STOPPED: _settle_stopped,
        Action.REMOVE: _remove,
        Action.REBOOT: _reboot,
        Action.HANDLE_LOSS: _handle_loss,
        Action.HANDLE_EXIT: _handle_exit,
    }


def first_files(instance: Instance) -> Files:
    """The files of an instance's first boot: identity, key, user data."""
    machine = hashlib.sha256(instance.id.encode()).hexdigest()[:32]
    files = {"/etc/machine-id": (f"{machine}\n".encode(), 0o444, 0)}
    if instance.public_key:
        files["/home/admin/.ssh/authorized_keys"] = (instance.public_key.strip().encode() + b"\n", 0o600, USER_ADMIN)
    if instance.user_data:
        files["/var/lib/pegasus/user-data"] = (instance.user_data, 0o600, 0)
    return files


def _instance_of(step: Step) -> Instance:
    assert step.instance is not None
    return step.instance


def _container_of(step: Step) -> Container:
    assert step.container is not None
    return step.container
