"""Runs one playbook in a private folder. The only importer of ansible_runner.

The run has its own thread, which only feeds a queue: a slow reader can't block ansible-runner. Needs Linux's /proc.
"""

import contextlib
import locale
import os
import queue
import shlex
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .processes import RUN_VARIABLE, carries, kill_carriers, processes

# Seconds that Ansible has after an interrupt to end its tasks on the hosts. Then it is killed.
GRACE = 8.0
# Seconds between two checks for a cancellation. With ansible-runner's default of 5, Ctrl-C would seem broken.
POLL = 0.2


@dataclass(frozen=True)
class Request:
    """One playbook run. arguments are more command line arguments of ansible-playbook, as in a shell."""

    root: Path
    playbook: Path
    inventories: Sequence[Path]
    folder: Path
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    arguments: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


@dataclass(frozen=True)
class Outcome:
    """How ansible-playbook ended. rc is None when it couldn't be started or was killed; error says why."""

    rc: int | None
    error: str = ""


class PlaybookRun:
    """A running playbook.

    `events` has ansible-runner's raw events, then None at the end. `outcome` is set before that.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.outcome = Outcome(None, "not started")
        self._artifacts = request.folder / "artifacts" / "run"
        self._mark = f"{RUN_VARIABLE}={self._artifacts}"  # in the environment of the run's processes
        self._cancelled_at: float | None = None
        self._interrupted = False
        self._kill = False
        self._thread = threading.Thread(target=self._main, name="ansible-runner", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def cancel(self) -> None:
        """Ask Ansible to stop. It is killed if it hasn't stopped within GRACE seconds."""
        if self._cancelled_at is None:
            self._cancelled_at = time.monotonic()

    def kill(self) -> None:
        """Kill Ansible and everything that it started, now."""
        self._kill = True
        self.cancel()
        kill_carriers(self._mark)

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end, at most timeout seconds. Return whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # --- in the run's thread -----------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            self.outcome = self._run()
        except BaseException as error:
            self.outcome = Outcome(None, f"{type(error).__name__}: {error}")
        finally:
            if self._cancelled_at is not None:
                kill_carriers(self._mark)
            self.events.put(None)

    def _run(self) -> Outcome:
        import ansible_runner  # takes 0.3 s, so only when a playbook runs
        import pexpect

        arguments = list(self.request.arguments)
        with _discarded(self._artifacts / "command"):
            try:
                runner = ansible_runner.interface.init_runner(
                    private_data_dir=str(self.request.folder),
                    project_dir=str(self.request.root),  # the working folder of ansible-playbook
                    ident="run",
                    playbook=str(self.request.playbook),
                    inventory=[str(path) for path in self.request.inventories] or None,
                    extravars=dict(self.request.extra_vars),
                    tags=",".join(self.request.tags) or None,
                    cmdline=shlex.join(arguments) if arguments else None,
                    envvars=self._environment(),
                    settings={"pexpect_timeout": POLL},
                    fact_cache_type="none",
                    suppress_env_files=True,
                    quiet=True,
                    event_handler=self._on_event,
                    cancel_callback=self._should_kill,
                )
                runner.run()
            except pexpect.TIMEOUT:
                # Ansible has ended, but a process that it started keeps its terminal open. The events are complete.
                return Outcome(None, "a process that Ansible started kept its terminal open")
        if runner.rc == 127 and not shutil.which("ansible-playbook", path=self._environment()["PATH"]):
            return Outcome(None, "ansible-playbook isn't installed with this Python")
        return Outcome(runner.rc)

    def _on_event(self, raw: dict[str, Any]) -> bool:
        """ansible-runner's event handler. It returns True, because otherwise ansible-runner doesn't write the event."""
        self.events.put(raw)
        return True

    def _should_kill(self) -> bool:
        """ansible-runner's cancel_callback, called every POLL seconds. On True it kills Ansible's process group.

        That alone would leave Ansible's workers, which have their own sessions. So Ansible gets an interrupt first and
        passes it on to them; the processes that are left after GRACE seconds are killed.
        """
        if self._cancelled_at is None:
            return False
        if self._kill or time.monotonic() - self._cancelled_at > GRACE:
            kill_carriers(self._mark)
            return True
        if not self._interrupted:
            for pid in self._own_children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
                    self._interrupted = True
        return False

    def _environment(self) -> dict[str, str]:
        """Return the environment variables of ansible-playbook."""
        environ = dict(self.request.environ)
        binaries = str(Path(sys.executable).parent)  # not resolved: .venv/bin
        ours = {
            "PATH": os.pathsep.join(filter(None, (binaries, environ.get("PATH", os.defpath)))),
            "ANSIBLE_CONFIG": str(self.request.root / "ansible.cfg"),
            # ansible-runner disables it by default.
            "ANSIBLE_HOST_KEY_CHECKING": "True",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_STDOUT_CALLBACK": "default",
            "ANSIBLE_RETRY_FILES_ENABLED": "False",
        }
        if not _utf8_locale():
            # Ansible refuses to start in a locale that isn't UTF-8 or isn't installed (ssh passes LANG on).
            ours |= {"LC_ALL": "C.UTF-8"}
        return environ | ours

    def _own_children(self) -> list[int]:
        """Return the ansible-playbook process of this run: the child of ours with this run's mark."""
        me = os.getpid()
        return [pid for pid, parent in processes().items() if parent == me and carries(pid, self._mark)]


def _utf8_locale() -> bool:
    """Whether the user's locale is installed and UTF-8. Doesn't change this process's locale."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, "")
        return locale.getlocale()[1] in ("UTF-8", "utf-8", "utf8")
    except (locale.Error, ValueError):
        return False
    finally:
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, before)


@contextlib.contextmanager
def _discarded(path: Path) -> Iterator[None]:
    """Discard what is written to `path`.

    ansible-runner writes its whole environment, including AWS keys, to artifacts/<id>/command, even with
    suppress_env_files. Here that file is a named pipe whose reader drops everything, so that no secret is on the disk.
    """
    for folder in reversed(path.parents[:2]):
        folder.mkdir(mode=0o700, exist_ok=True)
    os.mkfifo(path, 0o600)
    # Read-write, so that opening doesn't wait for a writer, and a writer that closes doesn't end the stream.
    descriptor = os.open(path, os.O_RDWR)
    stop = threading.Event()

    def drain() -> None:
        while not stop.is_set():
            os.read(descriptor, 65536)

    thread = threading.Thread(target=drain, name="discard", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        os.write(descriptor, b"\n")  # wakes the reader
        thread.join()
        os.close(descriptor)
        with contextlib.suppress(OSError):
            if stat.S_ISFIFO(path.lstat().st_mode) or path.is_file():
                path.unlink()
