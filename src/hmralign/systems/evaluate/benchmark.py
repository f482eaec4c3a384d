"""`hmralign evaluate --protocol`: a checkpoint under a published protocol, with what was published beside it.

    records, boxes, gender of the protocol -> candidates (M, or M and two means) -> errors -> a row for each answer

Published figures are set beside a table only where the body is of SMPL's mesh and no record was left out by an option:
figures of another body, or of fewer persons, do not compare. Hypotheses are not moved onto the keypoints here. What
still differs from the public code: the means are of the samples (the code averages angles of twists, which wrap), the
true joints are regressed from the labelled mesh, and bodies are selected by the rules of `recover` unless told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.body_file import load_body
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints, vertices
from hmralign.body.model import BodyModel
from hmralign.critics.by_rule import CriticWeights, weighted_critics
from hmralign.critics.critic import judge
from hmralign.critics.mix import MixCritic
from hmralign.data.dataset import DatasetSetting, LabelledPersons, open_dataset
from hmralign.evaluation.benchmarks.errors import measured_joints, protocol_errors, regressor_of
from hmralign.evaluation.benchmarks.protocol import (
    SMPL_VERTICES,
    BenchmarkProtocol,
    find_protocol,
    published_for,
)
from hmralign.evaluation.openings import log_opening
from hmralign.evaluation.protocol import known_sources, require_unseen
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.fitting.person_fit import PersonFit
from hmralign.hypotheses.estimate import estimate_bodies
from hmralign.metrics.intervals import bootstrap_mean
from hmralign.policies.catalogue import OpenedPolicy, open_policy
from hmralign.policies.hyponet import HypoNetPolicy
from hmralign.policies.policy import SamplerConfig, crop_side
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.structures import Annotation, BodyParams, Example, Hypotheses, InputError
from hmralign.structures.counted import counted
from hmralign.systems.evaluate.predict import evaluation_draws

TITLES = {"pve": "PVE", "mpjpe": "MPJPE", "pa_mpjpe": "PA-MPJPE", "pa_pve": "PA-PVE"}
_PUBLISHED = ("pve", "mpjpe", "pa_mpjpe")
"""Metrics of published rows."""

BEST = 5
"""Hypotheses of which the code's `select` row is the mean."""


@dataclass(frozen=True)
class BenchmarkConfig:
    """What a protocol leaves open."""

    num_hypotheses: int = 100
    """M."""
    num_steps: int = 3
    """Sampling steps, as the checkpoint counts them."""
    body: Path | None = None
    """Body file that the weights are bound to; the free body without it."""
    label_body: Path | None = None
    """Body of the labels; `body` where nothing is said."""
    regressor: Path | None = None
    """J_regressor_h36m.npy, for protocols that need it."""
    persons: int | None = None
    """Only the first so many; published figures are then not shown."""
    split: str | None = None
    """Where a protocol leaves it open, as of archives of HumanData."""
    detector: str = "mediapipe"
    """Whose noise places bodies and is assumed by the critics that select."""
    seed: int = 0
    batch: int = 4
    """Persons at once; each has M meshes."""


@dataclass(frozen=True)
class Candidates:
    """Bodies of some persons, and which of them are what."""

    bodies: BodyParams
    """(person, candidate): M hypotheses, then the means."""
    selected: Tensor
    """(person,) the hypothesis that the critics like best."""
    means: dict[str, int]
    """Name of an averaged answer -> its place among the candidates."""


