"""Faults: a file for each, one contract."""
