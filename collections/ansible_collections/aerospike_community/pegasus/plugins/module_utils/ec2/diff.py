# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""What separates an environment from its spec, found before anything is changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from . import preflight
from .api import PARALLEL_CALLS, Ec2
from .errors import CONFIGURATION, Ec2Problem, Problems, joined
from .ingress import RuleChanges, own_address, rule_changes
from .instances import Instance
from .keys import SAMPLE_PUBLIC_KEY, key_request, needs_import
from .placement import find_context, placement_group_request
from .plan import Plan, make_plan
from .request import LaunchContext
from .security_group import find_group, group_request
from .spec import Spec


@dataclass
class Diff:
    """The differences, and what launches need."""

    spec: Spec
    plan: Plan
    instances: list[Instance]  # including terminated instances that EC2 still lists
    context: LaunchContext | None = None  # None if nothing is launched; without the resources to create
    key_name: str = ""
    import_key: bool = False
    group_id: str = ""  # '' if there is no security group yet
    cidrs: list[str] = field(default_factory=list)
    rules: RuleChanges = field(default_factory=RuleChanges)
    create_placement_group: bool = False
    identity: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def live(self) -> list[Instance]:
        """The instances that exist."""
        return [instance for instance in self.instances if instance.live]

    def changes(self) -> list[str]:
        """The differences as lines."""
        names = {instance.id: instance.label for instance in self.live}
        lines = []
        if self.import_key:
            lines.append(f"import the key pair {self.spec.resource_name} from {self.spec.private_key_file}")
        if self.context and not self.group_id:
            lines.append(f"create the security group {self.spec.resource_name}")
        if self.context and self.create_placement_group:
            lines.append(f"create the placement group {self.spec.resource_name} ({self.spec.placement})")
        lines += self.rules.text()
        lines += [f"tag {names[key]}: {', '.join(sorted(tags))}" for key, tags in sorted(self.plan.retags.items())]
        lines += [f"start {names[instance.id]}" for instance in self.plan.starts]
        return lines + [launch.text() for launch in self.plan.launches]


def compare(ec2: Ec2, spec: Spec) -> Diff:
    """Compare an environment with its spec. Changes nothing.

    :raises Ec2Problem: with everything that prevents the changes
    """
    try:
        found = ec2.find(placement_groups=spec.placement != "none")
    except Ec2Problem as problem:
        raise joined([*spec.problems, problem]) from problem
    plan = make_plan(
        spec.groups, found.instances, expiry_seconds=spec.expiry, extra_tags=spec.tags, now=datetime.now(UTC)
    )
    diff = Diff(spec, plan, found.instances, notes=list(plan.notes))
    problems = Problems(spec.problems)
    if plan.refusals:
        problems.append(Ec2Problem(CONFIGURATION, "\n".join(plan.refusals), "Nothing was changed."))

    live, launches = diff.live, plan.launches
    with ThreadPoolExecutor(PARALLEL_CALLS) as pool:
        key = pool.submit(problems.attempt, lambda: needs_import(ec2, spec, found, live))
        cidrs = pool.submit(problems.attempt, lambda: spec.allowed_cidrs or [own_address()])
        if launches:
            identity = pool.submit(problems.attempt, lambda: preflight.identity(ec2, diff.notes))
            diff.context = find_context(ec2, spec, launches, live, problems)
            diff.identity = identity.result() or ""
        diff.import_key = bool(key.result())
        diff.cidrs = cidrs.result() or []
    group = problems.attempt(lambda: find_group(spec, found, diff.context.subnets if diff.context else []))
    if group:
        diff.group_id = group["GroupId"]
        diff.rules = rule_changes(diff.group_id, group["IpPermissions"], diff.cidrs)
    elif diff.context:
        diff.rules = rule_changes(spec.resource_name, [], diff.cidrs)
    placement_groups = {placement_group["GroupName"] for placement_group in found.placement_groups}
    diff.create_placement_group = spec.placement != "none" and spec.resource_name not in placement_groups
    diff.key_name = spec.key_name or (found.keys[0]["KeyName"] if found.keys else spec.resource_name)
    if diff.context:
        diff.context = _with_resources(diff, diff.context)
        problems += preflight.check(ec2, plan, diff.context, live, _creations(diff, diff.context), diff.notes)
    if problems:
        raise joined(problems)
    return diff


def _with_resources(diff: Diff, context: LaunchContext) -> LaunchContext:
    """The context with the resources that exist."""
    return replace(
        context,
        key_name="" if diff.import_key else diff.key_name,
        group_id=diff.group_id,
        placement_group="" if diff.spec.placement == "none" or diff.create_placement_group else diff.spec.resource_name,
    )


def _creations(diff: Diff, context: LaunchContext) -> dict[str, dict[str, Any]]:
    """The parameters of the calls that create what launches need, by operation, as far as they are known."""
    calls: dict[str, dict[str, Any]] = {}
    if diff.import_key:
        calls["import_key_pair"] = key_request(diff.spec, SAMPLE_PUBLIC_KEY)
    if context.vpc_id and not diff.group_id:
        calls["create_security_group"] = group_request(diff.spec, context.vpc_id)
    if diff.create_placement_group:
        calls["create_placement_group"] = placement_group_request(diff.spec)
    return calls
