# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The server: settings, aerospike.conf and its changes, info protocol, cluster, licence."""
