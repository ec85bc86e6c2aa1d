"""The EC2 endpoint: moto's server on loopback, made to behave as EC2 where moto is simpler than EC2.

moto holds the state and answers the calls. Around it, one call at a time:
- an instance goes through EC2's states (pending, stopping, shutting-down) and reaches the next one when its container
  has; moto alone changes them at once, so that nobody could wait for anything;
- calls that EC2 refuses in a state (start while stopping, ...) are refused;
- a RunInstances that is repeated with its client token gives the first one's answer;
- every change is on the disk before its caller hears of it, so that a crash loses nothing.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import os
import pickle
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import plan as ec2_plan

from . import placement_groups

log = logging.getLogger("pegasus.endpoint")

IMAGE_OWNER = "136693071363"
ACCOUNT = "123456789012"
STATUS_PATH = "/pegasus/status"
TERMINATED_KEPT = timedelta(hours=1)

PENDING, RUNNING, SHUTTING_DOWN, TERMINATED, STOPPING, STOPPED = (
    "pending", "running", "shutting-down", "terminated", "stopping", "stopped",
)  # fmt: skip
_CODES = {PENDING: 0, RUNNING: 16, SHUTTING_DOWN: 32, TERMINATED: 48, STOPPING: 64, STOPPED: 80}

# Which states a call is accepted in, and which of those it changes to what.
_ACCEPTED = {
    "StartInstances": ({STOPPED, PENDING, RUNNING}, {STOPPED: PENDING}),
    "StopInstances": ({PENDING, RUNNING, STOPPING, STOPPED}, {PENDING: STOPPING, RUNNING: STOPPING}),
    "RebootInstances": ({RUNNING}, {}),
    "TerminateInstances": (
        set(_CODES),
        dict.fromkeys((PENDING, RUNNING, STOPPING, STOPPED, SHUTTING_DOWN), SHUTTING_DOWN),
    ),
}
_READING = ("Describe", "Get", "List")


@dataclass(frozen=True)
class Instance:
    """An instance as EC2 wants it to be. `public_key` and `user_data` are what its first boot gets."""

    id: str
    name: str
    type: str
    state: str
    address: str
    region: str
    public_key: str
    user_data: bytes
    on_power_off: str
    reboot_wanted: bool
    disks: int

    @property
    def hostname(self) -> str:
        return "ip-" + self.address.replace(".", "-")


def image_list(architecture: str) -> list[dict[str, Any]]:
    """The images that the endpoint offers, in moto's form: one, for this machine's architecture (amd64 or arm64)."""
    name = f"debian-12-{architecture}-pegasus-SIMULATED"
    return [
        {
            "ami_id": "ami-0" + hashlib.sha256(name.encode()).hexdigest()[:16],
            "name": name,
            "description": "SIMULATED: a container with Debian 12, systemd and sshd on this machine",
            "owner_id": IMAGE_OWNER,
            "public": True,
            "architecture": {"amd64": "x86_64", "arm64": "arm64"}[architecture],
            "virtualization_type": "hvm",
            "hypervisor": "xen",
            "state": "available",
            "image_type": "machine",
            "image_location": f"{IMAGE_OWNER}/{name}",
            "root_device_name": "/dev/xvda",
            "root_device_type": "ebs",
            "sriov": "simple",
            "creation_date": "2025-01-01T00:00:00.000Z",
        }
    ]


def prepare_environment(images: Path, architecture: str) -> None:
    """What moto reads from the environment when it is imported. Call before the first Endpoint.

    The caller's AWS settings go: a profile that doesn't exist would break botocore inside moto.
    """
    for name in [name for name in os.environ if name.startswith(("AWS_", "MOTO_"))]:
        del os.environ[name]
    images.write_text(json.dumps(image_list(architecture)))
    os.environ["MOTO_AMIS_PATH"] = str(images)
    os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"] = "true"
    os.environ["MOTO_ENABLE_KEYPAIR_VALIDATION"] = "true"
    os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


class Endpoint:
    """The endpoint and its state. `wake` is called after each call that may have changed something."""

    def __init__(self, network: str, snapshot: Path, wake: Callable[[], None] = lambda: None) -> None:
        import moto
        from moto.ec2.models import EC2Backend, ec2_backends

        placement_groups.install()
        self._moto_version = moto.__version__
        self._backends = ec2_backends
        self.lock = threading.RLock()
        self.wake = wake
        # Asked before a launch with the number of instances; returns why not, or ''.
        self.admit: Callable[[int], str] = lambda count: ""
        # Why no instance can follow now, or '': the engine is away. Every call is refused then, because nobody knows
        # what the instances do, and who waits for them would wait in vain.
        self.away: Callable[[], str] = lambda: ""
        self.facts: Callable[[], dict[str, Any]] = dict
        self._snapshot = snapshot
        self._answers: dict[str, tuple[str, bytes]] = {}
        self._server: Any = None
        # setattr: for the type checker a method is fixed.
        setattr(EC2Backend, "create_default_vpc", _default_vpc_of(network))  # noqa: B010
        self._application = self._make_application()
        self._restore()

    # --- Serving ------------------------------------------------------------------------------------------------------

    def listen(self, host: str, port: int) -> None:
        """Serve in threads until close(). Raises OSError when the port is taken."""
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        try:
            self._server = make_server(host, port, self, threaded=True, request_handler=_request_handler())
        except SystemExit as error:
            # werkzeug's way to say that the address is taken.
            raise OSError(f"port {port} on {host} can't be opened") from error
        threading.Thread(target=self._server.serve_forever, name="endpoint", daemon=True).start()

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    @staticmethod
    def _make_application() -> Any:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        return DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """WSGI."""
        if environ.get("PATH_INFO") == STATUS_PATH:
            body = json.dumps(self.status()).encode()
            start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
            return [body]
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        call = _Call.parse(body, environ)
        with self.lock:
            if call is None or call.service != "ec2":
                environ["wsgi.input"] = io.BytesIO(body)
                return self._forward(environ, start_response)
            status, headers, answer = self._ec2(call, environ)
        if not call.reads:
            self.wake()
        start_response(status, headers)
        return [answer]

    def _forward(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer = self._application(environ, start_response)
        try:
            return [b"".join(answer)]
        finally:
            getattr(answer, "close", lambda: None)()

    def _ec2(self, call: _Call, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
        refused = self._refuse(call)
        if refused:
            return _error(*refused)
        token = call.parameters.get("ClientToken", "") if call.action == "RunInstances" else ""
        fingerprint = hashlib.sha256(urlencode(sorted(call.parameters.items())).encode()).hexdigest()
        if token and token in self._answers:
            before, answer = self._answers[token]
            if before != fingerprint:
                return _error(
                    "IdempotentParameterMismatch", f"The client token {token} was used for another request before."
                )
            return "200 OK", [("Content-Type", "text/xml"), ("Content-Length", str(len(answer)))], answer
        if call.action == "RunInstances":
            self._complete_launch(call)
        behaviour = call.parameters.pop("InstanceInitiatedShutdownBehavior.Value", "")
        if call.action == "ModifyInstanceAttribute" and behaviour:
            # moto knows the older of EC2's two forms only, and takes this one for "no security groups".
            call.parameters |= {"Attribute": "instanceInitiatedShutdownBehavior", "Value": behaviour}
        states = {one.id: one._state.name for one in self._chosen(call)}

        captured: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            captured.update(status=status, headers=headers)

        body = urlencode(call.parameters).encode()
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        answer = b"".join(self._forward(environ, start_response))
        if captured["status"].startswith("200") and not call.reads:
            self._after(call, states, answer)
            if token:
                self._answers[token] = (fingerprint, answer)
            self.save()
        return captured["status"], captured["headers"], answer

    def _refuse(self, call: _Call) -> tuple[str, str] | None:
        """Why EC2 would refuse a call that moto takes: error code and message."""
        if why := self.away():
            return "EngineUnavailable", why
        if call.action == "RunInstances":
            count = int(call.parameters.get("MinCount", "1") or 1)
            why = self.admit(count + len([one for one in self.instances() if one.state != TERMINATED]))
            return ("InsufficientInstanceCapacity", why) if why else None
        if call.action == "DeleteSecurityGroup":
            group = call.parameters.get("GroupId", "")
            users = [one.id for _, one in self._all() if one._state.name != TERMINATED and group in _groups(one)]
            if users:
                return "DependencyViolation", f"resource {group} has a dependent object: {', '.join(users)}"
        if call.action in _ACCEPTED:
            accepted, _ = _ACCEPTED[call.action]
            for one in self._chosen(call):
                if one._state.name not in accepted:
                    return (
                        "IncorrectInstanceState",
                        f"The instance '{one.id}' is in state '{one._state.name}': {call.action} isn't possible.",
                    )
        return None

    def _complete_launch(self, call: _Call) -> None:
        """Fill in what EC2 would choose: a default subnet. And see that no two regions give out the same address."""
        backend = self._backends[ACCOUNT][call.region]
        if "SubnetId" not in call.parameters and not any(
            key.startswith("NetworkInterface.") for key in call.parameters
        ):
            zone = call.parameters.get("Placement.AvailabilityZone", "")
            subnets = backend.get_default_subnets()
            if subnets:
                call.parameters["SubnetId"] = (subnets.get(zone) or subnets[min(subnets)]).id
        elsewhere = {one.private_ip: one for region, one in self._all() if region != call.region and one.private_ip}
        for zone_subnets in backend.subnets.values():
            for subnet in zone_subnets.values():
                subnet._unused_ips -= set(elsewhere)
                for address, one in elsewhere.items():
                    subnet._subnet_ips.setdefault(address, one)

    def _after(self, call: _Call, before: Mapping[str, str], answer: bytes) -> None:
        """Give the instances of a call that succeeded the states that EC2 would."""
        if call.action == "RunInstances":
            for instance_id in dict.fromkeys(re.findall(rb"<instanceId>(i-[0-9a-f]+)</instanceId>", answer)):
                one = self._find(instance_id.decode())
                _set_state(one, PENDING)
                _view(call.region, one)  # notes the public key, before somebody deletes the key pair
        elif call.action in _ACCEPTED:
            _, changes = _ACCEPTED[call.action]
            for one in self._chosen(call):
                was = before.get(one.id, "")
                # moto has set the last state already; back to where it was, or on to the one on the way.
                _set_state(one, changes.get(was, was))
                if call.action == "RebootInstances":
                    one.pegasus_reboot = True

    # --- State --------------------------------------------------------------------------------------------------------

    def instances(self) -> list[Instance]:
        """All instances in all regions, as they should be."""
        with self.lock:
            return [_view(region, one) for region, one in self._all()]

    def settle(self, instance_id: str, state: str, *, code: str = "", reason: str = "") -> None:
        """Note that an instance has reached a state; `code` and `reason` are EC2's StateReason where there is one."""
        with self.lock:
            one = self._find(instance_id)
            if one._state.name == state:
                return
            if state == STOPPED and one._state.name != STOPPING:
                one.stop()
            elif state == TERMINATED:
                if one._state.name != SHUTTING_DOWN:
                    one.terminate()
                _drop_interfaces(one)
                one.pegasus_ended = datetime.now(UTC)
            _set_state(one, state)
            if code:
                one.state_reason.code, one.state_reason.message = code, reason
                one._reason = reason
            self.save()

    def move(self, instance_id: str, expected: str, state: str) -> bool:
        """settle(), but only when the instance is still in the state `expected`; returns whether it was."""
        with self.lock:
            if self._find(instance_id)._state.name != expected:
                return False
            self.settle(instance_id, state)
            return True

    def begin_termination(self, instance_id: str, code: str, reason: str) -> None:
        """Start the end of an instance from inside of the cloud, as TerminateInstances does from outside."""
        with self.lock:
            one = self._find(instance_id)
            if one._state.name in (SHUTTING_DOWN, TERMINATED):
                return
            one.terminate()
            _set_state(one, SHUTTING_DOWN)
            one.state_reason.code, one.state_reason.message = code, reason
            one._reason = reason
            self.save()

    def rebooted(self, instance_id: str) -> None:
        with self.lock:
            self._find(instance_id).pegasus_reboot = False
            self.save()

    def forget_old(self, now: datetime) -> None:
        """Drop instances that ended long ago, as EC2 does."""
        with self.lock:
            dropped = False
            for _, backend in self._regions():
                for key, reservation in list(backend.reservations.items()):
                    old = [one for one in reservation.instances if _ended_before(one, now - TERMINATED_KEPT)]
                    if old:
                        dropped = True
                        reservation.instances = [one for one in reservation.instances if one not in old]
                        if not reservation.instances:
                            del backend.reservations[key]
            if dropped:
                self.save()

    def status(self) -> dict[str, Any]:
        """What the driver's status shows. User data stays out of it."""
        listed = []
        for one in self.instances():
            shown = asdict(one)
            for private in ("user_data", "public_key", "reboot_wanted"):
                del shown[private]
            listed.append(shown)
        return {**self.facts(), "instances": listed}

    def save(self) -> None:
        """Write the state so that it is whole or the one before, whenever this process ends."""
        with self.lock:
            content = pickle.dumps(
                {
                    "moto": self._moto_version,
                    "regions": dict(self._regions()),
                    "answers": self._answers,
                },
                protocol=pickle.HIGHEST_PROTOCOL,
            )
            fresh = self._snapshot.with_suffix(".new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            fresh.replace(self._snapshot)

    def _restore(self) -> None:
        if not self._snapshot.exists():
            return
        try:
            # Written by this user into a folder that only this user can write to.
            kept = pickle.loads(self._snapshot.read_bytes())
            regions, answers = kept["regions"], kept["answers"]
            if kept["moto"] != self._moto_version:
                log.warning("the state was written with moto %s, this is %s", kept["moto"], self._moto_version)
        except Exception as error:
            log.error("the state in %s can't be read (%s): starting with none", self._snapshot.name, error)
            self._snapshot.replace(self._snapshot.with_suffix(".unreadable"))
            return
        account = self._backends[ACCOUNT]
        for region, backend in regions.items():
            dict.__setitem__(account, region, backend)
        self._answers = answers

    def _regions(self) -> list[tuple[str, Any]]:
        return [(region, backend) for _, region, backend in self._backends.iter_backends()]

    def _all(self) -> Iterator[tuple[str, Any]]:
        for region, backend in self._regions():
            for one in backend.all_instances():
                yield region, one

    def _find(self, instance_id: str) -> Any:
        for _, one in self._all():
            if one.id == instance_id:
                return one
        raise KeyError(instance_id)

    def _chosen(self, call: _Call) -> list[Any]:
        """The existing instances that a call names."""
        if call.action not in _ACCEPTED:
            return []
        named = {value for key, value in call.parameters.items() if key.startswith("InstanceId.")}
        return [one for region, one in self._all() if one.id in named and region == call.region]


@dataclass
class _Call:
    """One call of the EC2 query protocol."""

    service: str
    region: str
    action: str
    parameters: dict[str, str]

    @property
    def reads(self) -> bool:
        return self.action.startswith(_READING)

    @classmethod
    def parse(cls, body: bytes, environ: Mapping[str, Any]) -> _Call | None:
        """The call in a request; None when it isn't one of that protocol."""
        scope = re.search(r"Credential=[^/,\s]*/\d+/([a-z0-9-]+)/([a-z0-9-]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        if not scope:
            return None
        text = body.decode(errors="replace") or str(environ.get("QUERY_STRING", ""))
        parameters = dict(parse_qsl(text, keep_blank_values=True))
        if "Action" not in parameters:
            return None
        return cls(scope[2], scope[1], parameters["Action"], parameters)


def _request_handler() -> Any:
    from moto.moto_server.werkzeug_app import MotoRequestHandler

    class Handler(MotoRequestHandler):
        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            log.debug("%s %s", self.requestline, code)

    return Handler


def _error(code: str, message: str) -> tuple[str, list[tuple[str, str]], bytes]:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
        f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        "</Error></Errors><RequestID>00000000-0000-0000-0000-000000000000</RequestID></Response>"
    ).encode()
    return "400 Bad Request", [("Content-Type", "text/xml"), ("Content-Length", str(len(text)))], text


def _set_state(one: Any, state: str) -> None:
    one._state.name, one._state.code = state, _CODES[state]


def _ended_before(one: Any, moment: datetime) -> bool:
    ended = getattr(one, "pegasus_ended", None)
    return one._state.name == TERMINATED and ended is not None and ended < moment


def _groups(one: Any) -> set[str]:
    """The ids of an instance's security groups, its interfaces' included."""
    return {group.id for group in one.security_groups} | {
        group.id for interface in one.nics.values() for group in interface.group_set
    }


def _drop_interfaces(one: Any) -> None:
    """EC2 deletes an instance's own interface with it; moto keeps it, and then the security group can't be deleted."""
    for interface in list(one.nics.values()):
        interface.instance = None
        interface.attachment_id = None
        one.ec2_backend.enis.pop(interface.id, None)


def _view(region: str, one: Any) -> Instance:
    key = one.ec2_backend.key_pairs.get(one.key_name)
    if key is not None:
        # Kept with the instance: EC2's instances keep their key when the key pair is deleted.
        one.pegasus_public_key = _text(key.material_public)
    return Instance(
        id=one.id,
        name=_name(one),
        type=one.instance_type,
        state=one._state.name,
        address=one.private_ip or "",
        region=region,
        public_key=getattr(one, "pegasus_public_key", ""),
        user_data=_user_data(one.user_data),
        on_power_off=_text(one.instance_initiated_shutdown_behavior) or "stop",
        reboot_wanted=getattr(one, "pegasus_reboot", False),
        disks=disk_count(one.instance_type),
    )


def _name(one: Any) -> str:
    """The instance's name, as the roles read it from its tags."""
    tags = {tag["key"]: tag["value"] for tag in one.get_tags()}
    return ec2_plan.Instance(
        one.id, "", one._state.name, one.instance_type, launch_index=int(one.ami_launch_index or 0), tags=tags
    ).name


def describe_own_disks(disk_bytes: int) -> None:
    """Make DescribeInstanceTypes tell the size of the disks that instances get here; 0: no type has any."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    for described in INSTANCE_TYPES.values():
        storage = described.get("InstanceStorageInfo")
        if not storage:
            continue
        if not disk_bytes:
            del described["InstanceStorageInfo"]
            described["InstanceStorageSupported"] = False
            continue
        for disk in storage["Disks"]:
            disk["SizeInGB"] = disk_bytes // 10**9
        storage["TotalSizeInGB"] = sum(int(disk["Count"]) * disk["SizeInGB"] for disk in storage["Disks"])


def disk_count(instance_type: str) -> int:
    """How many instance-store disks a type has, as DescribeInstanceTypes says."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    described = INSTANCE_TYPES.get(instance_type) or {}
    return sum(int(disk["Count"]) for disk in (described.get("InstanceStorageInfo") or {}).get("Disks") or [])


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("Value", "")
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _user_data(value: Any) -> bytes:
    """User data comes as base64 text; moto's type for it is a string too."""
    if not value:
        return b""
    raw = value if isinstance(value, bytes) else str(value).encode()
    try:
        return base64.b64decode(raw, validate=True)
    except ValueError:
        return raw


def _default_vpc_of(network: str) -> Callable[[Any], Any]:
    """moto's default VPC, with the engine's network as its range, and without public addresses: there are none here."""

    def create_default_vpc(backend: Any) -> Any:
        vpc = backend.create_vpc(cidr_block=network, is_default=True)
        for zone in backend.describe_availability_zones():
            backend.create_default_subnet(zone.name).map_public_ip_on_launch = False
        return vpc

    return create_default_vpc
