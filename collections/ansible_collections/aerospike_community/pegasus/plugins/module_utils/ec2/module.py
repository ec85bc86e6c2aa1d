# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""What the EC2 modules share: the parameters of their connection, and the results of failures."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .api import Ec2
from .errors import CONFIGURATION, OTHER, USAGE, Ec2Problem
from .spec import check_environment

# AWS's secret keys have 40 characters. A much shorter secret is the placeholder of a local endpoint, often a plain
# word, and Ansible would remove that word from every name and path in the result.
SHORTEST_SECRET = 16

# Documented in the doc fragment `ec2`.
CONNECTION_ARGUMENTS: dict[str, Any] = {
    "environment": {"type": "str", "required": True},
    "region": {"type": "str", "default": ""},
    "endpoint_url": {"type": "str", "default": ""},
    "access_key": {"type": "str", "default": "", "no_log": False},
    "secret_key": {"type": "str", "default": "", "no_log": True},
}


def connect(params: Mapping[str, Any]) -> Ec2:
    """The client for the environment in the connection parameters.

    A name with a wildcard is refused: EC2's filters would match other environments too.

    :raises Ec2Problem: the name or the connection is wrong
    """
    wrong = check_environment(params["environment"])
    if wrong:
        raise Ec2Problem(CONFIGURATION, wrong)
    return Ec2(**{name: params[name] for name in CONNECTION_ARGUMENTS})


def run_module(
    arguments: dict[str, Any], work: Callable[[dict[str, Any], bool], dict[str, Any]], **options: Any
) -> None:
    """Run an EC2 module: exit with the result of `work`, or fail with the class of the error and the next step.

    :param arguments: the argument spec beside the connection
    :param work: takes the parameters and whether this is check mode
    :param options: further options of AnsibleModule
    """
    module = AnsibleModule(argument_spec={**CONNECTION_ARGUMENTS, **arguments}, supports_check_mode=True, **options)
    if len(module.params["secret_key"]) < SHORTEST_SECRET:
        module.no_log_values.discard(module.params["secret_key"])
    try:
        result = work(module.params, module.check_mode)
    except Ec2Problem as problem:
        module.fail_json(msg=str(problem), error_class=problem.error_class, next_step=problem.next_step)
    except ImportError as error:
        module.fail_json(
            msg=f"A Python library is missing: {error}. Expected boto3 in Ansible's environment: see requirements.txt.",
            error_class=USAGE,
            next_step="pip install -r requirements.txt",
        )
    except Exception as error:
        module.fail_json(
            msg=f"Unexpected {type(error).__name__} in a call to EC2: {error}. Run this again with -vvv and report it.",
            error_class=OTHER,
            next_step="Run this again with -vvv and report it.",
            exception=traceback.format_exc(),
        )
    module.exit_json(**result)
