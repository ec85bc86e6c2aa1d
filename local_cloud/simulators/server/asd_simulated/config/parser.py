"""Reads aerospike.conf with the strictness of the real server: the same refusals, in the same words.

The real parser stops at the first error, looks at three tokens a line and ignores what follows, and reads lines in
pieces of 1,023 characters. So does this one, as its oddities are what a user's file meets.
"""

import grp
import ipaddress
import pwd
import resource
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..release import Release
from .options import U32_MAX, U64_MAX, WIDTHS, Option, find, number

LINE_SIZE = 1023
DEPTH_MAX = 8
TIME_UNITS = {"S": 1, "M": 60, "H": 3600, "D": 86400}
NAMES_MAX = {"community": 2, "enterprise": 32}
NODES_MAX = {"community": 8, "enterprise": 256}


class ConfigError(Exception):
    """A refusal. `where` is the part of the server and the source line it logs, such as "config): (cfg.c:1651"."""

    def __init__(self, message: str, part: str = "config", where: str = "cfg.c:1651") -> None:
        super().__init__(message)
        self.part = part
        self.where = where


Values = dict[str, Any]


@dataclass
class NamespaceConfig:
    """One namespace section. `storage` is what stands in its storage-engine."""

    name: str
    values: Values = field(default_factory=dict)
    engine: str = ""
    storage: Values = field(default_factory=dict)
    index_types: dict[str, str] = field(default_factory=dict)
    mounts: dict[str, Values] = field(default_factory=dict)
    sets: dict[str, Values] = field(default_factory=dict)

    @property
    def replication_factor(self) -> int:
        return self.values.get("replication-factor", 2)

    @property
    def default_ttl(self) -> int:
        return self.values.get("default-ttl", 0)

    @property
    def nsup_period(self) -> int:
        return self.values.get("nsup-period", 0)

    @property
    def ttl_allowed(self) -> bool:
        return bool(self.nsup_period or self.values.get("allow-ttl-without-nsup", False))

    @property
    def max_record_size(self) -> int:
        return self.values.get("max-record-size", 1024 * 1024)

    @property
    def stop_writes_used_pct(self) -> int:
        return self.storage.get("stop-writes-used-pct", 70)

    @property
    def devices(self) -> list[str]:
        return self.storage.get("device", [])

    @property
    def files(self) -> list[str]:
        return self.storage.get("file", [])


@dataclass
class LogSink:
    """`path` is "" for the console. `levels` maps a part ("any", "config") to its level."""

    path: str
    levels: dict[str, str] = field(default_factory=dict)


@dataclass
class Config:
    """A parsed aerospike.conf. Each section maps parameter to value; parameters that may be repeated hold lists."""

    service: Values = field(default_factory=dict)
    network: dict[str, Values] = field(
        default_factory=lambda: {name: {} for name in ("service", "admin", "heartbeat", "fabric", "info")}
    )
    namespaces: list[NamespaceConfig] = field(default_factory=list)
    sinks: list[LogSink] = field(default_factory=list)
    mod_lua: Values = field(default_factory=dict)
    security: bool = False
    info_section: bool = False
    warnings: list[str] = field(default_factory=list)
    bad_practices: list[str] = field(default_factory=list)  # names of the checks that failed at the start

    @property
    def cluster_name(self) -> str:
        return self.service.get("cluster-name", "")

    @property
    def work_directory(self) -> str:
        return self.service.get("work-directory", "/opt/aerospike")

    @property
    def interval_ms(self) -> int:
        return self.network["heartbeat"].get("interval", 150)

    @property
    def timeout_intervals(self) -> int:
        return self.network["heartbeat"].get("timeout", 10)

    @property
    def seeds(self) -> list[tuple[str, int]]:
        return self.network["heartbeat"].get("mesh-seed-address-port", [])


@dataclass(frozen=True)
class Line:
    """One line of the file: its number, its first token and up to three values."""

    number: int
    name: str
    values: tuple[str, str, str]

    @property
    def value(self) -> str:
        return self.values[0]

    def error(self, text: str, where: str = "cfg.c:1651") -> ConfigError:
        return ConfigError(f"line {self.number} :: {text}", where=where)

    def rule(self, text: str) -> ConfigError:
        return self.error(f"{self.name} {text}", "cfg.c:1853")


