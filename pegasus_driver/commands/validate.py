"""`pegasus-driver validate`: reports every mistake in the configuration, and rules that couldn't be checked."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from pegasus_driver.exit_codes import ExitCode

if TYPE_CHECKING:
    from pegasus_driver.world import World


def run_validate(arguments: argparse.Namespace, world: World) -> ExitCode:
    """Print the result on stdout, with mistakes or without."""
    from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config import preflight

    from pegasus_driver import config as configuration

    started = world.monotonic()
    configuration.extra_arguments(arguments.extra_vars, world.folder)  # for its usage errors
    config = configuration.examine(
        world.root,
        configuration.configured(arguments, world.environ),
        world.folder,
        arguments.extra_vars,
        launching=True,
    )
    unchecked = [rule.text for rule in preflight.check_remote(config.report, launching=False)]
    problems = config.report.problems
    code = ExitCode.CONFIGURATION if problems else ExitCode.OK
    if arguments.output == "json":
        record = _record(config, code, unchecked, world.monotonic() - started)
        world.stdout.write(json.dumps({"time": world.now().isoformat(), **record}) + "\n")
    else:
        lines = [configuration.problems_text(problems)] if problems else [f"no mistake found in {config.path}"]
        lines += [f"not checked: {text}" for text in unchecked]
        world.stdout.write("\n".join(lines) + "\n")
    return code


def _record(config: Any, code: ExitCode, unchecked: list[str], elapsed: float) -> dict[str, Any]:
    """Return the record that other commands end with, plus the parts of each mistake."""
    from pegasus_driver.run.records import end_record
    from pegasus_driver.run.state import Ending

    problems = config.report.problems
    name = str(config.report.values.get("pegasus_cluster_name", ""))
    ending = Ending(code, "validate", name, elapsed, problems=[problem.text for problem in problems])
    return {
        **end_record(ending, 0.0),
        "file": str(config.path),
        "mistakes": [problem.record() for problem in problems],
        "unchecked": unchecked,
    }
