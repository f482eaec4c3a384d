"""What else is known of an instant: the frames before and after it, or which way is up.

    hmralign bench --out runs/synthwild --splits wild/val
    python benchmarks/alignment/moments.py time --poses poses.npz --base lite [--phase all|critics] [--sequence STEPS]
    python benchmarks/alignment/moments.py gravity --poses poses.npz [--captured]

Unlabelled persons of the wild world who move before one camera (`data/synthetic/clips.py`), in the frame of rows and
controls of `other_cameras.py` (`evidence_frame.py`); `--poses` is a pose file with clips, whose training split moves
them.

`time`: the base answers each frame alone, the hypotheses of all frames are linked and smoothed as those of a clip
(`tracking/instant.py`), and the middle body is the evidence: a label for SFT, and what hypotheses of the middle frame
are held against. The rival explanation has rows of its own: the same with the base's answer to the middle frame alone.

`gravity`: which way is up is known to some degrees (`critics/gravity.py`): the critic scores hypotheses by their tilt
and balance, and the label is the base's own hypotheses weighed by it.

Before anything is trained the critics are audited, on persons of the wild world and on such as were captured in the
poses that they move through (the validation split), whose physics is real. With `--captured` all persons but those who
choose rates are such: of the training's unseen validation split, and of the test split for the tables.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evidence_audit import SEED, Audited, answered, parts, standard
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
    store_of,
    tables,
    written,
)
from hmralign.alignment.methods.best_of_n import BestOfNConfig
from hmralign.alignment.methods.sft import SftConfig
from hmralign.body.lbs import forward_kinematics, posed_joints, rest_joints
from hmralign.critics.consistency import ConsistencyCritic
from hmralign.critics.critic import Critic, judge
from hmralign.critics.gravity import GravityCritic
from hmralign.critics.plausibility import PlausibilityCritic
from hmralign.critics.weighing import Weighing
from hmralign.data.pose_clips import load_pose_clips
from hmralign.data.pose_file import Split
from hmralign.data.synthetic.clips import ClipConfig, ClipPersons, sample_clips
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.fitting.detector_noise import noise_of
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.policies.lite import LitePolicy
from hmralign.preferences.build import score_store
from hmralign.preferences.store import CriticFacts, writing
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.seeds import seeded
from hmralign.structures import Annotation, BodyParams, Example, Hypotheses
from hmralign.studies.alignment.measure import Persons
from hmralign.systems.align.configuration import recommended
from hmralign.tracking.instant import smoothed_instants
from hmralign.tracking.linking import motion_features
from hmralign.tracking.placing import place_by_keypoints
from spent_cpu import SpentCpu

ROOT = Path(__file__).parents[2]
RATE, LONGEST_GAP = 30.0, 6
EVIDENCE = ("time", "gravity")
UP_DEGREES = 5.0
"""Root mean square error of the direction of gravity that rows are trained with."""


# -- persons -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clip:
    """Which frames are seen, in frames of the pose file, and how persons and errors are."""

    step: int = 3
    noise_seconds: float = 0.15
    captured: bool = False

    @property
    def offsets(self) -> tuple[int, ...]:
        return tuple(self.step * k for k in range(-4, 5))

    @property
    def config(self) -> ClipConfig:
        seconds = tuple(o / RATE for o in self.offsets)
        return ClipConfig(seconds, noise_seconds=self.noise_seconds, captured=self.captured)


CLIPS = {
    "eight frames within 0.4 s": Clip(),
    "within 0.13 s": Clip(step=1),
    "within 0.8 s": Clip(step=6),
    "within 0.4 s, errors of frames independent": Clip(noise_seconds=0.0),
    "within 0.4 s, captured poses": Clip(captured=True),
}


def clip_persons(args: argparse.Namespace, clip: Clip, count: int, name: str, split: Split = "val") -> ClipPersons:
    if not clip.captured:  # the clip moves poses of the world; captured poses are such as the base was not trained on
        split = "train"
    stretches = load_pose_clips(args.poses, split).stretches(clip.offsets, LONGEST_GAP)
    return sample_clips(world_generator("wild", "train"), stretches, clip.config, count, seeded(SEED, name))


def middle(persons: ClipPersons) -> Example:
    """Persons as one photo shows them."""
    return persons.frames[:, persons.frames.observation.box.shape[1] // 2]


# -- time --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What the base says of all frames of some persons."""

    rotmats: Tensor
    """(person, frame, hyp, 24, 3, 3), `cam`."""
    betas: Tensor
    alone: BodyParams
    """The one answer to the middle frame."""


