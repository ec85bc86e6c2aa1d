"""The table of actions. An action is a playbook, tags and variables of one run, and what has to be there before it.

A new action is one entry in ACTIONS; a step before or after its playbook is a function of Session.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local_cloud import LocalCloudError

from .config import Config
from .errors import CloudError

if TYPE_CHECKING:
    from local_cloud.status import CloudStatus

OWN = ""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Session:
    """What a step may use. cloud() imports the local cloud's module; begin(name) shows a stage.

    cloud_status(root) needs none of that module: it says what runs, and costs no import of an engine's client.
    """

    root: Path
    config: Config
    arguments: argparse.Namespace
    cloud: Callable[[], Any]
    cloud_status: Callable[[Path], CloudStatus]
    say: Say
    begin: Callable[[str], None]

    @property
    def local(self) -> bool:
        return self.config.backend == "local"


@dataclass(frozen=True)
class Argument:
    """A positional argument, as argparse takes it. nargs "?" makes it optional; example is a value for help texts."""

    name: str
    type: Callable[[str], Any]
    help: str
    nargs: str | None = None
    default: Any = None
    example: str = ""
    complete: str = ""  # what the shell completes: "server" or "client" for an index of that role, "file"


@dataclass(frozen=True)
class Option:
    """An option of one action: a switch, or with `type` one that takes a value."""

    flag: str  # "--force"; the namespace has it as `force`
    help: str
    type: Callable[[str], Any] | None = None
    default: Any = None
    metavar: str | None = None


@dataclass(frozen=True)
class Action:
    """prepare returns what to say instead of running the playbook, or None to run it; conclude runs after success.

    variables are given the command line's namespace, in which `folder` is where the user stands.
    playbook is a file in playbooks/, or OWN: the user's, which the argument `playbook` names.
    locks: no other action on the same environment at the same time; an action that doesn't lock changes nothing.
    launches: needs threads.yaml and the licence, so they are checked with the configuration.
    example: a command line for help and docs, without the program; made from the arguments' examples by default.
    """

    name: str
    help: str
    playbook: str
    tags: Sequence[str] = ()
    arguments: Sequence[Argument] = ()
    options: Sequence[Option] = ()
    example: str = ""
    variables: Callable[[argparse.Namespace], Mapping[str, Any]] = field(default=lambda arguments: {})
    locks: bool = True
    launches: bool = False
    needs_hosts: bool = False  # a play that matches no host is a mistake, not a success
    shows: bool = False  # Grafana is opened in the browser in the end; needs the option NO_OPEN
    prepare: Callable[[Session], str | None] = field(default=lambda session: None)
    conclude: Callable[[Session], None] = field(default=lambda session: None)

    @property
    def usage_example(self) -> str:
        return self.example or " ".join([self.name, *(one.example for one in self.arguments if one.example)])


@contextmanager
def cloud_errors() -> Iterator[None]:
    """Gives the local cloud's own errors the driver's form."""
    try:
        yield
    except LocalCloudError as error:
        raise CloudError(error.message, error.next_step) from error


def start_cloud(session: Session, to_remove: bool = False) -> None:
    """Starts the local cloud, or finds it running; with to_remove only so far that instances can be ended."""
    if session.local:
        session.begin("Start the local cloud")
        cloud = session.cloud()
        with cloud_errors():
            cloud.start(session.root, session.say, to_remove=to_remove)


def cloud_runs(session: Session) -> bool:
    """True also where there is no local cloud to run."""
    if not session.local:
        return True
    with cloud_errors():
        return bool(session.cloud_status(session.root).running)


def stop_cloud(session: Session) -> None:
    """Stops the local cloud unless it has instances."""
    session.begin("Stop the local cloud")
    with cloud_errors():
        session.cloud().stop(session.root, session.say, if_empty=True)


def before_dry_run(session: Session) -> str | None:
    """A local cloud that crashed would take its containers up again: a dry run leaves them as they are."""
    if cloud_runs(session):
        return None
    with cloud_errors():
        left = session.cloud().leftovers(session.root)
    if not left:
        return None
    return "\n".join(["the local cloud isn't running, but it left what would be taken up first:",
                      *(f"  {item}" for item in left)])  # fmt: skip


def before_setup(session: Session) -> None:
    start_cloud(session)


def before_destroy(session: Session) -> str | None:
    """A local cloud that isn't running has to be: it adopts what a crash left, so that destroy finds it in EC2."""
    if not session.local:
        return None
    with cloud_errors():
        running = session.cloud_status(session.root).running
        if not running and not session.cloud().leftovers(session.root):
            session.cloud().stop(session.root, session.say, if_empty=True)  # keys without an instance
            return "nothing to destroy"
    start_cloud(session, to_remove=True)
    return None


