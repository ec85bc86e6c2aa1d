# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Documentation that the EC2 modules and the inventory plugin share."""

from __future__ import annotations


class ModuleDocFragment:
    """Ansible's entry point."""

    # The connection, for modules and the inventory plugin.
    DOCUMENTATION = r"""
requirements:
  - boto3
options:
  region:
    description: EC2 region; empty for boto3's default.
    type: str
    default: ""
  endpoint_url:
    description: URL of the EC2 endpoint; empty for AWS, or E(AWS_ENDPOINT_URL).
    type: str
    default: ""
  access_key:
    description: Access key; empty for boto3's default credentials (environment, profile, instance role).
    type: str
    default: ""
  secret_key:
    description: Secret key; empty for boto3's default credentials.
    type: str
    default: ""
"""

    # What only modules have.
    MODULE = r"""
options:
  environment:
    description: Name of the environment, the value of the tag C(pegasus:environment).
    type: str
    required: true
attributes:
  action_group:
    description: C(module_defaults) for the action group sets the connection of all EC2 modules at once.
    support: full
    membership: [aerospike_community.pegasus.ec2]
  diff_mode:
    description: Shows no diff. The result has the changes as lines.
    support: none
"""
