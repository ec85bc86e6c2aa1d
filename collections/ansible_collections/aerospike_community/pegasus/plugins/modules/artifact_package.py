#!/usr/bin/python
# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Install a package from a download site or a mirror of it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: artifact_package
short_description: Install a package from a download site or a mirror of it
description:
  - Compares the installed version. Only when it isn't the asked one, reads the site's listing, downloads, verifies the
    published SHA-256, and installs, with the packages it depends on from the distribution.
  - No service is started by the installation, so that its configuration can be written first.
  - With a pattern or V(latest), all hosts of one distribution and architecture get the same version in a run, whatever
    the site publishes in the meantime; and where O(peers) run one that fits, they get that one. So a node that is
    added, or set up by a later run, has its cluster's version.
author: Pegasus authors
options:
  package:
    description: The package whose installed version is compared.
    type: str
    required: true
  with_packages:
    description: >-
      Further packages from the same archive that must be installed too, as C(name) in any version, or C(name=version).
      The version is exact or a pattern.
    type: list
    elements: str
    default: []
  version:
    description: An exact version, a pattern (V(8.0.*)) or V(latest). The last two keep what is installed if it fits.
    type: str
    required: true
  peers:
    description: >-
      Addresses of the nodes of the cluster that this host is of, itself included. Where they run an Aerospike server
      whose version is what was asked for, that is chosen before a newer one.
    type: list
    elements: str
    default: []
  choose:
    description: >-
      For the action plugin. Installs nothing that isn't among O(chosen), and returns its RV(choice) instead.
    type: bool
    default: false
  chosen:
    description: For the action plugin. The choices of this run, in the form of RV(choice). They count.
    type: dict
    default: {}
  directory:
    description: Address of the folder on the site. It may hold V({version}).
    type: str
    required: true
  file:
    description: >-
      Name or glob of the file. V({version}), V({distribution}) (debian12, ubuntu24.04, amzn2023, el9),
      V({architecture}) (x86_64, aarch64), V({deb_architecture}) (amd64, arm64) and V({format}) (deb, rpm) are replaced.
    type: str
    required: true
  file_rpm:
    description: Likewise, where the host's packages are rpm and the name has another form.
    type: str
    default: ""
  install:
    description: >-
      Globs of the archive's members to install, with the same placeholders. Empty when the file itself is the package.
    type: list
    elements: str
    default: []
  downgrade_refusal:
    description: >-
      Why an earlier release (the first two numbers of a version) may not replace what is installed, and what to do
      instead. Empty lets it.
    type: str
    default: ""
  checksum:
    description: >-
      V(auto) verifies the .sha256 beside the file where there is one, V(required) demands it; or the SHA-256 itself.
    type: str
    default: auto
  timeout:
    description: Seconds without an answer before a download is given up; it is tried three times.
    type: int
    default: 30
attributes:
  check_mode:
    description: Says which file it would install.
    support: full
  diff_mode:
    description: Has none.
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
  description: The version that is installed now.
  returned: success
  type: str
previous_version:
  description: The version that was installed before; empty for none.
  returned: success
  type: str
file:
  description: The file it was installed from; empty when nothing was to do.
  returned: success
  type: str
url:
  description: Its address.
  returned: success
  type: str
verified:
  description: Whether the file's SHA-256 was checked.
  returned: success
  type: bool
choice:
  description: >-
    With O(choose), what the site has for this kind of host, instead of an installation. A dictionary of one name, with
    version, file and url.
  returned: with O(choose), when something is to be installed
  type: dict
host:
  description: The host, with distribution, architecture, deb_architecture, memory_bytes and cpus.
  returned: success
  type: dict
error_class:
  description: C(configuration) where an earlier release is refused.
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
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError, info_value
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.artifacts import (
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
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.facts import read_host
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.packages import (
    PackageError,
    is_there,
    package_manager,
    upstream_version,
)

TRIES = 3
PEER_SECONDS = 3.0  # for an answer of a peer; one that is down refuses at once, one that boots may say nothing


class DowngradeError(ArtifactError):
    """An earlier release is asked for than the one that is installed."""


class Site:
    """Reads pages and files, with tries against passing faults."""

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
        """Download into a stream; an answer that there is nothing isn't tried again."""
        # Imported late: it takes as long as all else, and a run that finds the version installed doesn't need it.
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
            f"{url} can't be read: {reason} ({TRIES} tries). Expected the site, or a mirror, to be reachable from this "
            f"host: check pegasus_artifact_source and the host's network"
        )


