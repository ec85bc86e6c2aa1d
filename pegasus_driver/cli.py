"""The command line: parse it, run one action or command, turn every error into a message and an exit code."""

import argparse
import os
import sys
from collections.abc import Sequence

from .actions import Action
from .errors import DriverError, unexpected
from .exit_codes import ExitCode
from .parser import build_parser, parse
from .world import World


def main(argv: Sequence[str] | None = None, world: World | None = None) -> int:
    """Run one command and return its exit code. Every error ends here, as a message without a traceback."""
    world = world or World()
    for stream in (world.stdout, world.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="replace")  # a terminal that can't show "✔" isn't a reason to fail
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(words, world)
    except SystemExit as error:  # --help and --version
        code = ExitCode.OK if not error.code else ExitCode.USAGE
    except DriverError as error:
        code = _report(error, words, world)
    except KeyboardInterrupt:
        code = _report(DriverError("interrupted", "", ExitCode.INTERRUPTED), words, world)
    except Exception as error:
        code = _report(unexpected(error, world.root), words, world)
    _flush(world)
    return int(code)


def _dispatch(argv: Sequence[str], world: World) -> ExitCode:
    if "_ARGCOMPLETE" in world.environ:
        from .commands.completion import complete

        complete(build_parser(world.stdout), world)
        return ExitCode.OK
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


def run_action(action: Action, arguments: argparse.Namespace, world: World) -> ExitCode:
    """Run one action: prepare it, play its playbook, conclude with a report.

    :raises DriverError: something is wrong before it starts
    """
    from .run.conclude import conclude, errors_reported, judge
    from .run.play import play
    from .run.prepare import cloud_restored, make_run, prepare
    from .view import make_view

    run = make_run(
        action, arguments, world, lambda state: make_view(state, world, arguments.output, verbose=arguments.verbose)
    )
    with run.locked():
        run.start()
        with errors_reported(run), cloud_restored(run):
            if prepare(run):
                judge(run, play(run))
        return conclude(run)


def _report(error: DriverError, argv: Sequence[str], world: World) -> ExitCode:
    """Print an error that came before an action began: on stderr, or as the only JSON object."""
    if "--output=json" in argv or "--output json" in " ".join(argv):
        from .run.records import as_line, end_record
        from .run.state import Ending

        steps = [f"next: {error.next_step}"] if error.next_step else []
        name = argv[0] if not argv[0].startswith("-") else ""
        ending = Ending(error.exit_code, name, "", 0.0, problems=[error.message], next_steps=steps)
        world.stdout.write(as_line(end_record(ending, 0.0), world.now()) + "\n")
    else:
        world.stderr.write(f"pegasus-driver: {error.message}\n")
        if error.next_step:
            world.stderr.write(f"next: {error.next_step}\n")
    return error.exit_code


def _flush(world: World) -> None:
    """Ignore a reader that has closed the pipe; Python's own flush at exit would report an error."""
    for stream in (world.stdout, world.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            if stream is sys.stdout or stream is sys.stderr:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
