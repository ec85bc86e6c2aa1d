"""The faults that chaos_node injects: a file for each, one contract."""