def load_config(path: Path, release: Release) -> Config:
    """Parses `path`. Raises ConfigError at the first thing the real server would refuse."""
    try:
        text = path.read_bytes().decode("latin-1")
    except OSError as error:
        raise ConfigError(f"couldn't open configuration file {path}: {error.strerror}", where="cfg.c:2113") from error
    return Parser(release).parse(text)


class Parser:
    """Walks the lines, keeping a stack of contexts."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.config = Config()
        self.stack: list[tuple[str, Values]] = [("global", {})]
        self.namespace: NamespaceConfig | None = None

    def parse(self, text: str) -> Config:
        for line in read_lines(text):
            self.parse_line(line)
        if len(self.stack) > 1:
            raise ConfigError("parsing - final context missing '}'?", where="cfg.c:1607")
        return self.config

    def parse_line(self, line: Line) -> None:
        context, values = self.stack[-1]
        if line.name == "}" and context != "global":
            self.end_context(context, values)
            return
        option = find(context, line.name, self.release.numbers)
        if option is None:
            raise line.error(f"unknown config parameter name '{line.name}'")
        if option.enterprise and not self.release.enterprise:
            raise line.error(f"'{line.name}' is enterprise-only", "cfg_ce.c:76")
        if option.kind == "obsolete":
            raise line.error(f"'{line.name}' is obsolete - {option.argument}", "cfg.c:1666")
        if option.kind == "open":
            self.begin_context(option.argument, self.values_of(option.argument, line))
        elif option.kind == "storage-engine":
            self.begin_storage(line)
        elif option.kind == "index-type":
            self.begin_index_type(line)
        elif option.kind == "log-level":
            self.set_log_level(line)
        else:
            self.assign(option, line, values)

    def begin_context(self, name: str, values: Values) -> None:
        if len(self.stack) == DEPTH_MAX:
            raise ConfigError("parsing - context too deep", where="cfg.c:1579")
        self.stack.append((name, values))

    def values_of(self, context: str, line: Line) -> Values:
        """Where the parameters of a context that begins are kept."""
        config = self.config
        match context:
            case "service":
                return config.service
            case "mod-lua":
                return config.mod_lua
            case "network-service" | "network-admin" | "heartbeat" | "fabric" | "info":
                config.info_section |= context == "info"
                return config.network[context.removeprefix("network-")]
            case "namespace":
                return self.begin_namespace(line)
            case "set":
                if not line.value:
                    raise line.rule("must have a value specified")
                if len(line.value) >= 64:
                    raise line.rule(f"must be < 64 characters long, not {line.value}")
                return self.namespace_now.sets.setdefault(line.value, {})
            case "log-sink" | "log-syslog":
                config.sinks.append(LogSink(line.value if line.name == "file" else ""))
                return {}
            case "security":
                config.security = True
        return {}

    def begin_namespace(self, line: Line) -> Values:
        name, limit = line.value, NAMES_MAX[self.release.edition]
        if len(name) > 31:
            raise ConfigError(f"{{{name}}} namespace name too long (max length is 31)", "namespace", "namespace.c:64")
        if len(self.config.namespaces) == limit:
            raise ConfigError(f"too many namespaces (max is {limit})", "namespace", "namespace.c:68")
        if any(other.name == name for other in self.config.namespaces):
            raise ConfigError(f"{{{name}}} duplicate namespace", "namespace", "namespace.c:78")
        self.namespace = NamespaceConfig(name)
        self.config.namespaces.append(self.namespace)
        return self.namespace.values

    @property
    def namespace_now(self) -> NamespaceConfig:
        assert self.namespace is not None
        return self.namespace

    def begin_storage(self, line: Line) -> None:
        namespace = self.namespace_now
        if namespace.engine and self.release.numbers >= (7,):
            raise ConfigError(f"{{{namespace.name}}} can only configure one 'storage-engine'", where="cfg.c:3043")
        if line.value not in ("memory", "pmem", "device"):
            raise line.error(f"storage-engine has unknown value '{line.value}'", "cfg.c:1643")
        if line.value == "pmem" and not self.release.enterprise:
            raise line.error("'storage-engine' is enterprise-only", "cfg_ce.c:76")
        namespace.engine = line.value
        if line.value == "memory" and self.release.numbers < (7,):
            return  # a word only: it opens no context, and its size is the namespace's memory-size
        self.begin_context(f"storage-{line.value}", namespace.storage)

    def begin_index_type(self, line: Line) -> None:
        if line.value not in ("shmem", "pmem", "flash"):
            raise line.error(f"{line.name} has unknown value '{line.value}'", "cfg.c:1643")
        namespace = self.namespace_now
        namespace.index_types[line.name] = line.value
        if line.value != "shmem":  # shmem opens no context: a brace after it is ignored, the closing one isn't
            values = namespace.mounts.setdefault(line.name, {})
            self.begin_context(f"{line.name}-{line.value}", values)

    def set_log_level(self, line: Line) -> None:
        part, level = line.values[:2]
        if not part or level not in ("critical", "warning", "info", "debug", "detail"):
            raise line.error(f"can't add logging context {part} {level}", "cfg.c:2508")
        self.config.sinks[-1].levels[part] = level

    def assign(self, option: Option, line: Line, values: Values) -> None:
        if option.kind in LISTS:
            values.setdefault(option.name, []).append(LISTS[option.kind](self, line))
        else:
            values[option.name] = convert(option, line, self.release)

    def add_device(self, line: Line) -> str:
        namespace = self.namespace_now
        path = text(line)
        if (line.name == "device" and namespace.files) or (line.name == "file" and namespace.devices):
            raise ConfigError(f"{{{namespace.name}}} mixture of storage files and devices", where="cfg.c:5240")
        if path in namespace.storage.get(line.name, []):
            raise ConfigError(f"{{{namespace.name}}} duplicate storage {line.name} {path}", where="cfg.c:5249")
        return path

    def end_context(self, context: str, values: Values) -> None:
        if context == "heartbeat":
            check_heartbeat(values)
        elif context.startswith("storage-"):
            check_storage(self.namespace_now)
        elif context in ("index-type-flash", "index-type-pmem"):
            check_budget(self.namespace_now, values, "", self.release)
        elif context in ("sindex-type-flash", "sindex-type-pmem"):
            check_budget(self.namespace_now, values, "sindex ", self.release)
        elif context == "namespace":
            check_namespace(self.namespace_now, self.release)
            self.namespace = None
        self.stack.pop()


def read_lines(text: str) -> list[Line]:
    """The lines that hold something, cut as a buffer of 1,024 bytes cuts them."""
    pieces: list[str] = []
    for line in text.split("\n"):
        whole = line + "\n"
        pieces.extend(whole[at : at + LINE_SIZE] for at in range(0, len(whole), LINE_SIZE))
    lines = []
    for position, piece in enumerate(pieces, 1):
        tokens = piece.split("#", 1)[0].split()
        if tokens:
            padded = (*tokens[1:4], "", "", "")
            lines.append(Line(position, tokens[0], (padded[0], padded[1], padded[2])))
    return lines


def text(line: Line) -> str:
    if not line.value:
        raise line.rule("must have a value specified")
    return line.value


def seed(_parser: Parser, line: Line) -> tuple[str, int]:
    host = text(line)
    if not line.values[1]:
        raise line.rule("must specify an unsigned integer value")
    try:
        port = number(line.values[1])
    except ValueError:
        raise line.rule(f"must be an unsigned number, not {line.values[1]}") from None
    if not 1024 <= port <= 65535:
        raise line.rule(f"must be >= 1024 and <= 65535, not {port}")
    return host, port


def address(_parser: Parser, line: Line) -> str:
    return text(line)


LISTS: dict[str, Callable[[Parser, Line], Any]] = {
    "seed": seed,
    "address": address,
    "mount": address,
    "device": Parser.add_device,
    "file": Parser.add_device,
}


def convert(option: Option, line: Line, release: Release) -> Any:
    """The line's value in its type. Raises ConfigError outside of the type or its limits."""
    value = line.value
    match option.kind:
        case "bool" | "flag":
            if option.kind == "flag" and not value:
                return True
            if value.lower() not in ("true", "false"):
                raise line.rule("must be true or false or yes or no" + (f", not {value}" if value else ""))
            return value.lower() == "true"
        case "str":
            return text(line)
        case "text":
            if len(text(line)) >= int(option.argument):
                raise line.rule(f"must be < {option.argument} characters long, not {value}")
            return value
        case "choice":
            if value not in option.argument.split("|"):
                raise line.error(f"{line.name} has unknown value '{value}'", "cfg.c:1643")
            return value
        case "sec":
            return bounded(line, seconds(line), option, " seconds")
        case "pct":
            try:
                percent = int(value)
            except ValueError:
                raise line.rule(f"must be a number, not {value}") from None
            if not -1 <= percent <= 100:
                raise line.rule(f"must be between 0 and 100 or -1, not {value}")
            return percent
        case "hex":
            try:
                node = int(value, 16)
            except ValueError:
                raise line.rule(f"must be a 64-bit hex number, not {value}") from None
            if not 1 <= node <= U64_MAX:
                raise line.rule(f"must be >= 1 and <= ffffffffffffffff, not {node:x}")
            return node
        case "cluster-name":
            if not 0 < len(value) < 64:
                raise ConfigError(f"bad cluster name '{value}'", where="cfg.c:5282")
            return value
        case "user" | "group":
            return known_account(option.kind, line)
    return integer(option, line, release)


