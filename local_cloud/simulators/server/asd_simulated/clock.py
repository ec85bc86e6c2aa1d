"""Time as the server counts it."""

import time

# Aerospike counts seconds from 2010-01-01 00:00:00 UTC.
EPOCH_SECONDS = 1262304000


def now_seconds() -> int:
    """Seconds since 2010, as in a record's void time."""
    return int(time.time()) - EPOCH_SECONDS


def now_ms() -> int:
    """Milliseconds since 2010, as in a record's last update time."""
    return int(time.time() * 1000) - EPOCH_SECONDS * 1000
