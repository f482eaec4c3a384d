"""Labels of which some lie: trained on, cleaned, or used as candidates of a preference.  After ADHMR sec. 4.5 and 5.4.

    hmralign bench --out runs/synthwild --splits wild/val
    python benchmarks/alignment/lying_labels.py --base lite-lab

Persons of the wild world with labels, a share of which lies in four ways alike (`data/synthetic/label_noise.py`): a
limb flipped in depth, exchanged sides, a lean towards the camera, another person. The rest of the labels is the truth,
so that what lies cost is all that is measured. They are used

- as targets: SFT on all, on those that `hmralign clean`'s rule keeps (the scorer's margin, against the base's own
  samples), on those that do not lie (an oracle);
- as winners of pairs against the base's own answer, whoever they are (DPO);
- as candidates: each joins the base's sixteen samples as one more, a critic judges all seventeen, DPO and best-of-N
  follow it. Critics: the learned scorer (`scorer-lab`, which cleans as well), reprojection (which no label ever
  taught), and chance.

Beside them what needs no label: the same critics on the base's own samples alone, and training on the own mean.

Every row has two rates to start with and more where the better one is the edge; the best is chosen for each share by
`fused` with refinement on wild/val, with one seed.
Tables are of new persons of held-out poses, in the same draws for every row. Cells are kept in --work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evidence_frame import M, best_rate, command, differences, measured, replace_first, rows_named, said, test_persons
from hmralign.alignment.methods.dpo import DpoConfig
from hmralign.alignment.methods.sft import SftConfig
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.cleaning.detection import detection
from hmralign.cleaning.selection import DEFAULT_MARGINS, KeepRule, select
from hmralign.critics.names import CriticChoice
from hmralign.data.shards import write_index, write_shard
from hmralign.data.synthetic.label_noise import LabelNoise, NoiseKind, with_planted_noise
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.data.synthwild_folder import open_split
from hmralign.metrics.joint_errors import mpjpe
from hmralign.models.checkpoint import checkpoint_hash, trained_on
from hmralign.policies.lite import LitePolicy
from hmralign.preferences.build import GroupStoreConfig, build_groups, checked_critics, score_by_all
from hmralign.preferences.person_source import ShardSource
from hmralign.preferences.store import GroupStore, writing
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.seeds import seeded
from hmralign.structures import Annotation, BodyParams, Example, Hypotheses, PreferenceGroups
from hmralign.studies.alignment.measure import Persons
from hmralign.systems.align.configuration import AlignConfig, recommended
from hmralign.systems.align.run import align_policy
from spent_cpu import SpentCpu

ROOT = Path(__file__).parents[2]
BODY = load_free_body("3k5")
LIES: tuple[NoiseKind, ...] = ("depth_flip", "limb_swap", "lean", "wrong_person")
SEED, TEST_SEED, GROUP_SIZE = 181, 271, 16
SCORER: CriticChoice = "scorer-lab"
"""Who cleans and who is followed: the scorer that was taught on samples of `lite-lab`."""
CRITICS: tuple[CriticChoice, ...] = (SCORER, "reprojection", "random")
FORM_RATES = {"dpo": (1e-4, 3e-4), "sft": (3e-3, 1e-2), "best-of-n": (3e-4, 1e-3)}
SHARELESS = "own"


@dataclass(frozen=True)
class Row:
    """A way to use labels; `store` says which persons and candidates it sees (`stores`)."""

    name: str
    store: str
    critic: CriticChoice
    config: AlignConfig

    @property
    def key(self) -> str:
        return self.name.replace(" ", "_").replace(",", "").replace(":", "")


def rows() -> list[Row]:
    dpo, bon = recommended("dpo"), recommended("best-of-n")
    sft = recommended("sft", settings=SftConfig(target="truth"))
    winners = recommended("dpo", settings=DpoConfig(pairs="truth_and_mode"))
    own = recommended("sft", settings=SftConfig(target="own_mean", target_noise=0.1))
    return [
        Row("SFT, all labels", "labels", SCORER, sft),
        Row("SFT, cleaned labels", "cleaned", SCORER, sft),
        Row("SFT, labels that do not lie", "honest", SCORER, sft),
        Row("DPO, labels against the own answer", "labels", SCORER, winners),
        Row("DPO, labels as candidates, scorer", "labels", SCORER, dpo),
        Row("best-of-N, labels as candidates, scorer", "labels", SCORER, bon),
        Row("DPO, labels as candidates, reprojection", "labels", "reprojection", dpo),
        Row("control: DPO, labels as candidates, random critic", "labels", "random", dpo),
        Row("without labels: DPO, own samples, scorer", SHARELESS, SCORER, dpo),
        Row("without labels: best-of-N, own samples, scorer", SHARELESS, SCORER, bon),
        Row("without labels: DPO, own samples, reprojection", SHARELESS, "reprojection", dpo),
        Row("control: SFT on own mean", SHARELESS, SCORER, own),
    ]


# -- labels ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Labels:
    """Labels of persons, and how each lies: the number of its lie, -1 where it is the truth."""

    annotation: Annotation
    lie: np.ndarray


def planted(truth: Example, share: float, largest: float) -> Labels:
    """Who lies at a small share lies at a larger one, in the same way; each lie has as many persons as the others."""
    assert truth.annotation is not None
    count = len(truth.observation.box)
    order = torch.randperm(count, generator=seeded(SEED, "who lies")).numpy()
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    lie = np.where(rank < round(largest * count), rank % len(LIES), -1)
    noisy = truth
    for number, kind in enumerate(LIES):
        noisy = with_planted_noise(BODY, noisy, torch.from_numpy(lie == number), LabelNoise(kind), seeded(SEED, kind))
    assert noisy.annotation is not None
    lies_now = rank < round(share * count)
    annotation = noisy.annotation.where(torch.from_numpy(lies_now), truth.annotation)
    return Labels(annotation, np.where(lies_now, lie, -1))


def own_groups(args: argparse.Namespace) -> GroupStore:
    """The base's own samples, with the truth beside them."""
    folder = args.work / "persons"
    if not (folder / "index.json").exists():
        example = world_generator("wild", "train").sample(args.persons, seeded(SEED, "persons"))
        folder.mkdir(parents=True, exist_ok=True)
        write_shard(folder, 0, example)
        write_index(folder, seed=SEED, examples=args.persons, skeleton=BODY.skeleton_hash)
    config = GroupStoreConfig(group_size=GROUP_SIZE, with_truth=True)
    sha256, source = checkpoint_hash(args.base), ShardSource.open(folder)
    at = args.work / f"groups_{sha256[:8]}"
    critics = (*CRITICS, "oracle")
    return build_groups(
        LitePolicy.load(args.base, BODY), BODY, sha256, trained_on(args.base), source, at, config, critics
    )


