"""What the real server calls best practices: settings of the host that it checks at its start and warns about."""

import os
from pathlib import Path

from .config.model import Config, ConfigError
from .log import Log
from .release import Release

KIB = 1024
GIB = 1024**3
# /proc/sys: (name, path, minimum, maximum); None = no limit. The minimum of min-free-kbytes is computed.
_SETTINGS: tuple[tuple[str, str, int, int | None], ...] = (
    ("max-map-count", "vm/max_map_count", 262144, None),
    ("min-free-kbytes", "vm/min_free_kbytes", 0, None),
    ("swappiness", "vm/swappiness", 0, 0),
    ("zone-reclaim-mode", "vm/zone_reclaim_mode", 0, 0),
    ("somaxconn", "net/core/somaxconn", 4096, None),
)


SEE = "see 'https://docs.aerospike.com/docs/operations/install/linux/bestpractices/index.html'"


def check(config: Config, release: Release, log: Log) -> None:
    """Warn about each check that fails.

    :raises ConfigError: a check fails and the configuration enforces them
    """
    for name, text in failed(config, release):
        part = "config" if name in ("service-threads", "admin-port", "memory") else "os"
        log.warning(part, f"failed {name} check - {text}", "os.c:220")
        config.bad_practices.append(name)
    if config.bad_practices:
        text = f"failed best-practices checks - {SEE}"
        if config.service.get("enforce-best-practices"):
            raise ConfigError(text, where="cfg.c:5110")
        log.warning("config", text, "cfg.c:5114")


def failed(config: Config, release: Release, root: Path = Path("/")) -> list[tuple[str, str]]:
    """The checks that fail on this host, each with the server's message."""
    found: list[tuple[str, str]] = []
    for name, path, minimum, maximum in _SETTINGS:
        if name == "min-free-kbytes":
            # The largest index stage, and 100 MiB.
            minimum = _largest_stage(config) // KIB + 100 * KIB
        value = _number(root / "proc/sys" / path)
        if value is None:
            continue
        if maximum == minimum and value != minimum:
            found.append((name, f"{name} not set to {minimum}"))
        elif value < minimum:
            found.append((name, f"{name} should be at least {minimum}"))
    found += _huge_pages(root)
    cores = len(os.sched_getaffinity(0))
    if config.service.get("service-threads", cores * 5) < cores:
        found.append(("service-threads", f"'service-threads' should be at least {cores}"))
    if release.numbers >= (8, 1) and "port" not in config.network["admin"]:
        found.append(("admin-port", "admin section is not configured"))
    memory = sum(space.storage.get("data-size", 0) for space in config.namespaces if space.engine == "memory")
    present = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if memory > present:
        text = f"data & indexes memory spec for all namespaces ({memory}) exceeds system memory ({present})"
        found.append(("memory", text))
    return found


def _largest_stage(config: Config) -> int:
    return max(
        (
            space.values.get(name, GIB)
            for space in config.namespaces
            for name in ("index-stage-size", "sindex-stage-size")
        ),
        default=0,
    )


def _huge_pages(root: Path) -> list[tuple[str, str]]:
    """Huge pages must be off, or on request of a program (madvise)."""
    folder = root / "sys/kernel/mm/transparent_hugepage"
    enabled = _text(folder / "enabled")
    if not enabled or "[never]" in enabled:
        return []
    found = []
    if "[madvise]" not in enabled:
        found.append(("thp-enabled", "THP enabled not set to either 'never' or 'madvise'"))
    defrag = _text(folder / "defrag")
    if defrag and "[never]" not in defrag and "[madvise]" not in defrag:
        found.append(("thp-defrag", "THP defrag not set to either 'never' or 'madvise'"))
    return found


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.lstrip("-").isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
