#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Install a package from a download site or a mirror of it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: artifact_package
short_description: Install a package from a download site or a mirror of it
description:
  - Compares the installed version with the requested version. If they differ, reads the site's listing, downloads the
    package, verifies the published SHA-256, and installs it with its dependencies from the distribution.
  - The installation starts no service, so that the configuration can be written first.
  - With a pattern or V(latest), all hosts with the same distribution and architecture get the same version in a run,
    even if the site publishes another one in the meantime. If O(peers) run a version that matches, the hosts get that
    version. So a node that is added later has its cluster's version.
author: Pegasus authors
options:
  package:
    description: The package whose version is compared.
    type: str
    required: true
  with_packages:
    description: >-
      Other packages of the same archive that must be installed, as C(name) in any version or C(name=version) with an
      exact version or a pattern.
    type: list
    elements: str
    default: []
  version:
    description: >-
      An exact version, a pattern (V(8.0.*)) or V(latest). The last two keep an installed version that matches.
    type: str
    required: true
  peers:
    description: >-
      Addresses of the nodes of this host's cluster, including this host. A version that they run and that matches has
      precedence over newer versions.
    type: list
    elements: str
    default: []
  choose:
    description: >-
      Used by the action plugin. Install only what is in O(chosen), otherwise return RV(choice).
    type: bool
    default: false
  chosen:
    description: Used by the action plugin. The choices of this run, in the form of RV(choice).
    type: dict
    default: {}
  directory:
    description: URL of the folder on the site. May contain V({version}).
    type: str
    required: true
  file:
    description: >-
      Name or glob of the file. Placeholders are V({version}), V({distribution}) (debian12, ubuntu24.04, amzn2023, el9),
      V({architecture}) (x86_64, aarch64), V({deb_architecture}) (amd64, arm64) and V({format}) (deb, rpm).
    type: str
    required: true
  file_rpm:
    description: Name of the file on hosts with rpm packages. Empty means O(file).
    type: str
    default: ""
  install:
    description: >-
      Globs of the archive's members to install, with the same placeholders. Empty if the file itself is the package.
    type: list
    elements: str
    default: []
  downgrade_refusal:
    description: >-
      Refuse to replace the installed version by an earlier release (the first two numbers of a version), with this
      text. Empty allows it.
    type: str
    default: ""
  checksum:
    description: >-
      V(auto) verifies the file against its published .sha256 if there is one, V(required) fails if there is none.
      Anything else is the expected SHA-256.
    type: str
    default: auto
  timeout:
    description: Timeout of a download without data, in seconds. There are three attempts.
    type: int
    default: 30
attributes:
  check_mode:
    description: Reports which file it would install.
    support: full
  diff_mode:
    description: There is no diff.
    support: none
"""

EXAMPLES = r"""
- name: Install the server and its tools
  aerospike_community.pegasus.artifact_package:
    package: aerospike-server-enterprise
    with_packages: [aerospike-tools]
    version: 8.0.0.4
    directory: https://download.aerospike.com/artifacts/aerospike-server-enterprise/{version}
    file: aerospike-server-enterprise_{version}_tools-*_{distribution}_{architecture}.tgz
    install: ["aerospike-server-enterprise[-_]*.{format}", "aerospike-tools[-_]*.{format}"]
"""

RETURN = r"""
package:
  description: The package.
  returned: success
  type: str
version:
  description: The installed version.
  returned: success
  type: str
previous_version:
  description: The version that was installed before; empty if there was none.
  returned: success
  type: str
file:
  description: The file that was installed; empty if nothing was.
  returned: success
  type: str
url:
  description: URL of the file.
  returned: success
  type: str
verified:
  description: Whether the file's SHA-256 was verified.
  returned: success
  type: bool
choice:
  description: >-
    With O(choose), the artifact for hosts with this distribution and architecture, instead of an installation. A
    dictionary with one key; the value has version, file and url.
  returned: with O(choose), if an installation is necessary
  type: dict
host:
  description: Facts of the host. Keys are distribution, architecture, deb_architecture, memory_bytes and cpus.
  returned: success
  type: dict
error_class:
  description: C(configuration) if an earlier release was refused, otherwise C(host).
  returned: failure
  type: str