def whole(store: GroupStore) -> PreferenceGroups:
    """All groups of a store in memory."""
    parts = [store.read(shard, truth=True) for shard in range(store.num_shards)]
    x_0 = torch.cat([p.x_0 for p in parts if p.x_0 is not None])
    example = Example.cat([p.example for p in parts])
    return PreferenceGroups(store.ids, x_0, Hypotheses.cat([p.hypotheses for p in parts]), example)


def with_candidate(policy: LitePolicy, groups: PreferenceGroups, labels: Annotation) -> PreferenceGroups:
    """Each label as one more hypothesis, the last, and as the annotation."""
    seen = groups.example.observation
    as_label = labels.body[:, None]
    x_0 = torch.cat([policy.from_body(as_label[s], seen[s]) for s in parts_of(len(groups))])  # (n, 1, dims)
    assert groups.x_0 is not None
    body = BodyParams(
        **{n: torch.cat([t, getattr(as_label, n)], 1) for n, t in groups.hypotheses.body.tensors().items()}
    )
    joints = torch.cat([groups.hypotheses.joints, posed_joints(BODY, as_label)], 1)
    example = replace(groups.example, annotation=labels)
    return PreferenceGroups(groups.ids, torch.cat([groups.x_0, x_0], 1), Hypotheses(body, joints), example)


