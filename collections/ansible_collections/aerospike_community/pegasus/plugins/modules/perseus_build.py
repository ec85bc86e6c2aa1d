#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Build Perseus from its repository, once for each commit."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: perseus_build
short_description: Build Perseus from its repository, once for each commit
description:
  - Resolves a ref to a commit. If the installed program was built from another commit, checks the commit out, builds
    it, and installs the program in one step, with a stamp (C(<jar>.json)) that records what it was built from.
  - Concurrent calls on the same host wait for each other. The later calls find the work done.
author: Pegasus authors
options:
  repository: {description: Address of the git repository., type: str, required: true}
  ref: {description: "A branch, a tag or a full commit.", type: str, default: master}
  command: {description: Command that builds it in the checkout. It is not run by a shell., type: str, required: true}
  artifact: {description: "The file that the command builds, relative to the checkout.", type: path, required: true}
  source: {description: The folder of the checkout., type: path, default: /opt/perseus/source}
  jar: {description: Where the program is installed., type: path, default: /opt/perseus/perseus.jar}
  packages: {description: "Packages to install, only for a build.", type: list, elements: str, default: []}
  build: {description: V(false) only reports whether the installed program is up to date., type: bool, default: true}
  keep:
    description: >-
      If the repository can't be reached, leave the installed program as it is, with a warning. This is always so if
      O(build) is V(false).
    type: bool
    default: false
  timeout: {description: Seconds for the build command., type: int, default: 900}
