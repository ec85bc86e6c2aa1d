"""Puts or counts records with the official client: records.py put|count ADDRESS. The judge of what a restart keeps."""

from __future__ import annotations

import sys

import aerospike

COUNT = 500


def main() -> int:
    verb, address = sys.argv[1:]
    client = aerospike.client({"hosts": [(address, 3000)], "policies": {"timeout": 5000}}).connect()
    found = 0
    for number in range(COUNT):
        key = ("Test", "molecule", number)
        if verb == "put":
            client.put(key, {"n": number})
            found += 1
        else:
            try:
                found += client.get(key)[2]["n"] == number
            except aerospike.exception.RecordNotFound:
                continue
    print(found)
    client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
