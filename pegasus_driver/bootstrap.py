"""Builds .venv for ./pegasus-driver. The wrapper runs it with any Python >= 3.11: standard library only, no package.

Safe to interrupt: the wrapper doesn't use .venv without the stamp, which is written last. A mark exists while pip runs:
the next start after an interruption finds it and rebuilds .venv, because packages may be incomplete. Safe to start
twice: the second process waits for the first.
"""

import sys

try:
    import fcntl
    import hashlib
    import os
    import shutil
    import signal
    import subprocess
    import time
    from pathlib import Path
    from types import FrameType
except KeyboardInterrupt:  # Ctrl-C before anything has started
    sys.exit(130)

# Exit codes of the driver (exit_codes.py can't be imported here).
USAGE = 2
INTERRUPTED = 130

# The wheel of `ansible` unpacks to about 0.5 GB; pip unpacks beside it.
SPACE_NEEDED = 1_300_000_000

# What each action imports from site-packages; Python compiles the rest at its first import.
COMPILED = (
    "ansible", "ansible_runner", "boto3", "botocore", "cryptography", "dateutil",
    "docker", "flask", "jinja2", "jmespath", "moto/core", "moto/ec2", "moto/moto_api", "moto/utilities", "packaging",
    "pexpect", "ptyprocess", "requests", "resolvelib", "rich", "s3transfer", "urllib3", "werkzeug", "yaml",
)  # fmt: skip


class BootstrapError(Exception):
    """message: what was found and expected; next_step: what the user should do."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step


def say(text: str) -> None:
    """Print progress on stderr: stdout belongs to the user's command."""
    print(text, file=sys.stderr, flush=True)


def stamp_text(root: Path) -> str:
    """Return what the wrapper compares: requirements, interpreter, folder (.venv/bin contains absolute paths)."""
    requirements = hashlib.sha256((root / "requirements.txt").read_bytes()).hexdigest()
    return f"{requirements} {(root / '.venv/bin/python').resolve()} {root}"


