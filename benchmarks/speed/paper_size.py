"""What the papers' models cost at full size, and what their fast forms save: HypoNet with HRNet-W48.

    python benchmarks/speed/paper_size.py [--rounds 3] [--parts training encoder sampler bfloat16 lifting]

Random weights (norms with the statistics of random pictures), synthetic persons, random pictures; one thread, CPU
seconds of the process. What is compared is measured in turns, so many rounds of them, and a factor is the
median over rounds; a single round has no warm-up before it.
"""

import argparse
import copy
import json
import platform
import resource
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from hmralign.alignment.methods.dpo import ADHMR_PAPER, dpo_objective
from hmralign.alignment.methods.group import GroupConfig, group_objective
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import vertices
from hmralign.data.synthetic.generator import Generator, SyntheticMix
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseSource
from hmralign.diffusion import ddim
from hmralign.models.paper.checkpoint import PaperModel
from hmralign.models.paper.config import HYPONET
from hmralign.models.paper.fast_hyponet import FastHypoNet
from hmralign.policies.hyponet import HypoNetPolicy
from hmralign.reports.markdown_table import markdown_table
from hmralign.structures import Observation
from hmralign.training.contexts import CachedContexts, LiveContexts, cache_contexts
from hmralign.training.objective import Items, draw_noise, paired_losses
from hmralign.training.preference import choose_trainable
from hmralign.training.preference_configuration import PreferenceTrainingConfig

ROOT = Path(__file__).parents[2]
SIZES = (1, 10, 100)
STEPS = 3  # four calls


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cpu(function) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def turns(rounds: int, warm: bool = True, **ways) -> dict[str, list[float]]:
    """CPU seconds of each way, measured one after the other in every round; a warm-up before them is not counted."""
    found = {name: [] for name in ways}
    if warm:
        for way in ways.values():
            way()
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(cpu(way))
    return found


def against(seconds: dict[str, list[float]], first: str) -> dict[str, dict[str, float]]:
    """Median of each way, and how many times faster than the first it is."""
    return {
        name: {
            "cpu_seconds": round(statistics.median(values), 4),
            "times_faster": round(statistics.median(a / b for a, b in zip(seconds[first], values, strict=True)), 2),
        }
        for name, values in seconds.items()
    }


