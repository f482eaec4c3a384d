"""Preference where labels have said all they can: a critic that sees other cameras of the same instant.

    hmralign bench --out runs/synthwild --splits wild/val
    python benchmarks/alignment/other_cameras.py --base lite [--phase all|critics] [--sequence STEPS]

Unlabelled persons of the wild world, each before four cameras whose places are known (`data/synthetic/rig.py`). One
body is fitted to the keypoints of all of them (`fitting/rig_fit.py`), starting from what the base says in each view
alone: evidence without any 3D label. It is used in two ways: as a *label* (SFT on it), and as a *critic* (a hypothesis
of the first view is worth its nearness to it) for DPO, best-of-N and sigmoid groups. Beside them: the same with the
truth, and controls that know nothing (own mean, towards the group's mean, towards a random own sample).

Every row gets the same rates; the best is chosen by `fused` with refinement on wild/val. Tables are of persons drawn
anew from the held-out poses (no person twice, and no masks, as the aligned persons have none), or with --test-split of
a frozen split, most of whose persons have masks (--without-masks takes them away); single views, in the same draws for
every row. With --sequence the base is first trained on the fits (SFT) and the rows start from there with groups of its
own; "SFT alone" starts from the base itself and takes all of these steps. Rows of three rounds sample their groups
anew twice, and take a third of the steps in each round. Cells are kept in --work.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from evidence_frame import (
    BODY,
    M,
    Row,
    add_options,
    best_rates,
    command,
    final,
    rows_named,
    shards,
    start_of_sequence,
    tables,
    written,
)
from hmralign.alignment.methods.best_of_n import BestOfNConfig
from hmralign.alignment.methods.group import GroupConfig
from hmralign.alignment.methods.sft import SftConfig
from hmralign.body.lbs import posed_joints
from hmralign.data.synthetic.rig import RigPersons, sample_rig, with_rig_noise
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.fitting.rig_fit import first_guess, fit_rig
from hmralign.hypotheses.estimate import estimate_bodies
from hmralign.metrics.joint_errors import mpjpe
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import SamplerConfig
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.seeds import seeded
from hmralign.structures import Annotation
from hmralign.systems.align.configuration import RefreshConfig, recommended
from spent_cpu import SpentCpu

ROOT = Path(__file__).parents[2]
RIGS = {"3": (4, 0.0, 0.0), "2": (3, 0.0, 0.0), "1": (2, 0.0, 0.0), "3, rig off by 1 deg and 2 cm": (4, 1.0, 0.02)}
"""Other cameras -> views in all, and the calibration's error in degrees and metres."""
OURS = {"DPO, other cameras": "DPO by other cameras", "DPO, other cameras, three rounds": "The same in three rounds"}
"""Rows that are held against each of the others, and what their tables are called."""
RIG_SEED = 72


def rows() -> list[Row]:
    dpo, bon = recommended("dpo"), recommended("best-of-n")
    sigmoid = recommended("group", settings=GroupConfig(mode="sigmoid"))
    truth = recommended("sft", settings=SftConfig(target="truth"))
    own = recommended("sft", settings=SftConfig(target="own_mean", target_noise=0.1))
    blind = recommended("best-of-n", settings=BestOfNConfig(choose_at_random=True))
    anew = RefreshConfig(rounds=3)
    return [
        Row("DPO, other cameras", "fit", "oracle", dpo),
        Row("best-of-N, other cameras", "fit", "oracle", bon),
        Row("sigmoid groups, other cameras", "fit", "oracle", sigmoid),
        Row("SFT on the same evidence", "fit", "oracle", truth),
        Row("DPO, truth", "truth", "oracle", dpo),
        Row("SFT on truth", "truth", "oracle", truth),
        Row("control: SFT on own mean", "fit", "oracle", own),
        Row("control: DPO towards the group's mean", "fit", "consistency", dpo),
        Row("control: DPO towards a random own sample", "fit", "random", dpo),
        Row("control: best-of-N, random own sample", "fit", "oracle", blind),
        Row("DPO, other cameras, three rounds", "fit", "oracle", replace(dpo, refresh=anew)),
        Row("best-of-N, other cameras, three rounds", "fit", "oracle", replace(bon, refresh=anew)),
        Row("SFT alone", "fit", "oracle", truth, from_base=True),
        Row("DPO, truth, three rounds", "truth", "oracle", replace(dpo, refresh=anew)),
        Row("control: DPO towards the group's mean, three rounds", "fit", "consistency", replace(dpo, refresh=anew)),
        Row("control: best-of-N, random own sample, three rounds", "fit", "oracle", replace(blind, refresh=anew)),
    ]


def evidence_row() -> Row:
    """What a sequence starts with."""
    return next(r for r in rows() if r.name == "SFT on the same evidence")


def rows_of(args: argparse.Namespace) -> list[Row]:
    """The rows asked for by name, or all that fit."""
    fitting = [row for row in rows() if args.rows or args.sequence or not row.from_base]
    return rows_named(fitting, args.rows)


def rig_persons(count: int) -> RigPersons:
    """Unlabelled persons for alignment, before four cameras."""
    return sample_rig(world_generator("wild", "train"), count, 4, seeded(RIG_SEED, "rig"))


