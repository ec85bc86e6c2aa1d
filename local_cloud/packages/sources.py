"""The source files of the simulated packages, in local_cloud/simulators."""

from pathlib import Path

from .archives import File, PackageBuildError

SIMULATORS = Path(__file__).resolve().parent.parent / "simulators"

NOTICE = (
    "SIMULATED: Pegasus built this for its local cloud, in place of the real product. It isn't made, licensed\n"
    "or supported by the product's vendor, and says nothing about the product's performance."
)


def source_files(folder: Path) -> list[Path]:
    """All files of a source folder, without the temporary files of Python and editors."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.endswith((".pyc", "~", ".swp"))
    )


def python_files(folder: Path, target: str) -> dict[str, File]:
    """The files of a Python package, by their path below `target`. Raises PackageBuildError."""
    if not folder.is_dir():
        raise missing(folder)
    return {f"{target}/{path.relative_to(folder)}": File(path.read_bytes()) for path in source_files(folder)}


def source(folder: Path, name: str, mode: int = 0o644) -> File:
    """One file of a source folder. Raises PackageBuildError."""
    try:
        return File((folder / name).read_bytes(), mode)
    except OSError:
        raise missing(folder / name) from None


def missing(path: Path) -> PackageBuildError:
    return PackageBuildError(
        f"a source file of the simulated packages is missing: {path.relative_to(SIMULATORS.parent)}",
        "Restore the checkout (git status lists deleted files).",
    )
