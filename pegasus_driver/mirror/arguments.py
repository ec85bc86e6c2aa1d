"""The command line of `pegasus-driver mirror`, in a module that imports little: --help must be quick."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.distributions import (
    DEBIAN_ARCHITECTURES,
    MIRRORED,
)

PORT = 8570
UPSTREAM = "https:/"  # before <site>/<path>
ARCHITECTURES = tuple(DEBIAN_ARCHITECTURES)


def declare(
    mirror: argparse.ArgumentParser,
    common: argparse.ArgumentParser,
    settings: argparse.ArgumentParser,
    example: Callable[[str], str],
) -> None:
    """Add the verbs to the parser of `mirror`.

    :param common: the shared option --output
    :param settings: the shared options --config and -e
    :param example: formats a command line as the last lines of a help
    """
    verbs = mirror.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, help: str, line: str, *more: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return verbs.add_parser(
            name,
            parents=[common, *more],
            help=help,
            description=help,
            epilog=example(f"mirror {line}"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    # Not `folder`: that is the user's working folder in every command.
    folder: dict[str, Any] = {
        "dest": "mirror",
        "type": Path,
        "metavar": "DIR",
        "help": "the mirror's folder (default: .cache/mirror)",
    }
    fetch = verb(
        "fetch",
        "download all packages of the configured versions; resumes after an interruption",
        "fetch --distribution debian12 --architecture x86_64",
        settings,
    )
    fetch.add_argument("--folder", **folder)
    fetch.add_argument(
        "--distribution",
        action="append",
        choices=MIRRORED,
        metavar="NAME",
        help=f"distribution of hosts; may be repeated (default: {', '.join(MIRRORED)})",
    )
    fetch.add_argument(
        "--architecture",
        action="append",
        choices=ARCHITECTURES,
        metavar="NAME",
        help="architecture of hosts; may be repeated (default: x86_64, aarch64)",
    )
    fetch.add_argument(
        "--from", dest="base", default=UPSTREAM, metavar="URL", help="another mirror instead of the download sites"
    )
    listing = verb("list", "list the files of the mirror", "list --check")
    listing.add_argument("--folder", **folder)
    listing.add_argument("--check", action="store_true", help="compare each file with its checksum")
    serve = verb("serve", "serve the mirror to instances until interrupted", f"serve --port {PORT}")
    serve.add_argument("--folder", **folder)
    serve.add_argument("--address", default="0.0.0.0", help="address to listen on (default: all)")
    serve.add_argument("--port", type=int, default=PORT, help=f"port to listen on (default: {PORT})")