def fits(persons: RigPersons, views: int, noise: tuple[float, float], base: str) -> Annotation:
    """Bodies fitted to the first so many views, as labels of the first."""
    policy, detector = LitePolicy.load(base, BODY), noise_of("mediapipe")
    T = with_rig_noise(persons, *noise, seeded(RIG_SEED, "noise"))[:, :views]
    found = []
    for start in range(0, len(T), 200):
        part = persons[start : start + 200]
        guesses, shapes = [], []
        for view in range(views):
            seen = part.views[:, view].observation
            draws = [seeded(RIG_SEED, "guess", start + i, view) for i in range(len(seen.box))]
            group = estimate_bodies(policy, seen, SamplerConfig(10), RefinementConfig(), detector, draws)
            guesses.append(group.fused.rotmats)
            shapes.append(group.fused.betas)
        guess = first_guess(torch.stack(guesses, 1), T[start : start + 200])
        seen = part.views[:, :views].observation
        fit = fit_rig(BODY, guess, torch.stack(shapes, 1).mean(1), seen, T[start : start + 200], detector)
        found.append(Annotation(fit.body, posed_joints(BODY, fit.body)))
    return Annotation.cat(found)


def critics_table(args: argparse.Namespace, persons: RigPersons) -> list[dict]:
    """How well each rig orders the base's own samples, and how far its fits are from the truth."""
    policy, found = LitePolicy.load(args.base, BODY), []
    few = persons[: args.critic_persons]
    seen, truth = few.views[:, 0].observation, few.views[:, 0].annotation
    assert truth is not None
    draws = [seeded(RIG_SEED, "audit", i) for i in range(len(seen.box))]
    group = estimate_bodies(
        policy, seen, SamplerConfig(16), RefinementConfig(method="none"), noise_of("mediapipe"), draws
    )
    joints = group.hypotheses.joints[..., :24, :]
    errors = mpjpe(joints, truth.joints[:, None, :24], root=0)  # (n, 16)
    for name, (views, degrees, metres) in RIGS.items():
        fit = fits(few, views, (degrees, metres), args.base)
        scores = -mpjpe(joints, fit.joints[:, None, :24], root=0)
        ranks = [float(np.asarray(spearmanr(s, -e))[0]) for s, e in zip(scores, errors, strict=True)]
        off = mpjpe(fit.joints[:, :24], truth.joints[:, :24], root=0)
        picked = errors[torch.arange(len(errors)), scores.argmax(1)]
        found.append(
            {"cameras": name, "fit": float(off.mean()), "median": float(off.median()), "srcc": float(np.mean(ranks)),
             "picked": float(picked.mean()), "group": float(errors.mean()), "best": float(errors.amin(1).mean())}
        )  # fmt: skip
        print(found[-1], flush=True)
    return found


def with_evidence(args: argparse.Namespace, persons: RigPersons) -> None:
    """Persons on disk, with the fits for labels and with the truth."""
    first = persons.views[:, 0]
    if not (args.work / "persons_fit/index.json").exists():
        shards(args, "fit", replace(first, annotation=fits(persons, 4, (0.0, 0.0), args.base)))
    shards(args, "truth", first)


def report(document: dict, out: Path) -> None:
    s = document["settings"]
    start = f"`{s['base']}`" + (f" after {s['sequence']} steps of SFT on the fits" if s["sequence"] else "")
    start += f" at {document['start']['rate']:g}" if document.get("start") else ""
    beyond = " (and on beyond an edge that is the best)" if s.get("extend") else ""
    lines = [
        f"# What other cameras teach: {start}", "",
        f"{s['persons']} unlabelled persons of the wild world before four cameras each, groups of 16, {s['steps']} "
        f"steps; rates from {', '.join(f'{r:g}' for r in s['rates'])}{beyond}, chosen on {s['val_persons']} persons of "
        f"wild/val for every row alike; {document['persons']} {s['test']}, single views, "
        f"M = {M}, mean over "
        f"{len(s['seeds'])} fine-tuning seeds. Millimetres on the free body, differences to the base paired over "
        "persons with 95 % intervals. The evidence has no 3D label; rows named truth have, for comparison.", "",
        f"Command: `python benchmarks/alignment/other_cameras.py {s['command']}`; {s['cpu_minutes']} CPU minutes.", "",
    ]  # fmt: skip
    if document.get("critics"):
        lines += ["## How well the evidence orders the base's samples", ""]
        lines.append(
            markdown_table(
                ["other cameras", "fit errs, mean", "median", "Spearman in a group", "picked", "group's mean", "best"],
                [[c["cameras"], *(f"{1000 * c[k]:.0f}" for k in ("fit", "median")), f"{c['srcc']:.2f}",
                  *(f"{1000 * c[k]:.0f}" for k in ("picked", "group", "best"))] for c in document["critics"]],
            )
        )  # fmt: skip
    written(document, lines + tables(document, OURS), out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "runs/other_cameras")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/other_cameras")
    add_options(parser)
    args = parser.parse_args()
    args.evidence_seed = RIG_SEED
    rows_of(args)  # a mistyped name is told before an hour of work
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    spent = SpentCpu(args.work / "cpu_seconds.json")
    persons = rig_persons(args.persons)
    kept = args.work / "critics.json"
    critics = json.loads(kept.read_text()) if kept.exists() else critics_table(args, persons)
    kept.write_text(json.dumps(critics))
    if args.phase == "all":
        with_evidence(args, persons)
        base, begun = start_of_sequence(evidence_row(), args) if args.sequence else (args.base, {})
        chosen = best_rates(rows_of(args), base, args)
        document = final(rows_of(args), tuple(OURS), base, chosen, args)
        test = f"persons of {args.test_split}" if args.test_split else "new persons of held-out poses, without masks"
        test += ", masks taken away" if args.without_masks else ""
        names = ("base", "persons", "steps", "sequence", "rates", "extend", "seeds", "val_persons")
        settings = {n: getattr(args, n) for n in names} | {
            "cpu_minutes": round(spent.minutes()),
            "command": command(),
            "test": test,
        }
        report({"settings": settings, "critics": critics, "start": begun, "tuning": chosen, **document}, args.out)
    spent.seconds()


if __name__ == "__main__":
    main()
