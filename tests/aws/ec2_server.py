"""EC2 (and STS, SSM, Service Quotas) on a loopback port: moto's server with a request log and injected faults.

The instances have addresses in 127.77.0.0/16, where nothing answers: a connection to a host fails at once.
SIMULATED: moto mostly answers as EC2 does, and launches nothing.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

NETWORK = "127.77.0.0/16"
IMAGE_OWNER = "136693071363"  # Debian


@dataclass(frozen=True)
class Call:
    """A request to EC2."""

    service: str
    action: str
    parameters: dict[str, str]

    @property
    def name(self) -> str:
        """The service and action, by which requests are counted. Dry runs count separately."""
        dry = " (dry run)" if self.parameters.get("DryRun") == "true" else ""
        return f"{self.service}:{self.action}{dry}"


# Takes a call and its number (from 1); returns EC2's error code to refuse the call, or None.
Fault = Callable[[Call, int], str | None]
# Takes a call and the body of its answer; returns the body to send.
Edit = Callable[[Call, bytes], bytes]


@dataclass
class Ec2Server:
    """The server with its log and faults. It answers one request at a time, because moto isn't thread-safe."""

    calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self._lock = threading.Lock()
        self._application = DomainDispatcherApplication(create_backend_app)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def client(self, service: str = "ec2") -> Any:
        """A client whose calls aren't logged."""
        import boto3

        return boto3.client(
            service, "us-east-1", endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test"
        )

    def count(self) -> Counter[str]:
        """The requests by name."""
        return Counter(call.name for call in self.calls)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """WSGI."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        call = _call(environ, body)
        own = "Credential=test/" in environ.get("HTTP_AUTHORIZATION", "")
        with self._lock:
            if call and not own:
                self.calls.append(call)
                for fault in self.faults:
                    if code := fault(call, len(self.calls)):
                        return _refuse(call, code, start_response)
            answered: dict[str, Any] = {}

            def keep(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
                answered.update(status=status, headers=headers)

            answer = b"".join(self._application(environ, keep))
            if call and not own:
                for edit in self.edits:
                    answer = edit(call, answer)
        headers = [(key, value) for key, value in answered["headers"] if key.lower() != "content-length"]
        start_response(answered["status"], [*headers, ("Content-Length", str(len(answer)))])
        return [answer]


def _call(environ: dict[str, Any], body: bytes) -> Call | None:
    """The call of a request; None if it isn't signed."""
    scope = re.search(r"Credential=[^/,\s]*/\d+/[a-z0-9-]+/([a-z0-9-]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    if not scope:
        return None
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:  # JSON protocols
        return Call(scope[1], target.rpartition(".")[2], {"": body.decode()})
    parameters = dict(parse_qsl(body.decode(), keep_blank_values=True))
    return Call(scope[1], parameters.get("Action", ""), parameters)


def _refuse(call: Call, code: str, start_response: Any) -> Iterable[bytes]:
    """Send an error in the protocol of the call's service."""
    message = f"{code}, injected by the test"
    status = "503 Service Unavailable" if code == "RequestLimitExceeded" else "400 Bad Request"
    if "" in call.parameters:
        text, kind = json.dumps({"__type": code, "message": message}), "application/x-amz-json-1.1"
    else:
        error = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
        text = (
            f"<Response><Errors>{error}</Errors><RequestID>0</RequestID></Response>"
            if call.service == "ec2"
            else f"<ErrorResponse>{error}<RequestId>0</RequestId></ErrorResponse>"
        )
        kind = "text/xml"
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(text)))])
    return [text.encode()]


@contextmanager
def serving() -> Iterator[Ec2Server]:
    """A server with an image for each architecture and nothing else. Restores moto afterwards."""
    from moto.ec2.models import EC2Backend, amis, ec2_backends

    from local_cloud.ec2 import placement_groups
    from local_cloud.ec2.moto_setup import default_vpc_of

    placement_groups.install()
    before = (EC2Backend.create_default_vpc, amis.AMIS, os.environ.get("MOTO_AMIS_PATH"))
    os.environ["MOTO_AMIS_PATH"] = "unused"  # moto read it at its import; now it disables its own list
    EC2Backend.create_default_vpc = default_vpc_of(NETWORK)  # type: ignore[method-assign]
    amis.AMIS = [_image("x86_64", "amd64"), _image("arm64", "arm64")]
    account = ec2_backends["123456789012"]  # moto's own
    account.reset()
    server = Ec2Server()
    try:
        yield server
    finally:
        server.close()
        EC2Backend.create_default_vpc, amis.AMIS = before[:2]  # type: ignore[method-assign]
        os.environ.pop("MOTO_AMIS_PATH")
        os.environ |= {"MOTO_AMIS_PATH": before[2]} if before[2] else {}
        account.reset()


def _image(architecture: str, word: str) -> dict[str, Any]:
    return {
        "ami_id": f"ami-{word}",
        "name": f"debian-12-{word}-test",
        "owner_id": IMAGE_OWNER,
        "architecture": architecture,
        "root_device_name": "/dev/xvda",
        "public": True,
        "creation_date": "2026-01-01T00:00:00.000Z",
    }