attributes:
  check_mode: {description: Reports whether it would build., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Build Perseus
  aerospike_community.pegasus.perseus_build:
    repository: https://github.com/aerospike-community/aerospike-perseus.git
    command: mvn --batch-mode package
    artifact: target/perseus-1.0-SNAPSHOT-jar-with-dependencies.jar
    packages: [git, maven]
"""

RETURN = r"""
current: {description: Whether the installed program is up to date., returned: success, type: bool}
commit: {description: The commit it is built from., returned: success, type: str}
jar: {description: The program., returned: success, type: str}
stamp: {description: What the program was built from., returned: success, type: dict}
output: {description: Relevant lines of the build's output., returned: failure, type: list, elements: str}
"""

import hashlib
import json
import re
import shlex
import shutil
import zipfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.file_lock import held
from ..module_utils.host.file_replacement import replace
from ..module_utils.host.packages import PackageError, package_manager

COMMIT = re.compile(r"[0-9a-f]{40}")
# git must not prompt for a password.
GIT_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
TIMED_OUT = 124  # exit status of timeout(1)

# How compilers and build tools begin an error.
ERROR_LINE = re.compile(r"^\[ERROR\]|\berror:|Error\b|^E:|\bfatal:")
SHOWN_ERRORS, SHOWN_LINES = 15, 10


def relevant_output(output: str) -> list[str]:
    """Return the first errors and the last lines of a command's output, in order and without duplicates."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if ERROR_LINE.search(line)][:SHOWN_ERRORS]
    # The line after an error shows its location.
    chosen = {*errors, *(number + 1 for number in errors), *range(len(lines) - SHOWN_LINES, len(lines))}
    return [line for number, line in enumerate(lines) if number in chosen]


class BuildError(Exception):
    """Perseus couldn't be built. ``output`` has the relevant lines of the failed command."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = relevant_output(output)


class UnreachableError(BuildError):
    """The repository can't be reached now."""


class Build:
    """A call of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.params = module, module.params
        self.jar = Path(module.params["jar"])
        self.stamp_path = Path(f"{module.params['jar']}.json")
        self.source = Path(module.params["source"])

    def stamp(self) -> dict[str, str]:
        """Return what the installed program was built from, or {} if the stamp doesn't match the program."""
        try:
            stamp = json.loads(self.stamp_path.read_text(encoding="utf-8"))
            return stamp if isinstance(stamp, dict) and stamp.get("sha256") == sha256_of(self.jar) else {}
        except (OSError, ValueError):
            return {}

    def target_commit(self) -> str:
        """Resolve the ref to a commit. Raises UnreachableError, or BuildError if the repository has no such ref."""
        ref = self.params["ref"]
        if COMMIT.fullmatch(ref):
            return ref
        names = [f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}"]
        try:
            out = self.git("query the repository for its refs", "ls-remote", self.params["repository"], *names)
        except BuildError as error:
            raise UnreachableError(str(error), "\n".join(error.output)) from error
        found = {name: commit for commit, _, name in (line.partition("\t") for line in out.splitlines())}
        for name in names:
            if name in found:
                return found[name]
        raise BuildError(
            f"{self.params['repository']} has no branch or tag '{ref}'; expected a branch, a tag or a full commit of "
            f"40 digits in perseus_client_ref"
        )

    def matches(self, stamp: dict[str, str], commit: str) -> bool:
        """Return whether the installed program is the one that would be built."""
        return stamp.get("commit") == commit and stamp.get("command") == self.params["command"]

    def build(self, commit: str) -> dict[str, str]:
        """Check the commit out, build and install it. Return the new stamp. Raises BuildError if a step failed."""
        self.check_out(commit)
        command = shlex.split(self.params["command"])
        rc, out, err = self.module.run_command(
            ["timeout", "--kill-after=10", str(self.params["timeout"]), *command],
            cwd=str(self.source),
            environ_update={"LC_ALL": "C"},
            handle_exceptions=True,
        )
        if rc == TIMED_OUT:
            raise BuildError(f"'{self.params['command']}' was stopped after {self.params['timeout']} s", out + err)
        if rc != 0:
            raise BuildError(f"'{self.params['command']}' failed in {self.source} (exit status {rc})", out + err)
        artifact = self.source / self.params["artifact"]
        if not artifact.is_file() or not zipfile.is_zipfile(artifact):
            problem = f"expected '{self.params['command']}' to build the jar {artifact}, found no such archive"
            raise BuildError(problem, out + err)
        return self.install(artifact, commit)

    def check_out(self, commit: str) -> None:
        """Check out a commit, and remove everything that an earlier build left."""
        if not (self.source / ".git").is_dir():
            shutil.rmtree(self.source, ignore_errors=True)
            self.source.mkdir(parents=True)
            self.git("create the checkout", "init", "--quiet", str(self.source))
        # The whole history, because a server of plain files can't serve a part of it.
        refs = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
        folder = str(self.source)
        self.git("fetch the repository", "-C", folder, "fetch", "--quiet", "--force", self.params["repository"], *refs)
        self.git(f"check out {commit}", "-C", folder, "checkout", "--quiet", "--force", "--detach", commit)
        self.git("clean the checkout", "-C", folder, "clean", "-ffdxq")

    def install(self, artifact: Path, commit: str) -> dict[str, str]:
        """Install the program and its stamp. If it is killed in between, the next call finds that they don't match."""
        request = {"repository": self.params["repository"], "commit": commit, "command": self.params["command"]}
        stamp = {**request, "sha256": sha256_of(artifact)}
        # An equal program from another commit is left alone, so that nothing restarts.
        if not self.jar.is_file() or sha256_of(self.jar) != stamp["sha256"]:
            replace(self.jar, artifact.read_bytes())
        replace(self.stamp_path, (json.dumps(stamp, indent=1) + "\n").encode())
        return stamp

    def git(self, purpose: str, *arguments: str) -> str:
        """Run git. Return its output."""
        try:
            command = ["git", *arguments]
            rc, out, err = self.module.run_command(command, environ_update=GIT_ENVIRONMENT, handle_exceptions=False)
        except OSError as error:
            raise BuildError(f"could not {purpose}: git can't be run ({error}); install the package git") from error
        if rc != 0:
            where = f"({self.params['repository']}): check perseus_client_repository and the network"
            raise BuildError(f"could not {purpose} {where}", err or out)
        return out


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(module: AnsibleModule) -> dict[str, object]:
    """Return the module's result."""
    build = Build(module)
    params = module.params
    if not params["build"] or params["keep"] or module.check_mode:
        stamp = build.stamp()
        # Without a program there is nothing to compare, and a new host may not have git.
        commit, current = "", False
        if stamp:
            try:
                commit = build.target_commit()
                current = build.matches(stamp, commit)
            except UnreachableError as error:
                module.warn(f"{error}. Perseus stays at commit {stamp['commit'][:12]}")
                commit, current = stamp["commit"], True
        if current or not params["build"] or module.check_mode:
            return {"changed": params["build"] and not current, "current": current, "commit": commit, "stamp": stamp}
    # Enough for a running build and for installing its packages.
    lock, timeout = Path(f"{params['source']}.lock"), 2 * params["timeout"]
    with held(lock, timeout, BuildError(f"another build on this host has held {lock} for {timeout} s")):
        manager = package_manager(module.run_command)
        present = manager.installed(params["packages"])
        missing = [name for name in params["packages"] if name not in present]
        if missing:
            manager.install(missing)
        stamp = build.stamp()
        commit = build.target_commit()
        changed = not build.matches(stamp, commit)
        if changed:
            stamp = build.build(commit)
        return {"changed": changed, "current": True, "commit": commit, "stamp": stamp}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "repository": {"type": "str", "required": True},
            "ref": {"type": "str", "default": "master"},
            "command": {"type": "str", "required": True},
            "artifact": {"type": "path", "required": True},
            "source": {"type": "path", "default": "/opt/perseus/source"},
            "jar": {"type": "path", "default": "/opt/perseus/perseus.jar"},
            "packages": {"type": "list", "elements": "str", "default": []},
            "build": {"type": "bool", "default": True},
            "keep": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except BuildError as error:
        shown = "".join(f"\n  {line}" for line in error.output)
        module.fail_json(msg=f"Perseus was not built: {error}{shown}", output=error.output)
    except (PackageError, OSError, ValueError) as error:
        module.fail_json(msg=f"Perseus was not built: {error}", output=[])
    module.exit_json(jar=module.params["jar"], **result)


if __name__ == "__main__":
    main()
