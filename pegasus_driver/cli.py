"""The command line: parses it, runs one action, returns its exit code. Streams, clock and runner are injected."""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import shlex
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .actions import OWN, Action, Session
from .config import configured, extra_arguments
from .errors import DriverError, UsageError
from .exit_codes import ExitCode
from .parser import build_parser, parse
from .world import World

if TYPE_CHECKING:
    from pegasus_driver.run.events import Event, Question
    from pegasus_driver.run.outcome import Failure, Record
    from pegasus_driver.run.progress import Progress
    from pegasus_driver.run.runner import Outcome, PlaybookRun
    from pegasus_driver.run.signals import Signals
    from pegasus_driver.view.live import Recorder, Renderer

    from .config import Config


def main(argv: Sequence[str] | None = None, world: World | None = None) -> int:
    """Runs one command and returns its exit code. Every error ends here, as a message without a traceback."""
    world = world or World()
    for stream in (world.stdout, world.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="replace")  # a terminal that can't show "✔" isn't a reason to fail
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(arguments, world)
    except SystemExit as error:  # --help and --version
        code = ExitCode.OK if not error.code else ExitCode.USAGE
    except DriverError as error:
        code = _tell(error, arguments, world)
    except KeyboardInterrupt:
        code = _tell(DriverError("interrupted", "", ExitCode.INTERRUPTED), arguments, world)
    except Exception as error:
        code = _tell(_unexpected(error, world), arguments, world)
    _flush(world)
    return int(code)


def _dispatch(argv: Sequence[str], world: World) -> ExitCode:
    if argv[:1] == ["_complete"]:
        return _complete(argv, world)
    arguments = parse(argv, world)
    if command := getattr(arguments, "run_command", None):
        return ExitCode(command.run(arguments, world))
    if arguments.command == "local":
        from .commands.local import run_local

        return run_local(arguments, world)
    if arguments.command == "mirror":
        from .commands.mirror import run_mirror

        return run_mirror(arguments, world)
    return run_action(arguments.action, arguments, world)


def _complete(argv: Sequence[str], world: World) -> ExitCode:
    """Print the candidates of shell completion. On any error the user's shell gets no candidates and no message."""
    with contextlib.suppress(Exception, SystemExit):
        from .commands.completion import complete

        world.stdout.write("".join(f"{word}\n" for word in complete(argv[2:], build_parser(world.stdout), world)))
    return ExitCode.OK


def run_action(action: Action, arguments: argparse.Namespace, world: World) -> ExitCode:
    """One action from its configuration to its summary. Raises DriverError for what is wrong before it starts."""
    from pegasus_driver.run.lock import environment_lock
    from pegasus_driver.run.signals import Signals

    from . import config as configuration
    from .view import live as render

    extra = extra_arguments(arguments.extra_vars, world.folder)
    # What a user's own playbook is given may be for it alone.
    checked = arguments.extra_vars if action.playbook != OWN else ()
    config = configuration.load(
        world.root, configured(arguments, world.environ), world.folder, checked, launching=action.launches
    )
    playbook = _playbook_of(action, arguments, world)
    locked = environment_lock(world.root, config.place, action.name, world.now())
    view = render.make(
        arguments.output, world.stdout, world.stderr, arguments.verbose, world.environ.get("TERM", ""), world.now
    )
    recorder = render.Recorder(world.now)
    renderer: Renderer = render.Both(render.SynchronizedRenderer(view), recorder)
    dry_run = action.locks and arguments.dry_run
    beginning = render.Beginning(command_line(action, arguments), config.environment, config.backend, dry_run)
    with Signals() as signals, locked if action.locks else contextlib.nullcontext():
        renderer.start(beginning, world.monotonic())
        return _Run(action, arguments, config, playbook, extra, renderer, recorder, signals, world, dry_run).main()


