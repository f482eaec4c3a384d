"""Cleaning of a labelled data set.  Source: ADHMR (Shen et al. 2025) sec. 4.5 and 5.4.

    labels -> critic -> scores -> rule -> kept and dropped, with reasons -> cleaned copy

The critic must not need truth: the label is what is judged. Nothing is ever written to the source.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmralign.adapters.index_copies import write_kept
from hmralign.body.model import BodyModel
from hmralign.cleaning.borderline import borderline_items
from hmralign.cleaning.good_labels import good_labels_dropped
from hmralign.cleaning.reference import SampleReference
from hmralign.cleaning.selection import DEFAULT_MARGINS, KeepRule, Selection, select
from hmralign.critics.catalogue import make_critic, weights_of
from hmralign.critics.critic import Critic
from hmralign.critics.learned_scorer import ScorerCritic
from hmralign.critics.names import CriticChoice
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.models.scorer_checkpoint import SHIPPED_SCORERS
from hmralign.policies.catalogue import OpenedPolicy, open_policy
from hmralign.preferences.build import CriticOf, GroupStoreConfig, critic_facts, named_critic
from hmralign.storage.whole_file import write_json, write_json_lines, write_whole
from hmralign.structures import InputError
from hmralign.systems.clean.cleaned_copy import write_cleaned_predictions, write_cleaned_shards
from hmralign.systems.clean.folder import FORMAT_VERSION, borrow_scores, cleaning_folder, join_cleaning
from hmralign.systems.clean.scores import LabelChunks, LabelScores, Progress, score_labels
from hmralign.systems.clean.scores_table import export_scores
from hmralign.systems.clean.sheet import borderline_sheet
from hmralign.systems.clean.sources import DatasetLabels, LabelSource, PredictionLabels, ShardLabels

logger = logging.getLogger("hmralign.clean")

HISTOGRAM_BINS = 20


@dataclass(frozen=True)
class CleanConfig:
    """How labels are judged and chosen."""

    critic: CriticChoice = "scorer"
    """Who judges."""
    threshold: float | None = None
    """Least score that is kept."""
    keep_share: float | None = None
    """Instead: share of the judged labels that is kept."""
    outliers: float | None = None
    """Instead: robust standard deviations below the most common score."""
    margin: float | None = None
    """Instead: how far below the mean score of samples on the same keypoints a label may lie. What the scorers use
    where nothing is given."""
    num_samples: int = 16
    """Samples of `lite` per label that a margin is held against; a scorer judges them whatever the rule is."""
    keep_unjudged: bool = False
    """Keep labels on which the critic has no evidence; they are dropped otherwise."""
    chunk_size: int = 256
    """Labels judged at once: what is lost at most when a run is killed."""
    sheet_items: int = 24
    """Labels on the contact sheet; 0 for none."""
    write: bool = False
    """Write the kept labels as a data set."""
    seed: int = 0
    """Seed of critics that draw."""

    def __post_init__(self) -> None:
        """Raise InputError for sizes that are none."""
        if self.chunk_size < 1 or self.sheet_items < 0:
            raise InputError("labels judged at once must be at least 1, labels on the sheet at least 0")
        if self.num_samples < 1:
            raise InputError(f"{self.num_samples} samples per label; expected at least 1")

    @property
    def rule(self) -> KeepRule:
        """Raises InputError for several rules, and for none with a critic for which none was measured."""
        given = (self.threshold, self.keep_share, self.outliers, self.margin)
        if any(value is not None for value in given):
            return KeepRule(*given)
        if self.critic not in DEFAULT_MARGINS:
            raise InputError(
                f"no rule was given, and none was measured for critic '{self.critic}'; give a threshold or a share to "
                "keep"
            )
        return KeepRule(margin=DEFAULT_MARGINS[self.critic])

    @property
    def has_reference(self) -> bool:
        """Whether samples are judged beside the labels."""
        return self.critic in SHIPPED_SCORERS or self.margin is not None


def straight(items: Sequence[int], what: str) -> Iterable[int]:
    """Progress that shows nothing."""
    return items


def clean_labels(
    source: LabelSource,
    body: BodyModel,
    folder: Path,
    config: CleanConfig,
    *,
    scores_from: Path | None = None,
    export: Path | None = None,
    progress: Progress = straight,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Judge, choose, write the lists, the sheet and, last, `summary.json`, whose content is returned.

    Continues a folder of the same source, critic and rule. `scores_from` is the folder of an earlier run that judged
    the same labels in the same way: then only the rule is applied anew. `export` is a Parquet file of all scores and
    reasons. Critic and reference are on `device`.

    Raises InputError for a critic that needs truth or compares hypotheses, a rule that is none, a folder of other
    settings or inside the source, a copy of nothing, and as the critics do.
    """
    placed = body.to(device)
    rule, facts, policy, plan = _planned(source, placed, folder, config)
    with cleaning_folder(folder, plan):
        if scores_from is not None:
            borrow_scores(scores_from, folder, plan)
        reference = _reference(policy, config)
        critic_of = _critic_of(config, placed, source.detector)
        scored = score_labels(source, critic_of, folder / "scores", config.chunk_size, progress, reference, device)
        selection = select_labels(scored, rule, config.keep_unjudged)
        _write_lists(folder, source, scored, selection)
        if config.sheet_items:
            _draw(folder / "sheet.png", source, body, scored, selection, config)
        if export is not None:
            export_scores(export, source, scored, selection, plan)
        copy = _write_copy(folder, source, scored, selection, plan) if config.write else None
        summary = _summary(source, plan, scored, selection, facts, copy)
        write_json(folder / "summary.json", summary)
    return summary