def running_version(peers: list[str], asked: str) -> str:
    """Return the newest version that is what was asked for, of those that the peers run; empty for none."""
    if not peers:
        return ""

    def build(peer: str) -> str:
        try:
            return info_value(peer, "build", timeout=PEER_SECONDS)
        except InfoError:
            return ""

    with ThreadPoolExecutor(max_workers=len(peers)) as pool:
        builds = set(pool.map(build, peers))
    fitting = [version for version in builds if VERSION.match(version) and satisfies(version, asked)]
    return max(fitting, key=order, default="")


def choice(params: dict, name: str, values: dict[str, str], site: Site) -> tuple[str, Located]:
    """Return what to install on this kind of host, with the name of that choice: the run's own, if it was made already.

    :raises ArtifactError: there is nothing to choose
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
            f"{error}. The cluster runs {running}, so this node is to have it too: expected the artifact source to "
            f"have it still. Put it back there, or give the exact version that all nodes are to have"
        ) from error


def install(module: AnsibleModule, manager, values: dict[str, str], previous: str) -> dict[str, object]:
    """Download, verify and install in place of the version `previous`; return what was installed, or could be."""
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
    # /var/tmp is on a disk: archives of some 100 MB don't belong in a tmpfs.
    with tempfile.TemporaryDirectory(prefix="pegasus-", dir="/var/tmp") as folder:
        path = Path(folder) / found.file
        site.file(found.url, path)
        expected = expected_checksum(site, found.url, found.file, params["checksum"])
        if expected:
            actual = sha256_of(path)
            if actual != expected:
                raise ArtifactError(
                    f"{found.url}: expected SHA-256 {expected}, found {actual}: "
                    "the file is damaged or isn't the published one"
                )
            result["verified"] = True
        filled = [fill(pattern, {**values, "version": found.version}) for pattern in params["install"]]
        packages = extract(path, filled, Path(folder)) if filled else [path]
        manager.install([str(package) for package in packages])
    installed = manager.installed(names(params))
    now = upstream_version(installed.get(params["package"], ""))
    absent = [package for package in params["with_packages"] if not is_there(package, installed)]
    if now != found.version or absent:
        raise PackageError(
            f"installed {found.file}, and expected {params['package']} {found.version}"
            f"{' with ' + ', '.join(absent) if absent else ''}; found {now or 'no such package'}"
        )
    return result


def check_downgrade(previous: str, version: str, refusal: str) -> None:
    """Raise DowngradeError where a version is of an earlier release than the installed one, and that is refused."""
    if refusal and previous and release(version) < release(previous):
        kept = ".".join(previous.split(".")[:2])
        raise DowngradeError(f"found {previous} installed, expected {kept} or newer: {refusal}")


def release(version: str) -> tuple:
    """The first two numbers of a version, in a form that sorts."""
    return order(".".join(version.split(".")[:2]))


def names(params: dict) -> list[str]:
    """The packages that are asked for, without versions."""
    return [params["package"], *(package.partition("=")[0] for package in params["with_packages"])]


def expected_checksum(site: Site, url: str, file: str, wanted: str) -> str:
    """Return the SHA-256 to verify, or nothing where none is published and none is demanded."""
    if wanted not in ("auto", "required"):
        return wanted.rpartition(":")[2].lower()
    try:
        return checksum_of(site.text(f"{url}.sha256"), file)
    except NotFoundError as error:
        if wanted == "required":
            raise ArtifactError(f"{error}: no SHA-256 is published, but checksum is 'required'") from error
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
        beside = all(is_there(package, installed) for package in params["with_packages"])
        changed = not (previous and satisfies(previous, params["version"]) and beside)
        if changed:
            result = install(module, manager, host_values(host, manager.format), previous)
    except (ArtifactError, PackageError, OSError, ValueError) as error:
        more = {"error_class": "configuration"} if isinstance(error, DowngradeError) else {}
        module.fail_json(msg=f"{params['package']} {params['version']}: {error}", **more)
    module.exit_json(
        changed=changed, package=params["package"], previous_version=previous, host=host.as_dict(), **result
    )


if __name__ == "__main__":
    main()
