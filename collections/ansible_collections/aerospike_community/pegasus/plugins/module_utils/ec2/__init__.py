# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""One EC2 environment: plan, launch, removal, cost, preflight."""
