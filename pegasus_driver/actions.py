"""The table of actions. An action is a playbook with the tags and variables of one run.

A new action is a playbook and one row of ACTIONS. A step before or after its playbook is a function in steps.py.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .arguments import Argument, Option, duration, group_name, node_count, node_index
from .steps import Session, before_destroy, before_status, need_cloud, start_cloud, stop_cloud

OWN = ""


@dataclass(frozen=True)
class Action:
    """One row of the table."""

    name: str
    help: str
    playbook: str  # a file in playbooks/, or OWN: the user's, which the argument `playbook` names
    tags: Sequence[str] = ()
    arguments: Sequence[Argument] = ()
    options: Sequence[Option] = ()
    example: str = ""  # a command line for help and docs, without the program; default: from the arguments' examples
    # Extra variables from the command line's namespace, in which `folder` is the user's working folder.
    variables: Callable[[argparse.Namespace], Mapping[str, Any]] = field(default=lambda arguments: {})
    locks: bool = True  # excludes other actions on the same environment; an action that doesn't lock changes nothing
    launches: bool = False  # needs threads.yaml and the licence: they are checked with the configuration
    needs_hosts: bool = False  # fails if a play matches no host
    shows: bool = False  # opens Grafana in the browser at the end; needs the option NO_OPEN
    prepare: Callable[[Session], str | None] = field(default=lambda session: None)  # see steps.py
    conclude: Callable[[Session], None] = field(default=lambda session: None)  # after success

    @property
    def usage_example(self) -> str:
        return self.example or " ".join([self.name, *(item.example for item in self.arguments if item.example)])

    def command_line(self, arguments: argparse.Namespace) -> str:
        """Return the command as the user types it, without the options that every action has."""
        words = [self.name]
        for argument in self.arguments:
            value = getattr(arguments, argument.name)
            words += [str(item) for item in (value if isinstance(value, list) else [value]) if item is not None]
        for option in self.options:
            value = getattr(arguments, option.attribute)
            if value != option.default and value is not False:
                words += [option.flag] if option.type is None else [option.flag, str(value)]
        return " ".join(words)


def logs_variables(arguments: argparse.Namespace) -> dict[str, str]:
    # Absolute, because Ansible's working folder is the project's.
    return {"logs_path": str(arguments.folder / arguments.to)} if arguments.to else {}


def node_variables(arguments: argparse.Namespace) -> dict[str, Any]:
    force = {"chaos_force": True} if arguments.force else {}
    return {"chaos_nodes": [arguments.node], **force}


def ref_variables(arguments: argparse.Namespace) -> dict[str, str]:
    return {"perseus_client_ref": arguments.ref} if arguments.ref else {}


def extend_variables(arguments: argparse.Namespace) -> dict[str, Any]:
    groups = {"pegasus_groups": [arguments.group]} if arguments.group else {}
    return {"ec2_provision_expiry": arguments.duration, **groups}


def reap_variables(arguments: argparse.Namespace) -> dict[str, bool]:
    variables = {"ec2_provision_reap_all": arguments.all}
    return variables | ({"ec2_provision_reap_all_regions": True} if arguments.all_regions else {})


NODE = Argument("node", node_index, "index of the server node, as status shows it", example="2", complete="server")
COUNT = Argument("count", node_count, "how many nodes to add (default: 1)", nargs="?", default=1, example="2")
DURATION = Argument("duration", duration, "lifetime from now: 4h, 20h 30m, 90m, 3600s; 0 is unlimited", example="4h")
YES = Option("--yes", "don't ask for confirmation, even above ec2_provision_price_limit")
CONFIRMED = Option("--yes", "don't ask for confirmation (asked for only on a terminal)")
GROUP = Option("--group", "only this group: servers, clients or monitors (default: all)", type=group_name,
               metavar="GROUP")  # fmt: skip
LOSS = Option(
    "--force",
    "proceed even if more nodes would be down than the replication factor allows, or partitions are migrating",
)
RESTART = Option("--force", "restart it even if it is running")
UNQUIESCED = Option("--force", "proceed even without quiesce (Community Edition), or while other nodes are down")
NO_OPEN = Option("--no-open", "don't open Grafana in the browser at the end")
REF = Option("--ref", "branch, tag or full commit of Perseus (default: perseus_client_ref)", type=str, metavar="REF")

ACTIONS: tuple[Action, ...] = (
    Action("setup", "build the environment; if it exists, change only what differs", "setup.yml",
           options=(YES, NO_OPEN), launches=True, shows=True, prepare=start_cloud),
    Action("destroy", "remove everything that carries the environment's tag, and nothing else", "destroy.yml",
           options=(CONFIRMED,), prepare=before_destroy, conclude=stop_cloud),
    Action("status", "show status and health: nodes, cluster, load, monitoring, cost", "status.yml",
           locks=False, prepare=before_status),
    Action("setup-cluster", "build only the cluster; if it exists, change only what differs", "setup-cluster.yml",
           options=(YES,), launches=True, prepare=start_cloud),
    Action("destroy-cluster", "terminate the cluster's instances, and nothing else", "destroy-cluster.yml",
           options=(CONFIRMED,), prepare=need_cloud),
    Action("add-nodes", "add COUNT nodes to the cluster", "add-nodes.yml", arguments=(COUNT,), options=(YES,),
           variables=lambda arguments: {"add_nodes_count": arguments.count}, launches=True, prepare=need_cloud),
    Action("stop-node", "stop the database on a node", "stop-node.yml",
           arguments=(NODE,), options=(LOSS,), variables=node_variables, prepare=need_cloud),
    Action("restart-node", "start the database on a node where it is stopped", "restart-node.yml",
           arguments=(NODE,), options=(RESTART,), variables=node_variables, prepare=need_cloud),
    Action("kill-node", "kill the database on a node with SIGKILL, like a crash", "kill-node.yml",
           arguments=(NODE,), options=(LOSS,), variables=node_variables, prepare=need_cloud),
    Action("remove-node", "drain a node, then terminate its instance", "remove-node.yml",
           arguments=(NODE,), options=(UNQUIESCED,), variables=node_variables, prepare=need_cloud),
    Action("setup-clients", "build only the clients; if they exist, change only what differs", "setup-clients.yml",
           options=(YES,), launches=True, prepare=need_cloud),
    Action("destroy-clients", "terminate the clients' instances, and nothing else", "destroy-clients.yml",
           options=(CONFIRMED,), prepare=need_cloud),
    Action("rebuild-clients", "pull and build Perseus once, copy it to all clients, restart it there",
           "rebuild-clients.yml", options=(REF,), variables=ref_variables, prepare=need_cloud),
    Action("build-clients", "pull and build Perseus once and copy it to all clients; don't restart it",
           "build-clients.yml", options=(REF,), variables=ref_variables, prepare=need_cloud),
    Action("rerun-clients", "restart Perseus on all clients", "rerun-clients.yml", prepare=need_cloud),
    Action("copy-threads", "copy threads.yaml to all clients and verify that Perseus runs that load",
           "copy-threads.yml", launches=True, prepare=need_cloud),
    Action("setup-grafana", "build only Prometheus and Grafana; if they exist, change only what differs",
           "setup-grafana.yml", options=(YES, NO_OPEN), launches=True, shows=True, prepare=start_cloud),
    Action("destroy-grafana", "terminate the instance of Prometheus and Grafana, and nothing else",
           "destroy-grafana.yml", options=(CONFIRMED,), prepare=need_cloud),
    Action("extend", "set the expiry of all instances to DURATION from now", "extend.yml", arguments=(DURATION,),
           options=(GROUP,), variables=extend_variables, prepare=need_cloud),
    Action("allow-me", "allow this machine's new address to reach ssh, Grafana and Prometheus",
           "allow-me.yml", prepare=need_cloud),
    Action("reap", "terminate expired instances (with --dry-run: list them)", "reap.yml",
           options=(Option("--all", "all environments in the region, not only the configured environment"),
                    Option("--all-regions", "all environments in all regions of the account")),
           variables=reap_variables, prepare=need_cloud),
    Action("logs", "collect the logs and the configuration of all hosts in one private archive", "logs.yml",
           options=(Option("--to", "the archive (default: .pegasus/logs/NAME-TIME.tar.gz)", type=Path,
                           metavar="FILE"),),
           variables=logs_variables, locks=False, prepare=need_cloud, needs_hosts=True, example="logs --to bug.tar.gz"),
    Action("run", "run your own playbook with the environment's inventory and variables", OWN,
           arguments=(Argument("playbook", Path, "path of the playbook", example="my.yml", complete="file"),),
           options=(Option("--tags", "only tasks with these tags", type=str, metavar="TAGS"),
                    Option("--limit", "only these hosts", type=str, metavar="HOSTS")),
           prepare=need_cloud),
)  # fmt: skip