def _playbook_of(action: Action, arguments: argparse.Namespace, world: World) -> Path:
    """Raises UsageError for a user's playbook that isn't there."""
    if action.playbook == OWN:
        playbook: Path = world.folder / arguments.playbook
        if not playbook.is_file():
            raise UsageError(
                f"{playbook} isn't a file, expected a playbook", "Give a playbook's path, from this folder."
            )
        return playbook
    playbook = world.root / "playbooks" / action.playbook
    if not playbook.is_file():
        raise DriverError(f"{playbook} isn't there", "Restore it: git checkout playbooks")
    return playbook


class _Run:
    """One action under way: steps before, the playbook, steps after, and the ending, whatever happens."""

    def __init__(
        self,
        action: Action,
        arguments: argparse.Namespace,
        config: Config,
        playbook: Path,
        extra: Sequence[str],
        renderer: Renderer,
        recorder: Recorder,
        signals: Signals,
        world: World,
        dry_run: bool,
    ) -> None:
        from pegasus_driver.run.outcome import Record
        from pegasus_driver.run.progress import Progress

        self.action, self.arguments, self.config, self.extra = action, arguments, config, list(extra)
        self.playbook = playbook
        self.renderer, self.recorder, self.signals, self.world = renderer, recorder, signals, world
        self.dry_run = dry_run
        self.progress: Progress = Progress()  # for the timings
        self.started = world.monotonic()
        self.record: Record = Record()
        self.run_folder: Path | None = None
        self.failed_before: Sequence[Failure] = ()  # an interruption
        self.answer_file: Path | None = None  # where a yes is told to the playbook, if somebody can be asked
        self.declined = False
        self.session = Session(
            root=world.root,
            config=config,
            arguments=arguments,
            cloud=world.cloud,
            cloud_status=world.cloud_status,
            say=lambda text: renderer.say(text, world.monotonic()),
            begin=self._begin,
        )

    def main(self) -> ExitCode:
        message, problems, steps = "", [], []
        try:
            code, message = self._steps()
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        except DriverError as error:
            code, problems, steps = error.exit_code, [error.message], [f"next: {error.next_step}"]
        except Exception as error:
            told = _unexpected(error, self.world)
            code, problems, steps = told.exit_code, [told.message], [f"next: {told.next_step}"]
        if self.signals.count:
            code, message = ExitCode.INTERRUPTED, ""
        self.signals.raising = False  # the ending is told in full
        self._finish(code, message, problems, steps)
        if code is ExitCode.OK and self.action.shows and not self.dry_run:
            self._show_grafana()
        return code

    def _steps(self) -> tuple[ExitCode, str]:
        from pegasus_driver.run.lock import lock_path
        from pegasus_driver.run.runner import end_orphans

        if self.action.locks and end_orphans(lock_path(self.world.root, self.config.place)):
            self.session.say("ended what an earlier action, whose driver was killed, still had at work")
        with self._cloud_as_it_was() if self.dry_run else contextlib.nullcontext():
            return self._prepared()

    def _prepared(self) -> tuple[ExitCode, str]:
        from pegasus_driver.run.outcome import exit_code

        from .actions import before_dry_run

        with self._ticking():
            nothing = (before_dry_run(self.session) if self.dry_run else None) or self.action.prepare(self.session)
        if nothing:
            return ExitCode.OK, nothing
        outcome = self._playbook()
        if self.declined:
            return ExitCode.INTERRUPTED, "not confirmed, so nothing was changed"
        code = exit_code(self.record, outcome.rc)
        if code is ExitCode.OK and self.action.needs_hosts and self.record.empty_plays:
            raise DriverError(
                f"{self.config.environment} has no host for this ({', '.join(self.record.empty_plays)})",
                "Build it: ./pegasus-driver setup. What exists: ./pegasus-driver status",
                ExitCode.USAGE,
            )
        if code is ExitCode.INTERNAL and not self.signals.count:
            self._explain(outcome)
        if code is ExitCode.OK and not self.signals.count and not self.dry_run:
            with self._ticking():
                self.action.conclude(self.session)
        return code, ""

    @contextlib.contextmanager
    def _cloud_as_it_was(self) -> Iterator[None]:
        """A dry run needs EC2's answers: a local cloud that was started for them is stopped again."""
        from .actions import cloud_runs, stop_cloud

        ran = cloud_runs(self.session)
        try:
            yield
        finally:
            self.signals.raising = False
            if not ran and cloud_runs(self.session):
                with self._ticking():
                    stop_cloud(self.session)

    def _playbook(self) -> Outcome:
        """Runs the playbook. The signals stop it: the first asks Ansible to end, the second kills it."""
        from pegasus_driver.run.lock import lock_path
        from pegasus_driver.run.runner import LOCK_VARIABLE, Request, make_run_folder

        self.run_folder = make_run_folder(self.world.root, self.action.name, self.world.now())
        self.recorder.open(self.run_folder)
        self._begin("Start Ansible")  # takes seconds until its first play
        explicit, environ = [], dict(self.world.environ)
        if self.config.explicit:  # the inventory reads the variable, the playbooks need -e
            explicit, environ["PEGASUS_CONFIG"] = ["-e", f"@{self.config.path}"], str(self.config.path)
        if self.action.locks:
            environ[LOCK_VARIABLE] = str(lock_path(self.world.root, self.config.place))
        inventories = [self.world.root / "inventories" / self.config.backend]
        if self.action.playbook == OWN:
            # group_vars/ lies beside our playbooks; theirs gets it as an inventory without hosts.
            inventories.append(self.world.root / "inventories" / "variables")
            environ["ANSIBLE_INVENTORY_ENABLED"] = "aerospike_community.pegasus.ec2,ansible.builtin.yaml"
        run = self.world.run_factory()(
            Request(
                root=self.world.root,
                playbook=self.playbook,
                inventories=inventories,
                folder=self.run_folder,
                extra_vars={**self.action.variables(self.arguments), **self._approval()},
                tags=self.action.tags,
                arguments=[*explicit, *self.extra, *self._limits(), *(["--check", "--diff"] if self.dry_run else [])],
                environ=environ,
            )
        )
        self.signals.raising = False  # from here on, a signal is a request that the loop hands on
        run.start()
        try:
            self._follow(run)
        except BaseException:
            run.kill()  # a defect in the view must not leave Ansible at work behind the user's back
            raise
        finally:
            run.join(10.0)
        self.signals.raising = True
        return run.outcome

    def _approval(self) -> dict[str, Any]:
        """What the playbook is told about questions: a yes, or where it will find one."""
        if not hasattr(self.arguments, "yes"):
            return {}
        if self.arguments.yes:
            return {"ec2_provision_approved": True}
        if self.dry_run or self.arguments.output == "json" or not self.world.on_terminal():
            return {}
        assert self.run_folder is not None
        self.answer_file = self.run_folder / "yes"
        return {"ec2_provision_answer_file": str(self.answer_file)}

    def _answer(self, question: Question, run: PlaybookRun) -> None:
        """Asks the user what the playbook wants to know; it waits for the file, or is ended."""
        assert self.answer_file is not None
        self.renderer.ask(question, self.world.monotonic())
        self.signals.raising = True
        try:
            answer = self.world.ask(f"{question.text} [yes/no]").strip().lower()
        except KeyboardInterrupt:
            answer = ""
        finally:
            self.signals.raising = False
        if answer in ("yes", "y"):
            self.answer_file.touch()
            self.answer_file = None  # a yes is for all that the run does
        else:
            self.declined = True
            run.kill()

    def _limits(self) -> list[str]:
        """Options that mean the same to ansible-playbook, where the action has them."""
        names = [option.flag for option in self.action.options if option.flag in ("--tags", "--limit")]
        values = [(name, getattr(self.arguments, _attribute(name))) for name in names]
        return [word for name, value in values if value for word in (name, value)]

    def _follow(self, run: PlaybookRun) -> None:
        """Feeds the run's events to the record and the view until it is over."""
        from pegasus_driver.run.events import Question, parse

        asked = 0
        while True:
            if self.signals.count > asked:
                if not asked:  # what fails from here on fails because it is stopped
                    self.failed_before = self.record.failures()
                asked = self.signals.count
                self._stop(run, asked)
            if asked > 1 and run.join(5.0):
                return
            try:
                raw = run.events.get(timeout=0.1)
            except queue.Empty:
                self.renderer.tick(self.world.monotonic())
                continue
            if raw is None:
                return
            now = self.world.monotonic()
            for event in parse(raw):
                self._handle(event, now)
                if isinstance(event, Question) and self.answer_file:
                    self._answer(event, run)
            self.renderer.tick(now)

    def _stop(self, run: PlaybookRun, asked: int) -> None:
        if asked == 1:
            self.session.say("interrupted: Ansible ends what it is doing; once more stops it at once")
            run.cancel()
        else:
            run.kill()

    def _explain(self, outcome: Outcome) -> None:
        """Ansible failed without a failed host: its own complaint, or that it made none."""
        if not self.record.problems:
            code = "" if outcome.rc is None else f" (return code {outcome.rc})"
            empty = f"; no host in: {', '.join(self.record.empty_plays)}" if self.record.empty_plays else ""
            self.record.problems.append((outcome.error or f"ansible-playbook failed{code}") + empty)

    def _begin(self, name: str) -> None:
        from pegasus_driver.run.events import PlayStarted

        self._handle(PlayStarted(name, time=self.world.now().isoformat()), self.world.monotonic())

    def _handle(self, event: Event, now: float) -> None:
        self.record.add(event)
        self.progress.handle(event, now)
        self.renderer.handle(event, now)

    @contextlib.contextmanager
    def _ticking(self) -> Iterator[None]:
        """Keeps the view alive while this thread is busy in a step."""
        over = threading.Event()

        def tick() -> None:
            while not over.wait(0.15):
                self.renderer.tick(self.world.monotonic())

        thread = threading.Thread(target=tick, name="tick", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _finish(self, code: ExitCode, message: str, problems: Sequence[str], steps: Sequence[str]) -> None:
        from pegasus_driver.run.events import Stats
        from pegasus_driver.view.live import Ending
        from pegasus_driver.view.report import next_steps

        # Without the file, the commands that are named would be about another environment.
        options = f" --config {shlex.quote(self.arguments.config)}" if self.arguments.config else ""
        report = self.record.report
        now = self.world.monotonic()
        if code is ExitCode.OK:
            self.progress.handle(Stats({}), now)  # ends a stage that isn't a play
        self.progress.interrupt(now)
        ending = Ending(
            code=code,
            action=self._name(),
            environment=self.config.environment,
            elapsed=now - self.started,
            changed=self.record.changed,
            failures=self.record.failures() if code is not ExitCode.INTERRUPTED else self.failed_before,
            problems=[*problems, *(self.record.problems if code not in (ExitCode.OK, ExitCode.INTERRUPTED) else ())],
            report=report.report if report else None,
            not_ready=report.problems if report else (),
            message=message,
            existing=self._existing() if code is ExitCode.INTERRUPTED else (),
            next_steps=steps
            or next_steps(code, self._name(), self._shown("artifacts/run/stdout"), options, declined=self.declined),
            plan=self.record.changes if self.dry_run and self.run_folder else None,
            stages=self.progress.stages,
            run_folder=self._shown(""),
            options=options,
        )
        self.renderer.finish(ending, now)

    def _show_grafana(self) -> None:
        """Opens Grafana, whose address the summary has. A program that reads JSON gets no window."""
        from .commands.connect import show

        report = self.record.report
        url = (report.report.get("monitoring") or {}).get("grafana_url") if report else None
        if url and not self.arguments.no_open and self.arguments.output != "json":
            show(str(url), self.world)

    def _name(self) -> str:
        """The command as the user types it."""
        return command_line(self.action, self.arguments)

    def _shown(self, name: str) -> str:
        """The run folder, or something in it, as short as it can be typed here; "" without one."""
        if self.run_folder is None:
            return ""
        path = self.run_folder / name
        try:
            return str(path.relative_to(self.world.folder))
        except ValueError:
            return str(path)

    def _existing(self) -> list[str]:
        """What an interrupted action left, as far as that can be said without waiting for EC2."""
        if not self.session.local:
            name = self.config.environment
            if self.declined:  # before the playbook made or took anything
                return [f"{name} is as it was before: ./pegasus-driver status lists what there is of it, if anything."]
            return [f"Instances of {name} may exist and cost money: ./pegasus-driver status lists them."]
        try:
            status = self.world.cloud_status(self.world.root)
            alive = [instance for instance in status.instances if instance.state != "terminated"]
            instances = [f"{instance.name or instance.id} ({instance.state})" for instance in alive]
        except Exception:  # the engine may be what was interrupted
            return ["What exists isn't known: ./pegasus-driver local status asks again."]
        if not instances:
            return ["No instance exists." + (" The local cloud runs." if status.running else "")]
        return [
            f"{len(instances)} instance{'s' if len(instances) > 1 else ''} of the local cloud: {', '.join(instances)}"
        ]


def command_line(action: Action, arguments: argparse.Namespace) -> str:
    """The command as the user types it, without options that every action has."""
    words = [action.name]
    for argument in action.arguments:
        value = getattr(arguments, argument.name)
        words += [str(one) for one in (value if isinstance(value, list) else [value]) if one is not None]
    for option in action.options:
        value = getattr(arguments, _attribute(option.flag))
        if value != option.default and value is not False:
            words += [option.flag] if option.type is None else [option.flag, str(value)]
    return " ".join(words)


def _attribute(flag: str) -> str:
    """As argparse names it: "--keep-data" -> "keep_data"."""
    return flag.lstrip("-").replace("-", "_")


def _unexpected(error: Exception, world: World) -> DriverError:
    """An error that nothing foresaw: told in one line, its traceback kept in a file for a bug report."""
    import traceback

    log = world.root / ".pegasus" / "internal-error.log"
    with contextlib.suppress(OSError):
        log.parent.mkdir(mode=0o700, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        log.chmod(0o600)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("pegasus_driver"):
        return DriverError(
            f"the Python module {error.name} isn't installed in {sys.prefix}",
            "Remove .venv and start ./pegasus-driver again: it installs everything anew.",
            ExitCode.USAGE,
        )
    return DriverError(f"internal error: {type(error).__name__}: {error}", f"Report it, with {log}")


def _tell(error: DriverError, argv: Sequence[str], world: World) -> ExitCode:
    """An error from before an action began, on stderr, or as the only JSON object."""
    if "--output=json" in argv or "--output json" in " ".join(argv):
        from pegasus_driver.view.live import Ending, JsonRenderer

        steps = [f"next: {error.next_step}"] if error.next_step else []
        named = argv[0] if not argv[0].startswith("-") else ""
        ending = Ending(error.exit_code, named, "", 0.0, problems=[error.message], next_steps=steps)
        JsonRenderer(world.stdout, world.now).finish(ending, 0.0)
    else:
        world.stderr.write(f"pegasus-driver: {error.message}\n")
        if error.next_step:
            world.stderr.write(f"next: {error.next_step}\n")
    return error.exit_code


def _flush(world: World) -> None:
    """A reader that went away isn't an error; Python's own flush at exit would make it one."""
    for stream in (world.stdout, world.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            if stream is sys.stdout or stream is sys.stderr:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
