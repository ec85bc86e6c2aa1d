# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What was done to an environment, as annotations of Grafana: kept in a file first, posted as soon as Grafana answers.

The file holds a JSON object a line, in the form of Grafana's own API (POST /api/annotations). Standard library only.
"""

from __future__ import annotations

import base64
import fcntl
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# An environment that never has a Grafana must not fill the disk: the oldest go.
MOST_KEPT = 1000
POST_TIMEOUT = 3.0  # seconds


@dataclass(frozen=True)
class Span:
    """One action from its start to its end, in seconds since 1970."""

    begin: float
    end: float
    text: str
    tags: tuple[str, ...]

    def line(self) -> str:
        """The span as Grafana takes it."""
        times = {"time": round(self.begin * 1000), "timeEnd": round(self.end * 1000)}
        return json.dumps({**times, "text": self.text, "tags": list(self.tags)})


class PostError(Exception):
    """Grafana didn't take an annotation. ``final``: it never will."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


def keep_and_post(spool: Path, spans: Sequence[Span], post: Callable[[str], None] | None) -> str:
    """Add spans to those that are kept, and post all of them, oldest first; return why some are left, or nothing.

    Two runs may do this at the same time: they take turns.

    :param spool: the file; its folder exists
    :param post: takes one line, raises PostError; None when there is no Grafana
    :raises OSError: the file can't be read or written
    """
    if not spans and not spool.exists():
        return ""
    with spool.open("a+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        waiting = [line for line in stream.read().splitlines() if line.strip()]
        waiting = [*waiting, *(span.line() for span in spans)][-MOST_KEPT:]
        problem = "" if post else "there is no Grafana yet"
        while waiting and post:
            try:
                post(waiting[0])
            except PostError as error:
                if not error.final:
                    problem = str(error)
                    break
            del waiting[0]
        stream.seek(0)
        stream.truncate()
        stream.write("".join(f"{line}\n" for line in waiting))
    return f"{len(waiting)} annotations are kept in {spool}: {problem}" if waiting else ""


def poster(url: str, user: str, password: str) -> Callable[[str], None]:
    """Return what posts one annotation to the Grafana at an address."""
    login = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def post(line: str) -> None:
        headers = {"Authorization": login, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/api/annotations", line.encode(), headers)
        try:
            with opener.open(request, timeout=POST_TIMEOUT):
                return
        except urllib.error.HTTPError as error:
            # 400: it doesn't like this one; to try it again would keep all later ones back.
            raise PostError(f"{url} answers HTTP {error.code} {error.reason}", final=error.code == 400) from error
        except (OSError, ValueError) as error:
            raise PostError(f"{url} doesn't answer: {getattr(error, 'reason', error)}") from error

    return post
