"""The table on stdout: header, Threads row, numbered rows. Pure text, no clock."""

from __future__ import annotations

from dataclasses import dataclass

_TOTAL_EXTRA = 3  # the total's column is wider by this many characters


@dataclass(frozen=True)
class Table:
    """`columns` are the two header lines of each workload; `width` is the columns' width in characters."""

    columns: tuple[tuple[str, str], ...]
    width: int
    header_every: int

    def header_due(self, row: int) -> bool:
        """Whether the header comes before row `row` (from 1). ZeroDivisionError for 0, as in the real Perseus;
        with 1 it never comes."""
        return row % self.header_every == 1

    def header(self, threads: list[int]) -> list[str]:
        columns = (*self.columns, ("Total TPS", " "))
        return [
            self._rule("="),
            self._line("Test Cases:", [first for first, _ in columns]),
            self._line("", [second for _, second in columns]),
            self._rule("-"),
            self._line("Threads:", [*map(str, threads), ""]),
            self._rule("="),
        ]

    def row(self, number: int, counts: list[int], total: int) -> str:
        return self._line(str(number), [f"{count:,}" for count in (*counts, total)])

    def _line(self, first: str, cells: list[str]) -> str:
        parts = [cell.ljust(self.width) for cell in (first, *cells[:-1])]
        parts.append(cells[-1].ljust(self.width + _TOTAL_EXTRA))
        return "|" + "".join(f" {part} |" for part in parts)

    def _rule(self, character: str) -> str:
        return character * ((self.width + 3) * (len(self.columns) + 2) + 1 + _TOTAL_EXTRA)