def full_size(seed: int) -> PaperModel:
    torch.manual_seed(seed)
    model = PaperModel(HYPONET).requires_grad_(False)
    norms = [norm for norm in model.encoder.modules() if isinstance(norm, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train().encoder(torch.randn(2, 3, 256, 256, generator=seeded(seed)))
    model.denoiser.clear_masked()
    return model.eval()


def persons(n: int) -> Observation:
    source = Generator(load_free_body("3k5"), PoseSource(load_pose_prior()), SyntheticMix(known_camera_share=1.0))
    seen = source.sample(n, seeded(0)).observation
    coarse = torch.rand(n, 3, 8, 8, generator=seeded(1))
    crop = nn.functional.interpolate(coarse, (256, 256), mode="bilinear") * 255
    return Observation(**{**vars(seen), "crop": crop.to(torch.uint8), "has_crop": torch.ones(n, dtype=torch.bool)})


def sampler(policy: HypoNetPolicy, seen: Observation, rounds: int) -> dict:
    """Four calls: the plain form, the fast one, and that in bfloat16; the fast ones prepare the context anew."""
    net, times = policy.model.denoiser, policy.times(STEPS)
    context = policy.context(seen)
    forms = {"fast": FastHypoNet(net), "fast bfloat16": FastHypoNet(net, torch.bfloat16)}
    rows = {}
    for size in SIZES:
        noise = torch.randn(1, size, 133, generator=seeded(2))

        def plain(noise=noise):
            return ddim.sample(lambda x, t: net(x, t, context), noise, net.schedule, num_steps=times)

        def fast(form, noise=noise):
            prepared = form.prepare(context)
            return ddim.sample(lambda x, t: form.step(x, t, prepared), noise, net.schedule, num_steps=times)

        ways = {"plain": plain} | {name: (lambda form=form, fast=fast: fast(form)) for name, form in forms.items()}
        rows[f"M = {size}"] = against(turns(rounds if size < 100 else 1, rounds > 1 and size < 100, **ways), "plain")
    eps = torch.randn(1, 10, 133, generator=seeded(3))
    t = torch.tensor(500)
    exact = net(eps, t, context)
    differences = {
        name: float((form.step(eps, t, form.prepare(context)) - exact).abs().max()) for name, form in forms.items()
    }
    return {"calls": len(times), "rows": rows, "largest_difference_of_eps": differences}


def lifting(policy: HypoNetPolicy, seen: Observation, rounds: int) -> dict:
    """Root depth, inverse kinematics, placing by keypoints; and the mesh of the larger free body."""
    rows, large = {}, load_free_body("7k")
    policy.to_group(torch.zeros(1, 1, 133), seen)  # the shape is kept
    for size in SIZES:
        x_0 = 20 * torch.randn(1, size, 133, generator=seeded(4))
        bodies = policy.to_body(x_0, seen)
        found = turns(
            max(5, rounds),
            rotations=lambda x_0=x_0: policy.to_group(x_0, seen),
            placed=lambda x_0=x_0: policy.to_body(x_0, seen),
            mesh=lambda bodies=bodies: vertices(large, bodies.body),
        )
        rows[f"M = {size}"] = {name: round(statistics.median(values), 4) for name, values in found.items()}
    return rows


def joint_error_of_bfloat16(policy: HypoNetPolicy, seen: Observation, size: int = 10) -> dict:
    """Root-relative joints of bodies made from the same noise in both precisions, millimetres."""
    near = HypoNetPolicy(policy.model, policy.body, num_steps=STEPS, dtype=torch.bfloat16)
    bodies = []
    for form in (policy, near):
        x_0 = form.sample(form.context(seen), size, seeded(5))
        joints = form.to_body(x_0, seen).joints
        bodies.append((x_0, joints - joints[..., :1, :]))
    (x, joints), (near_x, near_joints) = bodies
    apart = 1000 * (joints - near_joints).norm(dim=-1)
    return {
        "samples_mean_size": round(float(x.abs().mean()), 3),
        "samples_mean_difference": round(float((x - near_x).abs().mean()), 4),
        "joints_mean_mm": round(float(apart.mean()), 2),
        "joints_median_mm": round(float(apart.median()), 2),
        "joints_largest_mm": round(float(apart.max()), 1),
    }


def stepper(base: HypoNetPolicy, seen: Observation, objective, items: Items, *, encoder: bool):
    """One optimiser step of a policy against a frozen reference, as `hmralign align` takes it."""
    config = PreferenceTrainingConfig(
        trainable="all" if encoder else "denoiser", cache_context=not encoder, context_variants=1, dropout=True
    )
    policy = copy.deepcopy(base)
    choose_trainable(policy, config)
    policy.train(config.dropout)
    contexts = LiveContexts(seen) if encoder else cache_contexts(base, seen, 1, trains_encoder=False)
    assert isinstance(contexts, LiveContexts | CachedContexts)
    trained = [p for p in policy.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-6)
    draw = draw_noise(items, objective, 1000, seeded(6))

    def step() -> None:
        optimiser.zero_grad()
        mine, theirs = contexts.of(policy, items.person, 0), contexts.of(base, items.person, 0)
        losses = paired_losses(policy, base, items, draw, mine, theirs, objective, "eps")
        objective.terms(losses).mean().backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()

    return step


def training(base: HypoNetPolicy, seen: Observation, rounds: int) -> dict:
    """Kept contexts of a frozen encoder, against an encoder that is trained."""
    pairs = Items(torch.arange(2), 20 * torch.randn(2, 2, 133, generator=seeded(7)), torch.tensor([[1.0, -1.0]] * 2))
    scores = torch.randn(1, 20, generator=seeded(8))
    group = Items(torch.arange(1), 20 * torch.randn(1, 20, 133, generator=seeded(9)), scores - scores.mean())
    tasks = {
        "2 pairs (DPO)": (dpo_objective(ADHMR_PAPER), pairs),
        "a group of 20": (group_objective(GroupConfig()), group),
    }
    rows = {}
    for name, (objective, items) in tasks.items():
        ways = {
            "encoder trained": stepper(base, seen, objective, items, encoder=True),
            "kept contexts": stepper(base, seen, objective, items, encoder=False),
        }
        rows[name] = against(turns(rounds, rounds > 1, **ways), "encoder trained")
    return rows


def encoding(policy: HypoNetPolicy, rounds: int) -> dict:
    """One picture, and the same under bfloat16 where torch takes it by itself."""
    image = torch.randn(1, 3, 256, 256, generator=seeded(10))

    def half() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            policy.model.encoder.context(image)

    found = turns(rounds, float32=lambda: policy.model.encoder.context(image), bfloat16=half)
    return against(found, "float32")


def report(document: dict) -> str:
    lines = ["# The papers' models at full size", "", *(__doc__ or "").strip().splitlines()[4:], ""]
    lines += [f"Rounds: {', '.join(f'{name} {rounds}' for name, rounds in document['rounds'].items())}.", ""]
    for name in PARTS:
        if name in document:
            lines += [*SHOWN[name](document[name]), ""]
    lines += [f"Peak memory of the process: {document['peak_memory_gb']} GB. Command: `{document['command']}`.", ""]
    return "\n".join(lines)


def shown_training(rows: dict) -> list[str]:
    cells = [
        [name, *(f"{way['cpu_seconds']:.2f}" for way in row.values()), f"{row['kept contexts']['times_faster']:.1f}x"]
        for name, row in rows.items()
    ]
    header = ["step on", "encoder trained, s", "kept contexts, s", "factor"]
    return ["Alignment, one optimiser step:", "", markdown_table(header, cells)]


def shown_encoder(rows: dict) -> list[str]:
    half = rows["bfloat16"]
    return [
        f"Image encoder, one picture: {rows['float32']['cpu_seconds']:.2f} s; under bfloat16 "
        f"{half['cpu_seconds']:.2f} s ({half['times_faster']:.1f}x)."
    ]


def shown_sampler(found: dict) -> list[str]:
    ways = list(next(iter(found["rows"].values())))
    cells = [
        [size, *(f"{row[way]['cpu_seconds']:.3f} ({row[way]['times_faster']:.2f}x)" for way in ways)]
        for size, row in found["rows"].items()
    ]
    apart = ", ".join(f"{name} {value:.1e}" for name, value in found["largest_difference_of_eps"].items())
    return [
        f"Sampling, {found['calls']} calls, seconds:", "", markdown_table(["", *ways], cells),
        "", f"Largest difference of eps from the plain form: {apart}.",
    ]  # fmt: skip


def shown_bfloat16(error: dict) -> list[str]:
    return [
        f"Bodies from the same noise in bfloat16 and float32: joints {error['joints_mean_mm']} mm apart in the mean, "
        f"{error['joints_median_mm']} in the median, {error['joints_largest_mm']} at most; samples differ by "
        f"{error['samples_mean_difference']} where their mean size is {error['samples_mean_size']}. Weights are "
        "random, what they sample are no people: what bfloat16 costs trained ones is not known from this."
    ]


def shown_lifting(rows: dict) -> list[str]:
    parts = list(next(iter(rows.values())))
    cells = [[size, *(f"{row[p]:.4f}" for p in parts)] for size, row in rows.items()]
    return ["From samples to bodies, seconds:", "", markdown_table(["", *parts], cells)]


PARTS = ("training", "encoder", "sampler", "bfloat16", "lifting")
SHOWN = {
    "training": shown_training, "encoder": shown_encoder, "sampler": shown_sampler, "bfloat16": shown_bfloat16,
    "lifting": shown_lifting,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="the others stay as they were")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/paper_size.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    policy = HypoNetPolicy(full_size(0), load_free_body("3k5"), num_steps=STEPS)
    seen = persons(2)
    document = json.loads(args.out.read_text()) if args.out.is_file() else {}
    made = {
        "training": lambda: training(policy, seen, args.rounds),
        "encoder": lambda: encoding(policy, args.rounds),
        "sampler": lambda: sampler(policy, seen[:1], args.rounds),
        "bfloat16": lambda: joint_error_of_bfloat16(policy, seen),
        "lifting": lambda: lifting(policy, seen[:1], args.rounds),
    }
    for name in args.parts:
        with torch.set_grad_enabled(name == "training"):
            document[name] = made[name]()
        peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
        document |= {
            "command": "python benchmarks/speed/paper_size.py",
            "machine": {
                "processor": platform.processor() or platform.machine(),
                "torch": torch.__version__,
                "threads": 1,
            },
            "rounds": {**document.get("rounds", {}), name: args.rounds},
            "peak_memory_gb": max(peak, document.get("peak_memory_gb", 0)),
        }
        args.out.write_text(json.dumps(document, indent=1) + "\n")  # a run that is stopped keeps what it has
        args.out.with_suffix(".md").write_text(report(document))
        print(f"{name}: {time.process_time():.0f} CPU seconds so far", flush=True)
    print(report(document))


if __name__ == "__main__":
    main()
