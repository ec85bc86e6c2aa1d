# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Moves the expiry of an environment's instances in their tags."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .api import Ec2
from .errors import USAGE, Ec2Problem
from .instances import Instance
from .tags import KINDS, TAG_EXPIRES, format_time, parse_time, tag_list


@dataclass
class Extension:
    """`expires` is the new value of the tag; `moved` maps the names of instances to their old value."""

    expires: str
    moved: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def extend(ec2: Ec2, seconds: int, now: datetime, kinds: Collection[str] = (), *, check: bool) -> Extension:
    """Set the expiry of every running instance to `seconds` from now, 0 for never.

    A stopped instance keeps its expiry: the timer inside it can't be reached.

    :param kinds: only instances of these kinds; empty for all
    """
    part = set(kinds) if set(kinds) < set(KINDS) else set()
    live = [instance for instance in ec2.instances() if instance.live and (not part or instance.kind in part)]
    if not live:
        which = f"instance with the kind {' or '.join(sorted(part))}" if part else "instance"
        raise Ec2Problem(USAGE, f"{ec2.environment} has no {which} to extend.", "Set it up: setup")
    extension = Extension(format_time(now + timedelta(seconds=seconds)) if seconds else "never")
    running = [instance for instance in live if instance.state in ("running", "pending")]
    extension.moved = {instance.label: instance.tags.get(TAG_EXPIRES, "") for instance in running}
    extension.skipped = [_skipped_text(instance, now) for instance in live if instance not in running]
    if running and not check:
        ec2.call(
            "create_tags",
            "move the expiry of the instances",
            Resources=[instance.id for instance in running],
            Tags=tag_list({TAG_EXPIRES: extension.expires}),
        )
    return extension


def _skipped_text(instance: Instance, now: datetime) -> str:
    """A stopped instance in a message. After its expiry, it would power itself off as soon as it starts."""
    expires = instance.tags.get(TAG_EXPIRES, "at an unknown time")
    time = parse_time(expires)
    if time is not None and time <= now:
        rest = f"expired at {expires} (reap terminates it)"
    else:
        rest = f"still expires {'at ' if time else ''}{expires} (start it with setup, then extend again)"
    return f"{instance.label} is {instance.state}: skipped, {rest}"
