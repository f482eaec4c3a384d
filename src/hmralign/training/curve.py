"""The curve of a run: a file of lines, each with what was measured at a step."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hmralign.storage.json_file import HEADER, JsonError, parse_json
from hmralign.storage.line_log import append_line
from hmralign.storage.whole_file import write_whole

logger = logging.getLogger("hmralign.training")


def six_digits(value: float) -> float | str:
    """A figure with six significant digits; what is not finite as a word, since JSON has no number for it."""
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)


def five_decimals(value: float) -> float:
    """A figure to 0.00001."""
    return round(value, 5)


@dataclass(frozen=True)
class Curve:
    """Where the lines of a run go, and what they look like."""

    path: Path
    labels: Mapping[str, int] = field(default_factory=dict)
    """First columns of every line; they tell the runs that share a file apart."""
    columns: tuple[str, ...] | None = None
    """Figures that are written; None for all."""
    clock: str = "seconds"
    """Name of the column of time."""
    rounded: Callable[[float], float | str] = six_digits
    """What is written for a figure."""
    said_every: int = 1
    """Lines at multiples of so many steps also go to the log."""
    listeners: tuple[Callable[[int, Mapping[str, float]], None], ...] = ()
    """Called with the step and what else a line says, not rounded."""

    def append(self, step: int, done: float, seconds: float, figures: Mapping[str, float]) -> None:
        """Write a line; `done` is the share of the run that is behind it."""
        names = self.columns or tuple(figures)
        written = {name: self.rounded(figures[name]) for name in names}
        line = {**self.labels, "step": step, self.clock: round(seconds, 2), **written}
        append_line(self.path, json.dumps(line))
        for listener in self.listeners:
            listener(step, {self.clock: seconds, **{name: figures[name] for name in names}})
        if step % self.said_every == 0:
            said = [f"{name} {value}" for name, value in self.labels.items()]
            said += [f"step {step} ({done:.0%})", *(f"{name} {figures[name]:.4g}" for name in names)]
            logger.info(", ".join(said))

    def cut(self, step: int) -> None:
        """Drop this run's lines beyond a step, and what was being written when the run was killed."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            row = _read(line)
            if row is None:
                break
            if not self._is_own(row) or row["step"] <= step:
                kept.append(f"{line}\n")
        if kept:
            write_whole(self.path, "".join(kept))
        else:
            self.path.unlink()

    def _is_own(self, row: Mapping[str, Any]) -> bool:
        return all(row.get(name) == value for name, value in self.labels.items())


def curve_rows(path: Path) -> list[dict[str, Any]]:
    """Lines of a curve, in order; none where there is no such file. What was being written at a kill is left out."""
    if not path.exists():
        return []
    rows = map(_read, path.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row is not None]


def _read(line: str) -> dict[str, Any] | None:
    try:
        row = parse_json(line, HEADER, nan=True)
    except JsonError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
