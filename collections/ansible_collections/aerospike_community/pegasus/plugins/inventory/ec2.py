# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The inventory plugin that lists an environment's hosts as EC2 has them."""

from __future__ import annotations

import gc
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.module_utils.common.dict_transformations import camel_dict_to_snake_dict
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.template import trust_as_template
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.api import Ec2
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import Ec2Problem
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.spec import check_environment

DOCUMENTATION = r"""
name: ec2
short_description: List the hosts of an environment in EC2
description:
  - One description of the environment's instances, however many there are. A host is named after its group and its
    index, which follow from the tags of its launch (C(pegasus:launch)), so that no node needs tags of its own.
  - Host variables are those of the plugin C(amazon.aws.aws_ec2) with the prefix C(ec2_), and C(ec2_tags) has
    C(pegasus:index) and C(Name) of each node. All hosts are in the group C(aws_ec2).
  - A terminated instance is nobody's host any more; a stopped one stays listed, so that actions can say that they skip
    it.
requirements:
  - boto3
extends_documentation_fragment:
  - constructed
options:
  plugin:
    description: This plugin's name.
    choices: [aerospike_community.pegasus.ec2]
    required: true
  environment:
    description: Name of the environment. May be a template.
    type: str
    required: true
  region:
    description: EC2 region. May be a template; empty is boto's own choice.
    type: str
    default: ""
  endpoint_url:
    description: URL of the EC2 endpoint. May be a template; empty is boto's own choice.
    type: str
    default: ""
  access_key:
    description: Access key; empty is boto's own chain.
    type: str
    default: ""
  secret_key:
    description: Secret key; empty is boto's own chain.
    type: str
    default: ""
author: Pegasus authors
"""

EXAMPLES = r"""
plugin: aerospike_community.pegasus.ec2
region: us-east-1
environment: Benchmark
groups:
  servers: ec2_tags['pegasus:role'] == 'server'
"""

ENDINGS = ("aws_ec2.yml", "aws_ec2.yaml")
GROUP = "aws_ec2"


class InventoryModule(BaseInventoryPlugin, Constructable):
    """Ansible's entry point."""

    NAME = "aerospike_community.pegasus.ec2"

    def verify_file(self, path: str) -> bool:
        """A folder of an inventory holds other YAML files, too."""
        return super().verify_file(path) and path.endswith(ENDINGS)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Add the hosts. Raises AnsibleParserError with what EC2 said."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            asked = {key: self._text(key) for key in ("region", "endpoint_url", "access_key", "secret_key")}
            environment = self._text("environment")
            wrong = check_environment(environment)
            if wrong:
                raise AnsibleParserError(wrong)
            described = Ec2(environment, **asked).describe_instances()
        except Ec2Problem as problem:
            raise AnsibleParserError(str(problem)) from problem
        self.inventory.add_group(GROUP)
        for found in described:
            instance = Instance.from_description(found)
            if instance.live and instance.name:
                self._add(instance, host_variables(found, instance))
        # What is there by now stays: Ansible's forks and its end needn't look for garbage in it.
        gc.freeze()

    def _text(self, key: str) -> str:
        """An option's value, made by Ansible's templating: the file is the user's own."""
        return str(self.templar.template(trust_as_template(str(self.get_option(key) or ""))))

    def _add(self, instance: Instance, variables: dict[str, Any]) -> None:
        name = self.inventory.add_host(instance.name, group=GROUP)
        for key, value in variables.items():
            self.inventory.set_variable(name, key, value)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)


def host_variables(found: dict[str, Any], instance: Instance) -> dict[str, Any]:
    """Everything that EC2 says of an instance, as variables with the prefix ec2_."""
    described = {key: value for key, value in found.items() if key != "Tags"}
    variables = camel_dict_to_snake_dict(described)
    return {f"ec2_{key}": value for key, value in variables.items()} | {"ec2_tags": instance.full_tags()}
