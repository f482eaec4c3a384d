"""`hmralign critic audit`: the critics of a store against its truth, and against mistakes planted on true bodies.

    store -> scores that are there, or the critic asked now -> measures beside the errors -> document
    true bodies -> planted mistakes -> the critic asked -> rates -> document

The store is read, never written. A critic that is asked now is asked as `hmralign groups` would ask it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.critics.catalogue import make_critic
from hmralign.critics.controls import OracleCritic
from hmralign.critics.critic import judge
from hmralign.critics.names import CRITICS
from hmralign.evaluation.critic_audit import audit_critic
from hmralign.evaluation.mistakes.planted import planted_table
from hmralign.preferences.build import GroupStoreConfig, named_critic
from hmralign.preferences.store import GroupStore
from hmralign.preferences.stored_body import stored_body
from hmralign.structures import Example, InputError
from hmralign.structures.counted import counted
from hmralign.studies.critic_audit.habits import habits_of

FORMAT_VERSION = 1


@dataclass(frozen=True)
class AuditConfig:
    """What is measured."""

    critics: tuple[str, ...]
    """Names of critics, or of sets of scores in the store."""
    reference: str = "reprojection"
    """Critic that the others are compared with, itself in the table; empty for none."""
    groups: int | None = None
    """Only the first so many groups."""
    planted: int = 0
    """Persons on whom mistakes are planted, the first ones; 0 leaves it out."""
    draws: int = 1000
    """Bootstrap draws."""
    seed: int = 0
    """Seed of the bootstrap and of planted mistakes; critics that draw have the store's."""

    def __post_init__(self) -> None:
        """Raise InputError for numbers without meaning, no critic, and one that is named twice."""
        if not self.critics or len(set(self.critics)) != len(self.critics):
            raise InputError("an audit needs critics, each named once")
        if (self.groups is not None and self.groups < 2) or self.planted < 0 or self.draws < 10:
            raise InputError("an audit needs at least 2 groups and 10 draws; planted must not be negative")

    @property
    def everybody(self) -> tuple[str, ...]:
        """The critics, with the reference at the end where it is not among them."""
        missing = self.reference and self.reference not in self.critics
        return (*self.critics, self.reference) if missing else self.critics