def evaluate_benchmark(
    checkpoint: str | Path, data: Path, dataset: str, protocol: str, config: BenchmarkConfig, out: Path, *,
    log: Path | None = None, why: str = "hmralign evaluate --protocol", device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Measure, and write `benchmark.json` and `benchmark.md`; returns the document.

    Raises InputError for a protocol that is not for the data set, one that needs a HypoNet or a regressor where there
    is none, weights trained on the split, and as `open_dataset` and `open_policy`.
    """
    asked = find_protocol(protocol, dataset, config.split)
    body = load_free_body("3k5") if config.body is None else load_body(config.body)
    opened = open_policy(checkpoint, body.to(device), num_steps=config.num_steps, detector=config.detector)
    _require_fits(asked, opened, config)
    regressor = regressor_of(asked, config.regressor, config.body, body.num_vertices)
    setting = DatasetSetting(
        body=body, label_body=config.label_body or config.body, gender=asked.gender, crop_side=crop_side(opened.policy),
        crop="given" if asked.crop_scale is None else "true_joints", crop_scale=asked.crop_scale or 1.5,
        every=asked.every,
    )  # fmt: skip
    name = f"{dataset}/{asked.split}"
    require_unseen(opened.trained_on, name)
    log_opening(log or data / "test_openings.jsonl", name, why, predictor=opened.name, sha256=opened.sha256)
    persons = open_dataset(dataset, data, asked.split, setting)
    persons = persons if config.persons is None else persons.first(config.persons)
    columns = _columns(asked, opened, persons, body, regressor, config)
    predictor = {"name": opened.name, "sha256": opened.sha256, "trained_on": list(known_sources(opened.trained_on))}
    sampled = {"num_hypotheses": config.num_hypotheses, "num_steps": config.num_steps, "seed": config.seed}
    document = benchmark_document(asked, predictor, sampled, persons, body, why_not_comparable(body, config), columns)
    write_benchmark(out, document)
    return document


def write_benchmark(out: Path, document: dict[str, Any]) -> None:
    """`benchmark.json` and `benchmark.md`."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "benchmark.json", document)
    write_whole(out / "benchmark.md", benchmark_markdown(document).encode())


def _require_fits(asked: BenchmarkProtocol, opened: OpenedPolicy, config: BenchmarkConfig) -> None:
    if (asked.true_depth or asked.candidates != "m") and not isinstance(opened.policy, HypoNetPolicy):
        raise InputError(
            f"protocol {asked.name} averages samples and is given the true root depth, which only a HypoNet takes; "
            f"{opened.name} is none, expected one, or the protocol 'clean'"
        )


def _columns(
    asked: BenchmarkProtocol,
    opened: OpenedPolicy,
    persons: LabelledPersons,
    body: BodyModel,
    regressor: Tensor | None,
    config: BenchmarkConfig,
) -> dict[str, dict[str, Tensor]]:
    """Answer -> metric -> (person,) metres."""
    parts: list[dict[str, dict[str, Tensor]]] = []
    for first in range(0, len(persons), config.batch):
        rows = slice(first, min(first + config.batch, len(persons)))
        example = persons.batch(rows)
        with torch.no_grad():
            found = _candidates(asked, opened, example, config, range(rows.start, rows.stop))
            parts.append(dict(_answers(asked, found, example, body, regressor, config)))
    names = parts[0]
    return {name: {m: torch.cat([part[name][m] for part in parts]) for m in asked.metrics} for name in names}


def _answers(
    asked: BenchmarkProtocol, found: Candidates, example: Example, body: BodyModel, regressor: Tensor | None,
    config: BenchmarkConfig,
) -> Iterator[tuple[str, dict[str, Tensor]]]:  # fmt: skip
    assert example.annotation is not None
    errors = body_errors(asked, found.bodies, posed_joints(body, found.bodies), example.annotation, body, regressor)
    m, everyone = config.num_hypotheses, torch.arange(len(found.selected))
    counted_ones = slice(None) if asked.candidates == "m_plus_2" else slice(0, m)
    yield f"min of {m}", {k: v[:, counted_ones].amin(1) for k, v in errors.items()}
    yield "single (mean error)", {k: v[:, :m].mean(1) for k, v in errors.items()}
    yield "hypothesis 0", {k: v[:, 0] for k, v in errors.items()}
    yield "selected", {k: v[everyone, found.selected] for k, v in errors.items()}
    for name, place in found.means.items():
        yield name, {k: v[:, place] for k, v in errors.items()}


def body_errors(
    asked: BenchmarkProtocol, bodies: BodyParams, joints: Float[Tensor, "person cand 29 3"], annotation: Annotation,
    body: BodyModel, regressor: Tensor | None,
) -> dict[str, Float[Tensor, "person cand"]]:  # fmt: skip
    """Errors of candidates against annotated persons under a protocol, metres."""
    truth = vertices(body, annotation.body) if annotation.vertices is None else annotation.vertices
    mesh = vertices(body, bodies)
    measured = measured_joints(asked, joints, mesh, regressor)
    true = measured_joints(asked, annotation.joints, truth, regressor)
    return protocol_errors(asked, measured, true, mesh, truth)


def _candidates(
    asked: BenchmarkProtocol, opened: OpenedPolicy, example: Example, config: BenchmarkConfig, numbers: range
) -> Candidates:
    """Hypotheses of a batch, with the means that a protocol counts or a table shows."""
    policy, seen = opened.policy, example.observation.to(opened.policy.body.device)
    noise = noise_of(config.detector)
    draws = evaluation_draws(config.seed, numbers)
    critic = MixCritic(weighted_critics(policy.body, noise, CriticWeights(silhouette=0.0)))
    if not isinstance(policy, HypoNetPolicy):
        sampler = SamplerConfig(num_hypotheses=config.num_hypotheses, num_steps=config.num_steps)
        found = estimate_bodies(policy, seen, sampler, RefinementConfig(method="none"), noise, draws)
        scores = judge(critic, found.hypotheses, Example(seen))
        bodies = BodyParams.cat([found.hypotheses.body, found.fused[:, None]], 1).to("cpu")
        return Candidates(bodies, _best(scores)[:, 0].cpu(), {"fused": config.num_hypotheses})
    x_0 = policy.sample_each(policy.context(seen), config.num_hypotheses, draws)
    root = None
    if asked.true_depth:
        assert example.annotation is not None
        root = example.annotation.joints[:, 0, 2].to(x_0)
    fit = PersonFit.of(policy.body, seen, noise)
    placed = fit.hypotheses(policy.to_group(x_0, seen, root))
    best = _best(judge(critic, Hypotheses(placed.body, placed.joints), Example(seen)))
    rows = torch.arange(len(x_0), device=x_0.device)[:, None]
    few = min(BEST, config.num_hypotheses)
    means = torch.stack([x_0[rows, best[:, :few]].mean(1), x_0.mean(1)], dim=1)  # (person, 2, 133)
    averaged = fit.bodies(policy.to_group(means, seen, root))
    m = config.num_hypotheses
    return Candidates(
        BodyParams.cat([placed.body, averaged], 1).to("cpu"), best[:, 0].cpu(),
        {f"mean of the {few} selected": m, "mean of all": m + 1},
    )  # fmt: skip


def _best(scores: Float[Tensor, "person hyp"]) -> Tensor:
    """Hypotheses by score, the best first; a score that is not finite comes last."""
    return torch.where(torch.isfinite(scores), scores, -torch.inf).argsort(dim=1, descending=True, stable=True)


def benchmark_document(
    asked: BenchmarkProtocol, predictor: dict[str, Any], sampled: dict[str, Any], persons: LabelledPersons,
    body: BodyModel, why_not: str | None, columns: dict[str, dict[str, Tensor]],
) -> dict[str, Any]:  # fmt: skip
    """The figures with all that they depend on; `why_not` says why nothing published may stand beside them."""
    rows = {
        answer: {metric: _interval_mm(values) for metric, values in found.items()} for answer, found in columns.items()
    }
    table = published_for(asked.name, persons.name.split("/")[0]) if why_not is None else None
    return {
        "format_version": 1,
        "protocol": {**asked.record(), "sentence": asked.sentence()},
        "data": {**asdict(persons.facts), "persons": len(persons), "sha256": persons.sha256, "left": persons.agreement},
        "predictor": predictor,
        "body": {"name": body.name, "skeleton_hash": body.skeleton_hash, "mesh_hash": body.mesh_hash},
        **sampled,
        "rows_mm": rows,
        "published": None if table is None else asdict(table),
        "not_comparable": why_not,
    }  # fmt: skip


def why_not_comparable(body: BodyModel, config: BenchmarkConfig) -> str | None:
    """Why no published figure may stand beside these; None where one may."""
    if body.skeleton_hash == load_free_body("3k5").skeleton_hash:
        return "figures are of the free body, whose shapes, joints and vertices are others than SMPL's"
    if body.num_vertices != SMPL_VERTICES:
        return f"the body has {body.num_vertices} vertices, SMPL has {SMPL_VERTICES}"
    if config.persons is not None:
        return f"only the first {counted(config.persons, 'person')} were looked at"
    return None


def _interval_mm(values: Tensor) -> list[float]:
    found = bootstrap_mean(1000 * values.double().numpy())
    return [round(found.mean, 2), round(found.low, 2), round(found.high, 2)]


def benchmark_markdown(document: dict[str, Any]) -> str:
    """The protocol, the rows with their intervals, and what was published under the same protocol."""
    data, rows = document["data"], document["rows_mm"]
    metrics = document["protocol"].get("metrics", ("pve", "mpjpe", "pa_mpjpe"))
    cells = [[name, *(f"{v[0]} ({v[1]} to {v[2]})" for v in (row[m] for m in metrics))] for name, row in rows.items()]
    parts = [
        f"# {data['name']} under the protocol {document['protocol']['name']}",
        document["protocol"]["sentence"],
        f"{counted(data['persons'], 'person')} ({data['left']}; {data['sha256'][:12]}); {_made(document)}. Labels: "
        f"{data['body']}; {data['source']}."
        + (f" Observed keypoints: {data['keypoints']}." if "num_steps" in document else ""),
        *_predicted_part(document["predictor"]),
        "Millimetres with 95 % bootstrap intervals over persons."
        + (" The minimum is an oracle: it needs the truth." if document["num_hypotheses"] > 1 else ""),
        markdown_table([document["predictor"]["name"], *(TITLES[m] for m in metrics)], cells),
        _published_part(document),
    ]
    return "\n\n".join(parts) + "\n"


def _made(document: dict[str, Any]) -> str:
    made = f"M = {document['num_hypotheses']}"
    if "num_steps" not in document:
        return made
    return f"{made}, {counted(document['num_steps'], 'step')}, seed {document['seed']}"


def _predicted_part(predictor: dict[str, Any]) -> list[str]:
    """What is said of predictions that another system made; nothing of a checkpoint."""
    if "format" not in predictor:
        return []
    assumed = "\n".join(f"- {line}" for line in predictor["assumed"])
    return [
        f"Predictions of {predictor['name']}: {counted(predictor['files'], 'file')} of the format "
        f"{predictor['format']} ({predictor['sha256'][:12]}), {counted(predictor['predictions'], 'prediction')}, "
        f"{counted(predictor['without'], 'record')} without one. {predictor['bodies']}. What the system was trained on "
        "is not known here.",
        *([f"Assumed:\n\n{assumed}"] if assumed else []),
    ]


def _published_part(document: dict[str, Any]) -> str:
    if document["not_comparable"] is not None:
        return f"No published figure stands here: {document['not_comparable']}."
    table = document["published"]
    if table is None:
        return "No figures are known that were published under this protocol."
    rows = [
        [r["method"], str(r["m"]), *("-" if r[m] is None else f"{r[m]}" for m in _PUBLISHED)] for r in table["rows"]
    ]
    errata = "\n".join(f"- {line}" for line in table["errata"])
    heading = (
        f"## Published, {table['value']}\n\nSource: {table['source']}.\n\nWhether they were "
        f"measured under this protocol: {table['measured']}."
    )
    return (
        f"{heading}\n\n"
        + markdown_table(["", "M", "PVE", "MPJPE", "PA-MPJPE"], rows)
        + (f"\n\n{errata}" if errata else "")
    )
