"""Verdicts beside the scores of a store: a line per group, also for those that have none.

    scores/<critic>/verdicts_00000.jsonl     written whole before the scores of the same shard

A group that is unjudged or uninformative has equal scores in the store, which give no preference: alignment leaves such
groups out as silent. The line says which of the two it is and why, what each call said, under which keys the journal
has the answers, and with which memory, prompt, style and model the group was judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.preferences.store import GroupStore
from hmralign.storage.json_file import read_json_lines
from hmralign.storage.whole_file import write_json_lines
from hmralign.structures import InputError
from hmralign.systems.group_preference.verdicts import GroupVerdict

FORMAT_VERSION = 1


def verdicts_path(store: GroupStore, critic: str, shard: int) -> Path:
    """File of one shard."""
    return store.folder / "scores" / critic / f"verdicts_{shard:05d}.jsonl"


def write_verdicts(
    store: GroupStore, critic: str, shard: int, verdicts: Sequence[GroupVerdict], made_by: dict[str, Any]
) -> None:
    """All groups of a shard, whose scores are to be written next. `made_by` is in every line."""
    # Earlier scores go first: a kill in between must not leave them beside lines that they do not belong to.
    (store.folder / "scores" / critic / f"scores_{shard:05d}.safetensors").unlink(missing_ok=True)
    write_json_lines(verdicts_path(store, critic, shard), ({**_line(verdict), **made_by} for verdict in verdicts))


def read_verdicts(store: GroupStore, critic: str) -> list[dict[str, Any]]:
    """Lines of all shards that are scored, in the order of the store.

    Raises InputError for a shard whose lines are missing, damaged, or of other groups.
    """
    waiting = set(store.unscored(critic))
    return [
        line for shard in range(store.num_shards) if shard not in waiting
        for line in read_shard_verdicts(store, critic, shard)
    ]  # fmt: skip


def read_shard_verdicts(store: GroupStore, critic: str, shard: int) -> list[dict[str, Any]]:
    """Lines of one shard. Raises InputError as `read_verdicts`."""
    path = verdicts_path(store, critic, shard)
    try:
        lines = [line.value for line in read_json_lines(path, "verdict")]
        ids = tuple(line["id"] for line in lines)
        version = {line["format_version"] for line in lines}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read; these scores are of another kind of critic ({error})") from error
    if ids != store.shard_ids(shard) or version != {FORMAT_VERSION}:
        raise InputError(f"{path}: does not fit the groups of its shard; score them again under another name")
    return lines


def scores_of(verdicts: Sequence[GroupVerdict], group_size: int) -> Float[Tensor, "group hyp"]:
    """What is written as scores: equal ones where a group gives no preference, 0 where it is unjudged."""
    rows = []
    for verdict in verdicts:
        said = torch.zeros(group_size) if verdict.verdict is None else verdict.verdict.scores
        rows.append(said if verdict.status == "judged" else said.mean().expand(group_size))
    return torch.stack(rows)


def _line(verdict: GroupVerdict) -> dict[str, Any]:
    line: dict[str, Any] = {
        "format_version": FORMAT_VERSION, "id": verdict.id, "status": verdict.status, "reason": verdict.reason,
        "missing": list(verdict.missing),
    }  # fmt: skip
    if verdict.verdict is None or verdict.merged is None:
        return line
    merged, critiques = verdict.merged, verdict.verdict.critiques
    shown = critiques[0] if critiques else None
    return line | {
        "scores": _numbers(merged.scores), "standard_error": _numbers(merged.standard_error),
        "noise": _number(merged.noise), "reliability": _number(merged.reliability),
        "p_value": _number(merged.p_value),
        "position_slope": _number(merged.position_slope),
        "rules": list(shown.rules) if shown else [], "prototypes": list(shown.prototypes) if shown else [],
        "critiques": [
            {"key": c.key, "findings": [[f.hypothesis, f.score, f.comment] for f in c.findings]} for c in critiques
        ],
    }  # fmt: skip


def _numbers(values: Any) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    """JSON knows no NaN: what is not known is null."""
    return float(value) if math.isfinite(value) else None
