"""The state of EC2: moto's instances with EC2's states, on disk after each change.

moto alone changes the state of an instance immediately. Here an instance passes through EC2's intermediate states
(pending, stopping, shutting-down), and the reconciler records the next state when the container has reached it.
"""

import base64
import logging
import pickle
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance as Ec2Instance

from local_cloud.files import replace_file

from . import placement_groups
from .moto_setup import default_vpc_of, disk_count

log = logging.getLogger("pegasus.ec2")

ACCOUNT = "123456789012"
TERMINATED_KEPT = timedelta(hours=1)

PENDING, RUNNING, SHUTTING_DOWN, TERMINATED, STOPPING, STOPPED = (
    "pending", "running", "shutting-down", "terminated", "stopping", "stopped",
)  # fmt: skip
CODES = {PENDING: 0, RUNNING: 16, SHUTTING_DOWN: 32, TERMINATED: 48, STOPPING: 64, STOPPED: 80}


@dataclass(frozen=True)
class Instance:
    """An instance as EC2 describes it. Its first boot gets `public_key` and `user_data`."""

    id: str
    name: str
    type: str
    state: str
    address: str
    region: str
    public_key: str
    user_data: bytes
    on_power_off: str
    reboot_requested: bool
    disks: int

    @property
    def hostname(self) -> str:
        return "ip-" + self.address.replace(".", "-")


class Ec2State:
    """moto's state of all regions. Call prepare_environment() before the first one.

    :param network: address range of the default VPC
    :param snapshot: file that keeps the state over restarts; an unreadable one is renamed
    """

    def __init__(self, network: str, snapshot: Path) -> None:
        import moto
        from moto.ec2.models import EC2Backend, ec2_backends

        placement_groups.install()
        # setattr: the type checker doesn't allow assignments to a method.
        setattr(EC2Backend, "create_default_vpc", default_vpc_of(network))  # noqa: B010
        self.lock = threading.RLock()
        # Responses of launches: (fingerprint of the request, body) by client token.
        self.responses: dict[str, tuple[str, bytes]] = {}
        self._moto_version = moto.__version__
        self._backends = ec2_backends
        self._snapshot = snapshot
        self._restore()

    def instances(self) -> list[Instance]:
        """All instances in all regions."""
        with self.lock:
            return [view(region, instance) for region, instance in self.moto_instances()]

    def settle(self, instance_id: str, state: str, *, code: str = "", reason: str = "") -> None:
        """Record that an instance has reached a state. `code` and `reason` become EC2's StateReason."""
        with self.lock:
            instance = self.find(instance_id)
            if instance._state.name == state:
                return
            if state == STOPPED and instance._state.name != STOPPING:
                instance.stop()
            elif state == TERMINATED:
                if instance._state.name != SHUTTING_DOWN:
                    instance.terminate()
                _delete_interfaces(instance)
                instance.pegasus_terminated_at = datetime.now(UTC)
            set_state(instance, state)
            if code:
                _set_reason(instance, code, reason)
            self.save()

    def move(self, instance_id: str, expected: str, state: str) -> bool:
        """Call settle() if the instance is still in the state `expected`; returns whether it was."""
        with self.lock:
            if self.find(instance_id)._state.name != expected:
                return False
            self.settle(instance_id, state)
            return True

    def begin_termination(self, instance_id: str, code: str, reason: str) -> None:
        """Terminate an instance for a reason inside the cloud, as TerminateInstances does for a caller."""
        with self.lock:
            instance = self.find(instance_id)
            if instance._state.name in (SHUTTING_DOWN, TERMINATED):
                return
            instance.terminate()
            set_state(instance, SHUTTING_DOWN)
            _set_reason(instance, code, reason)
            self.save()

    def rebooted(self, instance_id: str) -> None:
        with self.lock:
            self.find(instance_id).pegasus_reboot = False
            self.save()

    def forget_old(self, now: datetime) -> None:
        """Remove instances that were terminated more than an hour ago, as EC2 does."""
        with self.lock:
            limit = now - TERMINATED_KEPT
            changed = False
            for _, backend in self._regions():
                for key, reservation in list(backend.reservations.items()):
                    kept = [instance for instance in reservation.instances if not _terminated_before(instance, limit)]
                    changed |= len(kept) < len(reservation.instances)
                    reservation.instances = kept
                    if not kept:
                        del backend.reservations[key]
            if changed:
                self.save()

    def backend(self, region: str) -> Any:
        return self._backends[ACCOUNT][region]

    def moto_instances(self) -> Iterator[tuple[str, Any]]:
        """moto's instances with their regions."""
        for region, backend in self._regions():
            for instance in backend.all_instances():
                yield region, instance

    def find(self, instance_id: str) -> Any:
        """moto's instance with this id. Raises KeyError."""
        for _, instance in self.moto_instances():
            if instance.id == instance_id:
                return instance
        raise KeyError(instance_id)

    def save(self) -> None:
        with self.lock:
            kept = {"moto": self._moto_version, "regions": dict(self._regions()), "responses": self.responses}
            replace_file(self._snapshot, pickle.dumps(kept, protocol=pickle.HIGHEST_PROTOCOL))

    def _restore(self) -> None:
        if not self._snapshot.exists():
            return
        try:
            # Safe to unpickle: only this user can write to the folder.
            kept = pickle.loads(self._snapshot.read_bytes())
            regions, responses = kept["regions"], kept["responses"]
            if kept["moto"] != self._moto_version:
                log.warning("the state was written by moto %s, this is %s", kept["moto"], self._moto_version)
        except Exception as error:
            log.error("the state in %s can't be read (%s): starting without instances", self._snapshot.name, error)
            self._snapshot.replace(self._snapshot.with_suffix(".unreadable"))
            return
        account = self._backends[ACCOUNT]
        for region, backend in regions.items():
            dict.__setitem__(account, region, backend)
        self.responses = responses

    def _regions(self) -> list[tuple[str, Any]]:
        return [(region, backend) for _, region, backend in self._backends.iter_backends()]


