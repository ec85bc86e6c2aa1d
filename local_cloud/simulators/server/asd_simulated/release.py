"""The release and edition that this copy simulates: `release.json` beside the package, written with the deb."""

import json
from dataclasses import dataclass
from pathlib import Path

RELEASE_FILE = Path(__file__).resolve().parent.parent / "release.json"


@dataclass(frozen=True)
class Release:
    """A server release.

    :param version: four numbers, such as 8.0.0.4
    :param edition: "enterprise" or "community"
    """

    version: str = "8.0.0.4"
    edition: str = "enterprise"

    @property
    def enterprise(self) -> bool:
        return self.edition == "enterprise"

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split("."))

    @property
    def title(self) -> str:
        return f"Aerospike {self.edition.capitalize()} Edition SIMULATED"


def load_release(path: Path = RELEASE_FILE) -> Release:
    """The release in `path` ({"version": "8.1.0.3", "edition": "community"}), or the default if there is no file."""
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        return Release()
    release = Release(version=str(values["version"]), edition=str(values["edition"]))
    if release.edition not in ("enterprise", "community"):
        raise ValueError(f"{path}: edition is {release.edition!r}, expected 'enterprise' or 'community'")
    return release