def after_destroy(session: Session) -> None:
    """Stops the local cloud unless another environment lives in it."""
    if session.local:
        stop_cloud(session)


def before_status(session: Session) -> str | None:
    if not session.local:
        return None
    with cloud_errors():
        if session.cloud_status(session.root).running:
            return None
        left = session.cloud().leftovers(session.root)
    if not left:
        return "nothing runs (./pegasus-driver setup builds it)"
    advice = "./pegasus-driver setup takes it up again, ./pegasus-driver destroy removes it"
    return "\n".join(["the local cloud isn't running, but it left:", *(f"  {item}" for item in left), advice])


def need_cloud(session: Session) -> None:
    if not session.local:
        return
    with cloud_errors():
        if not session.cloud_status(session.root).running:
            raise CloudError("the local cloud isn't running, so there is no node", "Build it: ./pegasus-driver setup")


def node_index(text: str) -> int:
    """The N of stop-node N. argparse turns the ValueError into a usage error."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a node's index: 1, 2, ... (status lists them)")
    return int(text)


def duration(text: str) -> str:
    """A length of time, as it is handed on."""
    from ansible_collections.aerospike_community.pegasus.plugins.module_utils.durations import parse_duration

    try:
        parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def own_playbook(session: Session) -> str | None:
    """Only for environments that may have hosts."""
    need_cloud(session)
    return None


def logs_variables(arguments: argparse.Namespace) -> dict[str, str]:
    """Absolute, because Ansible works in the project's folder."""
    return {"logs_path": str(arguments.folder / arguments.to)} if arguments.to else {}


def node_variables(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the playbooks of single nodes take."""
    variables: dict[str, Any] = {"chaos_nodes": [arguments.node]}
    return variables | ({"chaos_force": True} if arguments.force else {})


def ref_variables(arguments: argparse.Namespace) -> dict[str, str]:
    return {"perseus_client_ref": arguments.ref} if arguments.ref else {}


def node_count(text: str) -> int:
    """The COUNT of add-nodes. argparse turns the error into a usage error."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected how many nodes to add: 1, 2, ...")
    return int(text)


def group_name(text: str) -> str:
    """The GROUP of extend --group. argparse turns the error into a usage error."""
    if text not in GROUPS:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected one of {', '.join(GROUPS)}")
    return text


def extend_variables(arguments: argparse.Namespace) -> dict[str, Any]:
    variables: dict[str, Any] = {"ec2_provision_expiry": arguments.duration}
    return variables | ({"pegasus_groups": [arguments.group]} if arguments.group else {})


def reap_variables(arguments: argparse.Namespace) -> dict[str, bool]:
    variables = {"ec2_provision_reap_all": arguments.all}
    return variables | ({"ec2_provision_reap_all_regions": True} if arguments.all_regions else {})


GROUPS = ("servers", "clients", "monitors")
NODE = Argument("node", node_index, "the server node's index, as status shows it", example="2", complete="server")
COUNT = Argument("count", node_count, "how many nodes to add; 1 by default", nargs="?", default=1, example="2")
DURATION = Argument("duration", duration, "life from now on: 4h, 20h 30m, 90m, 3600s; 0 is without end", example="4h")
YES = Option("--yes", "don't ask: launch also above ec2_provision_price_limit")
GO_ON = Option("--yes", "don't ask before it is destroyed; without a terminal nobody is asked")
GROUP = Option("--group", "only of this group: cluster, clients or monitoring; default: all", type=group_name,
               metavar="GROUP")  # fmt: skip
LOSS = Option(
    "--force", "also where more nodes would be down than the replication factor survives, or partitions still move"
)
NO_OPEN = Option("--no-open", "don't open Grafana in the browser in the end")
ANEW = Option("--force", "start it anew also if it runs")
UNASKED = Option("--force", "also without quiesce (Community Edition), or while other nodes are down")
REF = Option("--ref", "a branch, a tag or a full commit of Perseus; default: perseus_client_ref", type=str,
             metavar="REF")  # fmt: skip

