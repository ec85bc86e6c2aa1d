"""A SIMULATED Aerospike server: enough of asd for Pegasus to build, load, break and watch a cluster.

It isn't Aerospike's code and no product. It needs nothing but the standard library of Python 3.11.
"""
