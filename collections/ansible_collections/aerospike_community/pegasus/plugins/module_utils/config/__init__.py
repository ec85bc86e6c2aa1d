# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""config.yml: schema, file, rules, checks against EC2 and the artifact source."""