def audit_store(
    store: GroupStore, config: AuditConfig, body: BodyModel | None = None, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Measure every critic; returns plain values for JSON, in which an interval is (mean, low, high).

    `body` is that of the groups, by default the free body that they name; critics judge on `device`.

    Raises InputError for a store without truth
    or with too few groups, a critic that is neither known nor in the store, and scores that are missing.
    """
    if not store.facts.with_truth:
        raise InputError(f"{store.folder}: holds no truth, and an audit measures scores against it")
    count = len(store) if config.groups is None else config.groups
    if not 2 <= count <= len(store) or config.planted > len(store):
        asked = max(count, config.planted)
        raise InputError(
            f"{store.folder}: has {counted(len(store), 'group')}, {asked} were asked for; expected at least 2"
        )
    body = (stored_body(store.facts) if body is None else body).to(device)
    clusters = [cluster_of(name) for name in store.ids[:count]]
    errors = group_errors(store, count)
    scores = {name: scores_of(store, name, count, body) for name in config.everybody}
    reference = scores[config.reference][0] if config.reference else None
    rows = {}
    for name, (values, source) in scores.items():
        compared = None if name == config.reference else reference
        audit = audit_critic(values, errors, clusters, compared, draws=config.draws, seed=config.seed)
        rows[name] = {"scores": source, **audit.record()}
        if (habits := habits_of(store, name, count)) is not None:
            rows[name]["habits"] = habits
    document: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "store": {"source": store.facts.source, "content_sha256": store.content_hash()},
        "groups": count,
        "persons": len(set(clusters)),
        "group_size": store.facts.group_size,
        "error": "MPJPE over 24 joints, pelvis-relative",
        "reference": config.reference,
        "mean_error_mm": round(1000 * float(errors.mean()), 1),
        "chance_regret_mm": round(1000 * float((errors.mean(1) - errors.min(1)).mean()), 1),
        "critics": rows,
    }
    if config.planted:
        document["planted"] = _planted(store, config, body)
    return document


def cluster_of(group: str) -> str:
    """The photo of a group from photos (`photo.jpg#0`), otherwise the group: its persons are independent.

    >>> cluster_of("party.jpg#3"), cluster_of("wild/train/000012")
    ('party.jpg', 'wild/train/000012')
    """
    return group.rsplit("#", 1)[0]


def group_errors(store: GroupStore, count: int) -> Float[np.ndarray, "group hyp"]:
    """MPJPE of the first groups, metres."""
    parts: list[Tensor] = []
    for shard in _shards(store, count):
        groups = store.read(shard, truth=True)
        parts.append(-judge(OracleCritic(), groups.hypotheses, groups.example))
    return torch.cat(parts)[:count].double().numpy()


def scores_of(store: GroupStore, name: str, count: int, body: BodyModel) -> tuple[Float[np.ndarray, "group hyp"], str]:
    """Scores of the first groups, and whether they are from the store or were judged now.

    Raises InputError for a name that is neither in the store nor a critic, and for scores that are not finished.
    """
    known = tuple(CRITICS)
    if name in store.critics() and (name not in CRITICS or not store.unscored(name)):
        return store.scores(name)[:count].double().numpy(), "from the store"
    if name not in CRITICS:  # nor one of the user's own: names may come from the store, and data never runs code
        there = ", ".join(store.critics()) or "none"
        raise InputError(
            f"there is no critic '{name}'; expected one of {', '.join(known)}, or scores of the store ({there})"
        )
    facts = store.facts
    config = GroupStoreConfig(facts.group_size, detector=facts.detector, with_truth=True, seed=facts.seed)
    critic_of, parts = named_critic(name, body, config), []
    for shard in _shards(store, count):
        groups = store.read(shard, truth=True)
        critic, place = critic_of(groups.ids), body.device
        parts.append(judge(critic, groups.hypotheses.to(place), groups.example.to(place)).cpu())
    return torch.cat(parts)[:count].double().numpy(), "judged now"


def _shards(store: GroupStore, count: int) -> range:
    return range(store.entries[count - 1].shard + 1)


def _planted(store: GroupStore, config: AuditConfig, body: BodyModel) -> dict[str, Any]:
    """Rates of the critics that can be asked; those with recorded scores alone cannot."""
    detector, seed = store.facts.detector, config.seed
    asked = [name for name in config.everybody if name in CRITICS]
    critics = {name: make_critic(name, body, detector, seed=seed) for name in asked}
    example = _true_persons(store, config.planted)
    clusters = [cluster_of(name) for name in store.ids[: config.planted]]
    _, numbers = np.unique(clusters, return_inverse=True)
    table = planted_table(critics, body.to("cpu"), example, numbers, seed=seed, draws=config.draws, device=body.device)
    only_scores = [n for n in config.everybody if n not in CRITICS]
    return {"persons": config.planted, "not_asked": only_scores, "mistakes": table}


def _true_persons(store: GroupStore, count: int) -> Example:
    """Observations and annotations of the first persons; landmarks are those of a photo, and left out."""
    examples = [store.read(shard, truth=True).example for shard in _shards(store, count)]
    return Example.cat([replace(e, landmarks3d=None) for e in examples])[:count]


def write_audit(folder: Path, document: dict[str, Any]) -> list[Path]:
    """`critic_audit.json`, `.md` and `.png`; returns the files."""

    from hmralign.storage.whole_file import write_json, write_whole
    from hmralign.studies.critic_audit.plots import audit_figure
    from hmralign.studies.critic_audit.report import audit_markdown

    return [
        write_json(folder / "critic_audit.json", document, indent=1),
        write_whole(folder / "critic_audit.md", audit_markdown(document)),
        write_whole(folder / "critic_audit.png", audit_figure(document)),
    ]
