# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Calls to EC2 through boto3: a client for one environment in one region."""

from __future__ import annotations

import builtins  # Ec2.list hides the type in that class
import gc
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from .errors import CAPACITY, CONFIGURATION, ENDPOINT, OTHER, PERMISSION, QUOTA, Ec2Problem, error_code, explain, joined
from .instances import Instance
from .tags import TAG_ENVIRONMENT

T = TypeVar("T")

# EC2 is eventually consistent: the next call may not know a new resource for some seconds.
VISIBLE_WITHIN = 60.0
PARALLEL_CALLS = 10
# With their pauses, a minute or two at most.
ATTEMPTS = 8


def backoff(timeout: float, first: float = 0.1, longest: float = 5.0) -> Iterable[float]:
    """Yield the seconds since the start, with growing pauses between; the last time after `timeout` seconds."""
    start = time.monotonic()
    pause = first
    while True:
        passed = time.monotonic() - start
        yield passed
        if passed >= timeout:
            return
        time.sleep(min(pause, max(timeout - passed, 0.01)))
        pause = min(pause * 1.5, longest)


def in_parallel(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run the calls concurrently; return their results in order, or raise the first error after all have finished."""
    if len(calls) == 1:
        return [calls[0]()]
    with ThreadPoolExecutor(max_workers=min(PARALLEL_CALLS, max(len(calls), 1))) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Pause the garbage collector, which would take a quarter of the time while boto loads its models."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@dataclass
class Found:
    """The resources of an environment that a launch needs; placement groups only where they were requested."""

    instances: list[Instance] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    placement_groups: list[dict[str, Any]] = field(default_factory=list)


class Ec2:
    """A client for one environment in one region. Errors are Ec2Problems. `calls` counts the API calls by name."""

    def __init__(self, environment: str, *, region: str, endpoint_url: str, access_key: str, secret_key: str) -> None:
        """Create the client; '' leaves a setting to boto's defaults (environment, profile, instance role)."""
        self.environment = environment
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        if bool(access_key) != bool(secret_key):
            raise Ec2Problem(
                CONFIGURATION,
                "Only one of ec2_provision_access_key and ec2_provision_secret_key is set; expected both or none.",
            )
        if endpoint_url:
            check_endpoint(endpoint_url)
        self._endpoint_url = endpoint_url or None
        self._clients: dict[str, Any] = {}
        with _without_collecting():
            import boto3
            from botocore.config import Config

            # Throttled and failed calls are retried after growing, random pauses.
            self._config = Config(
                connect_timeout=5,
                read_timeout=60,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                max_pool_connections=PARALLEL_CALLS,
            )
            try:
                # A new session: the default one is shared by the whole process. Clients only: resources would load a
                # second model.
                self._session: Any = boto3.session.Session(
                    aws_access_key_id=access_key or None,
                    aws_secret_access_key=secret_key or None,
                    region_name=region or None,
                )
                self.region = self._client("ec2").meta.region_name
            except Exception as error:
                raise explain(error, "prepare the calls to EC2") from error

    def _client(self, service: str) -> Any:
        with self._lock:  # not thread-safe in boto
            if service not in self._clients:
                self._clients[service] = self._session.client(
                    service, endpoint_url=self._endpoint_url, config=self._config
                )
            return self._clients[service]

    # --- Calling ------------------------------------------------------------------------------------------------------

    def call(
        self,
        operation: str,
        task: str,
        *,
        service: str = "ec2",
        until_visible: tuple[str, ...] = (),
        **parameters: Any,
    ) -> dict[str, Any]:
        """Call an operation.

        :param operation: boto3's name
        :param task: what the call is for, in a message after "EC2 refused to"
        :param until_visible: error codes to retry for VISIBLE_WITHIN seconds
        """
        client = self._client(service)
        for passed in backoff(VISIBLE_WITHIN if until_visible else 0):
            with self._lock:
                self.calls[f"{operation} (dry run)" if parameters.get("DryRun") else operation] += 1
            try:
                return getattr(client, operation)(**parameters)
            except Exception as error:
                if error_code(error) in until_visible and passed < VISIBLE_WITHIN:
                    continue
                raise explain(error, task) from error
        raise AssertionError("backoff always yields a last time")

    def create(self, operation: str, resource: str, taken: str, **parameters: Any) -> dict[str, Any]:
        """Create a named resource.

        :param resource: such as "key pair named pegasus-Bench"
        :param taken: the error code if a resource that isn't the environment's has the name
        """
        try:
            return self.call(operation, f"create the {resource}", **parameters)
        except Ec2Problem as problem:
            if problem.code != taken:
                raise
            raise Ec2Problem(
                CONFIGURATION,
                f"EC2 has a {resource} without the tag {TAG_ENVIRONMENT}={self.environment}: it doesn't belong to the "
                "environment.",
                "Remove it in EC2, or choose another pegasus_cluster_name.",
            ) from problem

    def list(self, operation: str, key: str, task: str, **parameters: Any) -> list[dict[str, Any]]:
        """All pages of a description: the elements under `key`."""
        found: list[dict[str, Any]] = []
        token = None
        while True:
            answer = self.call(operation, task, **parameters, **({"NextToken": token} if token else {}))
            found.extend(answer.get(key, []))
            token = answer.get("NextToken")
            if not token:
                return found

    # --- Describing ---------------------------------------------------------------------------------------------------

    def _own(self, **more: builtins.list[str]) -> builtins.list[dict[str, Any]]:
        filters = [{"Name": f"tag:{TAG_ENVIRONMENT}", "Values": [self.environment]}]
        return filters + [{"Name": name.replace("_", "-"), "Values": values} for name, values in more.items()]

    def describe_instances(self) -> builtins.list[dict[str, Any]]:
        """EC2's descriptions of the environment's instances, including terminated instances that it still lists."""
        reservations = self.list(
            "describe_instances", "Reservations", "describe instances", Filters=self._own(), MaxResults=1000
        )
        return [description for reservation in reservations for description in reservation["Instances"]]

    def instances(self) -> builtins.list[Instance]:
        """The environment's instances by kind and index, including terminated instances that EC2 still lists."""
        return sorted(map(Instance.from_description, self.describe_instances()), key=lambda instance: instance.order)

    def security_groups(self) -> builtins.list[dict[str, Any]]:
        """The environment's security groups: one, unless a user tagged another."""
        return self.list(
            "describe_security_groups",
            "SecurityGroups",
            "describe security groups",
            Filters=self._own(),
            MaxResults=1000,
        )

    def placement_groups(self) -> builtins.list[dict[str, Any]]:
        """The environment's placement groups: one at most, unless a user tagged another."""
        found = self.call("describe_placement_groups", "describe placement groups", Filters=self._own())
        return [group for group in found["PlacementGroups"] if group["State"] not in ("deleting", "deleted")]

    def find(self, *, placement_groups: bool = False) -> Found:
        """Describe the environment's resources concurrently.

        :raises Ec2Problem: with every call that isn't permitted
        """
        calls: list[Callable[[], Any]] = [
            self.instances,
            self.security_groups,
            lambda: self.call("describe_key_pairs", "describe key pairs", Filters=self._own(), IncludePublicKey=True)[
                "KeyPairs"
            ],
        ]
        if placement_groups:
            calls.append(self.placement_groups)
        refused: builtins.list[Ec2Problem] = []

        def attempt(call: Callable[[], Any]) -> Any:
            try:
                return call()
            except Ec2Problem as problem:
                if problem.error_class != PERMISSION:
                    raise
                refused.append(problem)
                return None

        found = in_parallel([partial(attempt, call) for call in calls])
        if refused:
            raise joined(refused)
        return Found(*found)

    def wait_for(
        self, ids: set[str], ready: Callable[[Instance], bool], expected: str, timeout: float, *, ending: bool = False
    ) -> builtins.list[Instance]:
        """Wait until each of these instances is ready.

        :param expected: what `ready` means, for the message
        :param timeout: in seconds
        :param ending: wait for termination: an instance that EC2 no longer lists is ready. Otherwise a terminated
            instance is an error.
        :returns: all instances of the environment
        """
        for passed in backoff(timeout):
            found = self.instances()
            by_id = {instance.id: instance for instance in found if instance.id in ids}
            terminated = [] if ending else [instance for instance in by_id.values() if not instance.live]
            if terminated:
                raise terminated_problem(terminated)
            late = [f"{instance.label} {instance.state}" for instance in by_id.values() if not ready(instance)]
            if not ending:
                # A new instance may not be listed yet.
                late += [f"{instance_id} not listed" for instance_id in ids - set(by_id)]
            if not late:
                return found
            if passed >= timeout:
                raise Ec2Problem(
                    OTHER,
                    f"After {timeout:.0f} s expected every instance to be {expected}; "
                    f"found: {', '.join(sorted(late))}.",
                    "Run this again: it continues from here. If nothing changes, check these instances in EC2.",
                )
        raise AssertionError("backoff always yields a last time")


def terminated_problem(instances: list[Instance]) -> Ec2Problem:
    """The problem of new or starting instances that terminated."""
    reasons = "; ".join(
        f"{instance.label}: {instance.state}, {instance.state_reason or 'no reason given'}" for instance in instances
    )
    text = reasons.lower()
    error_class = CAPACITY if "capacity" in text else QUOTA if "limitexceeded" in text else OTHER
    return Ec2Problem(error_class, f"Expected every instance to run, but {len(instances)} terminated: {reasons}.")


def check_endpoint(url: str) -> None:
    """Fail at once if nothing listens at the endpoint: boto would retry for several seconds."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Ec2Problem(
            CONFIGURATION, f"The endpoint {url!r} isn't a URL; expected something like http://127.0.0.1:4570."
        )
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=5).close()
    except (OSError, ValueError) as error:
        raise Ec2Problem(ENDPOINT, f"No EC2 endpoint answers at {url}: {error}.") from error
