"""`python -m pegasus_driver`: what ./pegasus-driver executes."""

import sys

try:
    from .cli import main
except KeyboardInterrupt:  # Ctrl-C during the import
    raise SystemExit(130) from None

if __name__ == "__main__":
    sys.exit(main())
