"""Descriptions of a pose against the true pose, part by part: whether what a model says is to be believed.

A statement is told by the truth from a body's joints (`language.agreement`). For each part of the body:

| figure | meaning |
| --- | --- |
| precision | share of the statements that are said of persons and are true of them |
| by chance | share that is true of the other persons: how true such statements are anyway |
| kappa | (precision - by chance) / (1 - by chance): 0 where it might as well have been said of anybody |

Kappa is what a refinement weighs a part's statements by, its lower end of a bootstrap interval, and never below 0. A
public study found 0.10 for judgements of a vision-language model on parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.language.agreement import holds
from hmralign.language.statements import PARTS, STATEMENTS, Part, row_of
from hmralign.storage.json_file import read_json
from hmralign.storage.whole_file import write_json
from hmralign.structures import InputError
from hmralign.structures.counted import counted

FORMAT_VERSION = 1
LEAST_STATEMENTS = 20
"""Fewer statements on a part say nothing of it: it is then trusted as if nobody had audited."""

Statements = Sequence[tuple[str, bool]]
"""What is said of one person: ids, and whether they are said to hold."""


@dataclass(frozen=True)
class PartAudit:
    """What is to be believed of the statements on one part."""

    part: Part
    statements: int
    precision: float
    by_chance: float
    kappa: float
    kappa_low: float
    """Lower end of a 95 % interval over persons."""

    @property
    def trust(self) -> float:
        """How much a statement on the part counts, 0 to 1."""
        return min(max(self.kappa_low, 0.0), 1.0)


def audit_descriptions(
    said: Sequence[Statements],
    joints: Float[Tensor, "person 24 3"],
    rotmats: Float[Tensor, "person 24 3 3"],
    generator: torch.Generator,
) -> list[PartAudit]:
    """Audit what is said of persons whose bodies are known (`cam` frame, metres); parts of which nothing is said lack.

    Raises InputError for fewer than two persons, who cannot be exchanged.
    """
    if len(said) != len(joints) or len(said) < 2:
        raise InputError(
            f"{counted(len(said), 'description')} of {counted(len(joints), 'person')}; expected one each of at least 2"
        )
    true = holds(joints, rotmats)
    audits = []
    for part in PARTS:
        rows = [_rows(statements, part) for statements in said]
        count = sum(map(len, rows))
        if count == 0:
            continue
        right, chance = _per_person(rows, true)
        kappas = _kappa_of_resampled(right, chance, generator)
        precision, by_chance = _ratio(right), _ratio(chance)
        audits.append(PartAudit(part, count, precision, by_chance, _kappa(precision, by_chance), kappas))
    return audits


def _rows(statements: Statements, part: Part) -> list[tuple[int, bool]]:
    known = [(row_of(name), said) for name, said in statements]
    return [(row, said) for row, said in known if STATEMENTS[row].part == part]


def _per_person(
    rows: Sequence[Sequence[tuple[int, bool]]], true: Bool[Tensor, "person statements"]
) -> tuple[Float[Tensor, "person 2"], Float[Tensor, "person 2"]]:
    """How many statements are true of each person, and how many there are; then the same of all others."""
    right, chance = [], []
    others = max(len(rows) - 1, 1)
    for person, said in enumerate(rows):
        agree = sum(float(bool(true[person, row]) == holds_) for row, holds_ in said)
        # Each statement against everybody else: what it would be worth had it been said of anyone.
        anyone = sum(
            (float((true[:, row] == holds_).sum()) - float(bool(true[person, row]) == holds_)) / others
            for row, holds_ in said
        )
        right.append([agree, float(len(said))])
        chance.append([anyone, float(len(said))])
    return torch.tensor(right), torch.tensor(chance)


def _ratio(pairs: Float[Tensor, "person 2"]) -> float:
    total = float(pairs[:, 1].sum())
    return float(pairs[:, 0].sum()) / total if total else 0.0


def _kappa(precision: float, by_chance: float) -> float:
    return (precision - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0


def _kappa_of_resampled(right: Tensor, chance: Tensor, generator: torch.Generator, draws: int = 1000) -> float:
    """Lower end of the 95 % interval of kappa, persons drawn with replacement."""
    drawn = torch.randint(len(right), (draws, len(right)), generator=generator)
    kappas = torch.tensor([_kappa(_ratio(right[index]), _ratio(chance[index])) for index in drawn])
    return float(kappas.quantile(0.025))


def write_audit(path: Path, audits: Sequence[PartAudit], facts: Mapping[str, Any]) -> Path:
    """Write an audit, with what was asked and whom it is of."""
    parts = [{**asdict(audit), "trust": audit.trust} for audit in audits]
    return write_json(path, {"format_version": FORMAT_VERSION, "facts": dict(facts), "parts": parts})


def read_trust(path: Path) -> dict[Part, float]:
    """How much the statements on each part count, by an audit; parts with too few statements are left out.

    Raises InputError for a file that is none.
    """
    content = read_json(path, "an audit of descriptions")
    if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{path}: is no audit of descriptions of format {FORMAT_VERSION}")
    found: dict[Part, float] = {}
    for entry in content.get("parts") or []:
        given = entry if isinstance(entry, dict) else {}
        known: Part | None = next((name for name in PARTS if name == given.get("part")), None)
        trust, count = given.get("trust"), given.get("statements")
        if known is None or not isinstance(count, int) or not isinstance(trust, int | float) or not 0 <= trust <= 1:
            raise InputError(f"{path}: 'parts' has an entry that is none; expected part, statements and trust (0 to 1)")
        if count >= LEAST_STATEMENTS:
            found[known] = float(trust)
    return found
