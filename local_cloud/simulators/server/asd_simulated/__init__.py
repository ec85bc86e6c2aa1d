"""A SIMULATED Aerospike server: enough of asd for Pegasus to set up, load, break and monitor a cluster.

It contains no code of Aerospike and isn't a product. It needs only the standard library of Python 3.11.
"""
