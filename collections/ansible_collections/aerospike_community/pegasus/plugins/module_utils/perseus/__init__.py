"""Perseus, the load generator: configuration, threads, rows, meter, exporter, proof, live load, preflight."""
