"""Reads aerospike.conf with the strictness of the real server: the same refusals, in the same words.

Like the real parser it stops at the first error, reads three tokens after a name and ignores the rest of the line, and
splits lines after 1,023 characters: a user's file meets these oddities too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..release import Release
from .checks import check_budget, check_heartbeat, check_namespace, check_storage
from .line import Line, read_lines, text
from .model import NAMES_MAX, Config, ConfigError, LogSink, NamespaceConfig, Values
from .options import Option, find, number
from .values import convert

DEPTH_MAX = 8


def load_config(path: Path, release: Release) -> Config:
    """Parse `path`.

    :raises ConfigError: at the first line that the real server would refuse
    """
    try:
        text = path.read_bytes().decode("latin-1")
    except OSError as error:
        raise ConfigError(f"couldn't open configuration file {path}: {error.strerror}", where="cfg.c:2113") from error
    return Parser(release).parse(text)


class Parser:
    """Reads line by line, with a stack of contexts."""

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
        """The section that receives the parameters of a new context."""
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
                return self.current_namespace.sets.setdefault(line.value, {})
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
    def current_namespace(self) -> NamespaceConfig:
        assert self.namespace is not None
        return self.namespace

    def begin_storage(self, line: Line) -> None:
        namespace = self.current_namespace
        if namespace.engine and self.release.numbers >= (7,):
            raise ConfigError(f"{{{namespace.name}}} can only configure one 'storage-engine'", where="cfg.c:3043")
        if line.value not in ("memory", "pmem", "device"):
            raise line.error(f"storage-engine has unknown value '{line.value}'", "cfg.c:1643")
        if line.value == "pmem" and not self.release.enterprise:
            raise line.error("'storage-engine' is enterprise-only", "cfg_ce.c:76")
        namespace.engine = line.value
        if line.value == "memory" and self.release.numbers < (7,):
            return  # no context follows, and the size is the namespace's memory-size
        self.begin_context(f"storage-{line.value}", namespace.storage)

    def begin_index_type(self, line: Line) -> None:
        if line.value not in ("shmem", "pmem", "flash"):
            raise line.error(f"{line.name} has unknown value '{line.value}'", "cfg.c:1643")
        namespace = self.current_namespace
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
        namespace = self.current_namespace
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
            check_storage(self.current_namespace)
        elif context in ("index-type-flash", "index-type-pmem"):
            check_budget(self.current_namespace, values, "", self.release)
        elif context in ("sindex-type-flash", "sindex-type-pmem"):
            check_budget(self.current_namespace, values, "sindex ", self.release)
        elif context == "namespace":
            check_namespace(self.current_namespace, self.release)
            self.namespace = None
        self.stack.pop()


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