class Installer:
    """Installs requirements.txt into root/.venv."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.stamp = self.venv / ".pegasus-stamp"
        self.state = root / ".pegasus"
        self.mark = self.state / "venv-installing"
        self.log = self.state / "venv-install.log"

    def run(self) -> None:
        """Build or update .venv.

        :raises BootstrapError: it can't be built
        """
        self.state.mkdir(mode=0o700, exist_ok=True)
        with (self.state / "venv.lock").open("w") as lock:
            self._lock(lock.fileno())
            if self._is_current():
                return  # another process has built it
            started = time.monotonic()
            interrupted = self.mark.exists()
            self.mark.touch()
            if interrupted:
                say("An installation was interrupted: rebuilding .venv.")
            if interrupted or not self._is_usable():
                self._make_venv()
            self._install()
            self._make_importable()
            self._compile()
            self.stamp.write_text(stamp_text(self.root), encoding="utf-8")
            self.mark.unlink()
            say(f"Ready after {time.monotonic() - started:.0f} s.")

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another pegasus-driver is building .venv: waiting for it.")
            fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _is_current(self) -> bool:
        try:
            return self.stamp.read_text(encoding="utf-8") == stamp_text(self.root)
        except OSError:
            return False

    def _is_usable(self) -> bool:
        """Whether .venv is a virtual environment of this folder with a working pip and a supported Python."""
        check = "import sys, pip; sys.exit(sys.version_info < (3, 11) or sys.prefix == sys.base_prefix)"
        try:
            done = subprocess.run([self.python, "-I", "-c", check], capture_output=True, timeout=60)
            # The scripts name the folder in their first line; in a moved checkout they name the old one.
            return done.returncode == 0 and str(self.venv).encode() in (self.venv / "bin/pip").read_bytes()[:500]
        except (OSError, subprocess.SubprocessError):
            return False

    def _make_venv(self) -> None:
        try:
            import ensurepip  # noqa: F401  Debian and Ubuntu package it separately
            import venv  # noqa: F401
        except ImportError:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise BootstrapError(
                f"found Python {version} ({sys.executable}) without the modules venv and ensurepip, expected both: "
                "they build virtual environments",
                f"sudo apt-get install python{version}-venv    (other systems: their package of Python's venv module)",
            ) from None
        free = shutil.disk_usage(self.root).free
        if free < SPACE_NEEDED:
            raise BootstrapError(
                f"found {free / 1e9:.1f} GB free in {self.root}, expected {SPACE_NEEDED / 1e9:.1f} GB for .venv",
                "Free some space.",
            )
        version = ".".join(map(str, sys.version_info[:3]))
        say(f"Building the virtual environment .venv with Python {version} (once)")
        if self.venv.is_symlink():
            self.venv.unlink()
        self._call([sys.executable, "-m", "venv", "--clear", str(self.venv)], "python -m venv")

    def _install(self) -> None:
        say("Installing requirements.txt (once; one to three minutes, about 200 MB from PyPI)")
        # --no-compile halves the time: a run imports a few hundred of the 30,000 files of `ansible`, see _compile.
        pip = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile"]
        self._call([*pip, "--progress-bar", "off", "-r", str(self.root / "requirements.txt")], "pip install")

    def _compile(self) -> None:
        """Compile what each action imports, in 2 s. With PYTHONDONTWRITEBYTECODE, or a .venv that the user can't write
        to, every ansible-playbook would otherwise take 0.5 s longer."""
        folders = [self._site_packages() / name for name in COMPILED]
        if present := [folder for folder in folders if folder.is_dir()]:  # without, it compiles all of sys.path
            subprocess.run([self.python, "-m", "compileall", "-q", "-j", "0", *present], capture_output=True)

    def _make_importable(self) -> None:
        """Make `python -m pegasus_driver` work from any folder without PYTHONPATH, which child processes inherit."""
        (self._site_packages() / "pegasus-driver.pth").write_text(f"{self.root}\n", encoding="utf-8")

    def _site_packages(self) -> Path:
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        done = subprocess.run([self.python, "-I", "-c", code], capture_output=True, text=True, check=True)
        return Path(done.stdout.strip())

    def _call(self, command: list[str], name: str) -> None:
        """Run a command with its output in the log and its progress on the terminal.

        :raises BootstrapError: the command fails
        """
        environ = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
        with (
            self.log.open("w", encoding="utf-8") as log,
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, errors="replace", env=environ) as process,
        ):  # fmt: skip
            assert process.stdout is not None
            progress = Progress()
            try:
                for line in process.stdout:
                    log.write(line)
                    progress.show(line)
            except BaseException:
                process.terminate()
                raise
            finally:
                progress.clear()
        if process.returncode != 0:
            if name == "pip install":
                self.mark.unlink(missing_ok=True)  # pip exited on its own: it downloads everything before it installs
            lines = [line for line in self.log.read_text(encoding="utf-8").splitlines() if line.strip()]
            tail = "\n".join(f"    {line}" for line in lines[-8:])
            raise BootstrapError(
                f"{name} failed with exit code {process.returncode}. Its last lines:\n{tail}", self._advice()
            )

    def _advice(self) -> str:
        text = self.log.read_text(encoding="utf-8")
        again = f"then run the same command again. Full log: {self.log}"
        if "No space left on device" in text:
            return f"Free some space, {again}"
        network = ("Temporary failure in name resolution", "Connection", "timed out", "ProxyError")
        if any(sign in text for sign in network):
            return f"Check the connection to PyPI (behind a proxy: HTTPS_PROXY, a mirror: PIP_INDEX_URL), {again}"
        if "No matching distribution" in text:
            return f"Check that the package index (PIP_INDEX_URL, pip.conf) has that version, {again}"
        return f"Correct the problem shown above, {again}"


class Progress:
    """pip's progress: a line that is rewritten on a terminal, a new line every 20 s elsewhere."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.started = self.shown = time.monotonic()

    def show(self, line: str) -> None:
        text = line.strip()
        if not text.startswith(("Collecting", "Downloading", "Installing", "Using cached", "Building")):
            return
        now = time.monotonic()
        text = text.split("(")[0].strip()[:66]
        if self.terminal:
            print(f"\r\033[K  {now - self.started:3.0f} s  {text}", end="", file=sys.stderr, flush=True)
        elif now - self.shown > 20 or text.startswith("Installing collected"):
            self.shown = now
            say(f"  {now - self.started:3.0f} s  {text}")

    def clear(self) -> None:
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(root: Path) -> int:
    signal.signal(signal.SIGTERM, _terminate)
    try:
        Installer(root).run()
    except BootstrapError as error:
        say(f"pegasus-driver: {error.message}\nnext: {error.next_step}")
        return USAGE
    except KeyboardInterrupt:
        say("pegasus-driver: interrupted while building .venv; the next start rebuilds it")
        return INTERRUPTED
    except OSError as error:
        advice = f"Correct it (the folder {root} must be writable), then run the command again."
        say(f"pegasus-driver: {error}\nnext: {advice}")
        return USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
