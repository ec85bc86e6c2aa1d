# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Actions on an environment as Grafana annotations: kept in a file, and posted as soon as Grafana answers.

Each line of the file is a JSON object in the form of Grafana's API (POST /api/annotations). Standard library only.
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

# So that an environment without Grafana doesn't fill the disk. The oldest are dropped.
MOST_KEPT = 1000
POST_TIMEOUT = 3.0  # seconds


@dataclass(frozen=True)
class Span:
    """An action from its start to its end, in seconds since 1970."""

    begin: float
    end: float
    text: str
    tags: tuple[str, ...]

    def line(self) -> str:
        """Return the span in the form of Grafana's API."""
        times = {"time": round(self.begin * 1000), "timeEnd": round(self.end * 1000)}
        return json.dumps({**times, "text": self.text, "tags": list(self.tags)})


class PostError(Exception):
    """Grafana didn't accept an annotation. ``final``: it never will."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


def keep_and_post(spool: Path, spans: Sequence[Span], post: Callable[[str], None] | None) -> str:
    """Add spans to the kept spans, and post all of them, oldest first. Return why some are left, or "".

    :param spool: the file, which concurrent runs lock; its folder must exist
    :param post: posts a line, raises PostError; None without Grafana
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
    """Return a function that posts a line to the Grafana at a URL. It raises PostError."""
    login = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def post(line: str) -> None:
        headers = {"Authorization": login, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/api/annotations", line.encode(), headers)
        try:
            with opener.open(request, timeout=POST_TIMEOUT):
                return
        except urllib.error.HTTPError as error:
            # 400: the annotation is invalid. Trying again would block all later annotations.
            raise PostError(f"{url} answers HTTP {error.code} {error.reason}", final=error.code == 400) from error
        except (OSError, ValueError) as error:
            raise PostError(f"{url} doesn't answer: {getattr(error, 'reason', error)}") from error

    return post
