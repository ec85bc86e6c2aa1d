"""The server's log in the real server's format, with SIMULATED in each line. Goes to stderr until sinks are open."""

import sys
import time
from pathlib import Path
from typing import TextIO

from .config.model import LogSink

LEVELS = ("CRITICAL", "WARNING", "INFO", "DEBUG", "DETAIL")


class Log:
    """Writes lines to the sinks that are configured for their part and level."""

    def __init__(self) -> None:
        self._sinks: list[tuple[LogSink, TextIO]] = [(LogSink("", {"any": "warning"}), sys.stderr)]

    def open(self, sinks: list[LogSink]) -> None:
        """Replace stderr with the configured sinks.

        :raises OSError: a file can't be opened
        """
        opened = []
        for sink in sinks:
            stream = Path(sink.path).open("a", buffering=1) if sink.path else sys.stderr  # noqa: SIM115 - stays open
            opened.append((sink, stream))
        self._sinks = opened

    def reopen(self) -> None:
        """Open the files again after a rotation (SIGHUP)."""
        self.open([sink for sink, _ in self._sinks])

    @property
    def paths(self) -> list[str]:
        return [sink.path or "stderr" for sink, _ in self._sinks]

    def info(self, part: str, text: str, where: str = "simulated.py:1") -> None:
        self.write("INFO", part, text, where)

    def warning(self, part: str, text: str, where: str = "simulated.py:1") -> None:
        self.write("WARNING", part, text, where)

    def critical(self, part: str, text: str, where: str = "simulated.py:1") -> None:
        self.write("CRITICAL", part, text, where)

    def write(self, level: str, part: str, text: str, where: str) -> None:
        stamp = time.strftime("%b %d %Y %H:%M:%S GMT", time.gmtime())
        line = f"{stamp}: SIMULATED {level} ({part}): ({where}) {text}\n"
        for sink, stream in self._sinks:
            threshold = sink.levels.get(part, sink.levels.get("any", "critical")).upper()
            if LEVELS.index(level) <= LEVELS.index(threshold):
                stream.write(line)
                stream.flush()