def label_chunks(
    source: LabelSource, body: BodyModel, config: CleanConfig, folder: Path, device: str | torch.device = "cpu"
) -> LabelChunks:
    """The labels in chunks, for workers that judge beside each other, before `clean_labels` finds them judged.

    Raises InputError as `clean_labels`.
    """
    placed = body.to(device)
    _, _, policy, plan = _planned(source, placed, folder, config)
    join_cleaning(folder, plan)
    critic_of = _critic_of(config, placed, source.detector)
    return LabelChunks(source, critic_of, folder / "scores", config.chunk_size, _reference(policy, config), device)


def _planned(
    source: LabelSource, body: BodyModel, folder: Path, config: CleanConfig
) -> tuple[KeepRule, dict[str, Any], OpenedPolicy | None, dict[str, Any]]:
    """Rule, facts of the critic, who samples, and the plan of all of it."""
    _require_outside(source, folder)
    rule, facts = config.rule, judge_facts(config, body, source.detector)
    policy = open_policy("lite", body, detector=source.detector) if config.has_reference else None
    return rule, facts, policy, _plan(source, body, config, rule, facts | _reference_facts(policy, config))


def _reference(policy: OpenedPolicy | None, config: CleanConfig) -> SampleReference | None:
    return None if policy is None else SampleReference(policy.diffusion(), config.num_samples, config.seed)


def judge_facts(config: CleanConfig, body: BodyModel, detector: str) -> dict[str, Any]:
    """What scores depend on. Raises InputError for a critic that cannot judge a label alone and without truth."""
    name = config.critic
    critic = make_critic(name, body, detector, seed=config.seed)
    if critic.needs_truth:
        raise InputError(f"critic '{name}' needs truth, but the labels are what is judged; choose one without")
    if compares_hypotheses(critic):
        raise InputError(f"critic '{name}' compares the hypotheses of one person, and a label is one; choose another")
    settings = critic_facts(name, body, _judging(config, detector)).settings
    if (weights := weights_of(name)) is not None:
        settings = settings | {"weights_sha256": checkpoint_hash(weights)}
    return settings


def compares_hypotheses(critic: Critic) -> bool:
    """Whether scores mean something within a group alone."""
    group_inputs = isinstance(critic, ScorerCritic) and critic.scored.scorer.config.inputs == "group"
    return group_inputs or critic.name == "consistency"


def select_labels(scored: LabelScores, rule: KeepRule, keep_unjudged: bool = False) -> Selection:
    """`select` on the chosen hypothesis of each label."""
    return select(
        scored.of_chosen(scored.scores).double().numpy(),
        rule,
        judged=scored.judged.numpy(),
        keep_unjudged=keep_unjudged,
        parts={name: scored.of_chosen(values).double().numpy() for name, values in scored.parts.items()},
        reference=None if scored.reference is None else scored.reference.double().numpy(),
    )


def _reference_facts(policy: OpenedPolicy | None, config: CleanConfig) -> dict[str, Any]:
    """What the scores of samples depend on, for the plan."""
    if policy is None:
        return {}
    facts = {"checkpoint": policy.name, "sha256": policy.sha256, "samples": config.num_samples, "seed": config.seed}
    return {"reference": facts}


def _require_outside(source: LabelSource, folder: Path) -> None:
    if isinstance(source, ShardLabels) and folder.resolve().is_relative_to(source.folder.resolve()):
        raise InputError(f"{folder}: lies in the source, which is never written to; use another folder")


def _critic_of(config: CleanConfig, body: BodyModel, detector: str) -> CriticOf:
    """One critic for all labels, or one for each chunk where it draws on each label by its name."""
    if config.critic == "random":
        return named_critic(config.critic, body, _judging(config, detector))
    critic = make_critic(config.critic, body, detector)
    return lambda ids: critic


def _judging(config: CleanConfig, detector: str) -> GroupStoreConfig:
    return GroupStoreConfig(detector=detector, seed=config.seed)


def _plan(
    source: LabelSource, body: BodyModel, config: CleanConfig, rule: KeepRule, facts: dict[str, Any]
) -> dict[str, Any]:
    """All that decides the result."""
    return {
        "scoring": {
            "source": source.name,
            "source_sha256": source.sha256,
            "items": len(source.ids),
            "hypothesis": source.facts.get("hypothesis", "first"),
            **facts,
            "skeleton_hash": body.skeleton_hash,
            "chunk_size": config.chunk_size,
        },
        "rule": {**asdict(rule), "keep_unjudged": config.keep_unjudged},
    }


