# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind: its figures and its report."""
