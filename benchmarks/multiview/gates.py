"""What the multi-view base must show before a reward is worth following: gates (i) to (iii), by the judge.

    python benchmarks/multiview/gates.py --work DIR --base FILE --judge FILE --pose-file FILE --gate held-out
    python benchmarks/multiview/gates.py --work DIR --base FILE --judge FILE --pose-file FILE --gate regression
    python benchmarks/multiview/gates.py --work DIR --base FILE --judge FILE --pose-file FILE --gate overfit
    python benchmarks/multiview/gates.py --work DIR --base FILE --judge FILE --pose-file FILE --gate bound
    python benchmarks/multiview/gates.py --work DIR --base FILE --judge FILE --pose-file FILE --gate sides
    python benchmarks/multiview/gates.py --work DIR --judge FILE --pose-file FILE --gate reader --bank 4000
    python benchmarks/multiview/gates.py --work DIR --gate report

- (i) `overfit`: can the network and its sampler show 8 bodies that it has learned by heart? Passes within 2 mm of the
  judge on their true views.
- (ii) `bound`: what would it gain from knowing the pose? The base goes on, with the skeleton maps of each view added to
  the patches that they belong to.
- (iii) `held-out`: does it say more of unseen persons than memory, which is retrieval by image among the training
  persons? Passes where its error is lower, interval included, on ordinary and on hard poses.

`sides` asks whether sides hang on the front at all: do masks of two persons from one noise overlap more than theirs in
truth? It also draws docs/images/multiview_sides.png. `reader` asks what makes them: short trainings without the network
that reads the front, with it, and with the joints it is told. The judge's error on true views is the reference of all.
`report` writes docs/results/multiview_gates.md and .json.
"""

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from hmralign.alignment.multiview_reward import sampled_views
from hmralign.body.free_body import load_free_body
from hmralign.data.synthetic.hard_poses import is_hard
from hmralign.evaluation.multiview_controls import (
    at_random,
    most_central,
    one_step,
    retrieved,
    with_sides_of_another,
)
from hmralign.metrics.image_quality import soft_iou
from hmralign.metrics.intervals import bootstrap_mean
from hmralign.metrics.joint_errors import mpjpe
from hmralign.models.multiview.reader_checkpoint import load_judge
from hmralign.models.multiview.skeleton_maps import NUM_BONES, skeleton_maps
from hmralign.models.multiview.view_transformer import ViewTransformerConfig
from hmralign.overlays.view_strips import view_strip
from hmralign.policies.multiview import SCALE, MultiViewPolicy
from hmralign.rendering.ring_persons import RingPersons, joint_pixels, turned_persons
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.json_file import HEADER, parse_json
from hmralign.storage.seeds import seeded
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.structures.multi_views import VIEW_CHANNELS
from hmralign.training.learning_rate import warm_cosine
from hmralign.training.loop import Loop, LoopConfig
from hmralign.training.multiview_base import MultiViewTrainingConfig, train_multiview, view_persons
from hmralign.training.multiview_readers import judge_on_ring
from hmralign.training.step import Part

GATES = ("overfit", "bound", "held-out", "regression", "sides", "reader")
RESULTS = Path(__file__).parents[2] / "docs/results"
PICTURE = Path(__file__).parents[2] / "docs/images/multiview_sides.png"
OVERFITTED = 8
COMPARED, DRAWN = 64, 3
"""Persons whose sides are compared, and ordinary and hard ones that are drawn."""
EXCHANGED = "the base, DDIM 10, sides of another person's front"
"""No worse than the base itself where sides do not depend on the front at all."""
REGRESSION = "one call, trained as a regression"
READER = "no views: joints that the base's reader of fronts says"
"""What the base knows before it draws: views that are read as well as this decorate a regression."""


def gap(judge: Any, views: Tensor, persons: RingPersons) -> Tensor:
    """Millimetres by which the judge errs on made views, for each person."""
    return 1000 * mpjpe(judge(views), persons.joints, root=0)


def overfit(judge: Any, config: MultiViewTrainingConfig, work: Path) -> dict[str, Any]:
    """Gate (i): train on 8 persons alone, and read them off their samples."""
    persons = view_persons(config, config.persons, "base")
    policy = MultiViewPolicy.load(train_multiview(config, work / "overfit"))
    true, made = gap(judge, persons.pixels.float(), persons), gap(judge, sampled_views(policy, persons, 1), persons)
    found = {"persons": len(true), "cpu_minutes": config.max_cpu_minutes, "true_mm": float(true.mean())}
    return found | {"made_mm": float(made.mean()), "passes": float(made.mean() - true.mean()) <= 2.0}