def parts_of(count: int, size: int = 128) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def written(
    folder: Path, own: GroupStore, groups: PreferenceGroups, called: str, critics: Sequence[CriticChoice],
    correlation: float = 0.5,
) -> GroupStore:  # fmt: skip
    """A store of such groups, scored, unless it is there; the correlation is that of a noisy oracle."""
    size = groups.hypotheses.joints.shape[1]
    annotation = groups.example.annotation
    assert groups.x_0 is not None and annotation is not None
    digest = hashlib.sha256(annotation.joints.numpy().tobytes() + groups.x_0.numpy().tobytes()).hexdigest()
    facts = replace(own.facts, source=called, source_sha256=digest, group_size=size)
    config = GroupStoreConfig(group_size=size, with_truth=True, correlation=correlation)
    with writing(folder, facts) as store:
        for s in parts_of(len(groups), facts.shard_size)[store.num_shards :]:
            part = PreferenceGroups(groups.ids[s], groups.x_0[s], groups.hypotheses[s], groups.example[s])
            store.append(part)
        score_by_all(store, checked_critics(critics, BODY, config), BODY, config)
    return GroupStore.open(folder)


def chosen(groups: PreferenceGroups, keep: np.ndarray) -> PreferenceGroups:
    index = torch.from_numpy(np.flatnonzero(keep))
    assert groups.x_0 is not None
    ids = tuple(groups.ids[i] for i in index.tolist())
    return PreferenceGroups(ids, groups.x_0[index], groups.hypotheses[index], groups.example[index])


def stores(args: argparse.Namespace, share: float) -> tuple[dict[str, GroupStore], dict[str, Any]]:
    """Stores by what rows call them, and what is known of the labels of this share."""
    own = own_groups(args)
    groups = whole(own)
    labels = planted(groups.example, share, max(args.shares))
    joined = with_candidate(LitePolicy.load(args.base, BODY), groups, labels.annotation)
    at = args.work / f"share_{share:g}_{checkpoint_hash(args.base)[:8]}"
    found = {SHARELESS: own, "labels": written(at / "labels", own, joined, f"labels, {share:g} lie", CRITICS)}
    scores = found["labels"].scores(SCORER).double().numpy()
    reference = scores[:, :GROUP_SIZE].mean(1)  # samples of the base on the same keypoints
    kept = select(scores[:, -1], KeepRule(margin=DEFAULT_MARGINS[str(SCORER)]), reference=reference).keep
    found["cleaned"] = written(at / "cleaned", own, chosen(joined, kept), f"labels, {share:g} lie, cleaned", (SCORER,))
    found["honest"] = written(at / "honest", own, chosen(joined, labels.lie < 0), f"labels, {share:g} lie, honest", ())
    return found, audit(found["labels"], labels, kept, groups.example)


def audit(store: GroupStore, labels: Labels, kept: np.ndarray, truth: Example) -> dict[str, Any]:
    """How far lies are off, whom cleaning keeps, how often each critic puts a label first or among the four best."""
    assert truth.annotation is not None
    off = 1000 * mpjpe(labels.annotation.joints[:, :24], truth.annotation.joints[:, :24], root=0).double().numpy()
    found: dict[str, Any] = {}
    for number, name in enumerate(("true", *LIES), start=-1):
        who = labels.lie == number
        if not who.any():
            continue
        row = {
            "labels": int(who.sum()),
            "off_mm": round(float(np.median(off[who])), 1),
            "kept": round(float(kept[who].mean()), 3),
        }
        for critic in CRITICS:
            scores = store.scores(critic).numpy()[who]
            better = (scores[:, :-1] > scores[:, -1:]).sum(1)
            row[f"{critic}, first"] = round(float((better == 0).mean()), 3)
            row[f"{critic}, in four"] = round(float((better < 4).mean()), 3)
        found[name] = row
    if (labels.lie >= 0).any():
        hit = detection(~kept, labels.lie >= 0)
        found["cleaning"] = {
            "precision": round(hit.precision, 3),
            "recall": round(hit.recall, 3),
            "kept": int(kept.sum()),
        }
    return found