def integer(option: Option, line: Line, release: Release) -> int:
    kind, low, high = option.kind, option.low, option.high
    if kind == "port":
        kind, low, high = "u16", 1024, 65535
    elif kind == "data-size":
        kind, low, high = "u64", (512 if release.numbers >= (8, 1) else 256) * 2**20, 256 * 2**40
    elif kind == "replication-factor":
        kind, low, high = "u32", 1, NODES_MAX[release.edition]
    if not line.value:
        raise line.rule("must specify an unsigned integer value")
    try:
        value = number(line.value)
    except ValueError:
        raise line.rule(f"must be an unsigned number, not {line.value}") from None
    if value > WIDTHS[kind]:
        names = {U32_MAX: "int", 2**16 - 1: "short", 2**8 - 1: "char"}
        raise line.error(f"{line.name} {value} overflows unsigned {names[WIDTHS[kind]]}", "cfg.c:1863")
    bounded(line, value, Option(option.name, kind, low, high))
    if kind == "pow2" and value & (value - 1):
        raise line.rule(f"must be an exact power of 2, not {value}")
    if kind == "mult" and value % int(option.argument):
        raise line.rule(f"must be an exact multiple of {option.argument}, not {value}")
    return value


def bounded(line: Line, value: int, option: Option, unit: str = "") -> int:
    if not option.low <= value <= option.high:
        limits = f"<= {option.high}{unit}"
        if option.low:
            limits = f">= {option.low}{unit} and {limits}"
        raise line.rule(f"must be {limits}, not {value}{unit}")
    return value


