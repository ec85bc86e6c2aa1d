"""The info protocol against a socket that answers byte by byte as a real node."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import info as protocol

ANSWERS = {
    "node": "BB9020011AC4202",
    "namespaces": "Test;bar",
    "namespace/Test": "objects=12;stop_writes=false;client_write_success=7",
    "cluster-stable:size=3;ignore-migrations=true": "5DD6A2F1A0E9",
    "cluster-stable:size=2;ignore-migrations=true": "ERROR::cluster-not-specified-size",
}


def frame(text: str, version: int = 2, kind: int = 1) -> bytes:
    body = text.encode()
    return struct.pack(">BB", version, kind) + len(body).to_bytes(6, "big") + body


def answer(request: str) -> bytes:
    return frame("".join(f"{line}\t{ANSWERS.get(line, 'ERROR:4:unrecognized command')}\n" for line in request.split()))


@contextlib.contextmanager
def node(reply: Callable[[str], bytes] = answer, piece: int = 65536) -> Iterator[int]:
    """Serve a node on a free port. It sends its answers in pieces of ``piece`` bytes."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                header = connection.recv(8)
                if len(header) == 8:
                    data = reply(connection.recv(int.from_bytes(header[2:], "big")).decode())
                    for start in range(0, len(data), piece):
                        connection.sendall(data[start : start + piece])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        # On Linux, only shutdown wakes up accept.
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


@pytest.mark.parametrize("piece", [1, 7, 65536])
def test_several_commands_in_one_exchange(piece: int) -> None:
    with node(piece=piece) as port:
        assert protocol.info("127.0.0.1", "node", "namespaces", "nonsense", port=port) == {
            "node": "BB9020011AC4202",
            "namespaces": "Test;bar",
            "nonsense": "ERROR:4:unrecognized command",
        }


def test_a_refusal_is_an_error_that_names_node_command_and_answer() -> None:
    with node() as port, pytest.raises(protocol.InfoError, match=rf"127\.0\.0\.1:{port} .*size=2.*not-specified-size"):
        protocol.cluster_stable("127.0.0.1", 2, port=port)


def test_cluster_stable_returns_the_key() -> None:
    with node() as port:
        assert protocol.cluster_stable("127.0.0.1", 3, port=port) == "5DD6A2F1A0E9"


def test_counters_are_the_integers_and_an_absent_counter_is_zero() -> None:
    with node() as port:
        assert protocol.namespace_counters("127.0.0.1", "Test", port=port) == {"objects": 12, "client_write_success": 7}
        found = protocol.namespace_counters("127.0.0.1", "Test", ["objects", "client_read_success"], port=port)
        assert found == {"objects": 12, "client_read_success": 0}


def test_a_sum_fails_if_a_node_does_not_answer() -> None:
    with node() as port:
        both = protocol.sum_counters(["127.0.0.1", "localhost"], "Test", ["objects"], port=port)
        assert both == {"objects": 24}
    with pytest.raises(protocol.InfoError, match="does not answer"):
        protocol.sum_counters(["127.0.0.1"], "Test", ["objects"], port=port)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (lambda _: frame("x", version=1), "not an Aerospike node"),
        (lambda _: frame("x", kind=3), "not an Aerospike node"),
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", "not an Aerospike node"),
        (lambda _: frame("node\tBB9")[:-2], "in the middle of the answer"),
        (lambda _: b"", "in the middle of the answer"),
    ],
)
def test_an_answer_of_another_protocol_is_refused(reply: Callable[[str], bytes], text: str) -> None:
    with node(reply) as port, pytest.raises(protocol.InfoError, match=text):
        protocol.info("127.0.0.1", "node", port=port)


def test_a_silent_node_costs_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(protocol.InfoError, match="timed out"):
        protocol.info("127.0.0.1", "node", port=server.getsockname()[1], timeout=0.2)


def test_pairs() -> None:
    assert protocol.parse_pairs("a=1;b=x=y;c;;") == {"a": "1", "b": "x=y", "c": ""}
    assert protocol.parse_pairs("a=1:b=2", ":") == {"a": "1", "b": "2"}
    assert [protocol.is_error(text) for text in ("ERROR::x", "error=x", "FAIL:4:x", "ok", "")] == [True] * 3 + [
        False
    ] * 2
    # The statistics of a real node (8.0.0.15) begin like this.
    assert not protocol.is_error("failed_best_practices=true;cluster_size=3")
    assert protocol.is_error("ERROR") and protocol.is_error("Error-unknown") and protocol.is_error("FAIL")
