# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Packages of the host, by apt or dnf: query and install. An installation starts no service."""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .distributions import EXPECTED
from .file_lock import held

# module.run_command's signature: (command, environ_update=...) -> (rc, stdout, stderr)
Run = Callable[..., tuple]

APT_LISTS = Path("/var/lib/apt/lists")
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_MARK = "# Created by Pegasus during an installation of packages; may be removed."
POLICY_TEXT = f"#!/bin/sh\n{POLICY_MARK}\nexit 101\n"
LOCK_SECONDS = 300
# Held during an installation, so that the second of two calls on a host finds the packages of the first.
TURN = Path("/run/pegasus-packages.lock")
TURN_SECONDS = 900


class PackageError(Exception):
    """Packages could not be installed. The text has the last lines of the package manager's output."""


class AptPackages:
    """Debian and Ubuntu."""

    format = "deb"

    def __init__(self, run: Run) -> None:
        self._run = run

    def installed(self, names: Iterable[str]) -> dict[str, str]:
        """Return the versions (as dpkg writes them) of the packages that are completely installed."""
        requested = list(names)
        if not requested:
            return {}
        _, out, _ = self._run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}\t${Package}\t${Version}\n", *requested])
        found = {}
        for line in out.splitlines():
            status, _, rest = line.partition("\t")
            name, _, version = rest.partition("\t")
            if status.strip() == "ii":
                found[name] = version
        return found

    def install(self, packages: Sequence[str]) -> None:
        """Install packages by name, ``name=version`` or path of a .deb, with what they depend on.

        :raises PackageError: apt failed, even after an update of the package lists
        """
        packages = [_with_revision(package, "=") for package in packages]
        apt = ["apt-get", "-q", "-y", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}"]
        install = [*apt, "-o", "Dpkg::Options::=--force-confold", "-o", "APT::Sandbox::User=root",
                   "install", "--no-install-recommends", "--allow-downgrades", *packages]  # fmt: skip
        # Package lists without translations, which are a third of the download.
        update = [*apt, "-o", "Acquire::Languages=none", "update"]
        environment = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "NEEDRESTART_MODE": "l"}
        with one_at_a_time(), no_service_starts():
            if not any(APT_LISTS.glob("*_Packages*")) and not all("/" in package for package in packages):
                # A new host has no package lists. The installation of a file may not need them.
                self._run(update, environ_update=environment)
            rc, out, err = self._run(install, environ_update=environment)
            if rc != 0:
                # This repairs missing package lists, old package lists, and an interrupted installation.
                self._run(["dpkg", "--configure", "-a"], environ_update=environment)
                update_rc, update_out, update_err = self._run(update, environ_update=environment)
                rc, out, err = self._run(install, environ_update=environment)
                if rc != 0 and update_rc != 0:
                    err = f"{err}\nand apt-get update failed: {_last_lines(update_err or update_out)}"
        if rc != 0:
            raise PackageError(f"apt-get install {' '.join(packages)} failed: {_last_lines(err or out)}")


class DnfPackages:
    """Amazon Linux 2023 and the Red Hat family."""

    format = "rpm"

    def __init__(self, run: Run) -> None:
        self._run = run

    def installed(self, names: Iterable[str]) -> dict[str, str]:
        """Return the versions (version-release) of the packages that are installed."""
        requested = list(names)
        if not requested:
            return {}
        _, out, _ = self._run(["rpm", "-q", "--qf", "%{NAME}\t%{VERSION}-%{RELEASE}\n", *requested])
        return dict(line.split("\t") for line in out.splitlines() if line.count("\t") == 1)

    def install(self, packages: Sequence[str]) -> None:
        """Install packages by name, ``name=version`` or path of an .rpm, with what they depend on.

        :raises PackageError: dnf failed
        """
        packages = [_with_revision(package, "-") for package in packages]
        with one_at_a_time():
            rc, out, err = self._run(
                ["dnf", "-y", "-q", "install", "--setopt=install_weak_deps=False", *packages],
                environ_update={"LC_ALL": "C.UTF-8"},
            )
        if rc != 0:
            raise PackageError(f"dnf install {' '.join(packages)} failed: {_last_lines(err or out)}")


