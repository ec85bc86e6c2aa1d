# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""config.yml: schema, file, rules, checks against EC2 and the artifact source."""
