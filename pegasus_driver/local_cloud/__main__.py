"""python -m pegasus_driver.local_cloud start|stop|status|image [--root FOLDER]: the API by hand, for work on it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from pegasus_driver.local_cloud import LocalCloudError, cloud


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pegasus_driver.local_cloud")
    parser.add_argument("verb", choices=["start", "stop", "status", "image"])
    parser.add_argument("--root", type=Path, default=Path.cwd())
    parser.add_argument("--if-empty", action="store_true")
    options = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        if options.verb == "start":
            print(json.dumps(dataclasses.asdict(cloud.start(options.root, say)), indent=2))
        elif options.verb == "stop":
            print("stopped" if cloud.stop(options.root, say, if_empty=options.if_empty) else "nothing was stopped")
        elif options.verb == "status":
            found = dataclasses.asdict(cloud.status(options.root)) | {"leftovers": cloud.leftovers(options.root)}
            print(json.dumps(found, indent=2))
        else:
            print(cloud.image(options.root, say))
    except LocalCloudError as error:
        print(f"error: {error.message}\nnext: {error.next_step}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
