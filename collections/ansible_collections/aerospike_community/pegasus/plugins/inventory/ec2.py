# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The inventory plugin that lists the hosts of an environment in EC2."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleParserError
from ansible.module_utils.common.dict_transformations import camel_dict_to_snake_dict
from ansible.plugins.inventory import BaseInventoryPlugin

from ..module_utils.ec2.api import Ec2
from ..module_utils.ec2.errors import Ec2Problem
from ..module_utils.ec2.instances import Instance
from ..module_utils.ec2.spec import check_environment

DOCUMENTATION = r"""
name: ec2
short_description: List the hosts of an environment in EC2
description:
  - Describes the environment's instances with one call. A host is named after its group and its index. Both are
    derived from the tag of its launch (C(pegasus:launch)), so that no instance needs individual tags.
  - Host variables are those of the plugin C(amazon.aws.aws_ec2) with the prefix C(ec2_), and C(ec2_tags) has
    C(pegasus:index) and C(Name) of each instance.
  - All hosts are in the group C(aws_ec2), in the group of their kind (C(servers), C(clients) or C(monitors)), and in
    C(running) if their instance is running. Terminated instances aren't listed; stopped instances are.
  - Environment and connection come from the project's configuration. Later sources override earlier sources - the
    preset beside the inventory file (C(group_vars/all.yml)), C(group_vars/all/config.yml), the file in
    E(PEGASUS_CONFIG), the options. Extra variables (C(-e)) aren't visible to an inventory.
extends_documentation_fragment:
  - aerospike_community.pegasus.ec2
options:
  plugin:
    description: This plugin's name.
    choices: [aerospike_community.pegasus.ec2]
    required: true
  environment:
    description: Name of the environment; empty for C(pegasus_cluster_name).
    type: str
    default: ""
author: Pegasus authors
"""

EXAMPLES = r"""
plugin: aerospike_community.pegasus.ec2
"""

ENDINGS = ("aws_ec2.yml", "aws_ec2.yaml")
GROUP = "aws_ec2"
CONFIG = Path("group_vars/all/config.yml")
PRESET = Path("group_vars/all.yml")
# Option -> key of the configuration.
KEYS = {
    "environment": "pegasus_cluster_name",
    "region": "pegasus_region",
    "endpoint_url": "pegasus_ec2_endpoint_url",
    "access_key": "pegasus_ec2_access_key",
    "secret_key": "pegasus_ec2_secret_key",
}


class InventoryModule(BaseInventoryPlugin):
    """Ansible's entry point."""

    NAME = "aerospike_community.pegasus.ec2"

    def verify_file(self, path: str) -> bool:
        """Whether this is an inventory file: an inventory's folder has other YAML files, too."""
        return super().verify_file(path) and path.endswith(ENDINGS)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Add the hosts.

        :raises AnsibleParserError: the configuration is wrong, or EC2 refused the call
        """
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        connection = self._connection(Path(path))
        wrong = check_environment(connection["environment"])
        if wrong:
            raise AnsibleParserError(wrong)
        try:
            descriptions = Ec2(**connection).describe_instances()
        except Ec2Problem as problem:
            raise AnsibleParserError(str(problem)) from problem
        self.inventory.add_group(GROUP)
        for description in descriptions:
            instance = Instance.from_description(description)
            if instance.live and instance.name:
                self._add(instance, host_variables(description, instance))
        # These objects live as long as the process: exempt them from garbage collection, above all in Ansible's forks.
        gc.freeze()

    def _connection(self, path: Path) -> dict[str, str]:
        """The arguments of the EC2 client."""
        values: dict[str, Any] = {}
        for file in self._configuration_files(path):
            # The same arguments as in Ansible's group_vars plugin, which reads these files next: both share a cache.
            values |= self.loader.load_from_file(str(file), cache="all", unsafe=True, trusted_as_template=True) or {}
        self.templar.available_variables = values
        return {
            option: self.get_option(option) or str(self.templar.template(values.get(key)) or "")
            for option, key in KEYS.items()
        }

    def _configuration_files(self, path: Path) -> list[Path]:
        """The configuration files; later files override earlier files. config/check.py checks the same files."""
        root = Path(constants.CONFIG_FILE).parent if constants.CONFIG_FILE else Path.cwd()
        files = [file for file in (path.parent / PRESET, root / CONFIG) if file.is_file()]
        given = os.environ.get("PEGASUS_CONFIG", "")
        return [file.resolve() for file in ([*files, Path(given)] if given else files)]

    def _add(self, instance: Instance, variables: dict[str, Any]) -> None:
        name = self.inventory.add_host(instance.name, group=GROUP)
        for key, value in variables.items():
            self.inventory.set_variable(name, key, value)
        groups = [f"{instance.kind}s"] if instance.kind else []
        for group in [*groups, "running"] if instance.state == "running" else groups:
            self.inventory.add_host(name, group=self.inventory.add_group(group))


def host_variables(description: dict[str, Any], instance: Instance) -> dict[str, Any]:
    """EC2's description of an instance as variables with the prefix ec2_."""
    variables = camel_dict_to_snake_dict({key: value for key, value in description.items() if key != "Tags"})
    return {f"ec2_{key}": value for key, value in variables.items()} | {"ec2_tags": instance.full_tags()}
