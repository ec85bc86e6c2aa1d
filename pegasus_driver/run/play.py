"""The second step of a run: run the playbook, follow its events, ask the user what it asks."""

import queue
from typing import Any

from pegasus_driver.actions import OWN
from pegasus_driver.config import CONFIG_VARIABLE

from .events import Question, parse
from .lock import lock_path
from .processes import LOCK_VARIABLE
from .recorder import make_run_folder
from .run import Run
from .runner import Outcome, PlaybookRun, Request


def play(run: Run) -> Outcome:
    """Run the playbook to its end. The first signal asks Ansible to stop, the second kills it."""
    run.state.folder = make_run_folder(run.world.root, run.action.name, run.world.now())
    run.recorder.open(run.state.folder)
    run.begin("Start Ansible")  # its first play begins after some seconds
    playbook = run.world.run_playbook(_request(run))
    run.signals.raising = False  # from here on, a signal is a request, which _follow passes on
    playbook.start()
    try:
        _follow(run, playbook)
    except BaseException:
        playbook.kill()  # a defect in the view must not leave Ansible running behind the user's back
        raise
    finally:
        playbook.join(10.0)
    run.signals.raising = True
    return playbook.outcome


def _request(run: Run) -> Request:
    assert run.state.folder is not None
    world, action = run.world, run.action
    arguments, environ = [*run.extra, *_limits(run)], dict(world.environ)
    if run.config.explicit:  # the inventory reads the variable, the playbooks need -e
        arguments[:0] = ["-e", f"@{run.config.path}"]
        environ[CONFIG_VARIABLE] = str(run.config.path)
    if run.state.dry_run:
        arguments += ["--check", "--diff"]
    if action.locks:
        environ[LOCK_VARIABLE] = str(lock_path(world.root, run.config.place))
    inventories = [world.root / "inventories" / run.config.backend]
    if action.playbook == OWN:
        # Our playbooks have group_vars/ beside them; the user's gets it as an inventory without hosts.
        inventories.append(world.root / "inventories" / "variables")
        environ["ANSIBLE_INVENTORY_ENABLED"] = "aerospike_community.pegasus.ec2,ansible.builtin.yaml"
    return Request(
        root=world.root,
        playbook=run.playbook,
        inventories=inventories,
        folder=run.state.folder,
        extra_vars={**action.variables(run.arguments), **_confirmation(run)},
        tags=action.tags,
        arguments=arguments,
        environ=environ,
    )


def _limits(run: Run) -> list[str]:
    """Options that mean the same to ansible-playbook, if the action has them."""
    options = [option for option in run.action.options if option.flag in ("--tags", "--limit")]
    values = [(option.flag, getattr(run.arguments, option.attribute)) for option in options]
    return [word for flag, value in values if value for word in (flag, value)]


def _confirmation(run: Run) -> dict[str, Any]:
    """Variables for the playbook's question: confirmed by --yes, or the file that the confirmation creates."""
    if not hasattr(run.arguments, "yes"):
        return {}
    if run.arguments.yes:
        return {"ec2_provision_approved": True}
    if run.state.dry_run or run.arguments.output == "json" or not run.world.on_terminal():
        return {}
    assert run.state.folder is not None
    run.answer_file = run.state.folder / "yes"
    return {"ec2_provision_answer_file": str(run.answer_file)}


def _follow(run: Run, playbook: PlaybookRun) -> None:
    """Pass the playbook's events to the run until it is over, and the signals to the playbook."""
    signals = 0
    while True:
        if run.signals.count > signals:
            if not signals:  # what fails from here on fails because it is stopped
                run.state.failed_before = run.state.record.failures()
            signals = run.signals.count
            if signals == 1:
                run.say("interrupted: Ansible finishes its current tasks; interrupt again to stop it at once")
                playbook.cancel()
            else:
                playbook.kill()
        if signals > 1 and playbook.join(5.0):
            return
        try:
            raw = playbook.events.get(timeout=0.1)
        except queue.Empty:
            run.tick()
            continue
        if raw is None:
            return
        for event in parse(raw):
            run.handle(event)
            if isinstance(event, Question) and run.answer_file:
                _ask(run, event, playbook)
        run.tick()


def _ask(run: Run, question: Question, playbook: PlaybookRun) -> None:
    """Ask the user to confirm. The playbook waits for the answer file, or is killed."""
    assert run.answer_file is not None
    run.ask(question)
    run.signals.raising = True
    try:
        answer = run.world.ask(f"{question.text} [yes/no]").strip().lower()
    except KeyboardInterrupt:
        answer = ""
    finally:
        run.signals.raising = False
    if answer in ("yes", "y"):
        run.answer_file.touch()
        run.answer_file = None  # confirms everything that the run does
    else:
        run.state.declined = True
        playbook.kill()
