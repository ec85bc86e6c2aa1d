# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Perseus, the load generator: configuration, threads, rows, meter, exporter, proof, live load, preflight."""
