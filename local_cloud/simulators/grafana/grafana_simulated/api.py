"""The HTTP API: maps a request to a status and an answer. No sockets here."""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from . import NOTICE, drawing, pages, version
from .account import Account
from .annotations import AnnotationError, Annotations
from .provisioning import (
    Dashboard,
    Dashboards,
    DataSource,
    ProvisioningError,
    read_data_sources,
    read_plugins,
    read_providers,
    uid_of,
)
from .settings import Settings

HEALTH_TIMEOUT = 5.0  # seconds, for a data source to answer


@dataclass(frozen=True)
class Request:
    """One request. `target` is path and query as received."""

    method: str
    target: str
    authorization: str = ""
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """The response."""

    status: int
    body: bytes
    kind: str = "application/json; charset=UTF-8"
    location: str = ""


class Refused(Exception):
    """The request fails with a status and a message."""

    def __init__(self, code: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.content = {"message": message, **more}


def _json(content: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(content).encode())


def _html(text: str) -> Answer:
    return Answer(200, text.encode(), "text/html; charset=UTF-8")


class Api:
    """The server's state and its answers. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        """:raises ProvisioningError: a provisioning file can't be used."""
        self.settings = settings
        self.sources = read_data_sources(settings.provisioning)
        self._plugins = read_plugins(settings.plugins)
        self._dashboards = Dashboards(read_providers(settings.provisioning))
        self._lock = threading.Lock()
        self._account = Account(settings.data)
        self._account.ensure(settings.admin_user, settings.admin_password)
        self.annotations = Annotations(settings.data / "annotations.json", settings.admin_user)

    def dashboards(self) -> list[Dashboard]:
        with self._lock:
            return self._dashboards.current()

    def answer(self, request: Request) -> Answer:
        parts = urlsplit(request.target)
        path = parts.path.rstrip("/") or "/"
        query = parse_qs(parts.query)
        try:
            for method, pattern, anonymous, handler in _ROUTES:
                match = re.fullmatch(pattern, path)
                if match and request.method in (method, "HEAD" if method == "GET" else method):
                    if not anonymous:
                        self._authorize(request)
                    words = [unquote(word) for word in match.groups()]
                    return handler(self, request, query, *words)
            raise Refused(404, "Not found", note=NOTICE)
        except Refused as refusal:
            return _json(refusal.content, refusal.code)

    def _authorize(self, request: Request) -> None:
        scheme, _, encoded = request.authorization.partition(" ")
        if not encoded:
            if self.settings.anonymous and request.method in ("GET", "HEAD"):
                return
            raise Refused(401, "Unauthorized")
        try:
            given = base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
        except (binascii.Error, UnicodeDecodeError):
            given = ""
        user, _, password = given.partition(":")
        if not self._account.accepts(user, password):
            raise Refused(401, "Invalid username or password")

    # --- pages ---

    def home(self, request: Request, query: dict[str, list[str]]) -> Answer:
        found = len(self.annotations.find({"limit": ["1000000"]}))
        return _html(pages.overview(version(), self.sources, self.dashboards(), found))

    def page(self, request: Request, query: dict[str, list[str]], uid: str) -> Answer:
        item, now = self._dashboard(uid), time.time()
        source = next((source.url for source in self.sources if source.type == "prometheus"), "")
        marks = self.annotations.find({"tags": ["pegasus"]})
        return _html(pages.dashboard(item, drawing.panels(item.model, source, now, marks) if source else ""))

    def login_page(self, request: Request, query: dict[str, list[str]]) -> Answer:
        return Answer(302, b"", location="/")

    def login(self, request: Request, query: dict[str, list[str]]) -> Answer:
        content = _content(request)
        given = f"{content.get('user')}:{content.get('password')}"
        encoded = base64.b64encode(given.encode()).decode()
        self._authorize(Request("POST", request.target, f"Basic {encoded}"))
        return _json({"message": "Logged in", "redirectUrl": "/"})

    # --- the server itself ---

    def health(self, request: Request, query: dict[str, list[str]]) -> Answer:
        return _json({"database": "ok", "version": version(), "commit": "SIMULATED", "note": NOTICE})

    def metrics(self, request: Request, query: dict[str, list[str]]) -> Answer:
        lines = (
            f"# {NOTICE}",
            "# TYPE grafana_build_info gauge",
            f'grafana_build_info{{edition="SIMULATED",version="{version()}"}} 1',
            "# TYPE grafana_stat_totals_dashboard gauge",
            f"grafana_stat_totals_dashboard {len(self.dashboards())}",
        )
        return Answer(200, ("\n".join(lines) + "\n").encode(), "text/plain; version=0.0.4; charset=utf-8")

    def user(self, request: Request, query: dict[str, list[str]]) -> Answer:
        login = self._account.user
        return _json(
            {
                "id": 1,
                "uid": uid_of(login),
                "email": f"{login}@localhost",
                "name": login,
                "login": login,
                "theme": "",
                "orgId": 1,
                "isGrafanaAdmin": True,
                "isDisabled": False,
                "isExternal": False,
                "authLabels": [],
            }
        )

    def org(self, request: Request, query: dict[str, list[str]]) -> Answer:
        return _json({"id": 1, "name": "Main Org."})

    def plugins(self, request: Request, query: dict[str, list[str]]) -> Answer:
        return _json(self._plugins)

    def reload(self, request: Request, query: dict[str, list[str]], kind: str) -> Answer:
        try:
            if kind == "datasources":
                self.sources = read_data_sources(self.settings.provisioning)
            else:
                providers = read_providers(self.settings.provisioning)
                with self._lock:
                    self._dashboards = Dashboards(providers)
        except ProvisioningError as error:
            raise Refused(500, str(error)) from error
        return _json({"message": f"{kind.capitalize()} config reloaded"})

    # --- dashboards ---

    def search(self, request: Request, query: dict[str, list[str]]) -> Answer:
        text = query.get("query", [""])[0].lower()
        kinds, tags = query.get("type", []), set(query.get("tag", []))
        uids = query.get("dashboardUIDs", []) + query.get("dashboardUID", [])
        found: list[dict[str, Any]] = []
        dashboards = self.dashboards()
        if not tags and not uids:
            found += [_folder(name) for name in _folders(dashboards)]
        found += [_hit(item) for item in dashboards if tags <= set(item.tags) and (not uids or item.uid in uids)]
        found = [hit for hit in found if text in hit["title"].lower() and (not kinds or hit["type"] in kinds)]
        limit, page = _integer(query, "limit", 1000), max(1, _integer(query, "page", 1))
        return _json(found[limit * (page - 1) : limit * page])

    def folders(self, request: Request, query: dict[str, list[str]]) -> Answer:
        names = _folders(self.dashboards())
        return _json([{"id": number, "uid": uid_of(name), "title": name} for number, name in enumerate(names, 1)])

    def dashboard(self, request: Request, query: dict[str, list[str]], uid: str) -> Answer:
        item = self._dashboard(uid)
        meta = {
            "type": "db",
            "canSave": False,
            "canEdit": True,
            "slug": item.slug,
            "url": item.url,
            "version": item.model["version"],
            "isFolder": False,
            "folderId": 0,
            "folderUid": uid_of(item.folder) if item.folder else "",
            "folderTitle": item.folder or "General",
            "provisioned": True,
            "provisionedExternalId": item.file,
        }
        return _json({"meta": meta, "dashboard": item.model})

    def _dashboard(self, uid: str) -> Dashboard:
        for item in self.dashboards():
            if item.uid == uid:
                return item
        raise Refused(404, "Dashboard not found", status="not-found")

    # --- data sources ---

    def data_sources(self, request: Request, query: dict[str, list[str]]) -> Answer:
        return _json([source.json() for source in self.sources])

    def data_source(self, request: Request, query: dict[str, list[str]], key: str, word: str) -> Answer:
        return _json(self._source(key, word).json())

    def source_health(self, request: Request, query: dict[str, list[str]], uid: str) -> Answer:
        """Query the data source itself, as the real Grafana does."""
        source = self._source("uid", uid)
        if source.type != "prometheus":
            raise Refused(404, f"Health of data sources of type {source.type} isn't simulated", note=NOTICE)
        try:
            with urllib.request.urlopen(
                f"{source.url.rstrip('/')}/api/v1/query?query=1%2B1", timeout=HEALTH_TIMEOUT
            ) as reply:
                healthy = json.load(reply).get("status") == "success"
            message = "Successfully queried the Prometheus API." if healthy else "Prometheus answered without success"
        except (OSError, ValueError, AttributeError) as error:
            healthy, message = False, f"Prometheus at {source.url} can't be queried: {error}"
        return _json({"status": "OK" if healthy else "ERROR", "message": message}, 200 if healthy else 400)

    def _source(self, key: str, word: str) -> DataSource:
        for source in self.sources:
            if word == (source.uid if key == "uid" else source.name):
                return source
        raise Refused(404, "Data source not found")

    # --- annotations ---

    def find_annotations(self, request: Request, query: dict[str, list[str]]) -> Answer:
        return _json(self.annotations.find(query))

    def get_annotation(self, request: Request, query: dict[str, list[str]], number: str) -> Answer:
        item = self.annotations.get(int(number))
        if item is None:
            raise Refused(404, "Annotation not found")
        return _json(item)

    def add_annotation(self, request: Request, query: dict[str, list[str]]) -> Answer:
        try:
            number = self.annotations.add(_content(request))
        except AnnotationError as error:
            raise Refused(400, "Failed to save annotation", error=str(error)) from error
        return _json({"message": "Annotation added", "id": number})

    def change_annotation(self, request: Request, query: dict[str, list[str]], number: str) -> Answer:
        try:
            found = self.annotations.change(int(number), _content(request))
        except AnnotationError as error:
            raise Refused(400, "Failed to update annotation", error=str(error)) from error
        if not found:
            raise Refused(404, "Annotation not found")
        return _json({"message": "Annotation patched" if request.method == "PATCH" else "Annotation updated"})

    def remove_annotation(self, request: Request, query: dict[str, list[str]], number: str) -> Answer:
        if not self.annotations.remove(int(number)):
            raise Refused(404, "Annotation not found")
        return _json({"message": "Annotation deleted"})


def _content(request: Request) -> dict[str, Any]:
    try:
        content = json.loads(request.body)
    except ValueError as error:
        raise Refused(400, "bad request data") from error
    if not isinstance(content, dict):
        raise Refused(400, "bad request data")
    return content


def _integer(query: dict[str, list[str]], key: str, default: int) -> int:
    text = query.get(key, [""])[0]
    return int(text) if text.isdigit() else default


def _folders(dashboards: list[Dashboard]) -> list[str]:
    return sorted({item.folder for item in dashboards if item.folder})


def _folder(name: str) -> dict[str, Any]:
    uid = uid_of(name)
    return {"id": 0, "uid": uid, "title": name, "url": f"/dashboards/f/{uid}", "type": "dash-folder", "tags": []}


def _hit(item: Dashboard) -> dict[str, Any]:
    hit = {
        "id": item.id,
        "uid": item.uid,
        "title": item.title,
        "uri": f"db/{item.slug}",
        "url": item.url,
        "slug": "",
        "type": "dash-db",
        "tags": item.tags,
        "isStarred": False,
    }
    if item.folder:
        hit |= {"folderUid": uid_of(item.folder), "folderTitle": item.folder}
    return hit


Handler = Callable[..., Answer]
# method, path, anonymous, handler
_ROUTES: tuple[tuple[str, str, bool, Handler], ...] = (
    ("GET", r"/", True, Api.home),
    ("GET", r"/login", True, Api.login_page),
    ("POST", r"/login", True, Api.login),
    ("GET", r"/d/([^/]+)(?:/[^/]*)?", True, Api.page),
    ("GET", r"/api/health", True, Api.health),
    ("GET", r"/metrics", True, Api.metrics),
    ("GET", r"/api/user", False, Api.user),
    ("GET", r"/api/org", False, Api.org),
    ("GET", r"/api/plugins", False, Api.plugins),
    ("POST", r"/api/admin/provisioning/(dashboards|datasources)/reload", False, Api.reload),
    ("GET", r"/api/search", False, Api.search),
    ("GET", r"/api/folders", False, Api.folders),
    ("GET", r"/api/dashboards/uid/([^/]+)", False, Api.dashboard),
    ("GET", r"/api/datasources", False, Api.data_sources),
    ("GET", r"/api/datasources/uid/([^/]+)/health", False, Api.source_health),
    ("GET", r"/api/datasources/(name|uid)/([^/]+)", False, Api.data_source),
    ("GET", r"/api/annotations", False, Api.find_annotations),
    ("POST", r"/api/annotations", False, Api.add_annotation),
    ("GET", r"/api/annotations/(\d+)", False, Api.get_annotation),
    ("PATCH", r"/api/annotations/(\d+)", False, Api.change_annotation),
    ("PUT", r"/api/annotations/(\d+)", False, Api.change_annotation),
    ("DELETE", r"/api/annotations/(\d+)", False, Api.remove_annotation),
)
