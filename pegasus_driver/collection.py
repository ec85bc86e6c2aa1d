"""Makes the collection's Python importable: the rules of a configuration live there, for driver and Ansible alike.

Import it before anything of ansible_collections. Nothing of Ansible itself is imported by that.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "collections"

if str(FOLDER) not in sys.path:
    # First: the wheel of `ansible` has a package of the same name.
    sys.path.insert(0, str(FOLDER))
