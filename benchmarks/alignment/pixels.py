"""What else is known of an instant: its pixels, for a base that sees keypoints alone.

    hmralign bench --out runs/synthwild --splits wild/val
    python benchmarks/alignment/pixels.py [--base lite] [--phase all|critics]

Rendered persons of the wild world, in the frame of rows and controls of `other_cameras.py` (`evidence_frame.py`). What
the pixel base answers is the evidence: a label for SFT, and what the samples of the keypoint base are held against.

Rival explanations have rows of their own: the same with the picture of the next person (whatever survives that
is not of the pixels), and with the keypoint base's own answer (its samples' mean, refined). Who has pixels can also use
the pixel base itself: it is measured on pictures of the persons of the tables.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evidence_audit import SEED, Audited, answered, parts
from evidence_frame import (
    BODY,
    COLUMNS,
    M,
    Row,
    add_options,
    best_rates,
    by_kind,
    command,
    differences,
    final,
    measured,
    rows_named,
    said,
    shards,
    tables,
    without_repeats,
    written,
)
from hmralign.alignment.methods.best_of_n import BestOfNConfig
from hmralign.alignment.methods.sft import SftConfig
from hmralign.body.lbs import posed_joints
from hmralign.critics.consistency import ConsistencyCritic
from hmralign.critics.critic import judge
from hmralign.critics.limb_tilt import LimbTiltCritic
from hmralign.data.synthetic.pose_prior import PriorName
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.models.pixel.checkpoint import load_pixel
from hmralign.policies.catalogue import open_policy
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import BodyProposer, SamplerConfig
from hmralign.rendering.scenes.crops import rendered_crops
from hmralign.rendering.scenes.synthwild_images import CROP_SIDE, SCENES
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.seeds import seeded
from hmralign.structures import Annotation, BodyParams, Example
from hmralign.studies.alignment.measure import MeasureConfig, Persons, measure_persons
from hmralign.systems.align.configuration import recommended
from hmralign.systems.evaluate.predict import PredictConfig
from spent_cpu import SpentCpu

ROOT = Path(__file__).parents[2]
OURS = {"DPO, pixels": "DPO by pixels", "SFT on the same evidence": "SFT on the pixel base's answers"}
"""Rows that are held against each of the others, and what their tables are called."""


# -- persons -----------------------------------------------------------------------------------------------------------


def pictured(prior: PriorName, count: int, generator: torch.Generator) -> Example:
    """Persons of the wild world with their pictures; drawn as `Generator.sample` draws them."""
    example, seen = world_generator("wild", prior).sample_seen(count, generator)
    crop = rendered_crops(BODY, example, seen, CROP_SIDE, SCENES["wild"], generator)
    has_crop = torch.ones(count, dtype=torch.bool)
    return replace(example, observation=replace(example.observation, crop=crop, has_crop=has_crop))


def unpictured(example: Example) -> Example:
    return replace(example, observation=replace(example.observation, crop=None, has_crop=None))


def exchanged(example: Example) -> Example:
    """Each person with the picture of the next one."""
    crop = example.observation.crop
    assert crop is not None
    return replace(example, observation=replace(example.observation, crop=crop.roll(1, dims=0)))


def answers(policy: BodyProposer, example: Example) -> BodyParams:
    """One body a person, fused and refined."""
    seen = example.observation
    return BodyParams.cat([answered(policy, seen[p], p.start).fused for p in parts(len(seen.box))])


def labels(args: argparse.Namespace, example: Example) -> dict[str, BodyParams]:
    """The kinds of evidence, by the name of their store."""
    pixel, own = open_policy(args.pixel_base, BODY).policy, LitePolicy.load(args.base, BODY)
    return {
        "pixels": answers(pixel, example),
        "exchanged": answers(pixel, exchanged(example)),
        "own": answers(own, example),
    }


def with_evidence(args: argparse.Namespace, example: Example) -> None:
    """Persons on disk, each kind of evidence as their annotation."""
    shards(args, "truth", unpictured(example))
    if all((args.work / f"persons_{name}/index.json").exists() for name in ("pixels", "exchanged", "own")):
        return
    for name, body in labels(args, example).items():
        shards(args, name, replace(unpictured(example), annotation=Annotation(body, posed_joints(BODY, body))))


# -- the audit ---------------------------------------------------------------------------------------------------------


def audit(args: argparse.Namespace, example: Example) -> list[dict[str, Any]]:
    """How well each kind of evidence orders the samples of the keypoint base."""
    audited, found = Audited.of(args.base, unpictured(example)), []
    own = answers(LitePolicy.load(args.base, BODY), example)
    rows: dict[str, tuple[Tensor, BodyParams | None]] = {
        "group's own mean": (judge(ConsistencyCritic(), audited.hypotheses, example), None),
        "the base's own answer": (audited.near(own), own),
    }
    pixel = open_policy(args.pixel_base, BODY).policy
    tilts = LimbTiltCritic(BODY, load_pixel(args.pixel_base, BODY.skeleton_hash))
    for called, shown in {"": example, ", next person's picture": exchanged(example)}.items():
        body = answers(pixel, shown)
        rows[f"the pixel base's answer{called}"] = (audited.near(body), body)
        rows[f"limbs' tilts{called}"] = (judge(tilts, audited.hypotheses, shown), None)
    for critic, (scores, at) in rows.items():
        rival = None if critic == "the base's own answer" else audited.near(own)
        off = None if at is None else audited.off(at)
        found.append({"critic": critic, "label": off, **audited.said(scores, rival)})
        print(found[-1], flush=True)
    return found


def audit_table(critics: list[dict[str, Any]]) -> str:
    head = ["critic", "label errs", "Spearman in a group", "beyond the base's own answer", "along depth", "picked",
            "group's mean", "best"]  # fmt: skip
    body = []
    for c in critics:
        beyond = "{:+.2f} ({:+.2f} to {:+.2f})".format(*c["beyond"]) if "beyond" in c else ""
        off = "" if c["label"] is None else f"{1000 * c['label']:.0f}"
        body.append([c["critic"], off, f"{c['srcc']:.2f}", beyond, f"{c['depth']:.2f}",
                     *(f"{1000 * c[k]:.0f}" for k in ("picked", "group", "best"))])  # fmt: skip
    return markdown_table(head, body)


# -- rows --------------------------------------------------------------------------------------------------------------


def rows() -> list[Row]:
    dpo, bon = recommended("dpo"), recommended("best-of-n")
    sft = recommended("sft", settings=SftConfig(target="truth"))
    blind = recommended("best-of-n", settings=BestOfNConfig(choose_at_random=True))
    return [
        Row("DPO, pixels", "pixels", "oracle", dpo),
        Row("best-of-N, pixels", "pixels", "oracle", bon),
        Row("SFT on the same evidence", "pixels", "oracle", sft),
        Row("control: DPO, next person's picture", "exchanged", "oracle", dpo),
        Row("control: SFT, next person's picture", "exchanged", "oracle", sft),
        Row("control: DPO, the base's own answer", "own", "oracle", dpo),
        Row("control: DPO towards the group's mean", "pixels", "consistency", dpo),
        Row("control: DPO towards a random own sample", "pixels", "random", dpo),
        Row("control: best-of-N, random own sample", "pixels", "oracle", blind),
        Row("DPO, truth", "truth", "oracle", dpo),
    ]


def rows_of(args: argparse.Namespace) -> list[Row]:
    """The rows asked for by name, or all of them."""
    return rows_named(rows(), args.rows)


def pixel_base_itself(args: argparse.Namespace) -> dict[str, list[float]]:
    """The pixel base on pictures of the persons of the tables, minus the keypoint base, paired."""
    example = without_repeats(pictured("heldout", args.test_persons, seeded(args.test_seed, "test")))
    persons = Persons.of_examples(example, BODY)
    config = MeasureConfig(PredictConfig(SamplerConfig(M)), kinds=("raw", "refined"))
    found, _ = measure_persons(open_policy(args.pixel_base, BODY).policy, persons, config)
    bare = Persons.of_examples(unpictured(example), BODY)
    return differences(by_kind(found), measured(args.base, bare, f"test{args.test_seed}", args))


# -- the page ----------------------------------------------------------------------------------------------------------


def report(document: dict[str, Any], args: argparse.Namespace) -> None:
    s = document["settings"]
    lines = [f"# What pixels teach a base of keypoints: `{s['base']}`", ""]
    lines += [
        f"Unlabelled rendered persons of the wild world, whom `{s['pixel_base']}` answers: the label, and what "
        "hypotheses are held against. *Next person's picture* is the same with pictures exchanged, *the base's own "
        "answer* the same without pixels. Millimetres on the free body.", "",
    ]  # fmt: skip
    if "rows" in document:
        lines += [
            f"{s['persons']} persons, groups of 16, {s['steps']} steps; rates from "
            f"{', '.join(f'{r:g}' for r in s['rates'])} (and on beyond an edge that is the best), chosen on "
            f"{s['val_persons']} persons of wild/val for every row alike; {document['persons']} new persons of "
            f"held-out poses, without masks, M = {M}, mean over {len(s['seeds'])} fine-tuning seeds. Differences to "
            "the base paired over persons with 95 % intervals.", "",
        ]  # fmt: skip
    lines += [
        f"Command: `python benchmarks/alignment/pixels.py {s['command']}`; {s['cpu_minutes']} CPU minutes.", "",
        f"## How well the evidence orders the samples of `{s['base']}` ({s['critic_persons']} persons)", "",
        audit_table(document["critics"]),
    ]  # fmt: skip
    if "rows" in document:
        lines += tables(document, OURS)
        itself = document["pixel_base_itself"]
        lines += ["", f"## `{s['pixel_base']}` itself, minus `{s['base']}`, on the same persons with pictures", ""]
        lines.append(
            markdown_table(
                ["", *COLUMNS], [[k, *(said(itself[f"{k}.{c}"]) for c in COLUMNS)] for k in ("raw", "refined")]
            )
        )
    written(document, lines, args.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "runs/pixels")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/pixels_as_critic")
    parser.add_argument("--pixel-base", default="pixel", help="name or file of the base that sees pixels")
    add_options(parser)
    args = parser.parse_args()
    args.evidence_seed, args.extend = SEED, True
    rows_of(args)  # a mistyped name is told before an hour of work
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    spent, kept = SpentCpu(args.work / "cpu_seconds.json"), args.work / "critics.json"
    if not kept.exists():
        critics = audit(args, pictured("train", args.critic_persons, seeded(SEED, "pixels, audit")))
        kept.write_text(json.dumps(critics))
    document: dict[str, Any] = {"critics": json.loads(kept.read_text())}
    if args.phase == "all":
        with_evidence(args, pictured("train", args.persons, seeded(SEED, "pixels")))
        chosen = best_rates(rows_of(args), args.base, args)
        document |= {"tuning": chosen, **final(rows_of(args), tuple(OURS), args.base, chosen, args)}
        document["pixel_base_itself"] = pixel_base_itself(args)
    names = ("base", "pixel_base", "persons", "steps", "rates", "seeds", "val_persons", "critic_persons")
    settings = {n: getattr(args, n) for n in names} | {"cpu_minutes": round(spent.minutes()), "command": command()}
    report({"settings": settings, **document}, args)


if __name__ == "__main__":
    main()
