"""The EC2 endpoint: moto's server on loopback, with EC2's behaviour where moto is simpler.

- Calls that EC2 refuses in an instance's state (start while stopping, ...) are refused.
- Calls that change an instance leave it in EC2's intermediate state (see state.py).
- A RunInstances that is repeated with its client token returns the first call's response.
- A change is on disk before its caller gets the response, so that a crash loses nothing.

Calls are processed one at a time.
"""

import hashlib
import io
import itertools
import json
import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

from werkzeug.test import run_wsgi_app

from .state import CODES, PENDING, RUNNING, SHUTTING_DOWN, STOPPED, STOPPING, TERMINATED, Ec2State, set_state, view

log = logging.getLogger("pegasus.endpoint")

STATUS_PATH = "/pegasus/status"

# The states in which a call is accepted, and the changes it makes to them.
_ACCEPTED = {
    "StartInstances": ({STOPPED, PENDING, RUNNING}, {STOPPED: PENDING}),
    "StopInstances": ({PENDING, RUNNING, STOPPING, STOPPED}, {PENDING: STOPPING, RUNNING: STOPPING}),
    "RebootInstances": ({RUNNING}, {}),
    "TerminateInstances": (
        set(CODES),
        dict.fromkeys((PENDING, RUNNING, STOPPING, STOPPED, SHUTTING_DOWN), SHUTTING_DOWN),
    ),
}
_READING = ("Describe", "Get", "List")

