"""What the real server calls deprecated: it still works, and its log says what to use, by release.

Facts: public source of Community Edition 8.1.0.3, 8.1.1.2 and 8.1.2.0. Not here: what Pegasus's configurations can't
contain and what isn't simulated.
"""

from .config.model import Config
from .log import Log
from .release import Release

_COMMAND = "'{}' info command is deprecated - {}"
_NOTES = "see https://aerospike.com/docs/database/release/8-1/"
_SINCE_8_1 = {
    "": "info summary is deprecated",
    "config-get": _COMMAND.format("config-get", "use 'get-config' instead"),
    "config-set": _COMMAND.format("config-set", "use 'set-config' instead"),
    "features": _COMMAND.format("features", _NOTES),
    "mesh": "'mesh' and 'mcast' info commands are deprecated - use 'get-config' instead",
    "name": _COMMAND.format("name", "use 'node' instead"),
    "partitions": _COMMAND.format("partitions", _NOTES),
    "replicas-all": _COMMAND.format("replicas-all", "use 'replicas' instead or upgrade your client"),
    "sindex": _COMMAND.format("sindex", "use 'sindex-list' instead"),
}
_SINCE_8_1_1 = {
    "build_arch": _COMMAND.format("build_arch", "use 'release' instead"),
    "build_os": _COMMAND.format("build_os", "use 'release' instead"),
    "build_time": _COMMAND.format("build_time", "see https://aerospike.com/docs/database/release/8-1-1/"),
    "edition": _COMMAND.format("edition", "use 'release' instead"),
    "version": _COMMAND.format("version", "use 'release' instead"),
}
COMMANDS = {(8, 1): _SINCE_8_1, (8, 1, 1): _SINCE_8_1_1}
NAMESPACE_AS_ID = "info parameter 'id' is deprecated - use 'namespace' instead"
ENABLE_INDEX = (
    "'enable-index' is deprecated - use 'sindex-create' and 'sindex-delete' info commands instead - "
    "see https://aerospike.com/docs/database/release/8-1-2/"
)
# Parameters of aerospike.conf, by section.
_PARAMETERS = {
    "service": ("group", "pidfile", "proto-fd-idle-ms", "user"),
    "heartbeat": ("address",),
}


class Deprecations:
    """Counts and logs each use of what is deprecated."""

    def __init__(self, release: Release, log: Log) -> None:
        self.release = release.numbers
        self.log = log
        self.count = 0

    def command(self, name: str) -> None:
        """Note an info command; "" for the summary."""
        for since, texts in COMMANDS.items():
            if name in texts:
                self.note(since, texts[name])

    def configuration(self, config: Config) -> None:
        """Note what aerospike.conf contains."""
        for section, names in _PARAMETERS.items():
            values = config.service if section == "service" else config.network[section]
            prefix = "" if section == "service" else f"{section}."
            for name in names:
                if name in values:
                    self.note((8, 1), f"'{prefix}{name}' configuration parameter is deprecated - {_NOTES}")
        if any("enable-index" in values for space in config.namespaces for values in space.sets.values()):
            self.note((8, 1, 2), ENABLE_INDEX)

    def note(self, since: tuple[int, ...], text: str) -> None:
        if self.release >= since:
            self.count += 1
            self.log.repeated("INFO", "deprecation", text, "thr_info.c:886")