# -- cells -------------------------------------------------------------------------------------------------------------


def aligned(row: Row, rate: float, seed: int, store: GroupStore, args: argparse.Namespace) -> Path:
    """Checkpoint of one cell, trained unless it is there."""
    steps = args.steps // row.config.refresh.rounds
    training = replace(row.config.training, steps=steps, learning_rate=rate, seed=seed, max_drop=args.max_drop)
    config = replace(row.config, critic=row.critic, training=training, min_persons=1)
    what = json.dumps([asdict(config), checkpoint_hash(args.base), store.content_hash()], sort_keys=True, default=str)
    folder = args.work / f"{row.key}_{rate:g}_{seed}_{hashlib.sha256(what.encode()).hexdigest()[:8]}"
    if not (folder / "facts.json").exists():
        started = time.process_time()
        policy = LitePolicy.load(args.base, BODY)
        done = align_policy(policy, checkpoint_hash(args.base), BODY, store, config, folder)
        done.policy.save(folder / "model.safetensors", (*trained_on(args.base), store.facts.source))
        spent = round(time.process_time() - started, 1)
        for late in folder.glob("round_*"):  # groups and states of later rounds
            shutil.rmtree(late)
        (folder / "facts.json").write_text(json.dumps({"cpu_seconds": spent, "stopped": done.stopped}))
        (folder / "state.pt").unlink(missing_ok=True)
        print(folder.name, spent, done.stopped or "", flush=True)
    return folder / "model.safetensors"


def tuned(args: argparse.Namespace, share: float, store: dict[str, GroupStore], val: Persons) -> dict[str, dict]:
    """Rate of each row at this share by validation persons, with all trials."""
    found = {}
    for row in rows_at(args, share):

        def error(rate: float, row: Row = row) -> float:
            columns = measured(aligned(row, rate, 0, store[row.store], args), val, "val", args)
            return round(1000 * float(columns["refined.fused"].mean()), 2)

        found[row.name] = best_rate(error, FORM_RATES[row.config.method], extend=True)
        print(f"{share:g}", row.name, found[row.name], flush=True)
    return found


def rows_at(args: argparse.Namespace, share: float) -> list[Row]:
    """Rows that a share asks for: those without labels once, with the first; without lies only what lies may harm."""
    found = rows_named(rows(), args.rows)
    found = [row for row in found if row.store != SHARELESS or share == args.shares[0]]
    if share == 0:
        found = [row for row in found if row.store in ("labels", SHARELESS)]
        found = [row for row in found if row.store == SHARELESS or row.critic == SCORER]
    return found


def tested(
    args: argparse.Namespace, share: float, store: dict[str, GroupStore], rates: dict[str, dict], persons: Persons
):
    """Errors of each row on the test persons, mean over seeds, and each seed's."""
    found = {}
    for row in rows_at(args, share):
        paths = [aligned(row, rates[row.name]["rate"], seed, store[row.store], args) for seed in args.seeds]
        runs = [measured(p, persons, "test", args) for p in paths]
        facts = [json.loads((p.parent / "facts.json").read_text()) for p in paths]
        mean = {k: np.mean([r[k] for r in runs], axis=0) for k in runs[0]}
        stopped, spent = ([f[key] for f in facts] for key in ("stopped", "cpu_seconds"))
        found[row.name] = {"runs": runs, "mean": mean, "stopped": stopped, "cpu_seconds": spent}
        print(f"{share:g}", row.name, f"{1000 * found[row.name]['mean']['refined.fused'].mean():.1f}", flush=True)
    return found


# -- report ------------------------------------------------------------------------------------------------------------

KEPT_COLUMNS = ("raw.fused", "refined.fused", "refined.min_of_10", "refined.fused_hidden", "refined.fused_depth")


