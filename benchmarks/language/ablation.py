"""What keypoints and words buy in refinement: the ablation of VL feedback (Table II) on SynthWild, with controls.

    hmralign bench --out runs/synthwild --splits wild/val wild/test
    python benchmarks/language/ablation.py --data runs/synthwild --split wild/val --refiner FILE [--gaussian FILE]

Every row refines the same persons from the same first answer; differences to the first answer are paired, with 95 %
bootstrap intervals over persons (each person's mean over the seeds, which draw hypotheses, captions and their errors
anew). Choices are made on wild/val; the table is of wild/test. Writes docs/results/language_refinement.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, NUM_JOINTS
from hmralign.data.dataset import open_dataset
from hmralign.fitting.person_fit import PersonFit
from hmralign.hypotheses.estimate import fused_group
from hmralign.hypotheses.fusion import score_weights
from hmralign.language.agreement import agreement, holds, wanted
from hmralign.language.caption import caption
from hmralign.language.description import PoseDescription
from hmralign.language.planted import exchanged, planted_errors
from hmralign.language.statements import STATEMENTS
from hmralign.metrics.intervals import bootstrap_mean, paired_difference
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe, plane_and_depth_errors
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.models.language.checkpoint import load_text_space
from hmralign.models.language.refiner import CONDITIONS, Refiner
from hmralign.models.language.refiner_checkpoint import load_refiner, refiner_path
from hmralign.models.language.text_space import Form, LatentTextGuide, TextSpace
from hmralign.policies.catalogue import open_policy
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import SamplerConfig
from hmralign.refinement.guide import StatementGuide
from hmralign.refinement.inversion import InversionConfig
from hmralign.refinement.pull import PullConfig
from hmralign.refinement.refine import RefineConfig, refine
from hmralign.refinement.trust import believed
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.seeds import seeded
from hmralign.structures import BodyParams, Example, Hypotheses, PersonGroup

ROOT = Path(__file__).resolve().parents[2]
FRAMES = ("body", "camera")
"""Nothing is said of which way is up: the cameras are tilted, and nobody tells the refinement how."""
RATES = (0.1, 0.2, 0.4)
LIMBS = [f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "elbow", "wrist", "knee", "ankle")]
MEASURES = ("pa", "mpjpe", "plane", "depth", "hidden")


@dataclass(frozen=True)
class Models:
    """What is trained."""

    refiner: Refiner | None = None
    gaussian: Refiner | None = None
    space: TextSpace | None = None


@dataclass(frozen=True)
class Setup:
    """Persons with a first answer and what is said of them, for one seed."""

    example: Example
    fit: PersonFit
    group: PersonGroup
    hypotheses: Hypotheses
    initial: BodyParams
    said: dict[str, list[PoseDescription]]
    models: Models
    seed: int

    def wanted(self, kind: str) -> Tensor:
        """Statements that a kind of description makes."""
        return wanted(self.said[kind])


Row = Callable[[Setup], BodyParams]


def texts_of(example: Example, initial: BodyParams, body, seed: int) -> dict[str, list[PoseDescription]]:
    """Descriptions by kind."""
    draw, truth = seeded(seed, "captions"), example.annotation
    assert truth is not None
    joints = truth.joints[:, :NUM_JOINTS]
    true = caption(joints, draw, truth.body.rotmats, frames=FRAMES)
    held = [[STATEMENTS[i].id for i in row.nonzero()[:, 0]] for row in holds(joints, truth.body.rotmats)]
    texts = {"true": true}
    for rate in RATES:
        texts[f"errors {rate}"] = [planted_errors(t, rate, draw, h) for t, h in zip(true, held, strict=True)]
    own = posed_joints(body, initial)[:, :NUM_JOINTS]
    texts["initial"] = caption(own, draw, initial.rotmats, frames=FRAMES)
    texts["exchanged"] = exchanged(true, draw)
    return texts


def setup_of(example: Example, policy: LitePolicy, start: str, args, models, seed: int) -> Setup:
    """First answers: the fused one of a group, its zero-noise mode as it is sampled, or those of another policy."""
    seen = example.observation
    fit = PersonFit.of(policy.body, seen, policy.noise)
    proposed = policy.propose(seen, SamplerConfig(args.hypotheses), seeded(seed, "hypotheses"))
    group = fit.refined(proposed)
    if start == "fused":
        first = fused_group(fit, group)
    elif start == "single":
        first = PersonGroup(proposed.rotmats[:, :1], proposed.betas[:, :1])
    else:
        first = open_policy(start, policy.body).policy.propose(seen, SamplerConfig(1), seeded(seed, "first answer"))
    initial = fit.bodies(first)[:, 0]
    texts = texts_of(example, initial, policy.body, seed)
    return Setup(example, fit, group, fit.hypotheses(group), initial, texts, models, seed)


def guided(
    text: str | None = None,
    *,
    keypoints: bool = True,
    refiner: bool = False,
    conditions: tuple[str, ...] = CONDITIONS,
    doubt: bool = True,
    trust: bool = False,
    gaussian: bool = False,
    **config,
) -> Row:
    """A row of `refine`."""

    def run(s: Setup) -> BodyParams:
        said = None if text is None else s.wanted(text)
        if said is not None and trust:
            said = believed(said, s.hypotheses)
        pull = replace(
            PULL, **({} if keypoints else {"keypoint_weight": 0.0}), **({} if text else {"text_weight": 0.0})
        )
        shown = tuple(c for c in conditions if (c != "text" or text) and (c != "keypoints" or keypoints))
        settings = RefineConfig(pull=pull, conditions=shown, **config)
        model = s.models.gaussian if gaussian else s.models.refiner if refiner else None
        initial = mean_body(s) if gaussian else s.initial
        draw = seeded(s.seed, "start noise")
        found = refine(
            initial, s.fit, None if said is None else StatementGuide(said), settings,
            refiner=model, doubt=s.group if doubt else None, generator=draw,
        )  # fmt: skip
        return found.refined

    return run


def mean_body(s: Setup) -> BodyParams:
    """The body that a refiner without a first answer starts from."""
    model, persons = s.models.gaussian, len(s.initial.transl)
    assert model is not None
    mean = PersonGroup(model.mean_rotmats.expand(persons, 1, -1, -1, -1), model.mean_betas.expand(persons, 1, -1))
    return s.fit.bodies(mean)[:, 0]


def filtered(text: str) -> Row:
    """The hypothesis that agrees best with what is said."""

    def run(s: Setup) -> BodyParams:
        best = scores(s, text).argmax(1)
        return s.hypotheses.body[torch.arange(len(best)), best]

    return run


def weighed(text: str, temperature: float = 1.0, trust: bool = False) -> Row:
    """The fused answer, hypotheses weighed by what is said of them."""

    def run(s: Setup) -> BodyParams:
        said = believed(s.wanted(text), s.hypotheses) if trust else s.wanted(text)
        guide = StatementGuide(said)
        members = [s.hypotheses[:, m] for m in range(s.group.num_hypotheses)]
        loss = torch.stack([guide.loss(h.joints[:, :NUM_JOINTS], h.body.rotmats) for h in members], dim=1)
        return s.fit.bodies(fused_group(s.fit, s.group, score_weights(-loss, temperature)))[:, 0]

    return run


def by_latent(form: Form, weight: float, refiner: bool) -> Row:
    """Keypoints, and the distance of text and pose in the text space."""

    def run(s: Setup) -> BodyParams:
        space = s.models.space
        assert space is not None
        with torch.no_grad():
            features = space.text_features([d.text() for d in s.said["true"]])
        guide = LatentTextGuide(space, features, form)
        settings = RefineConfig(pull=replace(PULL, text_weight=weight))
        model = s.models.refiner if refiner else None
        return refine(s.initial, s.fit, guide, settings, refiner=model, doubt=s.group).refined

    return run


def scores(s: Setup, text: str) -> Tensor:
    """Agreement of each hypothesis."""
    members = [s.hypotheses[:, m] for m in range(s.group.num_hypotheses)]
    said = s.wanted(text)
    return torch.stack([agreement(h.joints[:, :NUM_JOINTS], said, h.body.rotmats) for h in members], dim=1)


INVERSION = InversionConfig(stride=0.02)
"""Ten times ScoreHMR's stride, so that a person takes a tenth of a second instead of one."""
PULL = PullConfig()
"""How the rows are pulled: the defaults, which were chosen on wild/val."""


