# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Files and directories of a host: write and remove them, and remember what a change means for services."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

UNIT_FOLDERS = ("/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/", "/run/systemd/system/")
STRENGTH = {"none": 0, "reload": 1, "restart": 2}  # of a file's effect on services


class FileError(Exception):
    """A file can't be written as requested. The text says what was found, what was expected, and what to do."""


class Files:
    """The files of one call of host_service, in the form of its options ``files`` and ``directories``."""

    def __init__(
        self,
        run: Callable[..., tuple],
        move: Callable[[str, str], object],
        changes: list[str],
        *,
        check: bool = False,
    ) -> None:
        """
        :param run: runs a command, as AnsibleModule.run_command does
        :param move: replaces a file with another file, as AnsibleModule.atomic_move does
        :param changes: gets a line for each change
        :param check: change nothing, report only
        """
        self._run, self._move, self._changes, self._check = run, move, changes, check
        self.diff: list[dict[str, str]] = []
        self.effects: dict[str, str] = {}  # service -> the strongest effect of this call's changes
        self.unit_changed = False

    def create_directory(self, directory: Mapping[str, Any]) -> None:
        """Create a directory with its parents, and set its owner and mode."""
        path = Path(directory["path"])
        if path.exists() and not path.is_dir():
            raise FileError(f"{path} is a file, expected a directory: move it away")
        created = not path.is_dir()
        if created:
            self._changes.append(f"created {path}")
            if self._check:
                return
            path.mkdir(parents=True)
        self._set_owner(path, directory, report=not created)

    def apply(self, file: Mapping[str, Any]) -> None:
        """Write or remove a file if it differs.

        :raises FileError: the product refused the content, or owner or group don't exist
        """
        path = Path(file["path"])
        if file["state"] == "absent":
            if path.is_symlink() or path.exists():
                self._record(file, f"removed {path}")
                if not self._check:
                    path.unlink()
            return
        secret = file["secret_content"] is not None
        new = (file["secret_content"] if secret else file["content"]) or ""
        old = path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else None
        if old != new:
            # The age of the file decides whether a service is outdated (see due), so a passive change keeps the times.
            passive = bool(file["passive"]) and old is not None and differs_passively(old, new, file["passive"])
            times = path.stat() if passive else None
            self._record({**file, "effect": "none"} if passive else file, f"wrote {path}")
            if not secret:
                header = {"before_header": str(path), "after_header": str(path)}
                self.diff.append({**header, "before": old or "", "after": new})
            if not self._check:
                self._replace(path, new, file)
                if times:
                    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        if path.exists():
            self._set_owner(path, file, report=old == new)

    def due(
        self, service: str, files: Iterable[Mapping[str, Any]], programs: Iterable[str], started: float, changed: float
    ) -> str:
        """Return what a running service needs: restart, reload or none.

        Files that are newer than the process count too, so that a run repairs what an interrupted run left undone.
        :param programs: other files that outdate the process
        :param started: when its process started, in seconds since 1970; 0 if unknown
        :param changed: when its state last changed, likewise
        """

        def newest(effect: str) -> float:
            paths = [Path(file["path"]) for file in files if file["effect"] == effect and service in file["services"]]
            return max((path.stat().st_mtime for path in paths if path.is_file()), default=0.0)

        # Change times: package managers set the modification time to the time of the build.
        newest_program = max((path.stat().st_ctime for path in map(Path, programs) if path.is_file()), default=0.0)
        effect = self.effects.get(service, "none")
        if started and max(newest("restart"), newest_program) > started:
            return "restart"
        if effect == "none" and changed and newest("reload") > changed:
            return "reload"
        return effect

    def _record(self, file: Mapping[str, Any], change: str) -> None:
        """Remember a change and its effect on services."""
        self._changes.append(change)
        if file["path"].startswith(UNIT_FOLDERS):
            self.unit_changed = True
        for service in file["services"]:
            if STRENGTH[file["effect"]] > STRENGTH[self.effects.get(service, "none")]:
                self.effects[service] = file["effect"]

    def _replace(self, path: Path, text: str, file: Mapping[str, Any]) -> None:
        """Validate the new content and put it in place in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        new = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(text)
            self._set_owner(new, file, report=False)
            if file["validate"]:
                command = [part.replace("%s", str(new)) for part in shlex.split(file["validate"])]
                rc, out, err = self._run(command)
                if rc != 0:
                    raise FileError(
                        f"{(err or out).strip()}\n{path} was not changed: '{' '.join(command)}' refused the new "
                        f"content (exit status {rc})"
                    )
            self._move(str(new), str(path))
        finally:
            new.unlink(missing_ok=True)

    def _set_owner(self, path: Path, spec: Mapping[str, Any], *, report: bool) -> None:
        """Set owner, group and mode if they differ."""
        try:
            user, group = pwd.getpwnam(spec["owner"]).pw_uid, grp.getgrnam(spec["group"]).gr_gid
        except KeyError as error:
            if self._check:
                return
            raise FileError(f"{path}: {error.args[0]}; expected an existing user and group") from error
        found, mode = path.stat(), int(spec["mode"], 8)
        if (found.st_uid, found.st_gid) != (user, group):
            if report:
                self._changes.append(f"{path}: owner {spec['owner']}:{spec['group']}")
            if not self._check:
                os.chown(path, user, group)
        if found.st_mode & 0o7777 != mode:
            if report:
                self._changes.append(f"{path}: mode {spec['mode']}")
            if not self._check:
                path.chmod(mode)


def differs_passively(old: str, new: str, pattern: str) -> bool:
    """Return whether two texts differ only in parts that match ``pattern``, and have one such part in common."""
    found = re.compile(pattern)
    if found.sub("", old) != found.sub("", new):
        return False
    return bool({part[0] for part in found.finditer(old)} & {part[0] for part in found.finditer(new)})