def package_manager(run: Run) -> AptPackages | DnfPackages:
    """Return the host's package manager.

    :raises PackageError: the host has neither apt nor dnf
    """
    if shutil.which("apt-get"):
        return AptPackages(run)
    if shutil.which("dnf"):
        return DnfPackages(run)
    raise PackageError(f"found neither apt-get nor dnf on this host; expected {EXPECTED}: choose another image")


def upstream_version(version: str) -> str:
    """Return a package's version without epoch and package revision: ``1:8.0.0.4-1+simulated`` is ``8.0.0.4``."""
    return version.rpartition(":")[2].partition("-")[0].partition("+")[0].partition("~")[0]


def is_installed(package: str, installed: Mapping[str, str]) -> bool:
    """Return whether ``name`` or ``name=version`` is installed.

    The version is upstream's, the package's complete version, or a pattern of either.
    """
    name, _, version = package.partition("=")
    if name not in installed:
        return False
    forms = (installed[name], upstream_version(installed[name]))
    return not version or any(fnmatch.fnmatchcase(form, version) for form in forms)


def ensure(packages: Sequence[str], run: Run, *, ahead: bool = False, check: bool = False) -> str:
    """Install the packages that are missing; return the change as a line, empty if there is none.

    :param packages: each ``name`` or ``name=version``
    :param ahead: start the installation in the background and return; a later call waits for it
    :param check: change nothing, report only
    :raises PackageError: the installation failed, or installed another version
    """
    manager = package_manager(run)
    missing = _missing(packages, manager)
    if not missing:
        return ""
    if ahead:
        if not check:
            _in_background(lambda: manager.install(missing))
        return f"started to install {', '.join(missing)}"
    if check:
        return f"installed {', '.join(missing)}"
    with one_at_a_time():
        pass  # an installation that another call started is finished now
    missing = _missing(packages, manager)
    if not missing:
        return ""
    manager.install(missing)
    for package in _missing(missing, manager):
        name, _, version = package.partition("=")
        found = manager.installed([name]).get(name, "(not installed)")
        raise PackageError(
            f"found {name} {found} after the installation, expected {version or 'any version'}: specify a version that "
            f"the distribution has"
        )
    return f"installed {', '.join(missing)}"


def _missing(packages: Sequence[str], manager: AptPackages | DnfPackages) -> list[str]:
    """The packages that are not installed, or in another version."""
    present = manager.installed([package.partition("=")[0] for package in packages])
    return [package for package in packages if not is_installed(package, present)]


def _in_background(work: Callable[[], None]) -> None:
    """Run a function in a process that outlives this one. A failure shows when a later call needs the result."""
    if os.fork():
        return
    # Keep nothing of the caller: Ansible waits until its streams are closed, and sudo kills the rest of its session.
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    try:
        work()
    finally:
        os._exit(0)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other call installs packages on this host, and keep others out.

    :raises PackageError: another call needs more than TURN_SECONDS
    """
    refusal = PackageError(
        f"another installation by Pegasus on this host is still running after {TURN_SECONDS} s: check on the host what "
        f"apt or dnf waits for"
    )
    with held(TURN, TURN_SECONDS, refusal):
        yield


@contextmanager
def no_service_starts(policy: Path = POLICY) -> Iterator[None]:
    """Keep installation scripts from starting services, which would run with the package's default configuration.

    On Debian, a policy-rc.d with exit status 101 does that. An existing policy-rc.d stays as it is, except a file that
    an interrupted run of Pegasus left behind.
    """
    ours = not policy.exists() or POLICY_MARK in policy.read_text(encoding="utf-8", errors="replace")
    if ours:
        policy.write_text(POLICY_TEXT, encoding="ascii")
        os.chmod(policy, 0o755)  # noqa: PTH101
    try:
        yield
    finally:
        if ours:
            policy.unlink(missing_ok=True)


def _with_revision(package: str, separator: str) -> str:
    """Return a package in the syntax of the package manager, with any revision of the requested version."""
    name, equals, version = package.partition("=")
    if not equals or "/" in name:
        return package
    return f"{name}{separator}{version.rstrip('*')}*"


def _last_lines(text: str, count: int = 8) -> str:
    """Return the last non-blank lines as one text."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-count:])