LATENT_WEIGHT = 30.0
"""Weight of the cosine distance, chosen on wild/val."""


def latent_rows(refiner: bool) -> dict[str, Row]:
    """Words by the latent of the text space, in both forms of eq. 7."""
    rows = {
        "latent: keypoints + text": by_latent("one_minus_cosine", LATENT_WEIGHT, False),
        "latent: keypoints + text, squared cosine as printed": by_latent("squared_cosine", LATENT_WEIGHT, False),
    }
    return rows | ({"latent: refiner": by_latent("one_minus_cosine", LATENT_WEIGHT, True)} if refiner else {})


def table_rows(models: Models) -> dict[str, Row]:
    """Rows of the table by name."""
    by_rule = {
        "keypoints": guided(),
        "text": guided("true", keypoints=False),
        "keypoints + text": guided("true"),
        "keypoints + text, no group": guided("true", doubt=False),
        "keypoints + text, believed": guided("true", trust=True),
        "keypoints + text, by inversion": guided("true", trust=True, inversion=INVERSION),
        "rival: the hypothesis that agrees best": filtered("true"),
        "rival: fused, weighed by text": weighed("true"),
        "rival: fused, weighed by text, believed": weighed("true", trust=True),
    }
    shown = {
        "refiner: context": ("context",), "refiner: keypoints": ("keypoints",), "refiner: text": ("text",),
        "refiner: without text": ("context", "keypoints"), "refiner: without keypoints": ("context", "text"),
        "refiner: without context": ("keypoints", "text"), "refiner: all": CONDITIONS,
    }  # fmt: skip
    trained = {
        name: guided(
            "true" if "text" in c else None, keypoints="keypoints" in c, refiner=True, conditions=c, trust=True
        )
        for name, c in shown.items()
    }
    trained["refiner: all, every word believed"] = guided("true", refiner=True)
    trained["refiner: all, from noise"] = guided("true", refiner=True, trust=True, start_noise=1.0)
    trained["refiner: all, by inversion"] = guided("true", refiner=True, trust=True, inversion=INVERSION)
    from_nothing = {
        "Gaussian start: without text": guided(gaussian=True, doubt=False, start_noise=1.0),
        "Gaussian start: all": guided("true", gaussian=True, doubt=False, trust=True, start_noise=1.0),
    }
    latent = latent_rows(models.refiner is not None) if models.space else {}
    return by_rule | (trained if models.refiner else {}) | (from_nothing if models.gaussian else {}) | latent


