# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Perseus, the load generator: configuration, threads, rows, meter, exporter, proof, live load, preflight."""