# Status line, headers, body.
_Response = tuple[str, list[tuple[str, str]], bytes]


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
    def parse(cls, body: bytes, environ: Mapping[str, Any]) -> Self | None:
        """The call in a request; None if the request doesn't use that protocol."""
        scope = re.search(r"Credential=[^/,\s]*/\d+/([a-z0-9-]+)/([a-z0-9-]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        if not scope:
            return None
        text = body.decode(errors="replace") or str(environ.get("QUERY_STRING", ""))
        parameters = dict(parse_qsl(text, keep_blank_values=True))
        if "Action" not in parameters:
            return None
        return cls(scope[2], scope[1], parameters["Action"], parameters)


class Endpoint:
    """The HTTP server. It calls `wake` after each call that may have changed the state."""

    def __init__(self, state: Ec2State, wake: Callable[[], None] = lambda: None) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self.state = state
        self.wake = wake
        # Called before a launch with the total number of instances; returns why they don't fit, or ''.
        self.admit: Callable[[int], str] = lambda count: ""
        # Returns why the container engine is away, or ''. Then all calls are refused, because the states of instances
        # are unknown, and a caller would wait in vain for them to change.
        self.away: Callable[[], str] = lambda: ""
        # What the status shows besides the instances.
        self.facts: dict[str, Any] = {}
        self._server: Any = None
        self._application = DomainDispatcherApplication(create_backend_app)

    def listen(self, host: str, port: int) -> None:
        """Serve in threads until close(). Raises OSError if the port can't be opened."""
        from moto.moto_server.werkzeug_app import MotoRequestHandler
        from werkzeug.serving import make_server

        # One line for each request.
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        try:
            self._server = make_server(host, port, self, threaded=True, request_handler=MotoRequestHandler)
        except SystemExit as error:
            # werkzeug exits if the address is in use.
            raise OSError(f"port {port} on {host} can't be opened") from error
        threading.Thread(target=self._server.serve_forever, name="endpoint", daemon=True).start()

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def status(self) -> dict[str, Any]:
        """What the driver shows of the cloud. User data and keys are omitted."""
        shown = ("id", "name", "type", "state", "address")
        instances = [{key: getattr(instance, key) for key in shown} for instance in self.state.instances()]
        return {**self.facts, "instances": instances}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """WSGI entry point."""
        if environ.get("PATH_INFO") == STATUS_PATH:
            body = json.dumps(self.status()).encode()
            start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
            return [body]
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        call = _Call.parse(body, environ)
        with self.state.lock:
            if call is None or call.service != "ec2":
                status, headers, response = self._forward(environ, body)
            else:
                status, headers, response = self._ec2(call, environ)
                if not call.reads:
                    self.wake()
        start_response(status, headers)
        return [response]

    def _forward(self, environ: dict[str, Any], body: bytes) -> _Response:
        """moto's response to a request with this body."""
        request = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        response, status, headers = run_wsgi_app(self._application, request, buffered=True)
        return status, list(headers), b"".join(response)

    def _ec2(self, call: _Call, environ: dict[str, Any]) -> _Response:
        if refusal := self._refuse(call):
            return _error(*refusal)
        token = call.parameters.get("ClientToken", "") if call.action == "RunInstances" else ""
        fingerprint = hashlib.sha256(urlencode(sorted(call.parameters.items())).encode()).hexdigest()
        if token and token in self.state.responses:
            first, response = self.state.responses[token]
            if first != fingerprint:
                return _error("IdempotentParameterMismatch", f"The client token {token} was used for another request.")
            return "200 OK", _xml_headers(response), response
        if call.action == "RunInstances":
            self._complete_launch(call)
        behaviour = call.parameters.pop("InstanceInitiatedShutdownBehavior.Value", "")
        if call.action == "ModifyInstanceAttribute" and behaviour:
            # Of EC2's two forms moto knows only the older one. It reads the newer one as "no security groups".
            call.parameters |= {"Attribute": "instanceInitiatedShutdownBehavior", "Value": behaviour}
        states = {instance.id: instance._state.name for instance in self._named_in(call)}
        status, headers, response = self._forward(environ, urlencode(call.parameters).encode())
        if status.startswith("200") and not call.reads:
            self._set_states(call, states, response)
            if token:
                self.state.responses[token] = (fingerprint, response)
            self.state.save()
        return status, headers, response

    def _refuse(self, call: _Call) -> tuple[str, str] | None:
        """The error code and message for a call that EC2 refuses and moto doesn't."""
        if why := self.away():
            return "EngineUnavailable", why
        if call.action == "RunInstances":
            count = int(call.parameters.get("MinCount", "1") or 1)
            existing = [instance for instance in self.state.instances() if instance.state != TERMINATED]
            why = self.admit(count + len(existing))
            return ("InsufficientInstanceCapacity", why) if why else None
        if call.action == "DeleteSecurityGroup":
            group = call.parameters.get("GroupId", "")
            users = [
                instance.id
                for _, instance in self.state.moto_instances()
                if instance._state.name != TERMINATED and group in _security_groups(instance)
            ]
            if users:
                return "DependencyViolation", f"resource {group} has a dependent object: {', '.join(users)}"
        if call.action in _ACCEPTED:
            accepted, _ = _ACCEPTED[call.action]
            for instance in self._named_in(call):
                if (state := instance._state.name) not in accepted:
                    why = f"The instance '{instance.id}' is in state '{state}': {call.action} isn't possible."
                    return "IncorrectInstanceState", why
        return None

    def _complete_launch(self, call: _Call) -> None:
        """Choose a default subnet, as EC2 does, and reserve the addresses that other regions use."""
        backend = self.state.backend(call.region)
        subnets = backend.get_default_subnets()
        chosen = any(key == "SubnetId" or key.startswith("NetworkInterface.") for key in call.parameters)
        if subnets and not chosen:
            zone = call.parameters.get("Placement.AvailabilityZone", "")
            call.parameters["SubnetId"] = (subnets.get(zone) or subnets[min(subnets)]).id
        # All regions share the engine's network.
        elsewhere = {
            instance.private_ip: instance
            for region, instance in self.state.moto_instances()
            if region != call.region and instance.private_ip
        }
        for zone_subnets in backend.subnets.values():
            for subnet in zone_subnets.values():
                subnet._unused_ips -= set(elsewhere)
                for address, instance in elsewhere.items():
                    subnet._subnet_ips.setdefault(address, instance)

    def _set_states(self, call: _Call, before: Mapping[str, str], response: bytes) -> None:
        """Give the instances of a successful call EC2's intermediate states. moto has set the final states."""
        if call.action == "RunInstances":
            for instance_id in dict.fromkeys(re.findall(rb"<instanceId>(i-[0-9a-f]+)</instanceId>", response)):
                instance = self.state.find(instance_id.decode())
                set_state(instance, PENDING)
                view(call.region, instance)  # keeps the public key, before the key pair may be deleted
        elif call.action in _ACCEPTED:
            _, changes = _ACCEPTED[call.action]
            for instance in self._named_in(call):
                state = before.get(instance.id, "")
                set_state(instance, changes.get(state, state))
                if call.action == "RebootInstances":
                    instance.pegasus_reboot = True

    def _named_in(self, call: _Call) -> list[Any]:
        """The existing instances that a call names."""
        if call.action not in _ACCEPTED:
            return []
        ids = {value for key, value in call.parameters.items() if key.startswith("InstanceId.")}
        return [
            instance for region, instance in self.state.moto_instances() if instance.id in ids and region == call.region
        ]


def _xml_headers(body: bytes) -> list[tuple[str, str]]:
    return [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))]


def _error(code: str, message: str) -> _Response:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
        f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        "</Error></Errors><RequestID>00000000-0000-0000-0000-000000000000</RequestID></Response>"
    ).encode()
    return "400 Bad Request", _xml_headers(text), text


def _security_groups(instance: Any) -> set[str]:
    """The ids of an instance's security groups and of its interfaces' security groups."""
    groups = [instance.security_groups, *(interface.group_set for interface in instance.nics.values())]
    return {group.id for group in itertools.chain(*groups)}
