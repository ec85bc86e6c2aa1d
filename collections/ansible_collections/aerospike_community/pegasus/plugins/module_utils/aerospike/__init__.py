# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The server: settings, aerospike.conf and its changes, info protocol, cluster, licence."""
