"""Decides what each instance's container needs, from EC2's state and the engine's list. Without side effects."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from local_cloud.ec2.state import PENDING, RUNNING, SHUTTING_DOWN, STOPPED, STOPPING, Instance
from local_cloud.engine import Container


class Action(enum.Enum):
    """What an instance's container needs."""

    LAUNCH = "launch"  # create and start it
    START = "start"  # start it with blank disks, as EC2 does after a stop
    RESUME = "resume"  # it is running already: record that
    STOP = "stop"
    REMOVE = "remove"
    REBOOT = "reboot"
    HANDLE_LOSS = "handle loss"  # it doesn't exist, but should
    HANDLE_EXIT = "handle exit"  # it exited without a request: find the reason
    SETTLE_STOPPED = "settle stopped"


@dataclass(frozen=True)
class Step:
    """One action on one instance. `instance` is None for a container without an instance."""

    action: Action
    instance_id: str
    instance: Instance | None = None
    container: Container | None = None


def plan(instances: Iterable[Instance], containers: Iterable[Container]) -> list[Step]:
    """The steps from the existing containers to EC2's instances."""
    steps = []
    by_instance = {container.instance_id: container for container in containers}
    for instance in instances:
        container = by_instance.pop(instance.id, None)
        action = _action(instance, container)
        if action:
            steps.append(Step(action, instance.id, instance, container))
    # The rest belongs to an earlier run of this cloud, whose instances are lost.
    steps += [Step(Action.REMOVE, instance_id, None, container) for instance_id, container in by_instance.items()]
    return steps


def _action(instance: Instance, container: Container | None) -> Action | None:
    # A paused container hasn't exited.
    runs = container is not None and container.state in ("running", "paused", "restarting")
    if instance.state == PENDING:
        # created: the daemon was killed between creating and starting the container.
        if container is None or container.state == "created":
            return Action.LAUNCH
        return Action.RESUME if runs else Action.START
    if instance.state == RUNNING:
        if container is None:
            return Action.HANDLE_LOSS
        if instance.reboot_requested:
            return Action.REBOOT
        return None if runs else Action.HANDLE_EXIT
    if instance.state == STOPPING:
        return Action.STOP if runs else Action.SETTLE_STOPPED
    if instance.state == STOPPED:
        if container is None:
            return Action.HANDLE_LOSS
        return Action.STOP if runs else None
    if instance.state == SHUTTING_DOWN:
        return Action.REMOVE
    return Action.REMOVE if container is not None else None
