"""Stand-in for ansible-playbook in benchmarks/replay_events.py: writes recorded events as Ansible's callback does.

The data of each event goes to a file in ansible-runner's folder. The terminal gets the event's id, its text and an end
mark, in the escape sequences that ansible-runner parses.
"""

import base64
import json
import os
import sys
import time
import uuid
from pathlib import Path

WIDTH = 78


def mark(data):
    """Return data in escape sequences, which a terminal doesn't show."""
    text = base64.b64encode(json.dumps(data).encode()).decode()
    chunks = [text[start : start + WIDTH] for start in range(0, len(text), WIDTH)]
    return "\x1b[K" + "".join(f"{chunk}\x1b[{len(chunk)}D" for chunk in chunks) + "\x1b[K"


def main():
    """Write all events, evenly over PEGASUS_REPLAYED_SECONDS."""
    lines = Path(os.environ["PEGASUS_REPLAYED"]).read_text().splitlines()
    seconds = float(os.environ["PEGASUS_REPLAYED_SECONDS"])
    folder = Path(os.environ["AWX_ISOLATED_DATA_DIR"], "job_events")
    folder.mkdir(mode=0o700, exist_ok=True)
    began = time.monotonic()
    for number, line in enumerate(lines):
        time.sleep(max(0.0, began + seconds * number / len(lines) - time.monotonic()))
        event = json.loads(line)
        stdout, name = event.pop("stdout"), str(uuid.uuid4())
        part = folder / f"{name}-partial.json"
        part.with_suffix(".tmp").write_text(json.dumps({**event, "uuid": name}))
        part.with_suffix(".tmp").rename(part)
        sys.stdout.write(f"{mark({'uuid': name})}{stdout}{mark({})}")
        sys.stdout.flush()


main()
