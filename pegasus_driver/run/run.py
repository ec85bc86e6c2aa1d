"""One run in progress: what its steps work with, and where they report to."""

import argparse
import contextlib
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pegasus_driver.actions import Action
from pegasus_driver.config import Config
from pegasus_driver.steps import Session
from pegasus_driver.world import World

from .events import Event, PlayStarted, Question
from .lock import environment_lock
from .recorder import Recorder
from .signals import Signals
from .state import Ending, RunState
from .view import View


class Run:
    """One action in progress."""

    def __init__(
        self,
        action: Action,
        arguments: argparse.Namespace,
        config: Config,
        playbook: Path,
        extra: Sequence[str],
        world: World,
        make_view: Callable[[RunState], View],
    ) -> None:
        """:param extra: arguments of ansible-playbook for -e"""
        self.action, self.arguments, self.config, self.playbook = action, arguments, config, playbook
        self.extra, self.world = list(extra), world
        self.state = RunState(
            action=action.command_line(arguments),
            environment=config.environment,
            backend=config.backend,
            dry_run=action.locks and arguments.dry_run,
            options=f" --config {shlex.quote(arguments.config)}" if arguments.config else "",
            started=world.monotonic(),
        )
        self.signals = Signals()
        self.recorder = Recorder(self.state, world.now)
        self.answer_file: Path | None = None  # to create once the user confirms; None if no user can be asked
        self.session = Session(world=world, config=config, say=self.say, begin=self.begin)
        self._view = make_view(self.state)
        self._view_lost = False
        self._lock = threading.RLock()  # a second thread ticks while this one is busy

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the environment, for an action that changes it, and count the signals.

        :raises LockedError: another action holds it
        """
        root, place = self.world.root, self.config.place
        lock = environment_lock(root, place, self.action.name, self.world.now())
        with self.signals, lock if self.action.locks else contextlib.nullcontext():
            yield

    def start(self) -> None:
        self._report("start")

    def say(self, text: str) -> None:
        """Report what the driver itself does."""
        self._report("say", text)

    def begin(self, name: str) -> None:
        """Begin a stage that isn't a play."""
        self.handle(PlayStarted(name, time=self.world.now().isoformat()))

    def handle(self, event: Event) -> None:
        with self._lock:
            self.state.add(event, self.world.monotonic())
            self._report("handle", event)

    def ask(self, question: Question) -> None:
        """Show what a question is about, and leave the terminal to the question until the next call."""
        self._report("ask", question)

    def tick(self) -> None:
        self._report("tick")

    def finish(self, ending: Ending) -> None:
        self._report("finish", ending)

    def _report(self, method: str, *arguments: object) -> None:
        """Call the recorder and the view. A terminal that has closed silences the view; the run continues, or ends by
        the SIGHUP."""
        with self._lock:
            now = self.world.monotonic()
            getattr(self.recorder, method)(*arguments, now)
            if self._view_lost:
                return
            try:
                getattr(self._view, method)(*arguments, now)
            except OSError:
                self._view_lost = True

    @contextlib.contextmanager
    def ticking(self) -> Iterator[None]:
        """Keep the view alive while this thread is busy in a step."""
        over = threading.Event()

        def tick() -> None:
            while not over.wait(0.15):
                self.tick()

        thread = threading.Thread(target=tick, name="tick", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def shown_path(self, name: str = "") -> str:
        """Return the run's folder, or a file in it, as the user can type it here; "" without a folder."""
        if self.state.folder is None:
            return ""
        path = self.state.folder / name
        try:
            return str(path.relative_to(self.world.folder))
        except ValueError:
            return str(path)