def seconds(line: Line) -> int:
    value = line.value
    if not value:
        raise line.rule("must specify an unsigned integer value with time unit (s, m, h, or d)")
    digits, unit = (value[:-1], value[-1].upper()) if value[-1:].upper() in TIME_UNITS else (value, "S")
    if not digits.isascii() or not digits.isdigit() or int(digits) * TIME_UNITS[unit] > U32_MAX:
        raise line.rule(f"must be a small enough unsigned number with time unit (s, m, h, or d), not {value}")
    return int(digits) * TIME_UNITS[unit]


def known_account(kind: str, line: Line) -> str:
    try:
        if kind == "user":
            pwd.getpwnam(line.value)
        else:
            grp.getgrnam(line.value)
    except KeyError:
        raise line.error(f"{kind} not found: {line.value}", "cfg.c:2290") from None
    return line.value


def check_heartbeat(values: Values) -> None:
    longest = values.get("interval", 150) * values.get("timeout", 10) // 3
    if values.get("connect-timeout-ms", 500) > longest:
        raise ConfigError("'connect-timeout-ms' must be <= 'interval' * 'timeout' / 3", where="cfg.c:2717")


def check_storage(namespace: NamespaceConfig) -> None:
    name, storage = namespace.name, namespace.storage

    def refuse(text: str) -> None:
        raise ConfigError(f"{{{name}}} {text}", where="cfg.c:3846")

    backing = bool(namespace.devices or namespace.files)
    if namespace.engine == "memory":
        if not backing and "data-size" not in storage:
            refuse("must configure 'data-size' if not using storage backing")
        if backing and "data-size" in storage:
            refuse("can't configure 'data-size' if using storage backing")
        if not backing and "flush-size" in storage:
            refuse("can't configure 'flush-size' if not using storage backing")
        if storage.get("commit-to-device") and not backing:
            refuse("'commit-to-device' guarantee is automatic if not using storage backing")
        if "encryption-key-file" in storage and not backing:
            refuse("'encryption-key-file' is only relevant if using storage backing")
    elif not backing:
        refuse("has no devices or files" if namespace.engine == "device" else "has no files")
    if namespace.files and "filesize" not in storage:
        refuse("must configure 'filesize' if using storage files")
    if storage.get("commit-to-device") and storage.get("disable-odsync"):
        refuse("can't configure both 'commit-to-device' and 'disable-odsync'")
    if "compression-acceleration" in storage and storage.get("compression") != "lz4":
        refuse("'compression-acceleration' is only relevant for 'compression lz4'")
    if "compression-level" in storage and storage.get("compression") != "zstd":
        refuse("'compression-level' is only relevant for 'compression zstd'")


