"""The driver of Pegasus: one command per action on a test environment. Importing this package is cheap."""

import sys
from pathlib import Path

__version__ = "0.1.0"

ROOT = Path(__file__).resolve().parent.parent
COLLECTION = ROOT / "collections" / "ansible_collections" / "aerospike_community" / "pegasus"

# The driver uses the collection's module_utils, which don't import Ansible. Its path comes first, because the wheel of
# `ansible` has a package of the same name.
if str(ROOT / "collections") not in sys.path:
    sys.path.insert(0, str(ROOT / "collections"))
