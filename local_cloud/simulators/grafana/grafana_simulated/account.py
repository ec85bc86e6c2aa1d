"""The administrator's name and password, in a file in the data folder; the real Grafana keeps them in its database.

The values of grafana.ini apply at the first start only.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
from pathlib import Path

log = logging.getLogger("account")
FILE = "administrator.json"
ROUNDS = 1000


class Account:
    """The administrator. The file is read at each login, because grafana-cli may have changed it."""

    def __init__(self, data: Path) -> None:
        self.path = data / FILE
        self._kept: dict[str, str] = {}  # used if the folder isn't writable

    def ensure(self, user: str, password: str) -> None:
        """Store the account if there is none yet."""
        if not self._read():
            self._write(user, password)

    def reset(self, password: str) -> bool:
        """Change the password; False before the first start."""
        found = self._read()
        if found:
            self._write(found["user"], password)
        return bool(found)

    def accepts(self, user: str, password: str) -> bool:
        found = self._read()
        if not found:
            return False
        given = _hash(password, found["salt"])
        return hmac.compare_digest(user.encode(), found["user"].encode()) and hmac.compare_digest(given, found["hash"])

    @property
    def user(self) -> str:
        return self._read().get("user", "")

    def _read(self) -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return self._kept
        return found

    def _write(self, user: str, password: str) -> None:
        salt = secrets.token_hex(8)
        self._kept = {"user": user, "salt": salt, "hash": _hash(password, salt)}
        temporary = self.path.with_name(f".{FILE}")
        try:
            temporary.touch(0o600)
            temporary.write_text(json.dumps(self._kept))
            temporary.replace(self.path)
        except OSError as error:
            log.error("%s can't be written: %s", self.path, error)


def _hash(password: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), ROUNDS).hex()