def held_out(judge: Any, policy: Any, persons: RingPersons, bank: RingPersons) -> dict[str, Any]:
    """Gate (iii): errors of the base and of its controls, for ordinary and for hard poses.

    Retrieval also knows the other views and the mirror image of everybody, as training does.
    """
    fronts = persons.pixels[:, 0].float()
    found = retrieved(fronts, bank)
    once, sampled = one_step(policy, persons), sampled_views(policy, persons, 1)
    central = bank.pixels[most_central(bank)].float().expand(persons.pixels.shape)
    exchanged = with_sides_of_another(sampled)
    errors = {
        "true views": gap(judge, persons.pixels.float(), persons),
        "a random person": gap(judge, bank.pixels[at_random(len(fronts), bank, 0)].float(), persons),
        "the most central person": gap(judge, central, persons),
        "retrieval by image": gap(judge, found, persons),
        "the base, one call": gap(judge, once, persons),
        "the base, DDIM 10": gap(judge, sampled, persons),
        EXCHANGED: gap(judge, exchanged, persons),
        "retrieval, the given front kept": gap(judge, with_front(found, fronts), persons),
        "the base, one call, the given front kept": gap(judge, with_front(once, fronts), persons),
        "the base, DDIM 10, the given front kept": gap(judge, with_front(sampled, fronts), persons),
    }
    if policy.network.reader is not None:
        with torch.no_grad():
            errors[READER] = 1000 * mpjpe(policy.network.reader.joints(fronts), persons.joints, root=0)
    hard = is_hard(persons.joints)
    kinds = {"ordinary": ~hard, "hard": hard}
    rows = {name: {kind: _interval(mm[chosen]) for kind, chosen in kinds.items()} for name, mm in errors.items()}
    made = errors["the base, DDIM 10"]
    better = {kind: _interval((made - errors["retrieval by image"])[at]) for kind, at in kinds.items()}
    against = {
        name: {kind: _interval((made - errors[name])[at]) for kind, at in kinds.items()}
        for name in (EXCHANGED, READER)
        if name in errors
    }
    return {
        "bank": len(bank.joints),
        "persons": {kind: int(chosen.sum()) for kind, chosen in kinds.items()},
        "rows": rows,
        "base_minus_retrieval": better,
        "base_minus": against,
        "passes": all(interval[0] < 0 for interval in better.values()),
    }


def with_front(views: Tensor, fronts: Tensor) -> Tensor:
    """Views with the front that is known in place of the made one."""
    return torch.cat([fronts[:, None], views[:, 1:]], 1)


@torch.no_grad()
def from_one_noise(policy: Any, persons: RingPersons) -> Tensor:
    """A sample for each person's front, all from the same noise: what differs comes from the front."""
    fronts = persons.pixels[:, 0].float()
    x_0 = [policy.sample(policy.context(front[None]), 1, seeded(1, "one noise")) for front in fronts]
    return policy.to_views(torch.cat(x_0))[:, 0]


READERS = {
    "no reader": (0, 0.0),
    "a reader that is told nothing of joints": (384, 0.0),
    "a reader that is told the joints": (384, 1.0),
}
"""Numbers in which a short training reads the front, and the weight of the joints' loss."""


def with_and_without_reader(judge: Any, config: MultiViewTrainingConfig, count: int, work: Path) -> dict[str, Any]:
    """Short trainings that differ in the reader alone, on validation persons; what exchanging their fronts costs."""
    persons = view_persons(config, count, "gates", split="val")
    hard, rows = is_hard(persons.joints), {}
    for name, (numbers, weight) in READERS.items():
        model = replace(config.model, front_reader=numbers)
        trained = replace(config, model=model, front_joints_weight=weight)
        policy = MultiViewPolicy.load(train_multiview(trained, work / f"reader {numbers} {weight:g}"))
        made = sampled_views(policy, persons, 1)
        mm = gap(judge, made, persons)
        cost = gap(judge, with_sides_of_another(made), persons) - mm
        rows[name] = {
            f"{what}, {kind}": _interval(values[chosen])
            for what, values in (("mm", mm), ("exchanged", cost))
            for kind, chosen in (("ordinary", ~hard), ("hard", hard))
        }
    return {"persons": count, "bank": config.persons, "steps": config.steps, "rows": rows}