"""

import socket
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.aerospike.info import InfoError, info_value
from ..module_utils.host.artifacts import (
    VERSION,
    ArtifactError,
    Located,
    NotFoundError,
    checksum_of,
    copy,
    extract,
    fill,
    host_values,
    is_exact,
    locate,
    order,
    satisfies,
    sha256_of,
)
from ..module_utils.host.facts import read_host
from ..module_utils.host.packages import PackageError, is_installed, package_manager, upstream_version
from ..module_utils.results import CONFIGURATION, HOST

TRIES = 3
PEER_SECONDS = 3.0  # a peer that is down refuses at once, a peer that boots may not answer


class DowngradeError(ArtifactError):
    """The requested version is an earlier release than the installed version."""


class Site:
    """A download site. Temporary failures are retried."""

    def __init__(self, timeout: int) -> None:
        self._timeout = timeout

    def text(self, url: str) -> str:
        """Return a page's text."""
        with tempfile.TemporaryFile() as stream:
            self._fetch(url, stream)
            stream.seek(0)
            return stream.read().decode(errors="replace")

    def file(self, url: str, path: Path) -> None:
        """Download to a file."""
        with path.open("wb") as stream:
            self._fetch(url, stream)

    def _fetch(self, url: str, stream) -> None:
        """Download into a stream. A missing file isn't retried."""
        # This import takes as long as the rest of the module, and only downloads need it.
        from ansible.module_utils.urls import open_url

        for attempt in range(1, TRIES + 1):
            stream.seek(0)
            stream.truncate()
            try:
                with open_url(url, timeout=self._timeout, http_agent="pegasus") as answer:
                    copy(answer, stream)
                    expected = answer.headers.get("Content-Length")
                if expected and stream.tell() != int(expected):
                    raise OSError(f"the download ended after {stream.tell()} of {expected} bytes")
                return
            except HTTPError as error:
                if error.code in (403, 404, 410):
                    raise NotFoundError(f"found nothing at {url} (HTTP {error.code})") from error
                reason = f"HTTP {error.code} {error.reason}"
            except (URLError, HTTPException, socket.timeout, OSError) as error:  # noqa: UP041
                reason = str(getattr(error, "reason", error))
            if attempt < TRIES:
                time.sleep(attempt)
        raise ArtifactError(
            f"{url} can't be read: {reason} ({TRIES} attempts). Expected the site or a mirror to be reachable from "
            f"this host: check pegasus_artifact_source and the host's network"
        )


def running_version(peers: list[str], requested: str) -> str:
    """Return the newest version that the peers run and that satisfies the request; empty if there is none."""
    if not peers:
        return ""

    def build(peer: str) -> str:
        try:
            return info_value(peer, "build", timeout=PEER_SECONDS)
        except InfoError:
            return ""

    with ThreadPoolExecutor(max_workers=len(peers)) as pool:
        builds = set(pool.map(build, peers))
    matching = [version for version in builds if VERSION.match(version) and satisfies(version, requested)]
    return max(matching, key=order, default="")


def choice(params: dict, name: str, values: dict[str, str], site: Site) -> tuple[str, Located]:
    """Return the key and the artifact to install; an artifact that this run chose before has precedence.

    :raises ArtifactError: the site has no matching artifact
    """
    kind = [params["directory"], name, params["version"], values["distribution"], values["architecture"]]
    key = " ".join(kind)
    if key in params["chosen"]:
        return key, Located(**params["chosen"][key])
    running = "" if is_exact(params["version"]) else running_version(params["peers"], params["version"])
    try:
        return key, locate(params["directory"], name, running or params["version"], values, site.text)
    except ArtifactError as error:
        if not running:
            raise
        raise ArtifactError(
            f"{error}. The cluster runs {running}, so this node needs it too; expected the artifact source to have it. "
            f"Add it to the artifact source, or set the exact version that all nodes should run"
        ) from error


