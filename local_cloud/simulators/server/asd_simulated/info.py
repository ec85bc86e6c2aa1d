"""The info protocol: commands as lines of text, answered as `command<TAB>value` lines."""

from collections.abc import Awaitable, Callable

from . import clock, info_config
from . import fabric as messages
from .fabric import FabricError
from .info_stats import namespace_statistics, set_statistics, statistics
from .info_text import (
    ERR_CLUSTER_KEY_MISMATCH,
    ERR_ENTERPRISE_ONLY,
    ERR_NAMESPACE,
    ERR_PARAMETER,
    ERR_UNSUPPORTED,
    InfoError,
    join,
    parameters,
)
from .node import Node
from .storage import PARTITIONS
from .transactions import Transactions

RECLUSTER_SECONDS = 1.0
Answer = str | Awaitable[str]


class Info:
    """Runs info commands for a node."""

    def __init__(self, node: Node, transactions: Transactions) -> None:
        self.node = node
        self.transactions = transactions
        self.commands: dict[str, Callable[[str], Answer]] = {
            "best-practices": lambda _: f"failed_best_practices={','.join(node.config.bad_practices) or 'none'}",
            "build": lambda _: node.release.version,
            "build_arch": lambda _: "SIMULATED",
            "build_os": lambda _: "SIMULATED",
            "build_time": lambda _: "SIMULATED",
            "cluster-name": lambda _: node.config.cluster_name,
            "cluster-stable": self.cluster_stable,
            "compatibility-id": lambda _: "13",
            "config-get": lambda text: info_config.get_config(node, text),
            "config-set": lambda text: info_config.set_config(node, text),
            "edition": lambda _: node.release.title,
            "endpoints": lambda _: self.endpoints(),
            "feature-key": lambda _: "SIMULATED=true",
            "features": lambda _: (
                "batch-any;batch-index;blob-bits;cluster-stable;peers;pipelining;pquery;pscans;"
                "query-show;relaxed-sc;replicas;replicas-all;replicas-master;truncate-namespace"
            ),
            "get-config": lambda text: info_config.get_config(node, text),
            "health-outliers": lambda _: "",
            "health-stats": lambda _: "",
            "help": lambda _: ";".join(sorted(self.commands)),
            "latencies": self.latencies,
            "log": self.log_levels,
            "logs": lambda _: ";".join(f"{position}:{path}" for position, path in enumerate(node.log.paths)),
            "log-set": lambda _: "ok",
            "mesh": lambda _: ",".join(f"{host}:{port}" for host, port in node.config.seeds),
            "name": lambda _: node.node_id,
            "namespace": self.namespace,
            "namespaces": lambda _: ";".join(node.namespaces),
            "node": lambda _: node.node_id,
            "partition-generation": lambda _: str(node.partition_generation),
            "partition-info": self.partition_info,
            "partitions": lambda _: str(PARTITIONS),
            "peers-clear-alt": lambda _: self.peers(),
            "peers-clear-std": lambda _: self.peers(),
            "peers-generation": lambda _: str(node.peers_generation),
            "peers-tls-alt": lambda _: f"{node.peers_generation},3000,[]",
            "peers-tls-std": lambda _: f"{node.peers_generation},3000,[]",
            "query-show": lambda _: "",
            "quiesce": lambda _: self.quiesce(True),
            "quiesce-undo": lambda _: self.quiesce(False),
            "rack-ids": lambda _: ";".join(
                f"{name}:{namespace.config.values.get('rack-id', 0)}" for name, namespace in node.namespaces.items()
            ),
            "racks": lambda _: self.enterprise_only(
                ";".join(f"ns={name}:rack_0={','.join(node.clustering.cluster.members)}" for name in node.namespaces)
            ),
            "rebalance-generation": lambda _: str(node.rebalance_generation),
            "recluster": self.recluster,
            "replicas": lambda _: self.replicas(),
            "replicas-all": lambda _: self.replicas_all(),
            "roster": lambda _: self.enterprise_only(
                ";".join(f"ns={name}:roster=null:pending_roster=null:observed_nodes=null" for name in node.namespaces)
            ),
            "service": lambda _: ";".join(node.services()),
            "service-clear-alt": lambda _: "",
            "service-clear-std": lambda _: ",".join(node.services()),
            "service-tls-alt": lambda _: "",
            "service-tls-std": lambda _: "",
            "services": lambda _: ";".join(address for services in node.peer_services.values() for address in services),
            "services-alumni": lambda _: ";".join(
                address for services in node.peer_services.values() for address in services
            ),
            "set-config": lambda text: info_config.set_config(node, text),
            "set-log": lambda _: "ok",
            "sets": self.sets,
            "sindex": lambda _: "",
            "sindex-create": self.not_simulated,
            "sindex-delete": self.not_simulated,
            "sindex-exists": lambda _: "false",
            "sindex-list": lambda _: "",
            "sindex-stat": lambda _: "ERROR:201:no-index",
            "statistics": lambda _: join(statistics(node, transactions.in_progress)),
            "status": lambda _: "ok",
            "tip": self.tip,
            "tip-clear": self.tip_clear,
            "truncate": self.truncate,
            "truncate-namespace": self.truncate,
            "udf-get": self.not_simulated,
            "udf-list": lambda _: "",
            "udf-put": self.not_simulated,
            "udf-remove": self.not_simulated,
            "version": lambda _: f"{node.release.title} build {node.release.version}",
        }

    # --- Running ---------------------------------------------------------------------------------------------------

    def run(self, body: bytes) -> bytes | Awaitable[bytes]:
        """The answer to a request of any number of commands."""
        lines = body.decode("latin-1").split("\n")
        commands = [line for line in lines if line] or ["node", "edition", "build", "statistics"]
        answers = [(command, self.answer(command)) for command in commands]
        self.node.stats["info_complete"] += len(commands)
        if all(isinstance(answer, str) for _, answer in answers):
            return "".join(f"{command}\t{answer}\n" for command, answer in answers).encode("latin-1", "replace")
        return self._wait(answers)

    async def _wait(self, answers: list[tuple[str, Answer]]) -> bytes:
        lines = []
        for command, answer in answers:
            if not isinstance(answer, str):
                try:
                    answer = await answer
                except InfoError as error:
                    answer = str(error)
                except FabricError as error:
                    answer = f"ERROR:1:{error}"
            lines.append(f"{command}\t{answer}\n")
        return "".join(lines).encode("latin-1", "replace")

    def answer(self, command: str) -> Answer:
        """`name:parameters` or `name/parameters`."""
        cut = min((at for at in (command.find(":"), command.find("/")) if at >= 0), default=len(command))
        name, text = command[:cut], command[cut + 1 :]
        run = self.commands.get(name)
        if run is None:
            return "ERROR:4:unrecognized command"
        try:
            return run(text)
        except InfoError as error:
            return str(error)

    def enterprise_only(self, answer: str) -> str:
        if not self.node.release.enterprise:
            raise InfoError(ERR_ENTERPRISE_ONLY, "enterprise only")
        return answer

    def not_simulated(self, _text: str) -> str:
        raise InfoError(ERR_UNSUPPORTED, "SIMULATED: this command isn't simulated")

    # --- The cluster -----------------------------------------------------------------------------------------------

    def cluster_stable(self, text: str) -> str:
        """The cluster key, if the cluster is formed, has the requested size and isn't migrating."""
        given = parameters(text)
        node = self.node
        if not node.clustering.stable:
            raise InfoError(ERR_CLUSTER_KEY_MISMATCH, "unstable cluster")
        if "size" in given:
            if not given["size"].isdigit():
                raise InfoError(ERR_PARAMETER, "bad size")
            if int(given["size"]) != len(node.clustering.cluster.members):
                raise InfoError(ERR_CLUSTER_KEY_MISMATCH, "cluster not specified size")
        ignore = given.get("ignore-migrations", "false")
        if ignore not in ("true", "false"):
            raise InfoError(ERR_PARAMETER, "bad ignore migrations")
        if ignore == "false":
            names = list(node.namespaces)
            if "namespace" in given:
                if given["namespace"] not in node.namespaces:
                    raise InfoError(ERR_NAMESPACE, "namespace not found on node")
                names = [given["namespace"]]
            if any(node.remaining(name) != (0, 0) for name in names):
                raise InfoError(ERR_CLUSTER_KEY_MISMATCH, "unstable cluster")
        return node.cluster_key

    def replicas(self) -> str:
        """namespace:regime,factor,bitmap,...; for each namespace. Regime 0: available rather than consistent."""
        return "".join(
            f"{name}:0,{table.factor},{','.join(table.bitmaps)};" for name, table in self.node.tables.items()
        )

    def replicas_all(self) -> str:
        """The same as `replicas` without the regime, which is newer than this command."""
        return ";".join(f"{name}:{table.factor},{','.join(table.bitmaps)}" for name, table in self.node.tables.items())

    def partition_info(self, _text: str) -> str:
        rows = ["namespace:partition:master:owners:full:stray"]
        rows += [
            f"{name}:{partition}:{row.master}:{','.join(row.owners)}:{','.join(sorted(row.full))}:"
            f"{','.join(sorted(row.stray))}"
            for name, table in self.node.tables.items()
            for partition, row in enumerate(table.rows)
        ]
        return ";".join(rows)

    def peers(self) -> str:
        """generation,default port,[[node,tls-name,[addresses]],...] of the others in the cluster."""
        nodes = ",".join(
            f"[{node},,[{','.join(services)}]]" for node, services in sorted(self.node.peer_services.items())
        )
        return f"{self.node.peers_generation},3000,[{nodes}]"

    def endpoints(self) -> str:
        service = self.node.config.network["service"]
        return join(
            {
                "service.port": service["port"],
                "fabric.port": self.node.config.network["fabric"]["port"],
                "heartbeat.port": self.node.config.network["heartbeat"]["port"],
            }
        )

    def quiesce(self, requested: bool) -> str:
        """Takes effect at the next recluster."""
        answer = self.enterprise_only("ok")
        self.node.quiesce_requested = requested
        return answer

    async def recluster(self, _text: str) -> str:
        """Form the cluster again. Only the principal does; others answer as the real server, and ask the principal."""
        clustering = self.node.clustering
        if clustering.cluster.principal == self.node.node_id:
            clustering.recluster_requested = True
            return "ok"
        await self.node.fabric.request(clustering.cluster.principal, messages.RECLUSTER, b"", RECLUSTER_SECONDS)
        return "ignored-by-non-principal"

    def tip(self, text: str) -> str:
        given = parameters(text)
        for name in ("host", "port"):
            if not given.get(name):
                raise InfoError(ERR_PARAMETER, f"missing '{name}'")
        if not given["port"].isdigit():
            raise InfoError(ERR_PARAMETER, "bad 'port'")
        self.node.heartbeat.add_seed((given["host"], int(given["port"])))
        return "ok"

    def tip_clear(self, _text: str) -> str:
        self.node.heartbeat.seeds.clear()
        return "ok"

    # --- Data ------------------------------------------------------------------------------------------------------

    def namespace(self, text: str) -> str:
        if text not in self.node.namespaces:
            return "type=unknown"
        values = namespace_statistics(self.node, self.node.namespaces[text])
        return join(values | info_config.namespace_config(self.node, text))

    def sets(self, text: str) -> str:
        name, _, set_name = text.partition("/")
        namespaces = [space for space in self.node.namespaces.values() if not name or space.name == name]
        lines = [
            join(values, ":")
            for namespace in namespaces
            for values in set_statistics(namespace)
            if not set_name or values["set"] == set_name
        ]
        return "".join(f"{line};" for line in lines)

    async def truncate(self, text: str) -> str:
        """`lut` is in nanoseconds since 1970; without it, everything written until now is removed."""
        given = parameters(text)
        namespace = self.node.namespaces.get(given.get("namespace", given.get("id", "")))
        if namespace is None:
            raise InfoError(ERR_NAMESPACE, "namespace not found")
        before = clock.now_ms()
        if given.get("lut", "0") != "0":
            if not given["lut"].isdigit():
                raise InfoError(ERR_PARAMETER, "bad lut")
            before = int(given["lut"]) // 1_000_000 - clock.EPOCH_SECONDS * 1000
            if before > clock.now_ms():
                raise InfoError(ERR_PARAMETER, "lut is in the future")
        await self.node.truncate(namespace, given.get("set", ""), before)
        return "ok"

    # --- Logs and latencies ----------------------------------------------------------------------------------------

    def log_levels(self, _text: str) -> str:
        return "any:INFO"

    def latencies(self, text: str) -> str:
        requested = parameters(text).get("hist", "")
        shown = ["batch-index:"] if not requested else []
        shown += [
            f"{{{name}}}-{kind}:{histogram.line()}"
            for (name, kind), histogram in self.transactions.histograms.items()
            if requested in ("", f"{{{name}}}-{kind}")
        ]
        if not shown:
            raise InfoError(ERR_PARAMETER, "bad hist name")
        return ";".join(shown)
