# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The faults that chaos_node injects: a file for each, one contract."""
