"""The simulated part of grafana-cli: `admin reset-admin-password --password-from-stdin`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import NOTICE
from .account import Account
from .settings import SettingsError, load

LENGTH_MIN = 4


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="grafana-cli", description=NOTICE)
    parser.add_argument("--homepath", default="", help="accepted, not used")
    parser.add_argument("--config", default="/etc/grafana/grafana.ini")
    admin = parser.add_subparsers(dest="group", required=True).add_parser("admin")
    verb = admin.add_subparsers(dest="verb", required=True).add_parser("reset-admin-password")
    verb.add_argument("--password-from-stdin", action="store_true", required=True)
    options = parser.parse_args(arguments)
    password = sys.stdin.readline().rstrip("\n")
    if len(password) < LENGTH_MIN:
        print("SIMULATED: New password is too short", file=sys.stderr)
        return 1
    try:
        settings = load(Path(options.config))
    except SettingsError as error:
        print(f"SIMULATED: {error}", file=sys.stderr)
        return 1
    if not Account(settings.data).reset(password):
        print("SIMULATED: there is no administrator yet, because Grafana was never started", file=sys.stderr)
        return 1
    print("SIMULATED: Admin password changed successfully")
    return 0


if __name__ == "__main__":
    sys.exit(main())
