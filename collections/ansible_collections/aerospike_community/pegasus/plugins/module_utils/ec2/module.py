"""What the modules that call EC2 share: their connection's parameters, and how their errors become results."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from . import plan as ec2_plan
from .api import Ec2
from .errors import CONFIGURATION, OTHER, USAGE, Ec2Problem

# AWS's secret keys have 40 characters. A much shorter one is the stand-in of a local endpoint, often a plain word, and
# Ansible would blot that word out of every name and path in the result.
SHORTEST_SECRET = 16

CONNECTION_ARGUMENTS: dict[str, Any] = {
    "environment": {"type": "str", "required": True},
    "region": {"type": "str", "default": ""},
    "endpoint_url": {"type": "str", "default": ""},
    "access_key": {"type": "str", "default": "", "no_log": False},
    "secret_key": {"type": "str", "default": "", "no_log": True},
}


def connect(asked: dict[str, Any]) -> Ec2:
    """The client of the asked environment. Raises Ec2Problem.

    EC2's filters know wildcards, so a name with one in it would mean other environments too: it is refused.
    """
    wrong = ec2_plan.check_environment(asked["environment"])
    if wrong:
        raise Ec2Problem(CONFIGURATION, wrong)
    return Ec2(
        asked["environment"],
        region=asked["region"],
        endpoint_url=asked["endpoint_url"],
        access_key=asked["access_key"],
        secret_key=asked["secret_key"],
    )


def run(module: AnsibleModule, work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """End the module with what `work` returns for its parameters, or with the class and advice of what went wrong."""
    asked = module.params
    if len(asked["secret_key"]) < SHORTEST_SECRET:
        module.no_log_values.discard(asked["secret_key"])
    try:
        result = work(asked)
    except Ec2Problem as problem:
        module.fail_json(msg=str(problem), error_class=problem.error_class, next_step=problem.next_step)
    except ImportError as error:
        module.fail_json(
            msg=f"A Python library is missing: {error}. Expected boto3 beside Ansible: see requirements.txt.",
            error_class=USAGE,
            next_step="pip install -r requirements.txt",
        )
    except Exception as error:
        module.fail_json(
            msg=f"Unexpected {type(error).__name__} from EC2: {error}. Run it again with -vvv and report this.",
            error_class=OTHER,
            next_step="Run it again with -vvv and report this.",
            exception=traceback.format_exc(),
        )
    module.exit_json(**result)
