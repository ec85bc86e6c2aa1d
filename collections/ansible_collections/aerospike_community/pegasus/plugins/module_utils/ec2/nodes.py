# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Single nodes of an environment, named by kind and index."""

from __future__ import annotations

from collections.abc import Sequence

from .api import Ec2
from .errors import OTHER, USAGE, Ec2Problem
from .instances import Instance


def choose(instances: Sequence[Instance], kind: str, indexes: Sequence[int]) -> dict[int, Instance]:
    """The instance of each index of a kind: the live instance, else the terminated instance. Pure.

    :raises Ec2Problem: no instance has the index (EC2 forgets an instance an hour after its termination)
    """
    own = [instance for instance in instances if instance.kind == kind and instance.index]
    # Live instances last, so that they win.
    by_index = {instance.index: instance for instance in sorted(own, key=lambda instance: instance.live)}
    unknown = sorted(set(indexes) - set(by_index))
    if not indexes or unknown:
        existing = sorted(instance.index or 0 for instance in own if instance.live)
        found = f"found {', '.join(map(str, unknown))}" if unknown else "found no index"
        raise Ec2Problem(
            USAGE,
            f"{found}; expected the index of a {kind} node that exists: {', '.join(map(str, existing)) or 'none'}.",
            "./pegasus-driver status lists the nodes with their indexes. Without the driver: -e chaos_nodes=2",
        )
    return {index: by_index[index] for index in sorted(set(indexes))}


def terminated_text(instance: Instance) -> str:
    """A terminated node in a message."""
    return f"{instance.label} ({instance.id}) is terminated"


def check_survival(chosen: Sequence[Instance]) -> None:
    """Check that nodes that were just launched still run.

    :raises Ec2Problem: with EC2's reason
    """
    lost = [
        f"{instance.name} ({instance.id}) is {instance.state}{reason_text(instance)}"
        for instance in chosen
        if instance.state != "running"
    ]
    if lost:
        raise Ec2Problem(
            OTHER,
            f"{'; '.join(lost)}; expected it to be running, as it was after the launch.",
            "Run this again: it launches a replacement.",
        )


def reason_text(instance: Instance) -> str:
    """EC2's reason for the state, if it gives one."""
    return f" ({instance.state_reason})" if instance.state_reason else ""


def terminate(ec2: Ec2, chosen: Sequence[Instance], timeout: float, *, check: bool) -> list[Instance]:
    """Terminate the live instances among `chosen`, wait for it, and return them."""
    live = [instance for instance in chosen if instance.live]
    if live and not check:
        ids = [instance.id for instance in live]
        names = ", ".join(instance.label for instance in live)
        ec2.call("terminate_instances", f"terminate {names}", InstanceIds=ids)
        ec2.wait_for(set(ids), lambda instance: instance.state == "terminated", "terminated", timeout, ending=True)
    return live