def table_of(found: dict[str, dict], base: dict[str, np.ndarray], rates: dict[str, dict]) -> dict[str, dict]:
    """Rows as plain figures, mm against the base."""
    rows_: dict[str, dict] = {}
    for name, row in found.items():
        d = differences(row["mean"], base)
        by_seed = [round(1000 * float((r["refined.fused"] - base["refined.fused"]).mean()), 2) for r in row["runs"]]
        rows_[name] = {"rate": rates[name]["rate"], "minus_base": {k: d[k] for k in KEPT_COLUMNS}, "by_seed": by_seed,
                       "stopped": row["stopped"], "cpu_seconds": row["cpu_seconds"]}  # fmt: skip
    return rows_


def pairs_of(found: dict[float, dict[str, dict]], first: float) -> dict[str, dict[str, list[float]]]:
    """Paired differences that the question asks for, `fused` refined and raw."""
    pairs: dict[str, dict[str, list[float]]] = {}

    def add(label: str, a: dict, b: dict) -> None:
        d = differences(a["mean"], b["mean"])
        pairs[label] = {k: d[k] for k in KEPT_COLUMNS}

    least, without = min(found), "without labels: "
    for share, arms in found.items():
        at = f"{100 * share:g} %"
        for name in arms:
            if share > least and name in found[least]:
                add(f"what lies cost, {at} minus {100 * least:g} %: {name}", arms[name], found[least][name])
        for name in ("DPO, labels as candidates, scorer", "best-of-N, labels as candidates, scorer",
                     "DPO, labels against the own answer", "DPO, labels as candidates, reprojection"):  # fmt: skip
            for other in ("SFT, all labels", "SFT, cleaned labels"):
                if name in arms and other in arms:
                    add(f"{at}: {name}, minus {other}", arms[name], arms[other])
        for form, critic in (("DPO", "scorer"), ("best-of-N", "scorer"), ("DPO", "reprojection")):
            ours, alone = f"{form}, labels as candidates, {critic}", f"{without}{form}, own samples, {critic}"
            if ours in arms and alone in found[first]:
                add(f"{at}: {ours}, minus without labels", arms[ours], found[first][alone])
        if {"SFT, cleaned labels", "SFT, all labels"} <= set(arms):
            add(f"{at}: SFT, cleaned labels, minus all", arms["SFT, cleaned labels"], arms["SFT, all labels"])
    return pairs


def report(document: dict, out: Path) -> None:
    s = document["settings"]
    lines = [
        f"# Labels of which some lie: `{s['base']}`", "",
        f"{s['persons']} persons of the wild world with labels, of which a share lies (a limb flipped in depth, "
        "exchanged sides, a lean of 20 degrees towards the camera, another person: a quarter each); the rest is the "
        f"truth. {s['steps']} steps for every row, rates chosen on {s['val_persons']} persons of wild/val for every "
        "row and share; "
        f"{document['persons']} new persons of held-out poses, M = {M}, mean over {len(s['seeds'])} fine-tuning "
        "seeds. Millimetres on the free body against the base, paired over persons with 95 % intervals.", "",
        f"Command: `python benchmarks/alignment/lying_labels.py {s['command']}`; {s['cpu_minutes']} CPU minutes.", "",
        f"Base: fused {document['base']['raw.fused']} raw, {document['base']['refined.fused']} refined.", "",
    ]  # fmt: skip
    for share, part in document["shares"].items():
        lines += [f"## {100 * float(share):g} % of the labels lie", ""]
        body = []
        for name, row in part["rows"].items():
            stopped = sum(x is not None for x in row["stopped"])
            cells = [said(row["minus_base"][k]) for k in KEPT_COLUMNS]
            seeds = " / ".join(f"{x:+.1f}" for x in row["by_seed"]) + (f" ({stopped} stopped)" if stopped else "")
            body.append([name, f"{row['rate']:g}", *cells, seeds])
        head = ["row", "rate", "fused, raw", "fused, refined", "min 10", "hidden joints", "depth", "by seed"]
        lines += [markdown_table(head, body), ""]
    lines += ["## What critics make of the labels", "", *critics_said(document), ""]
    lines += ["## Side by side (paired)", ""]
    body = [[n, *(said(d[k]) for k in KEPT_COLUMNS)] for n, d in document["pairs"].items()]
    lines += [markdown_table(["", "fused, raw", "fused, refined", "min 10", "hidden joints", "depth"], body), ""]
    lines += ["## Trials on wild/val (fused, refined, mm)", ""]
    body = [[f"{100 * float(share):g} %", n, ", ".join(f"{r}: {v:.1f}" for r, v in t["trials"].items())]
            for share, part in document["shares"].items() for n, t in part["tuning"].items()]  # fmt: skip
    lines.append(markdown_table(["lie", "row", "rate: error"], body))
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")


