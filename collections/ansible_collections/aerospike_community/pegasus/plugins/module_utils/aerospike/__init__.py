"""The server: settings, aerospike.conf and its changes, info protocol, cluster, licence."""