def word_rows(refiner: bool) -> dict[str, Row]:
    """The same refinement with descriptions of every kind, and the best rival with them."""
    kinds = ("true", *(f"errors {rate}" for rate in RATES), "initial", "exchanged")
    rows = {}
    for kind in kinds:
        rows[f"{kind}: every word believed"] = guided(kind)
        rows[f"{kind}: believed"] = guided(kind, trust=True)
        if refiner:
            rows[f"{kind}: refiner, believed"] = guided(kind, trust=True, refiner=True)
        rows[f"{kind}: rival, weighed, believed"] = weighed(kind, trust=True)
    return rows


def measured(s: Setup, refined: BodyParams, body) -> dict[str, np.ndarray]:
    """Errors per person, mm; `hidden` is NaN for a person whose limbs were all observed."""
    assert s.example.annotation is not None
    truth = s.example.annotation.joints[:, :NUM_JOINTS]
    joints = posed_joints(body, refined)[:, :NUM_JOINTS]
    plane, depth = plane_and_depth_errors(joints, truth)
    away = ((joints - joints[:, :1]) - (truth - truth[:, :1])).norm(dim=-1)[:, [JOINT_NAMES.index(n) for n in LIMBS]]
    unseen = s.example.observation.confidence[:, [KEYPOINT_NAMES.index(n) for n in LIMBS]] == 0
    hidden = (away * unseen).sum(1) / unseen.sum(1)
    values = (pa_mpjpe(joints, truth), mpjpe(joints, truth, 0), plane, depth, hidden)
    return {name: 1000 * value.double().numpy() for name, value in zip(MEASURES, values, strict=True)}


