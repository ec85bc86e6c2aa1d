"""`python -m pegasus_driver`: what ./pegasus-driver executes."""

import sys

from pegasus_driver.cli import main

if __name__ == "__main__":
    sys.exit(main())