def _write_lists(folder: Path, source: LabelSource, scored: LabelScores, selection: Selection) -> None:
    scores, chosen = scored.of_chosen(scored.scores).tolist(), scored.chosen.tolist()

    def lines(are_kept: bool) -> Iterator[dict[str, Any]]:
        for number, id_ in enumerate(source.ids):
            reason = selection.reasons[number]
            if (reason is None) is are_kept:
                score = round(scores[number], 6) if selection.judged[number] else None
                line = {"id": id_, "number": number, "hypothesis": chosen[number], "score": score}
                yield line if reason is None else line | {"reason": reason}

    for name, are_kept in (("cleaned", True), ("dropped", False)):
        write_json_lines(folder / f"{name}.jsonl", lines(are_kept))


def _draw(
    path: Path, source: LabelSource, body: BodyModel, scored: LabelScores, selection: Selection, config: CleanConfig
) -> None:
    items = borderline_items(selection, config.sheet_items)
    if not items:
        path.unlink(missing_ok=True)  # nothing could be judged
        return
    picture = BytesIO()
    borderline_sheet(source, body, scored, selection, items, config.critic).save(picture, "PNG")
    write_whole(path, picture.getvalue())


def _write_copy(
    folder: Path, source: LabelSource, scored: LabelScores, selection: Selection, plan: dict[str, Any]
) -> Path:
    """The kept labels in the source's own format. Raises InputError for none, and for a source of another kind."""
    kept = np.flatnonzero(selection.keep).tolist()
    if not kept:
        raise InputError(
            f"no label reached {selection.threshold:.6g}, so there is nothing to write; dropped.jsonl has the scores"
        )
    if isinstance(source, ShardLabels):
        made_by = {**plan["scoring"], **plan["rule"], "kept": len(kept)}
        return write_cleaned_shards(source, kept, folder / "cleaned", made_by)
    if isinstance(source, PredictionLabels):
        return write_cleaned_predictions(source, kept, scored.chosen[kept].tolist(), folder / "cleaned.npz")
    if isinstance(source, DatasetLabels):
        names = {source.ids[number] for number in kept}
        return write_kept(source.dataset, source.folder, source.split, names, folder / "cleaned")
    raise InputError(f"'{source.name}' is a source of its own kind; cleaned.jsonl says which of its labels to keep")


def _summary(
    source: LabelSource,
    plan: dict[str, Any],
    scored: LabelScores,
    selection: Selection,
    facts: dict[str, Any],
    copy: Path | None,
) -> dict[str, Any]:
    scores = scored.of_chosen(scored.scores).double().numpy()[selection.judged]
    return {
        "format_version": FORMAT_VERSION,
        "counts": {
            "labels": len(selection.keep),
            "kept": int(selection.keep.sum()),
            "dropped": int((~selection.keep).sum()),
            "not_judged": int((~selection.judged).sum()),
            "at_the_threshold": selection.ties,
        },
        "threshold": round(selection.threshold, 6),
        "good_labels_dropped": good_labels_dropped(
            facts.get("weights_sha256", ""), selection.threshold, by_margin=plan["rule"]["margin"] is not None
        ),
        "rule": plan["rule"],
        "critic": facts,
        "reference": plan["scoring"].get("reference"),
        "scores": _distribution(scores) if len(scores) else None,
        "judged_by_parts": _judged_by(scored),
        "source": {"name": source.name, "sha256": source.sha256, **source.facts},
        "body": {"skeleton_hash": plan["scoring"]["skeleton_hash"], "mesh_hash": facts.get("mesh_hash")},
        "scores_sha256": hashlib.sha256(scored.scores.contiguous().numpy().tobytes()).hexdigest(),
        "cleaned": None if copy is None else copy.name,
    }


def _distribution(scores: np.ndarray) -> dict[str, Any]:
    """Quantiles and a histogram; over 0 to 1 where all scores lie there."""
    within = scores.min() >= 0 and scores.max() <= 1
    counts, edges = np.histogram(scores, HISTOGRAM_BINS, (0.0, 1.0) if within else None)
    shares = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    return {
        "mean": round(float(scores.mean()), 6),
        "quantiles": {f"{q:g}": round(float(v), 6) for q, v in zip(shares, np.quantile(scores, shares), strict=True)},
        "histogram": {"edges": [round(float(e), 6) for e in edges], "counts": counts.tolist()},
    }


def _judged_by(scored: LabelScores) -> dict[str, int]:
    """Labels by the parts of a mix that had something to say: scores of different parts do not compare."""
    counts: dict[str, int] = {}
    if scored.parts:
        names, heard = list(scored.parts), np.stack([(~p[:, 0].isnan()).numpy() for p in scored.parts.values()], 1)
        for row in heard:
            key = " + ".join(n for n, h in zip(names, row, strict=True) if h) or "none"
            counts[key] = counts.get(key, 0) + 1
    return counts
