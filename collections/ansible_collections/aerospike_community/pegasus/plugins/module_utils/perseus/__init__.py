"""The load generator: configuration, threads, rows, meter, exporter, proof."""
