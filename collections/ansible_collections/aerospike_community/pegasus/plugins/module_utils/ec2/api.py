"""Calls to EC2 through boto3: a client, descriptions of an environment, and the calls that make and take its parts."""

from __future__ import annotations

import builtins  # Ec2.list hides the type in that class
import gc
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import urlopen

from .errors import CONFIGURATION, ENDPOINT, OTHER, PERMISSION, Ec2Problem, error_code, explain, joined
from .plan import TAG_ENVIRONMENT, Instance, normal_cidr

T = TypeVar("T")

ADDRESS_SERVICE = "https://checkip.amazonaws.com"
# EC2 makes things known to its own parts with a delay: a new thing may be unknown to the next call for some seconds.
VISIBLE_WITHIN = 60.0
PARALLEL_CALLS = 10
# The last one begins after a minute or two of pauses at most.
ATTEMPTS = 8


def backoff(timeout: float, first: float = 0.1, longest: float = 5.0) -> Iterable[float]:
    """Yield the seconds passed, with growing pauses between; the last time is when `timeout` seconds are over."""
    start = time.monotonic()
    pause = first
    while True:
        passed = time.monotonic() - start
        yield passed
        if passed >= timeout:
            return
        time.sleep(min(pause, max(timeout - passed, 0.01)))
        pause = min(pause * 1.5, longest)


def in_parallel(calls: list[Callable[[], T]]) -> list[T]:
    """Run the calls at the same time; return their results in order, or raise the first error once all have ended."""
    if len(calls) == 1:
        return [calls[0]()]
    with ThreadPoolExecutor(max_workers=min(PARALLEL_CALLS, max(len(calls), 1))) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


@contextmanager
def _without_collecting() -> Iterator[None]:
    """boto makes so many objects for its models that Python's search for garbage among them takes a
    fourth of the time.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@dataclass
class Found:
    """What carries an environment's tag and is needed to bring it up. Placement groups are looked for where asked."""

    instances: list[Instance] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    placement_groups: list[dict[str, Any]] = field(default_factory=list)


