"""The provisioning folder. As in the real Grafana, data sources and dashboard providers are read at the start, and
dashboards whenever their files change."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

log = logging.getLogger("provisioning")


class ProvisioningError(RuntimeError):
    """A provisioning file can't be used; the server doesn't start."""


@dataclass(frozen=True)
class DataSource:
    """A provisioned data source."""

    id: int
    uid: str
    name: str
    type: str
    url: str
    access: str
    is_default: bool
    settings: dict[str, Any]

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "uid": self.uid,
            "orgId": 1,
            "name": self.name,
            "type": self.type,
            "typeName": self.type.capitalize(),
            "access": self.access,
            "url": self.url,
            "user": "",
            "database": "",
            "basicAuth": False,
            "isDefault": self.is_default,
            "jsonData": self.settings,
            "readOnly": True,
        }


@dataclass(frozen=True)
class Provider:
    """A folder of dashboards."""

    name: str
    folder: str
    path: Path
    folders_from_files: bool


@dataclass(frozen=True)
class Dashboard:
    """One dashboard and its file."""

    id: int
    uid: str
    title: str
    folder: str
    file: str
    provider: str
    tags: list[str]
    model: dict[str, Any]

    @property
    def slug(self) -> str:
        return slug(self.title)

    @property
    def url(self) -> str:
        return f"/d/{self.uid}/{self.slug}"


def slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "dashboard"


def uid_of(name: str) -> str:
    """The default uid, the same at each start."""
    return "P" + hashlib.sha256(name.encode()).hexdigest()[:16].upper()


def read_plugins(folder: Path) -> list[dict[str, Any]]:
    """The metadata of the plugins in Grafana's folder. No plugin is executed."""
    found = []
    for path in sorted(folder.glob("*/plugin.json")):
        try:
            about = json.loads(path.read_text())
            found.append({**{key: about[key] for key in ("id", "name", "type", "info")}, "enabled": True})
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("%s isn't a plugin: %s", path.parent, error)
    return found


def read_data_sources(folder: Path) -> list[DataSource]:
    """All data sources in datasources/*.yaml; a later entry replaces an earlier entry of the same name."""
    found: dict[str, DataSource] = {}
    for path, content in _documents(folder / "datasources"):
        for entry in _list(path, content, "datasources"):
            name, kind = entry.get("name"), entry.get("type")
            if not isinstance(name, str) or not name or not isinstance(kind, str) or not kind:
                raise ProvisioningError(f"{path}: a data source needs a name and a type, found {entry!r}")
            found[name] = DataSource(
                id=found[name].id if name in found else len(found) + 1,
                uid=str(entry.get("uid") or uid_of(name)),
                name=name,
                type=kind,
                url=str(entry.get("url") or ""),
                access=str(entry.get("access") or "proxy"),
                is_default=entry.get("isDefault") is True,
                settings=_dict(entry.get("jsonData")),
            )
    defaults = [source.name for source in found.values() if source.is_default]
    if len(defaults) > 1:
        raise ProvisioningError(f"Only one data source can be the default, found {', '.join(defaults)}")
    uids = [source.uid for source in found.values()]
    if len(set(uids)) != len(uids):
        raise ProvisioningError(f"Each data source needs a uid of its own, found {', '.join(uids)}")
    return list(found.values())


def read_providers(folder: Path) -> list[Provider]:
    """All providers in dashboards/*.yaml."""
    providers = []
    for path, content in _documents(folder / "dashboards"):
        for entry in _list(path, content, "providers"):
            options = _dict(entry.get("options"))
            if entry.get("type", "file") != "file" or not options.get("path"):
                raise ProvisioningError(f"{path}: a provider needs type file and options.path, found {entry!r}")
            providers.append(
                Provider(
                    name=str(entry.get("name") or "default"),
                    folder=str(entry.get("folder") or ""),
                    path=Path(str(options["path"])),
                    folders_from_files=options.get("foldersFromFilesStructure") is True,
                )
            )
    return providers


def _documents(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    documents = []
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            content = yaml.safe_load(path.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ProvisioningError(f"{path} can't be read: {error}") from error
        if content is None:
            continue
        if not isinstance(content, dict):
            raise ProvisioningError(f"{path}: found {type(content).__name__}, expected keys and values")
        documents.append((path, content))
    return documents


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(path: Path, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = content.get(key) or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ProvisioningError(f"{path}: {key} must be a list of settings")
    return entries


@dataclass
class Dashboards:
    """The dashboards of all providers. `current` reads the files that have changed."""

    providers: list[Provider]
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _models: dict[Path, dict[str, Any]] = field(default_factory=dict)
    _ids: dict[str, int] = field(default_factory=dict)
    _known: list[Dashboard] = field(default_factory=list)

    def current(self) -> list[Dashboard]:
        files = {path: provider for provider in self.providers for path in sorted(provider.path.rglob("*.json"))}
        seen = {}
        for path in files:
            try:
                status = path.stat()
                seen[path] = (status.st_mtime_ns, status.st_size)
            except OSError:
                continue
        if seen != self._seen:
            self._read(seen)
            self._seen = seen
            self._known = self._build(files)
            log.info("%d dashboards", len(self._known))
        return self._known

    def _read(self, seen: dict[Path, tuple[int, int]]) -> None:
        for path in [path for path in self._models if path not in seen]:
            del self._models[path]
        for path, status in seen.items():
            if self._seen.get(path) == status:
                continue
            self._models.pop(path, None)
            try:
                model = json.loads(path.read_text())
            except (OSError, ValueError) as error:
                log.error("failed to load dashboard from %s: %s", path, error)
                continue
            if not isinstance(model, dict) or not str(model.get("title") or "").strip():
                log.error("failed to load dashboard from %s: it has no title", path)
                continue
            self._models[path] = model

    def _build(self, files: dict[Path, Provider]) -> list[Dashboard]:
        dashboards: dict[str, Dashboard] = {}
        for path, model in sorted(self._models.items()):
            provider = files[path]
            relative = path.relative_to(provider.path)
            folder = provider.folder
            if provider.folders_from_files and len(relative.parts) > 1:
                folder = relative.parts[-2]
            uid = str(model.get("uid") or uid_of(f"{provider.name}/{relative}"))
            if uid in dashboards:
                log.error("the uid %s of %s is taken by %s: skipped", uid, path, dashboards[uid].file)
                continue
            number = self._ids.setdefault(uid, len(self._ids) + 1)
            tags = [str(tag) for tag in model.get("tags") or []]
            model = model | {"uid": uid, "id": number, "version": model.get("version") or 1}
            dashboards[uid] = Dashboard(
                number, uid, str(model["title"]), folder, str(relative), provider.name, tags, model
            )
        return sorted(dashboards.values(), key=lambda dashboard: (dashboard.folder, dashboard.title))