def sides(policy: Any, persons: RingPersons, picture: Path | None = None) -> dict[str, Any]:
    """How much masks of sides overlap: made ones of two persons, made and true ones, true ones of two persons."""
    made, true = from_one_noise(policy, persons[:COMPARED]), persons.pixels[:COMPARED].float()
    seen = [view for view in range(made.shape[1]) if view not in (0, made.shape[1] // 2)]
    ours, theirs = made[:, seen, 3].clamp(0, 1), true[:, seen, 3]
    if picture is not None:
        hard = is_hard(persons.joints[:COMPARED])
        chosen = [int(row) for kind in (~hard, hard) for row in kind.nonzero()[:DRAWN, 0]]
        rows = [np.concatenate([view_strip(true[row]), view_strip(made[row])], 1) for row in chosen]
        Image.fromarray(np.concatenate(rows)).save(picture)
    return {
        "persons": len(made),
        "rows": {
            "made for two persons from one noise": _interval(soft_iou(ours, ours.roll(1, 0)).mean(-1)),
            "made and true": _interval(soft_iou(ours, theirs).mean(-1)),
            "true ones of two persons": _interval(soft_iou(theirs, theirs.roll(1, 0)).mean(-1)),
        },
    }


class Told(MultiViewPolicy):
    """The base, to whose patches of each view that view's skeleton maps are added; begins as the base."""

    def __init__(self, base: MultiViewPolicy) -> None:
        super().__init__(base.network, num_steps=base.num_steps)
        patches, config = base.network.patches, base.network.config
        more = nn.Conv2d(VIEW_CHANNELS + NUM_BONES, config.width, config.patch, stride=config.patch)
        with torch.no_grad():
            more.weight.zero_()
            more.weight[:, :VIEW_CHANNELS] = patches.weight
            assert patches.bias is not None and more.bias is not None
            more.bias.copy_(patches.bias)
        self.network.patches = more

    def context(self, front: Tensor) -> Tensor:
        """Fronts with maps behind, as `told` makes them."""
        return front

    def predict_x_0(self, x_t: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Predicted clean samples, (person, hyp, dims)."""
        people, hyps = t.shape
        context = context[:, None].expand(-1, hyps, -1, -1, -1).flatten(0, 1)
        front, maps = context[:, :VIEW_CHANNELS], context[:, VIEW_CHANNELS:]
        noisy = x_t.unflatten(-1, self.network.config.shape).flatten(0, 1)
        seen = torch.cat([noisy, maps.unflatten(1, (-1, NUM_BONES))], 2)
        return self.network(seen, t.flatten(), front).flatten(1).unflatten(0, (people, hyps))


def told(persons: RingPersons, ring: Any) -> Tensor:
    """(person, 4 + 4 * 23, h, w): fronts, and the maps of all views."""
    maps = skeleton_maps(joint_pixels(persons.joints, ring), ring.size)
    return torch.cat([persons.pixels[:, 0].float(), maps.flatten(1, 2)], 1)


def continued(policy: MultiViewPolicy, parts: Any, config: MultiViewTrainingConfig, state: Path) -> Any:
    """A policy after a short training of its own, which resumes from `state`."""
    assert config.max_cpu_minutes is not None
    loop = LoopConfig(
        rate=lambda step, done: warm_cosine(step, done, peak=config.learning_rate, warmup=50, floor=0.02),
        steps=None,
        seconds=60 * config.max_cpu_minutes,
        clip_norm=config.clip_norm,
        ema_decay=config.ema_decay,
        save_every=config.save_every,
        clock=time.process_time,
    )
    state.parent.mkdir(parents=True, exist_ok=True)
    return Loop(policy.train().requires_grad_(True), parts, loop, state=state).run()


def view_steps(
    bank: RingPersons,
    config: MultiViewTrainingConfig,
    purpose: str,
    times: Callable[[Any, int, torch.Generator], Tensor],
    condition: Callable[[Any, RingPersons], Tensor],
) -> Any:
    """Steps of the base's loss at `times(model, persons, generator)`, under a condition of one's own."""

    def parts(model: Any, step: int):
        draw = seeded(config.seed, purpose, step)
        some = bank[torch.randint(len(bank.joints), (config.batch_size,), generator=draw)]
        if config.turned:
            some = turned_persons(some, config.ring, config.turned, draw)
        x_0 = model.from_views(some.pixels.float())[:, None]
        t = times(model, len(x_0), draw)[:, None]
        eps = torch.randn(x_0.shape, generator=draw)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
            loss = model.view_loss(x_0, t, eps, condition(model, some))[:, 0].float()
        yield Part({"loss": loss / SCALE**2})

    return parts


def regressed(
    judge: Any,
    base: MultiViewPolicy,
    bank: RingPersons,
    persons: RingPersons,
    config: MultiViewTrainingConfig,
    work: Path,
) -> dict[str, Any]:
    """A control of gate (iii): the base goes on at the last time alone, as a regression of views from fronts."""
    parts = view_steps(
        bank,
        config,
        "regression",
        lambda model, count, _: torch.full((count,), model.schedule.num_steps - 1),
        lambda model, some: model.context(some.pixels[:, 0].float()),
    )
    trained = continued(deepcopy(base), parts, config, work / "regression.pt")
    mm, hard = gap(judge, one_step(trained, persons), persons), is_hard(persons.joints)
    row = {kind: _interval(mm[chosen]) for kind, chosen in (("ordinary", ~hard), ("hard", hard))}
    return {"cpu_minutes": config.max_cpu_minutes, "rows": {REGRESSION: row}}


def bound(
    judge: Any,
    base: MultiViewPolicy,
    bank: RingPersons,
    persons: RingPersons,
    config: MultiViewTrainingConfig,
    work: Path,
) -> dict[str, Any]:
    """Gate (ii): a short training with the maps, and what is read off its samples."""
    parts = view_steps(
        bank,
        config,
        "bound",
        lambda model, count, draw: torch.randint(model.schedule.num_steps, (count,), generator=draw),
        lambda _, some: told(some, config.ring),
    )
    trained = continued(Told(base), parts, config, work / "bound.pt")
    made = []
    for start in range(0, len(persons.joints), 32):
        some = persons[start : start + 32]
        x_0 = trained.sample(told(some, config.ring), 1, seeded(1, "views", start))
        made.append(trained.to_views(x_0)[:, 0])
    mm, true = gap(judge, torch.cat(made), persons), gap(judge, persons.pixels.float(), persons)
    hard = is_hard(persons.joints)
    rows = {
        name: {kind: _interval(values[chosen]) for kind, chosen in (("ordinary", ~hard), ("hard", hard))}
        for name, values in (("true views", true), ("told the pose", mm))
    }
    return {"cpu_minutes": config.max_cpu_minutes, "bank": len(bank.joints), "rows": rows}


def _interval(values: Tensor) -> list[float]:
    found = bootstrap_mean(values.numpy())
    return [found.mean, found.low, found.high]


def text_of(found: dict[str, Any]) -> str:
    """The page of what was run."""
    parts = ["# Gates of the multi-view base", "", "MPJPE of the judge in mm, 95 % intervals over persons."]
    parts += ["Made by `benchmarks/multiview/gates.py`.", ""]
    if (one := found.get("overfit")) is not None:
        parts += ["## (i) Bodies learned by heart", ""]
        parts += [
            f"{one['persons']} persons, {one['cpu_minutes']:g} CPU minutes.",
            f"The judge errs by {one['made_mm']:.1f} mm on samples and by {one['true_mm']:.1f} mm on true views.",
            "Passed." if one["passes"] else "Not passed: the limit is 2 mm above true views.",
            "",
        ]
    if (two := found.get("bound")) is not None:
        parts += ["## (ii) Told the pose", ""]
        parts += [
            f"The base, continued for {two['cpu_minutes']:g} CPU minutes, with skeleton maps added to the patches of",
            "their views.",
            "",
        ]
        parts += [_table(two["rows"]), ""]
    if (three := found.get("held-out")) is not None:
        parts += ["## (iii) Unseen persons", ""]
        counts = " and ".join(f"{count} {kind}" for kind, count in three["persons"].items())
        parts += [
            f"{counts} poses; retrieval among all views of {three['bank']} training persons and their mirror images.",
            "",
        ]
        rows = three["rows"] | found.get("regression", {}).get("rows", {})
        parts += [_table(rows), ""]
        if "regression" in found:
            parts += [
                f"The regression is the base, continued for {found['regression']['cpu_minutes']:g} CPU minutes at the",
                "last time alone.",
                "",
            ]
        for kind, (mean, low, high) in three["base_minus_retrieval"].items():
            parts += [f"Base minus retrieval, {kind}: {mean:+.1f} mm ({low:+.1f} to {high:+.1f}).", ""]
        for name, found_of in three.get("base_minus", {}).items():
            for kind, (mean, low, high) in found_of.items():
                parts += [f"Base, DDIM 10, minus *{name}*, {kind}: {mean:+.1f} mm ({low:+.1f} to {high:+.1f}).", ""]
        parts += ["Passed." if three["passes"] else "Not passed.", ""]
    if (fourth := found.get("sides")) is not None:
        cells = [[name, f"{mean:.2f} ({low:.2f} to {high:.2f})"] for name, (mean, low, high) in fourth["rows"].items()]
        parts += ["## Do sides hang on the front?", ""]
        parts += [f"Overlap (soft IoU) of masks at 90 and 270 degrees, {fourth['persons']} persons of both kinds.", ""]
        parts += [markdown_table(["masks of sides", "overlap"], cells), ""]
        parts += ["![true views, and views made from one noise](../images/multiview_sides.png)", ""]
        parts += [
            "Left the true views, right those made, all from one noise; three ordinary poses, three hard ones.",
            "",
        ]
    if (fifth := found.get("reader")) is not None:
        parts += ["## What makes sides depend on the front", ""]
        parts += [
            f"Bases after {fifth['steps']} steps of 16 on {fifth['bank']} persons, alike but for the reader of the",
            f"front; {fifth['persons']} validation persons: mm, and what sides of another front cost. One seed.",
            "",
            _table(fifth["rows"]),
            "",
        ]
    return "\n".join(parts)


def _table(rows: dict[str, dict[str, list[float]]]) -> str:
    kinds = list(next(iter(rows.values())))
    cells = [[name, *(f"{r[k][0]:.1f} ({r[k][1]:.1f} to {r[k][2]:.1f})" for k in kinds)] for name, r in rows.items()]
    return markdown_table(["views of", *kinds], cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--gate", choices=(*GATES, "report"), required=True)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--pose-file")
    parser.add_argument(
        "--base-kind", choices=("all", "ordinary"), default="ordinary", help="poses that the base was trained on"
    )
    parser.add_argument("--bank", type=int, default=12_000, help="training persons that retrieval knows")
    parser.add_argument("--test", type=int, default=256, help="test persons")
    parser.add_argument("--minutes", type=float, default=4.0, help="of the processor, for a training")
    parser.add_argument("--bfloat16", action="store_true", help="train with products of half the digits")
    parser.add_argument("--steps", type=int, default=800, help="of the trainings with and without a reader")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="learning rate of a training")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    if args.gate == "report":
        files = {name: args.work / f"{name}.json" for name in GATES}
        found = {name: parse_json(file.read_text(), HEADER) for name, file in files.items() if file.exists()}
        write_json(RESULTS / "multiview_gates.json", found)
        write_whole(RESULTS / "multiview_gates.md", text_of(found))
        return
    drawn = MultiViewTrainingConfig(pose_file=args.pose_file, kind=args.base_kind)
    judge = judge_on_ring(load_judge(args.judge, load_free_body("3k5").skeleton_hash), drawn.ring)
    shape = ViewTransformerConfig(shows_front=1, front_reader=384)
    short = {
        "model": shape, "max_cpu_minutes": args.minutes, "learning_rate": args.rate, "ema_decay": 0.99,
        "clip_norm": 0.1, "bfloat16": args.bfloat16,
    }  # fmt: skip
    if args.gate == "overfit":
        learned = {"persons": OVERFITTED, "front_joints_weight": 1.0}
        config = MultiViewTrainingConfig(pose_file=args.pose_file, **learned, **short)
        found = overfit(judge, config, args.work)
    elif args.gate == "sides":
        found = sides(MultiViewPolicy.load(args.base), view_persons(drawn, args.test, "test", split="test"), PICTURE)
    elif args.gate == "reader":
        config = replace(
            drawn, persons=args.bank, turned=0.75, clip_norm=0.1, bfloat16=args.bfloat16, steps=args.steps,
            learning_rate=args.rate, ema_decay=0.995, model=shape,
        )  # fmt: skip
        found = with_and_without_reader(judge, config, args.test, args.work)
    else:
        persons = view_persons(drawn, args.test, "test", split="test")
        base = MultiViewPolicy.load(args.base)
        bank = view_persons(drawn, args.bank, "base", kind=drawn.kind)
        if args.gate == "held-out":
            found = held_out(judge, base, persons, bank)
        else:
            turned = 0.75 if args.gate == "regression" else 0.0
            config = MultiViewTrainingConfig(pose_file=args.pose_file, turned=turned, **short)
            found = (bound if args.gate == "bound" else regressed)(judge, base, bank, persons, config, args.work)
    write_json(args.work / f"{args.gate}.json", found)
    print(text_of({args.gate: found}) if args.gate != "regression" else found, flush=True)


if __name__ == "__main__":
    main()