def ambiguous(s: Setup) -> np.ndarray:
    """How far hypotheses are apart along the line of sight, metres: what is seen without the truth."""
    joints = s.hypotheses.joints[..., :NUM_JOINTS, :] - s.hypotheses.joints[..., :1, :]
    sight = s.hypotheses.joints[:, :, 0].mean(1)
    sight = sight / sight.norm(dim=-1, keepdim=True)
    return (joints * sight[:, None, None]).sum(-1).std(1).mean(-1).double().numpy()


def run(args, example: Example, models) -> dict[str, dict]:
    """Errors of every row, mean over seeds; CPU seconds per person."""
    body = load_free_body("3k5")
    policy = LitePolicy.load(args.checkpoint, body)
    rows = table_rows(models) | (word_rows(models.refiner is not None) if args.words else {})
    rows = {"initial": lambda s: s.initial, **{name: row for name, row in rows.items() if args.only in name}}
    sums: dict[str, dict] = {name: {m: [] for m in (*MEASURES, "seconds")} for name in rows}
    spreads = []
    for seed in range(args.seeds):
        s = setup_of(example, policy, args.start, args, models, seed)
        spreads.append(ambiguous(s))
        for name, row in rows.items():
            started = time.process_time()
            refined = row(s)
            sums[name]["seconds"].append((time.process_time() - started) / len(s.initial.transl))
            for measure, values in measured(s, refined, body).items():
                sums[name][measure].append(values)
            print(seed, name, round(float(sums[name]["pa"][-1].mean()), 1), flush=True)
    means = {name: {m: np.mean(v, axis=0) for m, v in row.items()} for name, row in sums.items()}
    return {"rows": means, "spread": np.mean(spreads, axis=0)}


def without_words(name: str) -> str | None:
    """The row that differs from a row of descriptions by having none."""
    if ": " not in name or name.split(":")[0] in ("refiner", "rival", "Gaussian start", "latent"):
        return None
    return "refiner: without text" if "refiner" in name else "initial" if "rival" in name else "keypoints"


def figures(found: dict) -> dict[str, dict]:
    """Means and paired intervals of every row, in the whole set and in its ambiguous third."""
    spread, first = found["spread"], found["rows"]["initial"]
    third = spread >= np.quantile(spread, 2 / 3)
    table = {}
    for name, row in found["rows"].items():
        hidden = np.isfinite(first["hidden"])
        given = {m: (row[m], first[m]) for m in ("pa", "mpjpe", "plane", "depth")}
        given["hidden"] = (row["hidden"][hidden], first["hidden"][hidden])
        given["pa_ambiguous"] = (row["pa"][third], first["pa"][third])
        table[name] = {"cpu_s": round(float(row["seconds"]), 4)}
        wordless = found["rows"].get(without_words(name))
        if wordless is not None:
            change = paired_difference(row["pa"], wordless["pa"]).scaled(100 / float(wordless["pa"].mean()))
            table[name]["against_no_words"] = [round(v, 1) for v in (change.mean, change.low, change.high)]
        for measure, (values, reference) in given.items():
            mean, change = bootstrap_mean(values), paired_difference(values, reference)
            share = change.scaled(100 / float(reference.mean()))
            table[name][measure] = {
                "mean": round(mean.mean, 1),
                "change": [round(v, 2) for v in (change.mean, change.low, change.high)],
                "percent": [round(v, 1) for v in (share.mean, share.low, share.high)],
            }
    return table


