"""A file in a role's templates/ has the path that it has on the host, and the role writes it."""

from __future__ import annotations

import pytest

from tests.structure.sources import COLLECTION, ROOT, tracked

TEMPLATES = [path for path in tracked() if path.is_relative_to(COLLECTION / "roles") and "templates" in path.parts]


def test_there_are_templates() -> None:
    assert TEMPLATES and all(path.suffix == ".j2" for path in TEMPLATES)


@pytest.mark.parametrize("path", TEMPLATES, ids=str)
def test_a_role_writes_each_of_its_templates(path) -> None:
    role = ROOT / COLLECTION / "roles" / path.relative_to(COLLECTION / "roles").parts[0]
    name = path.relative_to(role.relative_to(ROOT) / "templates").with_suffix("")
    written = "\n".join(file.read_text(encoding="utf-8") for file in role.glob("*/*.yml"))
    assert f"/{name}" in written or f"{name}.j2" in written, (
        f"{path}: found no file /{name} in the role's YAML, expected one that this template renders"
    )
