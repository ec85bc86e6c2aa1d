"""The info protocol: commands as lines of text, answered as `command<TAB>value` lines."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from . import clock
from . import fabric as messages
from .config.dynamic import dynamic
from .config.line import Line
from .config.model import ConfigError
from .config.options import OPTIONS, find
from .config.values import convert
from .fabric import FabricError
from .info_stats import namespace_statistics, set_statistics, statistics
from .partitions import Table
from .storage import PARTITIONS

if TYPE_CHECKING:
    from .node import Node

ERR_PARAMETER = 4
ERR_CLUSTER_KEY_MISMATCH = 7
ERR_UNSUPPORTED = 16
ERR_NAMESPACE = 20
ERR_ENTERPRISE_ONLY = 25
RECLUSTER_SECONDS = 1.0
Answer = str | Awaitable[str]


class InfoError(Exception):
    """The answer is ERROR:<code>:<message>."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"ERROR:{code if code else ''}:{message}")


def parameters(text: str) -> dict[str, str]:
    """`a=1;b=2` as a dictionary."""
    found = {}
    for part in filter(None, text.split(";")):
        name, _, value = part.partition("=")
        found[name] = value
    return found


class Info:
    """Runs info commands for a node."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        self._replicas: str | None = None
        self._remaining: dict[int, tuple[int, int]] = {}
        self.commands: dict[str, Callable[[str], Answer]] = {
            "best-practices": lambda _: f"failed_best_practices={','.join(node.config.bad_practices) or 'none'}",
            "build": lambda _: node.release.version,
            "build_arch": lambda _: "SIMULATED",
            "build_os": lambda _: "SIMULATED",
            "build_time": lambda _: "SIMULATED",
            "cluster-name": lambda _: node.config.cluster_name,
            "cluster-stable": self.cluster_stable,
            "compatibility-id": lambda _: "13",
            "config-get": self.get_config,
            "config-set": self.set_config,
            "edition": lambda _: node.release.title,
            "endpoints": lambda _: self.endpoints(),
            "feature-key": lambda _: "SIMULATED=true",
            "features": lambda _: (
                "batch-any;batch-index;blob-bits;cluster-stable;peers;pipelining;pquery;pscans;"
                "query-show;relaxed-sc;replicas;replicas-all;replicas-master;truncate-namespace"
            ),
            "get-config": self.get_config,
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
                f"{name}:{one.config.values.get('rack-id', 0)}" for name, one in node.namespaces.items()
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
            "services": lambda _: ";".join(one for own in node.peer_services.values() for one in own),
            "services-alumni": lambda _: ";".join(one for own in node.peer_services.values() for one in own),
            "set-config": self.set_config,
            "set-log": lambda _: "ok",
            "sets": self.sets,
            "sindex": lambda _: "",
            "sindex-create": self.not_simulated,
            "sindex-delete": self.not_simulated,
            "sindex-exists": lambda _: "false",
            "sindex-list": lambda _: "",
            "sindex-stat": lambda _: "ERROR:201:no-index",
            "statistics": lambda _: self.join(statistics(node)),
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
        answers = [(command, self.one(command)) for command in commands]
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

    def one(self, command: str) -> Answer:
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

    @staticmethod
    def join(values: dict[str, object], separator: str = ";") -> str:
        shown = ((name, str(value).lower() if isinstance(value, bool) else value) for name, value in values.items())
        return separator.join(f"{name}={value}" for name, value in shown)

    def enterprise_only(self, answer: str) -> str:
        if not self.node.release.enterprise:
            raise InfoError(ERR_ENTERPRISE_ONLY, "enterprise only")
        return answer

    def not_simulated(self, _text: str) -> str:
        raise InfoError(ERR_UNSUPPORTED, "SIMULATED: this command isn't simulated")

    # --- The cluster -----------------------------------------------------------------------------------------------

    def cluster_stable(self, text: str) -> str:
        """The cluster key, when the cluster is agreed, has the asked size and isn't migrating."""
        asked = parameters(text)
        node = self.node
        if not node.clustering.stable:
            raise InfoError(ERR_CLUSTER_KEY_MISMATCH, "unstable cluster")
        if "size" in asked:
            if not asked["size"].isdigit():
                raise InfoError(ERR_PARAMETER, "bad size")
            if int(asked["size"]) != len(node.clustering.cluster.members):
                raise InfoError(ERR_CLUSTER_KEY_MISMATCH, "cluster not specified size")
        ignore = asked.get("ignore-migrations", "false")
        if ignore not in ("true", "false"):
            raise InfoError(ERR_PARAMETER, "bad ignore migrations")
        if ignore == "false":
            names = list(node.namespaces)
            if "namespace" in asked:
                if asked["namespace"] not in node.namespaces:
                    raise InfoError(ERR_NAMESPACE, "namespace not found on node")
                names = [asked["namespace"]]
            if any(node.remaining(name) != (0, 0) for name in names):
                raise InfoError(ERR_CLUSTER_KEY_MISMATCH, "unstable cluster")
        return node.cluster_key

    def forget_maps(self) -> None:
        """The partition tables have changed."""
        self._replicas = None
        self._remaining.clear()

    def remaining(self, table: Table) -> tuple[int, int]:
        if id(table) not in self._remaining:
            self._remaining[id(table)] = table.remaining()
        return self._remaining[id(table)]

    def replicas(self) -> str:
        """namespace:regime,factor,bitmap,...; for each namespace. Regime 0: available rather than consistent."""
        if self._replicas is None:
            self._replicas = ";".join(
                f"{name}:0,{table.factor},{','.join(table.bitmaps())}" for name, table in self.node.tables.items()
            )
            self._replicas += ";" if self._replicas else ""
        return self._replicas

    def replicas_all(self) -> str:
        """The same without the regime, which is newer than this command."""
        return ";".join(
            f"{name}:{table.factor},{','.join(table.bitmaps())}" for name, table in self.node.tables.items()
        )

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
        return self.join(
            {
                "service.port": service["port"],
                "fabric.port": self.node.config.network["fabric"]["port"],
                "heartbeat.port": self.node.config.network["heartbeat"]["port"],
            }
        )

    def quiesce(self, wanted: bool) -> str:
        """Takes effect at the next recluster."""
        answer = self.enterprise_only("ok")
        self.node.quiesce_asked = wanted
        return answer

    async def recluster(self, _text: str) -> str:
        """Forms the cluster anew. Only the principal does; others say so as the real ones do, and tell it."""
        clustering = self.node.clustering
        if clustering.cluster.principal == self.node.node_id:
            clustering.asked = True
            return "ok"
        await self.node.fabric.request(clustering.cluster.principal, messages.RECLUSTER, b"", RECLUSTER_SECONDS)
        return "ignored-by-non-principal"

    def tip(self, text: str) -> str:
        asked = parameters(text)
        for name in ("host", "port"):
            if not asked.get(name):
                raise InfoError(ERR_PARAMETER, f"missing '{name}'")
        if not asked["port"].isdigit():
            raise InfoError(ERR_PARAMETER, "bad 'port'")
        self.node.heartbeat.add_seed((asked["host"], int(asked["port"])))
        return "ok"

    def tip_clear(self, _text: str) -> str:
        self.node.heartbeat.seeds.clear()
        return "ok"

    # --- Data ------------------------------------------------------------------------------------------------------

    def namespace(self, text: str) -> str:
        if text not in self.node.namespaces:
            return "type=unknown"
        return self.join(namespace_statistics(self.node, self.node.namespaces[text]))

    def sets(self, text: str) -> str:
        name, _, set_name = text.partition("/")
        chosen = [one for one in self.node.namespaces.values() if not name or one.name == name]
        lines = [
            self.join(values, ":")
            for one in chosen
            for values in set_statistics(one)
            if not set_name or values["set"] == set_name
        ]
        return "".join(f"{line};" for line in lines)

    async def truncate(self, text: str) -> str:
        """`lut` is in nanoseconds since 1970; without one all that was written until now goes."""
        asked = parameters(text)
        namespace = self.node.namespaces.get(asked.get("namespace", asked.get("id", "")))
        if namespace is None:
            raise InfoError(ERR_NAMESPACE, "namespace not found")
        before = clock.now_ms()
        if asked.get("lut", "0") != "0":
            if not asked["lut"].isdigit():
                raise InfoError(ERR_PARAMETER, "bad lut")
            before = int(asked["lut"]) // 1_000_000 - clock.EPOCH_SECONDS * 1000
            if before > clock.now_ms():
                raise InfoError(ERR_PARAMETER, "lut is in the future")
        await self.node.truncate(namespace, asked.get("set", ""), before)
        return "ok"

    # --- Configuration and logs ------------------------------------------------------------------------------------

    def get_config(self, text: str) -> str:
        """`context=service`, `context=network` or `context=namespace;namespace=x` (or `id=x`); all without one."""
        asked = parameters(text)
        config = self.node.config
        context = asked.get("context", "")
        found: dict[str, object] = {}
        if context in ("", "service"):
            found |= {
                "cluster-name": config.cluster_name,
                "proto-fd-max": 15000,
                "advertise-ipv6": False,
                "migrate-threads": 1,
            } | config.service
        if context in ("", "network"):
            for section, values in config.network.items():
                found |= {f"{section}.{name}": self._shown(value) for name, value in values.items()}
            found |= {
                "heartbeat.mode": "mesh",
                "heartbeat.interval": config.interval_ms,
                "heartbeat.timeout": config.timeout_intervals,
            }
        if context == "namespace":
            name = asked.get("namespace", asked.get("id", ""))
            if name not in self.node.namespaces:
                raise InfoError(ERR_NAMESPACE, "namespace not found on node")
            found |= self.namespace_config(name)
        elif context not in ("", "service", "network"):
            raise InfoError(ERR_PARAMETER, "invalid context")
        return self.join(found)

    @property
    def in_memory(self) -> str:
        """What an index in memory is called."""
        return "shmem" if self.node.release.enterprise else "mem"

    def namespace_config(self, name: str) -> dict[str, object]:
        one = self.node.namespaces[name].config
        found: dict[str, object] = {
            "replication-factor": one.replication_factor,
            "default-ttl": one.default_ttl,
            "nsup-period": one.nsup_period,
            "partition-tree-sprigs": 256,
        }
        found |= one.values
        found |= {
            "storage-engine": one.engine,
            "index-type": one.index_types.get("index-type", self.in_memory),
            "sindex-type": one.index_types.get("sindex-type", self.in_memory),
            "storage-engine.stop-writes-used-pct": one.stop_writes_used_pct,
        }
        for option, value in one.storage.items():
            if isinstance(value, list):
                found |= {f"storage-engine.{option}[{position}]": item for position, item in enumerate(value)}
            else:
                found[f"storage-engine.{option}"] = value
        for option, values in one.mounts.items():
            found |= {f"{option}.{key}": self._shown(value) for key, value in values.items()}
        return found

    @staticmethod
    def _shown(value: object) -> object:
        if isinstance(value, list):
            return ",".join(":".join(map(str, item)) if isinstance(item, tuple) else str(item) for item in value)
        return value

    def set_config(self, text: str) -> str:
        """Takes what the real one takes while it runs. It shows in get-config, and works where the simulator reads."""
        asked = parameters(text)
        context = asked.pop("context", "")
        if not context:
            raise InfoError(ERR_PARAMETER, "missing 'context'")
        name = asked.pop("namespace", asked.pop("id", ""))
        if context not in ("service", "network", "namespace"):
            raise InfoError(ERR_PARAMETER, "invalid context")
        if context == "namespace" and name not in self.node.namespaces:
            raise InfoError(ERR_NAMESPACE, "namespace not found on node")
        taken = dynamic(self.node.release.numbers)["set" if "set" in asked else context]
        chosen = asked.pop("set", "")
        for option, value in asked.items():
            if option not in taken:
                raise InfoError(ERR_PARAMETER, "invalid set-config parameter")
            section, key, place = self._place(context, name, chosen, option)
            place[key] = self._converted(section, key, value)
        return "ok"

    def _converted(self, section: str, key: str, value: str) -> object:
        """A value as aerospike.conf's parser takes it, with the same limits."""
        release = self.node.release
        option = find(section, key, release.numbers)
        if option is None:
            return value  # known to set-config only
        try:
            if option.enterprise and not release.enterprise:
                raise ConfigError(f"'{key}' is enterprise-only")
            return convert(option, Line(0, key, (value, "", "")), release)
        except ConfigError as error:
            raise InfoError(ERR_PARAMETER, "invalid set-config parameter") from error

    def _place(self, context: str, name: str, chosen: str, option: str) -> tuple[str, str, dict[str, Any]]:
        """A parameter of set-config: its context in aerospike.conf, its name there, and where its value is kept."""
        config = self.node.config
        if context == "service":
            return "service", option, config.service
        if context == "network":
            section, _, rest = option.partition(".")
            return section, rest, config.network[section]
        namespace = self.node.namespaces[name].config
        if chosen:
            return "set", option, namespace.sets.setdefault(chosen, {})
        kind, separator, rest = option.partition(".")
        if separator:
            return f"{kind}-flash", rest, namespace.mounts.setdefault(kind, {})
        if option in OPTIONS[f"storage-{namespace.engine}"]:
            return f"storage-{namespace.engine}", option, namespace.storage
        return "namespace", option, namespace.values

    def log_levels(self, _text: str) -> str:
        return "any:INFO"

    def latencies(self, text: str) -> str:
        wanted = parameters(text).get("hist", "")
        shown = ["batch-index:"] if not wanted else []
        shown += [
            f"{{{name}}}-{kind}:{histogram.line()}"
            for (name, kind), histogram in self.node.transactions.histograms.items()
            if wanted in ("", f"{{{name}}}-{kind}")
        ]
        if not shown:
            raise InfoError(ERR_PARAMETER, "bad hist name")
        return ";".join(shown)
