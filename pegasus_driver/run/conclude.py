"""The last step of a run: judge it, do what follows the playbook, report what came of it."""

import contextlib
from collections.abc import Iterator

from pegasus_driver.browser import show
from pegasus_driver.errors import DriverError, unexpected
from pegasus_driver.exit_codes import ExitCode

from .outcome import exit_code
from .run import Run
from .runner import Outcome
from .state import Ending

NEXT_STEPS: dict[ExitCode, str] = {
    ExitCode.INTERNAL: "This is a defect of Pegasus, or Ansible can't run here. Try again with --verbose.",
    ExitCode.USAGE: "Correct what the message names, then run it again.",
    ExitCode.CONFIGURATION: "Correct what the message names (most is in group_vars/all/config.yml), then run it again.",
    ExitCode.EC2: "Correct what the message names, then run it again: it continues where it stopped.",
    ExitCode.SSH: "Check that the instance is running and that its security group lets this machine in "
    "(./pegasus-driver status), then run it again.",
    ExitCode.HOST: "Correct what the message names, then run it again: it continues where it stopped.",
    ExitCode.DATABASE: "Everything is installed. Check the logs named above, then run it again.",
}


@contextlib.contextmanager
def errors_reported(run: Run) -> Iterator[None]:
    """Turn every error of the steps into the state's result."""
    state = run.state
    try:
        yield
    except KeyboardInterrupt:
        state.code, state.message = ExitCode.INTERRUPTED, ""
    except Exception as error:
        known = error if isinstance(error, DriverError) else unexpected(error, run.world.root)
        state.code, state.message = known.exit_code, ""
        state.problems, state.next_step = [known.message], known.next_step
    if run.signals.count:
        state.code, state.message = ExitCode.INTERRUPTED, ""
    run.signals.raising = False  # the report is printed completely


def judge(run: Run, outcome: Outcome) -> None:
    """Set the result of the playbook, and do what follows it if it succeeded.

    :raises DriverError: it met no host, or what follows failed
    """
    state = run.state
    if state.declined:
        state.code, state.message = ExitCode.INTERRUPTED, "not confirmed, so nothing was changed"
        return
    state.code = exit_code(state.record, outcome.rc)
    if state.code is ExitCode.OK and run.action.needs_hosts and state.record.empty_plays:
        raise DriverError(
            f"{state.environment} has no host for this ({', '.join(state.record.empty_plays)})",
            "Build it: ./pegasus-driver setup. What exists: ./pegasus-driver status",
            ExitCode.USAGE,
        )
    if state.code is ExitCode.INTERNAL and not run.signals.count and not state.record.problems:
        # Ansible failed without a failed host: report its own error, or at least its return code.
        code = "" if outcome.rc is None else f" (return code {outcome.rc})"
        empty = f"; no host in: {', '.join(state.record.empty_plays)}" if state.record.empty_plays else ""
        state.record.problems.append((outcome.error or f"ansible-playbook failed{code}") + empty)
    if state.code is ExitCode.OK and not run.signals.count and not state.dry_run:
        with run.ticking():
            run.action.conclude(run.session)


def conclude(run: Run) -> ExitCode:
    """Report the run, open Grafana if the action does, and return the exit code."""
    code = run.state.code
    run.state.close(run.world.monotonic())
    run.finish(_ending(run))
    if code is ExitCode.OK and run.action.shows and not run.state.dry_run:
        _show_grafana(run)
    return code


def _ending(run: Run) -> Ending:
    state, record = run.state, run.state.record
    interrupted = state.code is ExitCode.INTERRUPTED
    report = record.report
    return Ending(
        code=state.code,
        action=state.action,
        environment=state.environment,
        elapsed=run.world.monotonic() - state.started,
        changed=len(record.changes),
        failures=state.failed_before if interrupted else record.failures(),
        problems=[*state.problems, *(() if interrupted or state.code is ExitCode.OK else record.problems)],
        report=report.report if report else None,
        not_ready=report.problems if report else (),
        message=state.message,
        existing=_existing(run) if interrupted else (),
        next_steps=[f"next: {state.next_step}"] if state.next_step else _next_steps(run),
        plan=record.changes if state.dry_run and state.folder else None,
        stages=state.progress.stages,
        run_folder=run.shown_path(),
        options=state.options,
    )


def _next_steps(run: Run) -> list[str]:
    """Lines on how to continue after a failure or an interruption."""
    state = run.state
    if state.code is ExitCode.OK:
        return []
    lines = [f"next: {NEXT_STEPS[state.code]}"] if state.code in NEXT_STEPS else []
    if state.code is ExitCode.INTERRUPTED:
        lines.append(f"continue:      ./pegasus-driver {state.action}{state.options}")
    if state.action != "destroy" and not state.declined and state.code not in (ExitCode.USAGE, ExitCode.CONFIGURATION):
        lines.append(f"take it down:  ./pegasus-driver destroy{state.options}")
    if log := run.shown_path("artifacts/run/stdout"):
        lines.append(f"full log:      {log}")
    return lines


def _existing(run: Run) -> list[str]:
    """What an interrupted action left, as far as that is known without waiting for EC2."""
    if not run.session.local:
        if run.state.declined:  # before the playbook changed anything
            return [f"{run.state.environment} is unchanged: ./pegasus-driver status shows what exists of it."]
        return [f"Instances of {run.state.environment} may exist and cost money: ./pegasus-driver status lists them."]
    try:
        status = run.world.cloud_status(run.world.root)
        alive = [instance for instance in status.instances if instance.state != "terminated"]
        instances = [f"{instance.name or instance.id} ({instance.state})" for instance in alive]
    except Exception:  # the engine may be what was interrupted
        return ["What exists is unknown: ./pegasus-driver local status shows it."]
    if not instances:
        return ["No instance exists." + (" The local cloud is running." if status.running else "")]
    return [f"{len(instances)} instance{'s' if len(instances) > 1 else ''} of the local cloud: {', '.join(instances)}"]


def _show_grafana(run: Run) -> None:
    """Open Grafana; its address is in the report. A program that reads JSON gets no window."""
    report = run.state.record.report
    url = (report.report.get("monitoring") or {}).get("grafana_url") if report else None
    if url and not run.arguments.no_open and run.arguments.output != "json":
        show(str(url), run.world)
