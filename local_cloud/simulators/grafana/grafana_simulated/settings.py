"""The part of grafana.ini that the simulator reads. GF_<SECTION>_<KEY> in the environment overrides a key."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class SettingsError(RuntimeError):
    """grafana.ini can't be used."""


@dataclass(frozen=True)
class Settings:
    """The server's settings."""

    http_addr: str = ""
    http_port: int = 3000
    admin_user: str = "admin"
    admin_password: str = "admin"
    anonymous: bool = False
    data: Path = Path("/var/lib/grafana")
    plugins: Path = Path("/var/lib/grafana/plugins")
    provisioning: Path = Path("/etc/grafana/provisioning")


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read grafana.ini.

    :raises SettingsError: names the key, what was found and what was expected
    """
    parser = configparser.ConfigParser(
        interpolation=None, strict=False, comment_prefixes=("#", ";"), default_section="\0none"
    )
    try:
        # Keys before the first section belong to a section without a name.
        parser.read_string("[\1top]\n" + path.read_text(), source=str(path))
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} isn't an ini file: {error}") from error

    def value(section: str, key: str, default: str) -> str:
        name = f"GF_{section}_{key}".upper().replace(".", "_").replace("-", "_")
        if name in environment:
            return environment[name]
        return _plain(parser.get(section, key, fallback=default)) or default

    port = value("server", "http_port", "3000")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise SettingsError(f"[server] http_port: found {port!r}, expected a port number")
    return Settings(
        http_addr=value("server", "http_addr", ""),
        http_port=int(port),
        admin_user=value("security", "admin_user", "admin"),
        admin_password=value("security", "admin_password", "admin"),
        anonymous=value("auth.anonymous", "enabled", "false").lower() == "true",
        data=Path(value("paths", "data", str(Settings.data))),
        plugins=Path(value("paths", "plugins", str(Settings.plugins))),
        provisioning=Path(value("paths", "provisioning", str(Settings.provisioning))),
    )


def _plain(text: str) -> str:
    """A value without its quotes or its trailing comment: a password with # or ; needs triple quotes."""
    text = text.strip()
    for quote in ('"""', "`", '"', "'"):
        if text.startswith(quote) and (end := text.find(quote, len(quote))) > 0:
            return text[len(quote) : end]
    for mark in (" #", " ;"):
        text = text.split(mark, 1)[0]
    return text.strip()
