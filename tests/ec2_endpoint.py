"""EC2 for processes that tests start: moto behind a port. Its instances are records without machines."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

# In the format of moto's list.
IMAGE = {
    "ami_id": "ami-0123456789abcdef0",
    "name": "debian-12-amd64-test",
    "owner_id": "136693071363",
    "architecture": "x86_64",
    "root_device_name": "/dev/xvda",
    "public": True,
    "creation_date": "2026-01-01T00:00:00.000Z",
}


@contextlib.contextmanager
def ec2_endpoint() -> Iterator[str]:
    """Serve EC2 with one image on a free port of loopback; yields its URL.

    Unlike moto's own server it processes calls one at a time: concurrent launches can break moto's address generator,
    and then one of them gets an invalid response.
    """
    from moto.ec2.models import amis, ec2_backends
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    from local_cloud.ec2 import placement_groups

    placement_groups.install()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    before, amis.AMIS = amis.AMIS, [IMAGE]
    # Earlier tests in this process may have left resources in moto.
    account = ec2_backends["123456789012"]  # moto's default account
    account.reset()
    server = make_server(
        "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), request_handler=MotoRequestHandler
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        amis.AMIS = before
        account.reset()
