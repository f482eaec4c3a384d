"""`hmralign align --advise`: what a store of groups says of a situation, and the measured rows that fit it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from hmralign.alignment.advice import ADVICE, Situation, fitting
from hmralign.body.model import BodyModel
from hmralign.critics.reprojection import reprojection_error
from hmralign.fitting.detector_noise import noise_of
from hmralign.models.checkpoint import checkpoint_hash, trained_on
from hmralign.models.shipped import SHIPPED
from hmralign.preferences.store import GroupStore
from hmralign.structures import InputError
from hmralign.structures.counted import counted

MOST_LOOKED_AT = 500
"""Persons whose groups are held against their keypoints; a median needs no more."""

CAVEAT = (
    "No promise: figures are of SynthWild, on the free body. Keep a control beside what you try (`align sft` on the "
    "own mean, best-of-n by a random critic), and measure both on persons that nothing was chosen on."
)


def situation_of(store: GroupStore, body: BodyModel, checkpoint: str | None = None) -> Situation:
    """What is known of whoever made this store; `checkpoint` is needed where the weights are not shipped ones.

    Raises InputError for an empty store, and a checkpoint that did not sample it.
    """
    if not len(store):
        raise InputError(f"{store.folder}: has no groups, so there is nothing to say about them")
    sampled_by = store.facts.checkpoint_sha256
    names = [name for name in SHIPPED if checkpoint_hash(name) == sampled_by]
    if checkpoint is not None and checkpoint_hash(checkpoint) != sampled_by:
        raise InputError(f"{store.folder}: its groups were not sampled by {checkpoint}")
    knows = trained_on(checkpoint or names[0]) if checkpoint or names else store.facts.trained_on
    return Situation(
        store.critics(), store.facts.with_truth, len(store), bool(sampled_by), knows, fit_share(store, body)
    )


def fit_share(store: GroupStore, body: BodyModel) -> float | None:
    """Median over persons of the best-fitting hypothesis' median distance to the keypoints, share of the box; None
    where nobody has a confident keypoint."""
    offsets = noise_of(store.facts.detector).offsets
    found = torch.cat(list(_shares(store, body, offsets)))
    known = found[torch.isfinite(found)]
    return float(known.median()) if len(known) else None


def _shares(store: GroupStore, body: BodyModel, offsets: torch.Tensor) -> Iterator[torch.Tensor]:
    seen = 0
    for shard in range(store.num_shards):
        if seen >= MOST_LOOKED_AT:
            return
        groups = store.read(shard)
        error = reprojection_error(body, groups.hypotheses, groups.example.observation, offsets)
        seen += len(groups.ids)
        yield error.median_share.amin(-1)


def advice_document(situation: Situation) -> dict[str, Any]:
    """The situation and the rows that fit, as plain values."""
    rows = [{"name": name, **asdict(ADVICE[name])} for name in fitting(situation)]
    return {"format_version": 1, "situation": asdict(situation), "rows": rows, "caveat": CAVEAT}


def advice_lines(document: dict[str, Any]) -> list[str]:
    """The document for people."""
    s = document["situation"]
    critics = ", ".join(s["critics"]) or "none"
    lines = [
        f"{counted(s['persons'], 'person')}; critics: {critics}; truth {'is' if s['has_truth'] else 'is not'} kept."
    ]
    if (off := s["fit_share"]) is not None:
        lines.append(f"The best-fitting body of a group is {100 * off:.1f} % of the box off the keypoints (median).")
    lines.append("")
    if not document["rows"]:
        lines += ["Nothing that was measured fits this store: no critic here is one that was followed.", ""]
    for row in document["rows"]:
        lines += [
            f"You have {row['have']}.",
            f"  Do: {row['do']}.",
            f"  It gave: {row['gave']} (docs/{row['source']}).",
        ]
        if row["costs"]:
            lines.append(f"  It costs: {row['costs']}.")
        lines.append("")
    return [*lines, document["caveat"]]
