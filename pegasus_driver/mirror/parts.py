"""What a mirror has to hold: every file that the roles install from a download site, for each kind of host.

The roles themselves are read for it: each task with the modules artifact_package, grafana_archive and grafana_plugins,
with the roles' defaults and config.yml. So a part that a role gains is mirrored without a change here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.artifacts import (
    ArtifactError,
    Located,
    host_values,
    locate,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.distributions import (
    DEBIAN_ARCHITECTURES,
    package_format,
)
from jinja2 import ChainableUndefined, Environment

from .arguments import UPSTREAM

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.facts import Host  # isort: skip

ROLES = Path("collections/ansible_collections/aerospike_community/pegasus/roles")
MODULE = "aerospike_community.pegasus.artifact_package"
DASHBOARDS = "aerospike_community.pegasus.grafana_archive"
PLUGINS = "aerospike_community.pegasus.grafana_plugins"
# A repository isn't a file: git fetches it.
REPOSITORIES = ("perseus_client_repository",)


@dataclass(frozen=True)
class Part:
    """What one task installs. `directory` and the names may hold {version}, {distribution} and so on.

    optional: the role does without it where the artifact source doesn't have it.
    """

    package: str
    version: str
    directory: str
    file: str
    file_rpm: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Wanted:
    """One file to have, and for which hosts (debian12 x86_64)."""

    package: str
    located: Located
    hosts: tuple[str, ...]


def variables(root: Path, values: Mapping[str, Any], base: str) -> dict[str, Any]:
    """The roles' defaults with config.yml over them, and `base` as the place of the download sites."""
    found: dict[str, Any] = {}
    for defaults in sorted((root / ROLES).glob("*/defaults/main.yml")):
        found |= yaml.safe_load(defaults.read_text(encoding="utf-8")) or {}
    return {**found, **values, "pegasus_artifact_base": base}


def render(text: Any, known: Mapping[str, Any]) -> str:
    """A value of a task or of a default, with its templates filled in; they may be nested a few levels deep."""
    environment = Environment(undefined=ChainableUndefined, autoescape=False)
    shown = str(text).strip()
    for _ in range(5):
        if "{{" not in shown:
            break
        shown = environment.from_string(shown).render(known).strip()
    return shown


def parts(root: Path, values: Mapping[str, Any], base: str = UPSTREAM) -> list[Part]:
    """What the roles install from download sites, without doubles."""
    known = variables(root, values, base)
    found: dict[Part, None] = {}
    for path in sorted((root / ROLES).glob("*/tasks/*.yml")):
        for task in _tasks(yaml.safe_load(path.read_text(encoding="utf-8"))):
            found |= dict.fromkeys(_parts_of(task, known))
    return list(found)


def _parts_of(task: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[Part]:
    """What one task installs."""
    if isinstance(package := task.get(MODULE), dict):
        names = ("package", "version", "directory", "file", "file_rpm")
        title, version, directory, file, file_rpm = (render(package.get(name, ""), known) for name in names)
        yield Part(title, version, directory, file, file_rpm)
    if isinstance(archive := task.get(DASHBOARDS), dict) and _wanted_by(task, known):
        directory, _, file = render(archive["url"], known).rpartition("/")
        yield Part("dashboards", file, directory, file, optional=True)
    if isinstance(several := task.get(PLUGINS), dict):
        plugins = _value(several["plugins"], known)
        for name, version in plugins.items():
            url = render(several["url"], known).replace("{id}", str(name)).replace("{version}", str(version))
            directory, _, file = url.rpartition("/")
            yield Part(str(name), str(version), directory, file, optional=True)


def _wanted_by(task: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether a task's condition, a plain one, holds."""
    return bool(_value("{{ " + str(task["when"]) + " }}", known)) if "when" in task else True


def _value(template: str, known: Mapping[str, Any]) -> Any:
    """What a template that is one expression stands for, in its own type."""
    expression = template.strip().removeprefix("{{").removesuffix("}}").strip()
    return Environment(undefined=ChainableUndefined, autoescape=False).compile_expression(expression)(**known)


def repositories(root: Path, values: Mapping[str, Any], base: str = UPSTREAM) -> list[str]:
    """Addresses of the git repositories that the roles build from."""
    known = variables(root, values, base)
    return [render(known[name], known) for name in REPOSITORIES if name in known]


def _tasks(tasks: Any) -> Iterator[dict[str, Any]]:
    """All tasks of a file, those in blocks too."""
    for task in tasks or []:
        if isinstance(task, dict):
            yield task
            for inner in ("block", "rescue", "always"):
                yield from _tasks(task.get(inner))


def wanted(
    part: Part,
    distributions: tuple[str, ...],
    architectures: tuple[str, ...],
    read: Callable[[str], str],
) -> tuple[list[Wanted], list[str]]:
    """The files of a part, and for which hosts the site has none (with its reason).

    `read` returns the page at an address; each page is asked for once. Raises ArtifactError when there is no file.
    """
    pages: dict[str, str | ArtifactError] = {}

    def once(url: str) -> str:
        if url not in pages:
            try:
                pages[url] = read(url)
            except ArtifactError as error:
                pages[url] = error
        page = pages[url]
        if isinstance(page, ArtifactError):
            raise page
        return page

    found: dict[str, tuple[Located, list[str]]] = {}
    missing: list[str] = []
    last: ArtifactError | None = None
    for distribution in distributions:
        kind = package_format(distribution)
        file = part.file_rpm if kind == "rpm" and part.file_rpm else part.file
        if kind == "rpm" and file.endswith(".deb"):
            continue  # the role has no such package for these hosts
        for architecture in architectures:
            host = Host(distribution, architecture, DEBIAN_ARCHITECTURES[architecture], 0, 0)
            name = f"{distribution} {architecture}"
            try:
                located = locate(part.directory, file, part.version, host_values(host, kind), once)
            except ArtifactError as error:
                missing.append(f"{part.package} {part.version} for {name}: {error}")
                last = error
                continue
            found.setdefault(located.url, (located, []))[1].append(name)
    if not found and last is not None:
        raise last
    return [Wanted(part.package, located, tuple(hosts)) for located, hosts in found.values()], missing
