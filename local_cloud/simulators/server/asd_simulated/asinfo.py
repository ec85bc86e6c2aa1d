"""A small asinfo: sends one info command and prints the answer. SIMULATED, but it works against a real server too."""

import argparse
import socket
import sys

from . import wire
from .release import load_release


def ask(host: str, port: int, command: str, seconds: float) -> str:
    """The answer to `command`, without the command's name.

    :raises OSError: there is no answer
    """
    with socket.create_connection((host, port), timeout=seconds) as connection:
        connection.sendall(wire.frame(wire.FRAME_INFO, f"{command}\n".encode() if command else b""))
        stream = connection.makefile("rb")
        head = stream.read(8)
        if len(head) < 8:
            raise ConnectionError(f"{host}:{port} closed the connection")
        body = stream.read(int.from_bytes(head, "big") & 0xFFFFFFFFFFFF).decode("latin-1").rstrip("\n")
    return body.partition("\t")[2] if command and "\n" not in body else body


def main(arguments: list[str] | None = None) -> int:
    """Send one command. Exit code 0 for an answer, 1 for an error or no answer."""
    parser = argparse.ArgumentParser(prog="asinfo", add_help=False, description="SIMULATED asinfo")
    parser.add_argument("--help", action="help")
    parser.add_argument("-v", "--value", default="", help="the command, such as 'statistics'")
    parser.add_argument("-h", "--host", default="127.0.0.1", help="host or host:port")
    parser.add_argument("-p", "--port", type=int, default=3000)
    parser.add_argument("-t", "--timeout", type=float, default=5.0, help="seconds")
    parser.add_argument("-l", "--line", action="store_true", help="one value per line")
    parser.add_argument("--version", action="version", version=f"asinfo SIMULATED {load_release().version}")
    options = parser.parse_args(arguments)
    host, _, port = options.host.partition(":")
    try:
        answer = ask(host, int(port or options.port), options.value, options.timeout)
    except OSError as error:
        print(f"ERROR: {host}:{port or options.port} doesn't answer: {error}", file=sys.stderr)
        return 1
    print(answer.replace(";", "\n") if options.line else answer)
    return 1 if answer.startswith("ERROR") else 0


if __name__ == "__main__":
    sys.exit(main())