def install(module: AnsibleModule, manager, values: dict[str, str], previous: str) -> dict[str, object]:
    """Download, verify and install; return the installed artifact, or in check mode the one to install."""
    params = module.params
    site = Site(params["timeout"])
    name = params["file_rpm"] if manager.format == "rpm" and params["file_rpm"] else params["file"]
    key, found = choice(params, name, values, site)
    check_downgrade(previous, found.version, params["downgrade_refusal"])
    result: dict[str, object] = {"version": found.version, "file": found.file, "url": found.url, "verified": False}
    if params["choose"] and key not in params["chosen"]:
        return {**result, "choice": {key: asdict(found)}}
    if module.check_mode:
        return result
    # /var/tmp is on disk: archives of about 100 MB don't belong in a tmpfs.
    with tempfile.TemporaryDirectory(prefix="pegasus-", dir="/var/tmp") as folder:
        path = Path(folder) / found.file
        site.file(found.url, path)
        expected = expected_checksum(site, found.url, found.file, params["checksum"])
        if expected:
            actual = sha256_of(path)
            if actual != expected:
                raise ArtifactError(
                    f"{found.url}: expected SHA-256 {expected}, found {actual}: "
                    "the file is damaged or isn't the published file"
                )
            result["verified"] = True
        filled = [fill(pattern, {**values, "version": found.version}) for pattern in params["install"]]
        packages = extract(path, filled, Path(folder)) if filled else [path]
        manager.install([str(package) for package in packages])
    installed = manager.installed(names(params))
    now = upstream_version(installed.get(params["package"], ""))
    absent = [package for package in params["with_packages"] if not is_installed(package, installed)]
    if now != found.version or absent:
        raise PackageError(
            f"after the installation of {found.file}, expected {params['package']} {found.version}"
            f"{' with ' + ', '.join(absent) if absent else ''}; found {now or 'no such package'}"
        )
    return result


def check_downgrade(previous: str, version: str, refusal: str) -> None:
    """Refuse an earlier release than the installed one.

    :raises DowngradeError: the version is an earlier release, and ``refusal`` isn't empty
    """
    if refusal and previous and release(version) < release(previous):
        kept = ".".join(previous.split(".")[:2])
        raise DowngradeError(f"found {previous} installed, expected {kept} or newer: {refusal}")


def release(version: str) -> tuple:
    """Return the first two numbers of a version, as a sort key."""
    return order(".".join(version.split(".")[:2]))


def names(params: dict) -> list[str]:
    """Return the names of the requested packages."""
    return [params["package"], *(package.partition("=")[0] for package in params["with_packages"])]


def expected_checksum(site: Site, url: str, file: str, checksum: str) -> str:
    """Return the SHA-256 to verify; empty if none is published and none is required."""
    if checksum not in ("auto", "required"):
        return checksum.rpartition(":")[2].lower()
    try:
        return checksum_of(site.text(f"{url}.sha256"), file)
    except NotFoundError as error:
        if checksum == "required":
            raise ArtifactError(f"{error}: found no published SHA-256, but checksum is 'required'") from error
        return ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "package": {"type": "str", "required": True},
            "with_packages": {"type": "list", "elements": "str", "default": []},
            "version": {"type": "str", "required": True},
            "peers": {"type": "list", "elements": "str", "default": []},
            "choose": {"type": "bool", "default": False},
            "chosen": {"type": "dict", "default": {}},
            "directory": {"type": "str", "required": True},
            "file": {"type": "str", "required": True},
            "file_rpm": {"type": "str", "default": ""},
            "install": {"type": "list", "elements": "str", "default": []},
            "downgrade_refusal": {"type": "str", "default": ""},
            "checksum": {"type": "str", "default": "auto"},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        host = read_host()
        manager = package_manager(module.run_command)
        installed = manager.installed(names(params))
        previous = upstream_version(installed.get(params["package"], ""))
        result: dict[str, object] = {"version": previous, "file": "", "url": "", "verified": False}
        complete = all(is_installed(package, installed) for package in params["with_packages"])
        changed = not (previous and satisfies(previous, params["version"]) and complete)
        if changed:
            result = install(module, manager, host_values(host, manager.format), previous)
    except (ArtifactError, PackageError, OSError, ValueError) as error:
        error_class = CONFIGURATION if isinstance(error, DowngradeError) else HOST
        module.fail_json(msg=f"{params['package']} {params['version']}: {error}", error_class=error_class)
    module.exit_json(
        changed=changed, package=params["package"], previous_version=previous, host=host.as_dict(), **result
    )


if __name__ == "__main__":
    main()
