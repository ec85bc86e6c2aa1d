"""Words and phrases that a native engineer wouldn't write. CONTRIBUTING.md has the glossary."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.structure.sources import ROOT, tracked

AVOID = {
    r"\btold\b|\btell(s|ing)? (of|that|the user|about)\b": "report, show, warn",
    r"\banew\b": "again, restart, recreate",
    r"\bfor one in\b|\bone (in|for) .* if one\.": "name the thing: for instance in instances",
    r"\bsays? so\b|\bis said\b": "report, warn",
    r"\bneeds? (your|a|an?body's|the user's) yes\b|\bsay(s|ing)? yes\b": "ask for confirmation, confirm",
    r"\bwhat is there\b|\bhow it does\b": "status, health",
    r"\bwhichever it\b|\bof which none\b": "a plain sentence",
    r"\bis at work\b|\bare at work\b|\bstill at work\b": "runs, is busy",
    r"\bstands? (against|beside|in the way)\b": "blocks, is next to",
    r"\bone's own\b": "your own",
    r"\bin so far\b|\bso far that\b": "only as far as",
    r"\bgone away\b|\bis gone\b|\bare gone\b": "terminated, removed, exited",
    r"\ball the same\b": "anyway, despite this",
    r"\bgo(es|ing)? on (with|from|as|where)\b|\bgoes on\b": "continue, still run",
}
# The licence, recorded output, and the pages that quote the phrases.
EXEMPT = {
    Path("LICENSE"),
    Path("CONTRIBUTING.md"),
    Path("benchmarks/recorded_setup.ndjson"),
    Path("tests/structure/test_language.py"),
}
TEXT = {".py", ".yml", ".yaml", ".md", ".j2", ".sh", ".toml", ".cfg", ".txt", ".json", ""}


@pytest.mark.parametrize("pattern", AVOID)
def test_phrases_to_avoid(pattern: str) -> None:
    found = []
    for path in tracked():
        if path in EXEMPT or path.suffix not in TEXT or (ROOT / path).is_symlink():
            continue
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1):
            if re.search(pattern, line, re.IGNORECASE):
                found.append(f"{path}:{number}: {line.strip()[:120]}")
    assert not found, f"write instead: {AVOID[pattern]}\n" + "\n".join(found)
