"""The lines of aerospike.conf as the real server cuts them: a name and three tokens, 1,023 characters at most."""

from dataclasses import dataclass

from .model import ConfigError

LINE_SIZE = 1023


@dataclass(frozen=True)
class Line:
    """One line of the file: its number, its name and up to three values."""

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


def read_lines(text: str) -> list[Line]:
    """The lines that aren't empty, split as by a buffer of 1,024 bytes."""
    pieces: list[str] = []
    for line in text.split("\n"):
        terminated = line + "\n"
        pieces.extend(terminated[at : at + LINE_SIZE] for at in range(0, len(terminated), LINE_SIZE))
    lines = []
    for position, piece in enumerate(pieces, 1):
        tokens = piece.split("#", 1)[0].split()
        if tokens:
            padded = (*tokens[1:4], "", "", "")
            lines.append(Line(position, tokens[0], (padded[0], padded[1], padded[2])))
    return lines


def text(line: Line) -> str:
    """The line's value.

    :raises ConfigError: there is none
    """
    if not line.value:
        raise line.rule("must have a value specified")
    return line.value
