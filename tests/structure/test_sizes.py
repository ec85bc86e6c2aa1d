"""A file does one thing; a long one says at its top why it is long."""

from __future__ import annotations

from tests.structure.sources import ROOT, is_test, python_files, tracked

LONGEST = 400  # lines
REASON = "Long because"  # in one of the first lines, with the reason
TOP = 12


def test_long_product_files_say_why() -> None:
    others = [path for path in tracked() if path.suffix in (".sh", ".yml", ".j2") and not is_test(path)]
    files = [*python_files(), *others]
    for path in files:
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        explained = any(REASON in line for line in lines[:TOP])
        assert len(lines) <= LONGEST or explained, (
            f"{path}: found {len(lines)} lines, expected at most {LONGEST}, or a comment near the top that begins "
            f"with {REASON!r}"
        )
