"""./pegasus-driver and bootstrap.py, in a copy of the project that needs nothing from an index."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pegasus_driver import bootstrap

ROOT = Path(__file__).parents[2]
MAIN = "import sys, pathlib\nprint('ran', sys.argv[1:], pathlib.Path.cwd(), sys.prefix)\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The wrapper, bootstrap.py, a driver that prints its arguments, and no requirements."""
    root = tmp_path / "a checkout"
    (root / "pegasus_driver").mkdir(parents=True)
    shutil.copy(ROOT / "pegasus-driver", root)
    shutil.copy(ROOT / "pegasus_driver/bootstrap.py", root / "pegasus_driver")
    (root / "pegasus_driver/__init__.py").write_text("")
    (root / "pegasus_driver/__main__.py").write_text(MAIN)
    (root / "requirements.txt").write_text("# nothing\n")
    return root


def environ(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    return {**kept, "PEGASUS_PYTHON": sys.executable, "PIP_NO_INDEX": "1", **more}


def run(program: Path, *arguments: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *arguments], cwd=cwd or "/", env=environ(**more), capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
def test_first_use_later_uses_and_changed_requirements(copy: Path, tmp_path: Path) -> None:
    link = tmp_path / "bin" / "pegasus"
    link.parent.mkdir()
    link.symlink_to("../a checkout/pegasus-driver")
    first = run(link, "setup", "two words", "-e", "x=*", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert f"ran ['setup', 'two words', '-e', 'x=*'] {tmp_path} {copy}/.venv" in first.stdout
    assert "Building the virtual environment" in first.stderr and "Ready after" in first.stderr
    assert (copy / ".pegasus").stat().st_mode & 0o777 == 0o700
    # A folder of the same name in the working folder isn't imported.
    (tmp_path / "pegasus_driver").mkdir()
    (tmp_path / "pegasus_driver" / "__main__.py").write_text("print('wrong')")
    second = run(copy / "pegasus-driver", cwd=tmp_path)
    assert (second.returncode, second.stderr) == (0, "") and "ran []" in second.stdout
    # Changed requirements are installed into the existing .venv; a failure shows pip's output and is retried.
    (copy / "requirements.txt").write_text("pegasus-has-no-such-package==1\n")
    third = run(copy / "pegasus-driver")
    assert third.returncode == 2 and "ran" not in third.stdout
    assert "pip install failed with exit code 1. Its last lines:" in third.stderr
    assert "No matching distribution found for pegasus-has-no-such-package==1" in third.stderr
    assert "next: Check that the package index" in third.stderr
    assert "Traceback" not in third.stderr
    (copy / "requirements.txt").write_text("# nothing again\n")
    fourth = run(copy / "pegasus-driver")
    assert fourth.returncode == 0 and "Building the virtual" not in fourth.stderr, "the environment was good"
    # A moved checkout gets a new environment with the new paths.
    moved = tmp_path / "moved"
    copy.rename(moved)
    fifth = run(moved / "pegasus-driver")
    assert f"{moved}/.venv" in fifth.stdout and "Building the virtual environment" in fifth.stderr, fifth.stderr
    assert str(moved) in (moved / ".venv/bin/pip").read_text()


@pytest.mark.slow
def test_an_interrupted_installation_is_repeated(copy: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as index:  # accepts pip and never answers
        (copy / "requirements.txt").write_text("anything==1\n")
        process = subprocess.Popen(
            [copy / "pegasus-driver"],
            env=environ(PIP_NO_INDEX="", PIP_INDEX_URL=f"http://127.0.0.1:{index.getsockname()[1]}/", PIP_NO_PROXY="*"),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        index.settimeout(60)
        connection, _ = index.accept()  # pip is running
        os.killpg(process.pid, signal.SIGTERM)
        _, error = process.communicate(timeout=30)
        connection.close()
    assert (copy / ".pegasus/venv-installing").exists() and not (copy / ".venv/.pegasus-stamp").exists()
    assert "Traceback" not in error
    (copy / "requirements.txt").write_text("# nothing\n")
    again = run(copy / "pegasus-driver")
    assert again.returncode == 0, again.stderr
    assert "An installation was interrupted" in again.stderr
    assert not (copy / ".pegasus/venv-installing").exists()


@pytest.mark.slow
def test_two_first_uses_at_once(copy: Path) -> None:
    processes = [
        subprocess.Popen(
            [copy / "pegasus-driver", str(n)], env=environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for n in range(2)
    ]
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    errors = "".join(error for _, error in results)
    assert errors.count("Building the virtual environment") == 1, errors
    assert all("ran" in out for out, _ in results)


def test_no_python(copy: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "readlink", "dirname", "sha256sum", "cat"):
        (tools / name).symlink_to(shutil.which(name) or "")
    old = tools / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] || exit 1\necho Python 3.9.2\n')
    old.chmod(0o755)
    done = run(copy / "pegasus-driver", PATH=str(tools), PEGASUS_PYTHON="")
    assert done.returncode == 2
    assert "found Python 3.9.2, expected Python 3.11 or newer" in done.stderr
    assert "apt-get install" in done.stderr


def test_missing_venv_names_the_package(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert bootstrap.main(copy) == 2
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    error = capsys.readouterr().err
    assert f"sudo apt-get install python{version}-venv" in error and "without the modules venv and ensurepip" in error


def test_a_full_disk_is_reported_before_the_installation(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    assert bootstrap.main(copy) == 2
    assert "0.0 GB free" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("log", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "Free some space"),
        ("Temporary failure in name resolution", "Check the connection to PyPI"),
        ("ERROR: No matching distribution found for x", "Check that the package index"),
        ("something else", "Correct the problem shown above"),
    ],
)
def test_advice_after_pip(tmp_path: Path, log: str, advice: str) -> None:
    installer = bootstrap.Installer(tmp_path)
    installer.state.mkdir()
    installer.log.write_text(log)
    assert installer._advice().startswith(advice)


@pytest.mark.slow
def test_what_each_action_imports_is_compiled(copy: Path) -> None:
    """Even with PYTHONDONTWRITEBYTECODE: each ansible-playbook would otherwise compile hundreds of files again."""
    installer = bootstrap.Installer(copy)
    installer.state.mkdir()
    installer._make_venv()
    package = installer._site_packages() / "yaml"
    package.mkdir()
    (package / "reader.py").write_text("x = 1\n")
    installer._compile()
    assert [path.name.split(".")[0] for path in package.glob("__pycache__/*.pyc")] == ["reader"]


def test_the_compiled_packages_exist() -> None:
    site_packages = Path(pytest.__file__).parents[1]
    assert [name for name in bootstrap.COMPILED if not (site_packages / name).is_dir()] == []