def critics_said(document: dict) -> list[str]:
    """How often labels of each kind are put first of seventeen, or among the four best, and how many cleaning keeps."""
    share, part = list(document["shares"].items())[-1]
    body = []
    for name, row in part["audit"].items():
        if name != "cleaning":
            places = [f"{100 * row[f'{c}, first']:.0f}, {100 * row[f'{c}, in four']:.0f}" for c in CRITICS]
            body.append(
                [
                    name.replace("_", " "),
                    str(row["labels"]),
                    f"{row['off_mm']:.0f}",
                    f"{100 * row['kept']:.0f}",
                    *places,
                ]
            )
    head = ["label", "labels", "off by, median mm", "cleaning keeps, %", *(f"{c}: first, in four, %" for c in CRITICS)]
    one, four = 100 / (GROUP_SIZE + 1), 400 / (GROUP_SIZE + 1)
    chance = f"By chance a label is first of {GROUP_SIZE + 1} in {one:.0f} %, among four in {four:.0f} %."
    return [f"Where {100 * float(share):g} % lie. {chance}", "", markdown_table(head, body)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="lite-lab")
    parser.add_argument("--data", type=Path, default=ROOT / "runs/synthwild", help="holds wild/val")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/lying_labels")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/lying_labels")
    parser.add_argument("--persons", type=int, default=2000)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.4], help="of labels that lie, rising")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--val-persons", type=int, default=200)
    parser.add_argument("--test-persons", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--max-drop", type=float, default=5.0)
    parser.add_argument("--rows", nargs="+", help="names of rows; all without it")
    args = parser.parse_args()
    rows_named(rows(), args.rows)  # a mistyped name is told before an hour of work
    if sorted(set(args.shares)) != args.shares or not 0 <= args.shares[0] <= args.shares[-1] < 1:
        raise SystemExit("--shares: expected rising shares from 0 to below 1")
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    spent = SpentCpu(args.work / "cpu_seconds.json")
    val = Persons.of(replace_first(open_split(args.data, "wild/val"), args.val_persons), BODY)
    prepared = {share: stores(args, share) for share in args.shares}
    rates = {share: tuned(args, share, prepared[share][0], val) for share in args.shares}
    persons = test_persons(args.test_persons, TEST_SEED)
    base = measured(args.base, persons, "test", args)
    found = {share: tested(args, share, prepared[share][0], rates[share], persons) for share in args.shares}
    parts = {f"{share:g}": {"rows": table_of(found[share], base, rates[share]), "tuning": rates[share],
                            "audit": prepared[share][1]} for share in args.shares}  # fmt: skip
    names = ("base", "persons", "shares", "steps", "seeds", "val_persons")
    settings = {n: getattr(args, n) for n in names} | {"cpu_minutes": round(spent.minutes()), "command": command()}
    mm = {k: round(1000 * float(np.nanmean(base[k])), 1) for k in KEPT_COLUMNS}
    document = {"settings": settings, "persons": len(persons), "base": mm, "shares": parts,
                "pairs": pairs_of(found, args.shares[0])}  # fmt: skip
    report(document, args.out)


if __name__ == "__main__":
    main()
