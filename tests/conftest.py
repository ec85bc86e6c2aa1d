"""Paths that every test needs: the repository and its collection are importable without being installed."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT, ROOT / "collections"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