def view(region: str, instance: Any) -> Instance:
    key = instance.ec2_backend.key_pairs.get(instance.key_name)
    if key is not None:
        # Kept with the instance, because deleting the key pair doesn't change instances.
        instance.pegasus_public_key = _text(key.material_public)
    return Instance(
        id=instance.id,
        name=_name(instance),
        type=instance.instance_type,
        state=instance._state.name,
        address=instance.private_ip or "",
        region=region,
        public_key=getattr(instance, "pegasus_public_key", ""),
        user_data=_user_data(instance.user_data),
        on_power_off=_text(instance.instance_initiated_shutdown_behavior) or "stop",
        reboot_requested=getattr(instance, "pegasus_reboot", False),
        disks=disk_count(instance.instance_type),
    )


def set_state(instance: Any, state: str) -> None:
    instance._state.name, instance._state.code = state, CODES[state]


def _set_reason(instance: Any, code: str, reason: str) -> None:
    instance.state_reason.code, instance.state_reason.message = code, reason
    instance._reason = reason


def _terminated_before(instance: Any, moment: datetime) -> bool:
    terminated_at = getattr(instance, "pegasus_terminated_at", None)
    return instance._state.name == TERMINATED and terminated_at is not None and terminated_at < moment


def _delete_interfaces(instance: Any) -> None:
    """Delete an instance's network interfaces. moto keeps them, so that their security group couldn't be deleted."""
    for interface in list(instance.nics.values()):
        interface.instance = None
        interface.attachment_id = None
        instance.ec2_backend.enis.pop(interface.id, None)


def _name(instance: Any) -> str:
    """The name that the Ansible roles derive from the instance's tags."""
    tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
    index = int(instance.ami_launch_index or 0)
    named = Ec2Instance(instance.id, "", instance._state.name, instance.instance_type, launch_index=index, tags=tags)
    return named.name


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("Value", "")
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _user_data(value: Any) -> bytes:
    """Decode user data, which moto keeps as a string with base64."""
    if not value:
        return b""
    raw = value if isinstance(value, bytes) else str(value).encode()
    try:
        return base64.b64decode(raw, validate=True)
    except ValueError:
        return raw
