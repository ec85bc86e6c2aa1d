"""The driver of Pegasus: one command per action on a test environment. Importing it imports nothing heavy."""

import sys
from pathlib import Path

__version__ = "0.1.0"

ROOT = Path(__file__).resolve().parent.parent
COLLECTION = ROOT / "collections" / "ansible_collections" / "aerospike_community" / "pegasus"

# The rules of a configuration live in the collection, for the driver and for Ansible alike. First in the path: the
# wheel of `ansible` has a package of the same name. Nothing of Ansible itself is imported by that.
if str(ROOT / "collections") not in sys.path:
    sys.path.insert(0, str(ROOT / "collections"))
