"""The server: aerospike.conf, changes, info protocol, cluster, licence."""