ACTIONS: tuple[Action, ...] = (
    Action("setup", "build the environment, or go on with it; changes only what differs", "setup.yml",
           options=(YES, NO_OPEN), launches=True, shows=True, prepare=before_setup),
    Action("destroy", "remove everything that carries the environment's tag, and nothing else", "destroy.yml",
           options=(GO_ON,), prepare=before_destroy, conclude=after_destroy),
    Action("status", "show the environment: nodes, cluster, load, monitoring, cost", "status.yml",
           locks=False, prepare=before_status),
    Action("setup-cluster", "build the cluster alone, or go on with it", "setup-cluster.yml",
           options=(YES,), launches=True, prepare=before_setup),
    Action("destroy-cluster", "take the cluster's instances down, and nothing else", "destroy-cluster.yml",
           options=(GO_ON,), prepare=need_cloud),
    Action("add-nodes", "grow the cluster by COUNT nodes", "add-nodes.yml", arguments=(COUNT,), options=(YES,),
           variables=lambda arguments: {"add_nodes_count": arguments.count}, launches=True, prepare=need_cloud),
    Action("stop-node", "stop the database on a node", "stop-node.yml",
           arguments=(NODE,), options=(LOSS,), variables=node_variables, prepare=need_cloud),
    Action("restart-node", "bring a node back whose database is stopped", "restart-node.yml",
           arguments=(NODE,), options=(ANEW,), variables=node_variables, prepare=need_cloud),
    Action("kill-node", "kill the database on a node with SIGKILL, as a crash would", "kill-node.yml",
           arguments=(NODE,), options=(LOSS,), variables=node_variables, prepare=need_cloud),
    Action("remove-node", "empty a node, then terminate its instance", "remove-node.yml",
           arguments=(NODE,), options=(UNASKED,), variables=node_variables, prepare=need_cloud),
    Action("setup-clients", "build the clients alone, or go on with them", "setup-clients.yml",
           options=(YES,), launches=True, prepare=need_cloud),
    Action("destroy-clients", "take the clients' instances down, and nothing else", "destroy-clients.yml",
           options=(GO_ON,), prepare=need_cloud),
    Action("rebuild-clients", "pull and build Perseus once, hand it to all clients, restart it there",
           "rebuild-clients.yml", options=(REF,), variables=ref_variables, prepare=need_cloud),
    Action("build-clients", "pull and build Perseus once and hand it to all clients; what runs goes on",
           "build-clients.yml", options=(REF,), variables=ref_variables, prepare=need_cloud),
    Action("rerun-clients", "restart Perseus on all clients", "rerun-clients.yml", prepare=need_cloud),
    Action("copy-threads", "bring threads.yaml to every client and see Perseus take it over", "copy-threads.yml",
           launches=True, prepare=need_cloud),
    Action("setup-grafana", "build Prometheus and Grafana alone, or go on with them", "setup-grafana.yml",
           options=(YES, NO_OPEN), launches=True, shows=True, prepare=before_setup),
    Action("destroy-grafana", "take the instance of Prometheus and Grafana down, and nothing else",
           "destroy-grafana.yml", options=(GO_ON,), prepare=need_cloud),
    Action("extend", "move the end of all instances to DURATION from now", "extend.yml", arguments=(DURATION,),
           options=(GROUP,), variables=extend_variables, prepare=need_cloud),
    Action("allow-me", "let this machine in after its address has changed: ssh, Grafana, Prometheus", "allow-me.yml",
           prepare=need_cloud),
    Action("reap", "terminate the instances that are past their end (with --dry-run: name them)", "reap.yml",
           options=(Option("--all", "look at every environment in the region, not at this one alone"),
                    Option("--all-regions", "look at every environment in every region of the account")),
           variables=reap_variables, prepare=need_cloud),
    Action("logs", "collect the logs and the configuration of all hosts into one private archive", "logs.yml",
           options=(Option("--to", "the archive to write; default .pegasus/logs/NAME-TIME.tar.gz", type=Path,
                           metavar="FILE"),),
           variables=logs_variables, locks=False, prepare=need_cloud, needs_hosts=True, example="logs --to bug.tar.gz"),
    Action("run", "run one's own playbook with the environment's inventory and variables", OWN,
           arguments=(Argument("playbook", Path, "path of the playbook", example="my.yml", complete="file"),),
           options=(Option("--tags", "only tasks with these tags", type=str, metavar="TAGS"),
                    Option("--limit", "only these hosts", type=str, metavar="HOSTS")),
           prepare=own_playbook),
)  # fmt: skip