class Ec2:
    """One environment in one region. Every error leaves as Ec2Problem. `calls` counts the API calls by name."""

    def __init__(self, environment: str, *, region: str, endpoint_url: str, access_key: str, secret_key: str) -> None:
        """Make the client; '' leaves a setting to boto's own chain (environment, profile, instance role)."""
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

            # Throttled and failed calls are tried again after growing, random pauses.
            self._config = Config(
                connect_timeout=5,
                read_timeout=60,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                max_pool_connections=PARALLEL_CALLS,
            )
            try:
                # A session of its own: the default one is shared by everything in the process. Clients, no resources:
                # those would load a second model.
                self._session: Any = boto3.session.Session(
                    aws_access_key_id=access_key or None,
                    aws_secret_access_key=secret_key or None,
                    region_name=region or None,
                )
                self.region = self._client("ec2").meta.region_name
            except Exception as error:
                raise explain(error, "prepare the calls to EC2") from error

    def _client(self, service: str) -> Any:
        with self._lock:  # making one isn't safe in threads
            if service not in self._clients:
                self._clients[service] = self._session.client(
                    service, endpoint_url=self._endpoint_url, config=self._config
                )
            return self._clients[service]

    # --- Calling ------------------------------------------------------------------------------------------------------

    def call(
        self,
        operation: str,
        doing: str,
        *,
        service: str = "ec2",
        until_visible: tuple[str, ...] = (),
        **parameters: Any,
    ) -> dict[str, Any]:
        """Call `operation` (boto3's name); `doing` says what for. Codes in `until_visible` are retried for a while."""
        client = self._client(service)
        for passed in backoff(VISIBLE_WITHIN if until_visible else 0):
            with self._lock:
                self.calls[f"{operation} (dry run)" if parameters.get("DryRun") else operation] += 1
            try:
                return getattr(client, operation)(**parameters)
            except Exception as error:
                if error_code(error) in until_visible and passed < VISIBLE_WITHIN:
                    continue
                raise explain(error, doing) from error
        raise AssertionError("backoff always yields a last time")

    def list(self, operation: str, key: str, doing: str, **parameters: Any) -> list[dict[str, Any]]:
        """All elements `key` of a paged description."""
        found: list[dict[str, Any]] = []
        token = None
        while True:
            answer = self.call(operation, doing, **parameters, **({"NextToken": token} if token else {}))
            found.extend(answer.get(key, []))
            token = answer.get("NextToken")
            if not token:
                return found

    # --- Describing ---------------------------------------------------------------------------------------------------

    def _own(self, **more: builtins.list[str]) -> builtins.list[dict[str, Any]]:
        filters = [{"Name": f"tag:{TAG_ENVIRONMENT}", "Values": [self.environment]}]
        return filters + [{"Name": name.replace("_", "-"), "Values": values} for name, values in more.items()]

    def describe_instances(self) -> builtins.list[dict[str, Any]]:
        """EC2's descriptions of the environment's instances, those that it still lists as terminated included."""
        reservations = self.list(
            "describe_instances", "Reservations", "describe instances", Filters=self._own(), MaxResults=1000
        )
        return [one for reservation in reservations for one in reservation["Instances"]]

    def instances(self) -> builtins.list[Instance]:
        """The same, as they are to us, by kind and index."""
        return sorted(map(Instance.from_description, self.describe_instances()), key=lambda one: one.order)

    def security_groups(self) -> builtins.list[dict[str, Any]]:
        """The environment's security groups: one, unless somebody tagged another."""
        return self.list(
            "describe_security_groups",
            "SecurityGroups",
            "describe security groups",
            Filters=self._own(),
            MaxResults=1000,
        )

    def placement_groups(self) -> builtins.list[dict[str, Any]]:
        """The environment's placement groups that aren't going: one at most, unless somebody tagged another."""
        found = self.call("describe_placement_groups", "describe placement groups", Filters=self._own())
        return [one for one in found["PlacementGroups"] if one["State"] not in ("deleting", "deleted")]

    def find(self, *, placement_groups: bool = False) -> Found:
        """Look for what the environment has, at the same time. Raises Ec2Problem with all that isn't permitted."""
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

        def look(call: Callable[[], Any]) -> Any:
            try:
                return call()
            except Ec2Problem as problem:
                if problem.error_class != PERMISSION:
                    raise
                refused.append(problem)

        found = in_parallel([partial(look, call) for call in calls])
        if refused:
            raise joined(refused)
        return Found(*found)

    def wait_for(
        self, ids: set[str], ready: Callable[[Instance], bool], expected: str, timeout: float, *, ending: bool = False
    ) -> builtins.list[Instance]:
        """Wait until each instance of `ids` is `ready`, and return all instances of the environment.

        `expected` says in words what is waited for; `timeout` is in seconds. Where the end of the instances is waited
        for (`ending`), one that EC2 no longer lists is ready; elsewhere one that ended is an error, with EC2's reason.
        """
        for passed in backoff(timeout):
            found = self.instances()
            by_id = {instance.id: instance for instance in found if instance.id in ids}
            ended = [] if ending else [one for one in by_id.values() if not one.live]
            if ended:
                raise ended_problem(ended)
            late = [f"{one.name or one.id} {one.state}" for one in by_id.values() if not ready(one)]
            if not ending:
                # A new instance may not be listed yet.
                late += [f"{one} not listed" for one in ids - set(by_id)]
            if not late:
                return found
            if passed >= timeout:
                raise Ec2Problem(
                    OTHER,
                    f"After {timeout:.0f} s expected every instance to be {expected}; "
                    f"found: {', '.join(sorted(late))}.",
                    "Run this again: it goes on from here. If it stays so, look at these instances in EC2.",
                )
        raise AssertionError("backoff always yields a last time")


def ended_problem(ended: list[Instance]) -> Ec2Problem:
    """What to say when new or starting instances ended."""
    said = "; ".join(f"{one.name or one.id}: {one.state}, {one.state_reason or 'no reason given'}" for one in ended)
    reason = said.lower()
    error_class = OTHER
    if "insufficientinstancecapacity" in reason or "capacity" in reason:
        error_class = "capacity"
    elif "limitexceeded" in reason:
        error_class = "quota"
    return Ec2Problem(error_class, f"Expected every instance to run, but EC2 ended {len(ended)}: {said}.")


def check_endpoint(url: str) -> None:
    """Fail at once when nothing listens at an endpoint that was named: boto would retry for several seconds."""
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


def own_address() -> str:
    """This machine's public address as AWS sees it, as a network of one."""
    try:
        with urlopen(ADDRESS_SERVICE, timeout=5) as answer:
            return normal_cidr(answer.read(200).decode())
    except (OSError, ValueError) as error:
        raise Ec2Problem(
            ENDPOINT,
            f"Could not learn this machine's public address from {ADDRESS_SERVICE}: {error}.",
            "Set ec2_provision_allowed_cidrs to the networks that may reach the environment.",
        ) from error
