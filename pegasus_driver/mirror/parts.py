"""Finds the files that a mirror needs: everything that the roles install from a download site, for each kind of host.

It reads the roles: each task with the module artifact_package, grafana_archive or grafana_plugins, with the roles'
defaults and config.yml. A new part of a role is mirrored without a change here.
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
# Git repositories, which git fetches.
REPOSITORIES = ("perseus_client_repository",)


@dataclass(frozen=True)
class Part:
    """What one task installs. `directory` and the names may contain {version}, {distribution} and so on.

    optional: the role works without it if the artifact source doesn't have it.
    """

    package: str
    version: str
    directory: str
    file: str
    file_rpm: str = ""
    optional: bool = False


@dataclass(frozen=True)
class RequiredFile:
    """One file that the mirror needs, and the hosts that need it (debian12 x86_64)."""

    package: str
    located: Located
    hosts: tuple[str, ...]


def variables(root: Path, values: Mapping[str, Any], base: str) -> dict[str, Any]:
    """Return the roles' defaults, overridden by config.yml, with `base` as the address of the download sites."""
    found: dict[str, Any] = {}
    for defaults in sorted((root / ROLES).glob("*/defaults/main.yml")):
        found |= yaml.safe_load(defaults.read_text(encoding="utf-8")) or {}
    return {**found, **values, "pegasus_artifact_base": base}


def render(text: Any, known: Mapping[str, Any]) -> str:
    """Render a value of a task or a default; its templates may be nested a few levels deep."""
    environment = Environment(undefined=ChainableUndefined, autoescape=False)
    shown = str(text).strip()
    for _ in range(5):
        if "{{" not in shown:
            break
        shown = environment.from_string(shown).render(known).strip()
    return shown


def parts(root: Path, values: Mapping[str, Any], base: str = UPSTREAM) -> list[Part]:
    """Return what the roles install from download sites, without duplicates."""
    known = variables(root, values, base)
    found: dict[Part, None] = {}
    for path in sorted((root / ROLES).glob("*/tasks/*.yml")):
        for task in _tasks(yaml.safe_load(path.read_text(encoding="utf-8"))):
            found |= dict.fromkeys(_parts_of(task, known))
    return list(found)


def _parts_of(task: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[Part]:
    """Yield what one task installs."""
    if isinstance(package := task.get(MODULE), dict):
        names = ("package", "version", "directory", "file", "file_rpm")
        title, version, directory, file, file_rpm = (render(package.get(name, ""), known) for name in names)
        yield Part(title, version, directory, file, file_rpm)
    if isinstance(archive := task.get(DASHBOARDS), dict) and _runs(task, known):
        directory, _, file = render(archive["url"], known).rpartition("/")
        yield Part("dashboards", file, directory, file, optional=True)
    if isinstance(several := task.get(PLUGINS), dict):
        plugins = _value(several["plugins"], known)
        for name, version in plugins.items():
            url = render(several["url"], known).replace("{id}", str(name)).replace("{version}", str(version))
            directory, _, file = url.rpartition("/")
            yield Part(str(name), str(version), directory, file, optional=True)


def _runs(task: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Evaluate a task's `when`, a plain expression."""
    return bool(_value("{{ " + str(task["when"]) + " }}", known)) if "when" in task else True


def _value(template: str, known: Mapping[str, Any]) -> Any:
    """Evaluate a template that is a single expression; keep the result's type."""
    expression = template.strip().removeprefix("{{").removesuffix("}}").strip()
    return Environment(undefined=ChainableUndefined, autoescape=False).compile_expression(expression)(**known)


def repositories(root: Path, values: Mapping[str, Any], base: str = UPSTREAM) -> list[str]:
    """Return the URLs of the git repositories that the roles build from."""
    known = variables(root, values, base)
    return [render(known[name], known) for name in REPOSITORIES if name in known]


def _tasks(tasks: Any) -> Iterator[dict[str, Any]]:
    """Yield all tasks of a file, including tasks in blocks."""
    for task in tasks or []:
        if isinstance(task, dict):
            yield task
            for inner in ("block", "rescue", "always"):
                yield from _tasks(task.get(inner))


def required_files(
    part: Part,
    distributions: tuple[str, ...],
    architectures: tuple[str, ...],
    read: Callable[[str], str],
) -> tuple[list[RequiredFile], list[str]]:
    """Return the files of a part, and the hosts that the site has no file for, with the reason.

    :param read: returns the page of a URL; called once per page
    :raises ArtifactError: there is no file for any host
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
    return [RequiredFile(part.package, located, tuple(hosts)) for located, hosts in found.values()], missing