def markdown(table: dict[str, dict], head: str) -> str:
    """The page."""
    conditions, words = [], []
    for name, row in table.items():
        cells = [str(row[m]["mean"]) for m in ("pa", "mpjpe", "plane", "depth", "hidden")]
        spans = [span(row[m]["percent"]) for m in ("pa", "pa_ambiguous")]
        if "against_no_words" in row:
            words.append([name, *cells[:4], *spans, span(row["against_no_words"])])
        else:
            conditions.append([name, *cells, *spans, f"{1000 * row['cpu_s']:.0f}"])
    first = ["row", "PA", "MPJPE", "plane", "depth", "hidden", "PA, %", "PA ambiguous, %", "CPU ms"]
    second = [*first[:5], *first[6:8], "PA against no words, %"]
    tables = [markdown_table(first, conditions), *([f"{WORDS}\n{markdown_table(second, words)}"] if words else [])]
    return "\n\n".join([head, *tables]) + "\n"


def span(values: list[float]) -> str:
    """A change with its interval."""
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*values)


WORDS = """## Descriptions of other kinds

`errors`: a share of the statements is wrong (sides exchanged, or another that excludes it). `initial`: captions of the
first answer, which say nothing new. `exchanged`: captions of other persons. `against no words` compares with the same
refinement without a description.
"""


HEAD = """# What keypoints and words buy in refinement

First {persons} persons of {split}, {seeds} seeds; first answer: {start} of `{checkpoint}` (M = {hypotheses}). mm over
24 joints of the free body, not comparable with published figures. `plane` and `depth` are root-relative errors across
and along the line of sight, `hidden` those of limb joints whose keypoints were not observed. Percent: change of
PA-MPJPE against the first answer, paired, 95 % interval over persons; `ambiguous` is the third of the persons whose
hypotheses are furthest apart in depth. Descriptions are captions of the true pose unless the row says otherwise: an
upper bound. `believed`: every statement is weighed by what the hypotheses make of it.

    python benchmarks/language/ablation.py --data runs/synthwild --split {split} --start {start} --persons {persons}
"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="wild/val")
    parser.add_argument("--start", default="fused", help="fused, single, or the checkpoint of another policy")
    parser.add_argument("--checkpoint", default="lite")
    parser.add_argument("--refiner", default=None)
    parser.add_argument("--gaussian", default=None)
    parser.add_argument("--text-space", default=None)
    parser.add_argument("--only", default="", help="rows whose names hold this")
    parser.add_argument("--persons", type=int, default=300)
    parser.add_argument("--hypotheses", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--words", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/language_refinement")
    args = parser.parse_args()
    torch.set_num_threads(1)
    skeleton = load_free_body("3k5").skeleton_hash
    refiners = [None if name is None else load_refiner(name, skeleton) for name in (args.refiner, args.gaussian)]
    space = None if args.text_space is None else load_text_space(args.text_space, skeleton)
    models = Models(refiners[0], refiners[1], space)
    example = open_dataset("synthwild", args.data, args.split).first(args.persons).examples
    table = figures(run(args, example, models))
    settings = {k: v for k, v in vars(args).items() if k not in ("data", "out", "refiner", "gaussian", "text_space")}
    hashes = {"lite": checkpoint_hash(args.checkpoint)}
    if args.refiner:
        hashes["refiner"] = checkpoint_hash(refiner_path(args.refiner))
    record = {"settings": settings, "sha256": hashes, "rows": table}
    args.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    args.out.with_suffix(".md").write_text(markdown(table, HEAD.format(**settings)), encoding="utf-8")
    print(markdown(table, HEAD.format(**settings)))


if __name__ == "__main__":
    main()