def frames_answered(base: str, persons: ClipPersons, start: int) -> Seen:
    seen = persons.frames.observation
    policy = LitePolicy.load(base, BODY)
    found = [answered(policy, seen[:, f], start) for f in range(seen.batch_shape[1])]
    bodies = [e.hypotheses.body for e in found]
    rotmats, betas = torch.stack([b.rotmats for b in bodies], 1), torch.stack([b.betas for b in bodies], 1)
    return Seen(rotmats, betas, found[len(found) // 2].fused)


def track(seen: Seen, persons: ClipPersons, clip: Clip) -> BodyParams:
    """The middle bodies of the smoothed tracks, placed by the keypoints of the middle frame."""
    config = clip.config
    group = smoothed_instants(BODY, seen.rotmats, seen.betas, config.seconds, config.middle)
    placed = place_by_keypoints(BODY, group.rotmats, group.betas, middle(persons).observation, noise_of("mediapipe"))
    return BodyParams(group.rotmats[:, 0, 0], group.rotmats[:, 0, 1:], group.betas[:, 0], placed.transl[:, 0])


def agreement(hypotheses: Hypotheses, seen: Seen, clip: Clip, noise: float = 0.03, speed: float = 0.5) -> Tensor:
    """Log likelihood of hypotheses under the neighbours' groups, (person, hyp): a body moves at `speed` (m/s)."""
    config, found = clip.config, []
    for person in range(len(hypotheses.joints)):
        betas = seen.betas[person].mean((0, 1))
        own = features(hypotheses.body.rotmats[person], betas)
        score = torch.zeros(len(own))
        for frame, seconds in enumerate(config.seconds):
            if frame != config.middle:
                near = torch.cdist(own, features(seen.rotmats[person, frame], betas)).square()
                score = score + torch.logsumexp(-near / (2 * (noise**2 + (speed * seconds) ** 2)), 1)
        found.append(score)
    return torch.stack(found)


def features(rotmats: Tensor, betas: Tensor) -> Tensor:
    _, joints = forward_kinematics(rest_joints(BODY, betas), rotmats, BODY.parents)
    return torch.from_numpy(motion_features(rotmats, joints))


# -- gravity -----------------------------------------------------------------------------------------------------------


def heard(up: Tensor, degrees: float, name: str = "up") -> Tensor:
    """The direction of gravity as somebody knows it who errs by so much (root mean square angle)."""
    turn = math.radians(degrees) / math.sqrt(2) * torch.randn(len(up), 3, generator=seeded(SEED, name))
    turn = turn - (turn * up).sum(-1, keepdim=True) * up  # turning about it changes nothing
    return (rotvec_to_rotmat(turn) @ up[..., None])[..., 0]


def weighed(base: str, persons: ClipPersons) -> BodyParams:
    """The base's own hypotheses of the middle frame, fused with the weights of the critic."""
    example, up, found = middle(persons), heard(persons.up, UP_DEGREES), []
    policy = LitePolicy.load(base, BODY)
    for part in parts(len(up)):
        weigh = Weighing(GravityCritic(BODY, up[part]), temperature=1.0)
        found.append(answered(policy, example.observation[part], part.start, weigh).fused)
    return BodyParams.cat(found)


def with_gravity_scores(args: argparse.Namespace, base: str, up: Tensor) -> None:
    """Scores of the critic in the store of groups, under the name `gravity`."""
    store, known = store_of(args, base, "gravity"), heard(up, UP_DEGREES)

    def critic_of(ids: tuple[str, ...]) -> Critic:
        return GravityCritic(BODY, known[[int(name.rsplit("/", 1)[1]) for name in ids]])

    facts = CriticFacts("gravity", False, {"degrees": UP_DEGREES, "seed": SEED})
    with writing(store.folder, store.facts) as writer:
        score_store(writer, "gravity", critic_of, facts)


# -- the audit ---------------------------------------------------------------------------------------------------------


def time_audit(args: argparse.Namespace) -> list[dict]:
    found = []
    for name, clip in CLIPS.items():
        persons = clip_persons(args, clip, args.critic_persons, "audit")
        seen = frames_answered(args.base, persons, 0)
        audited, body = Audited.of(args.base, middle(persons)), track(seen, persons, clip)
        alone = audited.near(seen.alone)
        mean = judge(ConsistencyCritic(), audited.hypotheses, audited.example)
        rows = {
            "group's own mean": (mean, None),
            "the frame alone": (alone, seen.alone),
            "smoothed track": (audited.near(body), body),
            "agreement with neighbours": (agreement(audited.hypotheses, seen, clip), None),
        }
        for critic, (scores, at) in rows.items():
            off = None if at is None else audited.off(at)
            told = audited.said(scores, None if critic == "the frame alone" else alone)
            found.append({"where": name, "critic": critic, "label": off, **told})
            print(found[-1], flush=True)
    return found


def gravity_audit(args: argparse.Namespace) -> list[dict]:
    found = []
    for name, clip in {"wild world": Clip(), "captured poses": Clip(captured=True)}.items():
        persons = clip_persons(args, clip, args.critic_persons, "audit")
        audited = Audited.of(args.base, middle(persons))
        mean = judge(ConsistencyCritic(), audited.hypotheses, audited.example)
        level = torch.tensor([0.0, -1.0, 0.0]).expand(len(persons.up), 3)
        known = {f"up to {d:g} deg": heard(persons.up, d) for d in (0.0, 5.0, 10.0, 20.0)} | {
            "camera held level": level
        }
        critics: dict[str, Critic] = {"joint limits and penetration, no gravity": PlausibilityCritic(BODY)}
        critics |= {f"tilt and balance, {k}": GravityCritic(BODY, up) for k, up in known.items()}
        for_parts = known[f"up to {UP_DEGREES:g} deg"]
        critics["tilt alone, up to 5 deg"] = GravityCritic(BODY, for_parts, balance=0.0)
        critics["balance alone, up to 5 deg"] = GravityCritic(BODY, for_parts, tilt=0.0)
        scores = {n: judge(c, audited.hypotheses, audited.example) for n, c in critics.items()}
        both = standard(mean) + 0.5 * standard(scores[f"tilt and balance, up to {UP_DEGREES:g} deg"])
        scores |= {"group's own mean": mean, "own mean + half of tilt and balance, up to 5 deg": both}
        for critic, told in scores.items():
            of_truth = None
            if critic in critics:
                of_truth = likes_truth(critics[critic], audited, told)
            row = audited.said(told, None if critic == "group's own mean" else mean)
            found.append({"where": name, "critic": critic, "label": None, "truth": of_truth, **row})
            print(found[-1], flush=True)
    return found


def likes_truth(critic: Critic, audited: Audited, scores: Tensor) -> float:
    """Share of hypotheses that are liked less than the true body, ties half; 0.5 for who knows nothing."""
    assert audited.example.annotation is not None
    truth = audited.example.annotation
    group = Hypotheses(truth.body[:, None], truth.joints[:, None])
    own = judge(critic, group, audited.example)
    return float(((own > scores).float() + 0.5 * (own == scores).float()).mean())


# -- rows --------------------------------------------------------------------------------------------------------------


def rows(evidence: str) -> list[Row]:
    dpo, bon = recommended("dpo"), recommended("best-of-n")
    sft = recommended("sft", settings=SftConfig(target="truth"))
    blind = recommended("best-of-n", settings=BestOfNConfig(choose_at_random=True))
    controls = [
        Row("control: DPO towards the group's mean", evidence, "consistency", dpo),
        Row("control: DPO towards a random own sample", evidence, "random", dpo),
        Row("control: best-of-N, random own sample", evidence, "oracle", blind),
        Row("DPO, truth", "truth", "oracle", dpo),
    ]
    if evidence == "gravity":
        ours = [
            Row("DPO, gravity", "gravity", "gravity", dpo),
            Row("best-of-N, gravity", "gravity", "gravity", bon),
            Row("SFT on the same evidence", "gravity", "oracle", sft),
        ]
        return ours + controls
    ours = [
        Row("DPO, neighbouring frames", "time", "oracle", dpo),
        Row("best-of-N, neighbouring frames", "time", "oracle", bon),
        Row("SFT on the same evidence", "time", "oracle", sft),
        Row("control: DPO, the frame alone", "alone", "oracle", dpo),
        Row("control: SFT on the frame alone", "alone", "oracle", sft),
    ]
    return ours + controls


OURS = {
    "time": {"DPO, neighbouring frames": "DPO by neighbouring frames", "SFT on the same evidence": "SFT on the tracks"},
    "gravity": {"DPO, gravity": "DPO by gravity"},
}
"""Rows that are held against each of the others, and what their tables are called."""


def rows_of(args: argparse.Namespace) -> list[Row]:
    """The rows asked for by name, or all of them."""
    return rows_named(rows(args.evidence), args.rows)


def with_evidence(args: argparse.Namespace, persons: ClipPersons) -> None:
    """Persons on disk, each kind of evidence as their annotation."""
    first = middle(persons)
    shards(args, "truth", first)
    wanted = {"time": ("time", "alone"), "gravity": ("gravity",)}[args.evidence]
    if all((args.work / f"persons_{name}/index.json").exists() for name in wanted):
        return
    for name, body in labels(args, persons).items():
        shards(args, name, replace(first, annotation=Annotation(body, posed_joints(BODY, body))))


def labels(args: argparse.Namespace, persons: ClipPersons) -> dict[str, BodyParams]:
    if args.evidence == "gravity":
        return {"gravity": weighed(args.base, persons)}
    tracks, alone = [], []
    for part in parts(len(persons.up)):
        seen = frames_answered(args.base, persons[part], part.start)
        tracks.append(track(seen, persons[part], Clip(captured=args.captured)))
        alone.append(seen.alone)
    return {"time": BodyParams.cat(tracks), "alone": BodyParams.cat(alone)}


# -- the page ----------------------------------------------------------------------------------------------------------

WHAT = {
    "time": "the frames around an instant teach",
    "gravity": "knowing which way is up teaches",
}
INTRODUCTION = {
    "time": "Unlabelled persons of the wild world who move before one camera; eight frames around the "
    "middle one, within 0.4 s, whose keypoint errors are forgotten to e^-1 in 0.15 s. Each frame is answered by the "
    "base alone; the label, and what hypotheses are held against, is the middle body of the linked and smoothed track. "
    "*The frame alone* is the same with the base's answer to the middle frame.",
    "gravity": "Unlabelled persons of the wild world of whom it is known which way is up, to 5 degrees. The "
    "critic scores the tilt of the pelvis for the pose and the balance over what carries; the label is the base's own "
    "hypotheses weighed by it.",
}


def report(document: dict, args: argparse.Namespace) -> None:
    s = document["settings"]
    start = f"`{s['base']}`" + (f" after {s['sequence']} steps of SFT on the evidence" if s["sequence"] else "")
    start += f" at {document['start']['rate']:g}" if document.get("start") else ""
    beyond = " (and on beyond an edge that is the best)" if s.get("extend") else ""
    lines = [f"# What {WHAT[args.evidence]}: {start}", "", INTRODUCTION[args.evidence], ""]
    if args.captured:
        lines += ["All persons but those who choose rates are in poses that people were captured in.", ""]
    if "rows" in document:
        rates = ", ".join(f"{r:g}" for r in s["rates"])
        lines += [
            f"{s['persons']} persons, groups of 16, {s['steps']} steps; rates from {rates}{beyond}, chosen on "
            f"{s['val_persons']} persons of wild/val for every row alike; {document['persons']} {s['test']}, M = {M}, "
            f"mean over {len(s['seeds'])} fine-tuning seeds. Differences to the base paired over persons with 95 % "
            "intervals. ",
        ]  # fmt: skip
    took = f"; {s['cpu_minutes']} CPU minutes" if "rows" in document else ""
    lines += [
        "Millimetres on the free body. The evidence has no 3D label; rows named truth have, for comparison.", "",
        f"Command: `python benchmarks/alignment/moments.py {s['command']}`{took}.", "",
        f"## How well the evidence orders the samples of `{s['base']}` ({s['critic_persons']} persons a row)", "",
        audit_table(document["critics"], args.evidence),
    ]  # fmt: skip
    if "rows" in document:
        lines += tables(document, OURS[args.evidence])
    written(document, lines, args.out)


def audit_table(critics: list[dict], evidence: str) -> str:
    rival = "the frame alone" if evidence == "time" else "group's own mean"
    by_label = evidence == "time"
    extra = "label errs" if by_label else "true body liked better, %"
    head = ["persons", "critic", extra, "Spearman in a group", f"beyond {rival}", "along depth", "picked",
            "group's mean", "best"]  # fmt: skip
    body = []
    for c in critics:
        told = c["label"] if by_label else c["truth"]
        first = "" if told is None else f"{1000 * told:.0f}" if by_label else f"{100 * told:.0f}"
        beyond = "{:+.2f} ({:+.2f} to {:+.2f})".format(*c["beyond"]) if "beyond" in c else ""
        body.append([c["where"], c["critic"], first, f"{c['srcc']:.2f}", beyond, f"{c['depth']:.2f}",
                     *(f"{1000 * c[k]:.0f}" for k in ("picked", "group", "best"))])  # fmt: skip
    return markdown_table(head, body)


def audited(args: argparse.Namespace) -> list[dict]:
    """The audit, kept in --work."""
    audits: dict[str, Callable[[argparse.Namespace], list[dict]]] = {
        "time": time_audit,
        "gravity": gravity_audit,
    }
    kept = args.work / f"critics_{args.evidence}.json"
    if not kept.exists():
        kept.write_text(json.dumps(audits[args.evidence](args)))
    return json.loads(kept.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evidence", choices=EVIDENCE)
    parser.add_argument("--poses", type=Path, required=True, help="a pose file with clips")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/moments")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/moments")
    parser.add_argument("--captured", action="store_true", help="persons in the poses they were captured in")
    add_options(parser)
    args = parser.parse_args()
    args.evidence_seed = SEED
    rows_of(args)  # a mistyped name is told before an hour of work
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    spent = SpentCpu(args.work / f"cpu_seconds_{args.evidence}.json")
    document: dict[str, Any] = {"critics": audited(args)}
    spent.seconds()  # what is killed later has had its audit
    if args.phase == "all":
        document |= trained(args)
    names = ("base", "persons", "steps", "sequence", "rates", "extend", "seeds", "val_persons", "critic_persons")
    settings = {n: getattr(args, n) for n in names} | {
        "cpu_minutes": f"{spent.minutes():.1f}", "command": command(),
        "test": "persons of the pose file's test split in captured poses" if args.captured
        else "new persons of held-out poses, without masks",
    }  # fmt: skip
    report({"settings": settings, **document}, args)


def trained(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that is trained, and measured on the persons of the tables."""
    clip = Clip(captured=args.captured)
    persons = clip_persons(args, clip, args.persons, "clips")
    with_evidence(args, persons)
    sft = next(row for row in rows(args.evidence) if row.name == "SFT on the same evidence")
    base, begun = start_of_sequence(sft, args) if args.sequence else (args.base, {})
    if args.evidence == "gravity":
        with_gravity_scores(args, base, persons.up)
    chosen = best_rates(rows_of(args), base, args)
    test = None
    if args.captured:
        seen = middle(clip_persons(args, clip, args.test_persons, f"test {args.test_seed}", "test"))
        test = Persons.of_examples(seen, BODY), f"captured{args.test_seed}"
    found = final(rows_of(args), tuple(OURS[args.evidence]), base, chosen, args, test)
    return {"start": begun, "tuning": chosen, **found}


if __name__ == "__main__":
    main()
