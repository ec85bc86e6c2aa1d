"""The command line of asd: parse, open the log, check, serve until SIGTERM."""

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import sys
from pathlib import Path

from . import best_practices
from .config.checks import check_config
from .config.model import Config, ConfigError
from .config.parser import load_config
from .log import Log
from .release import Release, load_release
from .server import Server

DEFAULT_CONFIG = Path("/etc/aerospike/aerospike.conf")


def main(arguments: list[str] | None = None) -> int:
    """Run the server.

    :returns: the exit code: 0 after SIGTERM or --version, 1 after any refusal
    """
    release = load_release()
    parser = argparse.ArgumentParser(
        prog="asd",
        description=f"{release.title} build {release.version}: a stand-in for tests, not the Aerospike database.",
        allow_abbrev=False,
    )
    parser.add_argument("--config-file", type=Path, default=DEFAULT_CONFIG)
    parser.add_argument("--foreground", action="store_true")
    parser.add_argument("--fgdaemon", action="store_true")
    parser.add_argument("--early-verbose", action="store_true")
    parser.add_argument("--cold-start", action="store_true")
    parser.add_argument("--instance", type=int, default=0)
    parser.add_argument("--version", action="store_true")
    options = parser.parse_args(arguments)
    if options.version:
        print(f"{release.title} build {release.version}")
        return 0
    log = Log()
    try:
        config = load_config(options.config_file, release)
        try:
            log.open(config.sinks)
        except OSError as error:
            raise ConfigError(f"can't open log file {error.filename}: {error.strerror}", "misc", "log.c:303") from error
        if not options.foreground and not options.fgdaemon and config.service.get("run-as-daemon", True):
            daemonize()
        log.info(
            "as", f"<><><><><><><><><><>  {release.title} build {release.version}  <><><><><><><><><><>", "as.c:303"
        )
        check_config(config, release)
        for warning in config.warnings:
            log.warning("config", warning, "cfg.c:4831")
        best_practices.check(config, release, log)
        return asyncio.run(serve(config, release, log))
    except ConfigError as refusal:
        log.critical(refusal.part, str(refusal), refusal.where)
        return 1
    except OSError as error:  # usually a port that is in use
        log.critical("socket", f"{error.strerror or error}", "socket.c:829")
        return 1


def daemonize() -> None:
    """Continue in a child process; the caller always sees exit code 0."""
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


async def serve(config: Config, release: Release, log: Log) -> int:
    """Serve until SIGTERM or SIGINT."""
    # Records are many, long-lived and free of reference cycles: frequent garbage collection is wasted time.
    gc.set_threshold(100_000, 50, 1000)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, log.reopen)
    server = Server(config, release, log)
    await server.start()
    pidfile = config.service.get("pidfile")
    if pidfile:
        with contextlib.suppress(OSError):
            Path(pidfile).write_text(f"{os.getpid()}\n")
    await stopping.wait()
    log.info("as", f"SIGTERM received, shutting down {release.title} build {release.version}", "signal.c:237")
    server.stop()
    await asyncio.sleep(0)
    log.info("as", "finished clean shutdown - exiting", "as.c:470")
    return 0


if __name__ == "__main__":
    sys.exit(main())