def check_budget(namespace: NamespaceConfig, values: Values, which: str, release: Release) -> None:
    name = "mounts-budget" if release.numbers >= (7,) else "mounts-size-limit"
    if not values.get(name):
        raise ConfigError(f"{{{namespace.name}}} must configure {which}'{name}'", where="cfg.c:3166")


def check_namespace(namespace: NamespaceConfig, release: Release) -> None:
    name = namespace.name
    if release.numbers < (7,):
        # Data is in memory unless something else is said, and the namespace has the size.
        namespace.engine = namespace.engine or "memory"
        if not namespace.values.get("memory-size"):
            raise ConfigError(f"{{{name}}} must configure non-zero 'memory-size'", where="cfg.c:3060")
        if namespace.engine == "memory":
            namespace.storage["data-size"] = namespace.values["memory-size"]
    if not namespace.engine:
        raise ConfigError(f"{{{name}}} must configure 'storage-engine'", where="cfg.c:3081")
    flash = namespace.index_types.get("index-type") == "flash"
    if flash and namespace.engine != "device" and release.numbers >= (7,):
        raise ConfigError(
            f"{{{name}}} 'index-type flash' can only be used with 'storage-engine device'", where="cfg.c:3084"
        )
    if namespace.default_ttl and not namespace.ttl_allowed:
        raise ConfigError(
            f"{{{name}}} must configure non-zero 'nsup-period' or 'allow-ttl-without-nsup' true if "
            "'default-ttl' is non-zero",
            where="cfg.c:3087",
        )


def check_whole(config: Config, release: Release) -> None:
    """What the real server checks after its log is open, and tells there only."""
    if not config.cluster_name and release.numbers >= (7,):
        raise ConfigError("must configure 'cluster-name'", where="cfg.c:4386")
    if not config.namespaces:
        raise ConfigError("must configure at least one namespace", where="cfg.c:4390")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    wanted = config.service.get("proto-fd-max", 15000)
    if limit != resource.RLIM_INFINITY and wanted > limit:
        raise ConfigError(f"{limit} system file descriptors not enough, config specified {wanted}", where="cfg.c:4405")
    if "node-id" in config.service and "node-id-interface" in config.service:
        raise ConfigError("may not configure both 'node-id' and 'node-id-interface'", where="cfg.c:4441")
    for section in ("service", "heartbeat", "fabric"):
        values = config.network[section]
        if "port" not in values and "tls-port" not in values:
            raise ConfigError(f"no {section} ports configured", where="cfg.c:4542")
        if "port" not in values:
            raise ConfigError(f"SIMULATED: TLS isn't simulated, {section} needs a plain 'port'", where="cfg.c:4542")
        for one in values.get("address", []):
            check_address(one)
    if config.network["heartbeat"].get("mode") == "multicast":
        raise ConfigError("SIMULATED: heartbeat mode multicast isn't simulated, use 'mode mesh'", where="cfg.c:4583")
    if release.numbers >= (8, 1) and config.info_section:
        config.warnings.append("info service is obsolete - ignoring")
    check_directories(config)


def check_address(one: str) -> None:
    if one in ("any", "local", "localhost") or Path("/sys/class/net", one).exists():
        return
    try:
        ipaddress.ip_address(one)
    except ValueError:
        raise ConfigError(f"Invalid address: {one}", "socket", "socket.c:1873") from None


def check_directories(config: Config) -> None:
    work = Path(config.work_directory)
    lua = Path(config.mod_lua.get("user-path", "/opt/aerospike/usr/udf/lua"))
    for title, path in (("work", work), ("Lua user", lua), ("system metadata", work / "smd")):
        problem = "" if path.is_dir() else "Not a directory" if path.exists() else "No such file or directory"
        if problem:
            raise ConfigError(f"{title} directory '{path}' is not set up properly: {problem}", "as", "as.c:532")
