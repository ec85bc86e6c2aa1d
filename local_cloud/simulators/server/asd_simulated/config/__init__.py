"""aerospike.conf: its parameters, its parser and its rules."""
