"""Which size, architecture and prediction the base model gets: equal CPU time, equal data, measured on validation.

    python benchmarks/recovery/model_study.py --data DIR [--cpu-seconds 240] [--seeds 0 1] [--only NAME]

`DIR` holds the SynthWild splits lab/train, broad/train, lab/val and wild/val (`hmralign bench --out DIR --splits ...`).
Every variant is trained for the same number of seconds of process time on one thread, from the same order of examples
(a variant that is faster sees more of it), the learning rate falling as a cosine of that time. Columns: `single` (mean
over M = 10 hypotheses), `fused` (their mean rotations), `min10`, all root-relative MPJPE over 24 joints in mm, and the
v loss, each on lab/val and wild/val, with 95 % bootstrap intervals over persons; CPU milliseconds per person for
sampling M = 10 and 100 hypotheses. `sampling` takes the medium MLP and varies DDIM steps and M. No refinement anywhere.

All prediction types minimise the same loss, that of v: what is compared is what the network has to say, not how times
are weighted. One learning rate serves all; a transformer at a short budget is judged by its speed, not by its limit.

Each result goes to `runs/model_study/<variant>_<seed>.json` when it is done, and is not computed again while the
settings are the same; tables are made of all that are there.
"""

import argparse
import json
import math
import statistics
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.data.synthwild_folder import open_split
from hmralign.hypotheses.fusion import fuse_rotations
from hmralign.metrics.intervals import bootstrap_mean, paired_difference
from hmralign.metrics.joint_errors import mpjpe
from hmralign.models.checkpoint import load_checkpoint, save_checkpoint
from hmralign.models.context import KeypointFeatures
from hmralign.models.limb_features import LIMB_FEATURES
from hmralign.models.lite import LiteConfig, LiteModel
from hmralign.models.person_frame import person_frame
from hmralign.policies.lite_sampling import sample_group
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import Example
from hmralign.training.base_batches import TrainingBatch, training_batch
from hmralign.training.base_losses import base_part
from hmralign.training.loop import Loop, LoopConfig
from hmralign.training.step import Part

ROOT = Path(__file__).parents[2]
BODY = load_free_body("3k5")
TRAIN, VALIDATION = ("lab/train", "broad/train"), ("lab/val", "wild/val")
BATCH, DRAWS, LEARNING_RATE, BETAS_WEIGHT = 256, 4, 1e-3, 0.1
WARM_UP = 0.05
"""Share of the training time in which the learning rate rises; counted in time, since variants differ in steps."""
DDIM_STEPS, GROUP_SIZES = (1, 2, 4, 5, 10), (1, 2, 5, 10, 25, 50, 100, 200)
SWEEP_PERSONS = 200
TIMED_PERSONS = 20


@dataclass(frozen=True)
class Variant:
    """One row of the study."""

    model: LiteConfig
    mask: bool = True
    """Whether the encoder is given masks."""
    limbs: bool = True
    """Whether the encoder is given limb features."""


def sized(width: int, hidden: int, depth: int, context: int, **choices) -> LiteConfig:
    return LiteConfig(width=width, hidden=hidden, depth=depth, context_width=context, **choices)


MEDIUM = sized(256, 512, 3, 256)
VARIANTS = {
    "mlp-small": Variant(sized(128, 256, 2, 128)),
    "mlp-medium": Variant(MEDIUM),
    "mlp-large": Variant(sized(384, 768, 4, 384)),
    "transformer-small": Variant(sized(64, 256, 3, 128, architecture="transformer")),
    "transformer-medium": Variant(sized(128, 512, 4, 256, architecture="transformer")),
    "mlp-medium-eps": Variant(replace(MEDIUM, prediction="eps")),
    "mlp-medium-x_0": Variant(replace(MEDIUM, prediction="x_0")),
    "mlp-medium-no-mask": Variant(MEDIUM, mask=False),
    "mlp-medium-no-limbs": Variant(MEDIUM, limbs=False),
}
REFERENCE = "mlp-medium"
SAMPLING = "sampling"


class TrainingSet:
    """Network input of all training persons and of their mirror images; masks as bytes."""

    def __init__(self, folder: Path) -> None:
        parts, self.sha256 = [], {}
        for split in TRAIN:
            stored = open_split(folder, split)
            self.sha256[split] = stored.sha256
            parts += [
                _with_byte_masks(training_batch(stored.shards[index], BODY, torch.full((len(index),), mirrored)))
                for index in torch.arange(len(stored)).split(2000)
                for mirrored in (False, True)
            ]
        self.persons = TrainingBatch.cat(parts)

    def batch(self, step: int, seed: int, *, mask: bool) -> TrainingBatch:
        """A pure function of (seed, step): all variants see the same persons in the same order."""
        draw = torch.Generator().manual_seed(seed * 1_000_003 + step)
        index = torch.randint(len(self.persons.betas), (BATCH,), generator=draw)
        batch = self.persons[index]
        features = replace(batch.features, mask=batch.features.mask.float() / 255)
        return replace(batch, features=features if mask else unmasked(features))


def _with_byte_masks(batch: TrainingBatch) -> TrainingBatch:
    mask = (batch.features.mask * 255).round().to(torch.uint8)
    return replace(batch, features=replace(batch.features, mask=mask))


def unmasked(features: KeypointFeatures) -> KeypointFeatures:
    return replace(features, mask=torch.zeros_like(features.mask), has_mask=torch.zeros_like(features.has_mask))


def without_masks(example: Example) -> Example:
    o = example.observation
    return replace(
        example, observation=replace(o, mask=torch.zeros_like(o.mask), has_mask=torch.zeros_like(o.has_mask))
    )


def blind_to_limbs(_, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    """Before the encoder's first layer: its last inputs, the limb features, are zero."""
    return (torch.cat([inputs[0][..., :-LIMB_FEATURES], torch.zeros_like(inputs[0][..., -LIMB_FEATURES:])], dim=-1),)


def fresh_model(variant: Variant, seed: int, persons: TrainingSet) -> LiteModel:
    torch.manual_seed(seed)
    model = LiteModel(variant.model)
    model.codec.fit(persons.persons.pose_vector)
    if not variant.limbs:
        model.encoder.embed.register_forward_pre_hook(blind_to_limbs)  # copied with the average
    return model


def train(variant: Variant, seed: int, persons: TrainingSet, cpu_seconds: float) -> tuple[LiteModel, dict]:
    """The averaged model after that much process time, and what the training was."""
    model = fresh_model(variant, seed, persons)
    last: deque[float] = deque(maxlen=100)

    def parts(model: LiteModel, step: int) -> Iterator[Part]:
        noise = torch.Generator().manual_seed(seed * 7_000_003 + step)
        part = base_part(model, persons.batch(step, seed, mask=variant.mask), DRAWS, BETAS_WEIGHT, noise)
        last.append(part.figures["v_loss"])
        yield part

    config = LoopConfig(
        lambda _, done: learning_rate(done), steps=None, seconds=cpu_seconds, fused=True, ema_decay=0.9995,
        clock=time.process_time,
    )  # fmt: skip
    loop = Loop(model, parts, config)
    averaged = loop.run()
    parameters = sum(p.numel() for p in model.parameters())
    assert isinstance(averaged, LiteModel)
    v_loss = round(statistics.mean(last), 4)
    return averaged, {"steps": loop.progress.step, "parameters": parameters, "train_v_loss": v_loss}


def learning_rate(progress: float) -> float:
    """Rises over the warm-up, falls as a cosine to 1 % of the peak; of the share of time that is spent."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return LEARNING_RATE * min(1.0, (progress + 1e-3) / WARM_UP) * (0.01 + 0.99 * cosine)


@torch.no_grad()
def errors(model: LiteModel, example: Example, sampler: SamplerConfig) -> dict[str, np.ndarray]:
    """Errors per person, mm."""
    parts = []
    for index in torch.arange(len(example.observation.box)).split(max(1, 2000 // sampler.num_hypotheses)):
        observation = example.observation[index]
        frame = person_frame(observation)
        group = sample_group(model, BODY, observation, sampler, torch.Generator().manual_seed(0))
        rest = rest_joints(BODY, group.betas)
        _, joints = forward_kinematics(rest, group.rotmats, BODY.parents)
        _, fused = forward_kinematics(rest.mean(1), fuse_rotations(group.rotmats), BODY.parents)
        truth = (example.annotation.joints[index] @ frame.R_person_cam.mT)[:, :24]
        each = 1000 * mpjpe(joints[..., :24, :], truth[:, None].expand(-1, joints.shape[1], -1, -1), root=0)
        parts.append(torch.stack([each.mean(1), 1000 * mpjpe(fused[:, :24], truth, root=0), each.amin(1)]))
    return dict(zip(("single", "fused", "min"), torch.cat(parts, dim=1).double().numpy(), strict=True))


@torch.no_grad()
def v_loss(model: LiteModel, example: Example) -> float:
    noise = torch.Generator().manual_seed(0)
    return base_part(model, training_batch(example, BODY), 8, BETAS_WEIGHT, noise).figures["v_loss"]


def milliseconds_per_person(model: LiteModel, example: Example, sampler: SamplerConfig) -> float:
    """Process time of sampling and inverse kinematics for persons in one call; median of five."""
    observation = example.observation[:TIMED_PERSONS]

    def once() -> float:
        start = time.process_time()
        sample_group(model, BODY, observation, sampler, torch.Generator().manual_seed(0))
        return (time.process_time() - start) / len(observation.box) * 1000

    once()
    return statistics.median(once() for _ in range(5))


def summary(values: dict[str, np.ndarray]) -> dict[str, dict]:
    return {name: {k: round(x, 2) for k, x in asdict(bootstrap_mean(v)).items()} for name, v in values.items()}


def study_variant(
    variant: Variant, seed: int, persons: TrainingSet, validation: dict[str, Example], seconds: float
) -> tuple[LiteModel, dict]:
    """Train and measure one variant."""
    model, result = train(variant, seed, persons, seconds)
    result["validation"], result["per_person_fused_mm"] = {}, {}
    for split, with_masks in validation.items():
        example = with_masks if variant.mask else without_masks(with_masks)
        values = errors(model, example, SamplerConfig(10))
        values["min10"] = values.pop("min")
        result["validation"][split] = summary(values) | {"v_loss": round(v_loss(model, example), 4)}
        result["per_person_fused_mm"][split] = values["fused"].round(2).tolist()
    timed = validation["wild/val"] if variant.mask else without_masks(validation["wild/val"])
    for m in (10, 100):
        result[f"cpu_ms_M{m}"] = round(milliseconds_per_person(model, timed, SamplerConfig(m)), 2)
    return model, result


def study_sampling(model: LiteModel, validation: dict[str, Example]) -> dict:
    """DDIM steps at M = 10, and M at 5 steps, on the first persons of each split."""
    few = {split: first(example, SWEEP_PERSONS) for split, example in validation.items()}

    def row(sampler: SamplerConfig) -> dict:
        measured = {split: summary(errors(model, example, sampler)) for split, example in few.items()}
        return measured | {"cpu_ms": round(milliseconds_per_person(model, few["wild/val"], sampler), 2)}

    return {
        "sweep_persons": {split: len(example.observation.box) for split, example in few.items()},
        "ddim_steps": {str(n): row(SamplerConfig(10, n)) for n in DDIM_STEPS},
        "hypotheses": {str(m): row(SamplerConfig(m, 5)) for m in GROUP_SIZES},
    }


def first(example: Example, n: int) -> Example:
    return example[:n]


def stored(path: Path, settings: dict) -> dict | None:
    """The result in a file; None where there is none or one of other settings."""
    result = json.loads(path.read_text()) if path.exists() else None
    return result if result is not None and result["settings"] == settings else None


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of SynthWild splits")
    parser.add_argument("--cpu-seconds", type=float, default=240)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--persons", type=int, help="use the first of each validation split only")
    parser.add_argument("--only", choices=[*VARIANTS, SAMPLING], help="compute this one; tables hold all that are done")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/model_study")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/model_study.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.runs.mkdir(parents=True, exist_ok=True)
    persons = TrainingSet(args.data)
    splits = {name: open_split(args.data, name) for name in VALIDATION}
    validation = {name: first(s.examples, args.persons or len(s)) for name, s in splits.items()}
    shared = {
        "cpu_seconds": args.cpu_seconds,
        "batch": BATCH,
        "draws": DRAWS,
        "learning_rate": LEARNING_RATE,
        "persons": {name: len(e.observation.box) for name, e in validation.items()},
        "data_sha256": persons.sha256 | {name: s.sha256 for name, s in splits.items()},
    }
    wanted = {None: [*VARIANTS, SAMPLING], SAMPLING: [REFERENCE, SAMPLING]}.get(args.only, [args.only])
    results: dict[str, dict[str, dict]] = {}
    for seed in args.seeds:
        for name in (*VARIANTS, SAMPLING):
            variant = VARIANTS.get(name, VARIANTS[REFERENCE])
            settings = shared | {"seed": seed, "variant": asdict(variant)}
            file = args.runs / f"{name}_{seed}.json"
            result = stored(file, settings)
            if result is None and name in wanted:
                weights = args.runs / f"{REFERENCE}_{seed}.safetensors"
                if name == SAMPLING:
                    result = study_sampling(load_checkpoint(weights, BODY.skeleton_hash), validation)
                else:
                    model, result = study_variant(variant, seed, persons, validation, args.cpu_seconds)
                    if name == REFERENCE:
                        save_checkpoint(weights, model, BODY.skeleton_hash, half=False, sources=TRAIN)
                result = {"settings": settings} | result
                write(file, json.dumps(result, indent=1) + "\n")
                print(f"{file.name}: done", flush=True)
            if result is not None:
                results.setdefault(name, {})[str(seed)] = result
    report(shared, args.seeds, results, args.out)


def report(shared: dict, seeds: list[int], results: dict[str, dict[str, dict]], out: Path) -> None:
    """Tables and the picture of everything there is."""
    for runs in results.values():
        for seed, run in runs.items():
            run.pop("settings")
            reference = results.get(REFERENCE, {}).get(seed)
            if reference is not None and "per_person_fused_mm" in run:
                run["fused_minus_reference"] = {
                    split: {k: round(x, 2) for k, x in asdict(difference_of(run, reference, split)).items()}
                    for split in VALIDATION
                }
    for run in (run for runs in results.values() for run in runs.values()):
        run.pop("per_person_fused_mm", None)
    result = shared | {"seeds": seeds, "results": results}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    out.with_suffix(".md").write_text(markdown(result))
    draw(result, out.with_suffix(".png"))
    print(markdown(result))


def difference_of(run: dict, reference: dict, split: str):
    return paired_difference(*(np.array(r["per_person_fused_mm"][split]) for r in (run, reference)))


def mean_over(runs: dict[str, dict], *path: str) -> float:
    """A figure of every seed, averaged."""
    values = []
    for run in runs.values():
        value = run
        for key in path:
            value = value[key]
        values.append(value)
    return statistics.mean(values)


def markdown(result: dict) -> str:
    persons = " and ".join(f"{n} of {split}" for split, n in result["persons"].items())
    seeds = ", ".join(map(str, result["seeds"]))
    lines = [
        "# Size, architecture and prediction of the base model",
        "",
        f"Each trained for {result['cpu_seconds']:g} CPU seconds on one thread from the same examples (lab/train and",
        f"broad/train of SynthWild), then measured on {persons}. mm, root-relative",
        "MPJPE over 24 joints of the free body (not comparable with published figures), M = 10, 5 DDIM steps, no",
        f"refinement. `min10` needs the truth. Seeds: {seeds}; figures are means over them. Intervals (95 %,",
        "bootstrap over persons) are those of the first seed and do not hold the variation between trainings. One",
        "batch size, one learning rate and one loss (of v) for all. CPU ms per person, one thread, for sampling and",
        "inverse kinematics.",
        "With seconds instead of minutes of training this ranks how fast variants learn, not how good they get.",
        "Command: `python benchmarks/recovery/model_study.py --data DIR`.",
    ]
    trained = {name: runs for name, runs in result["results"].items() if name != SAMPLING}
    for split in VALIDATION:
        columns = ["single", "fused", f"fused minus {REFERENCE}", "min10", "v loss", "steps", "M parameters"]
        lines += ["", f"## {split}", "", "| | " + " | ".join([*columns, "CPU ms, M = 10", "M = 100"]) + " |"]
        lines.append("| --- |" + " ---: |" * (len(columns) + 2))
        lines += [variant_line(name, runs, split) for name, runs in trained.items()]
    for title, key in (("DDIM steps (M = 10)", "ddim_steps"), ("Hypotheses M (5 DDIM steps)", "hypotheses")):
        if runs := result["results"].get(SAMPLING):
            few = " and ".join(f"{n} of {split}" for split, n in next(iter(runs.values()))["sweep_persons"].items())
            lines += ["", f"## {title}, {REFERENCE}", "", f"The first {few}.", "", *sampling_lines(runs, key)]
    return "\n".join([*lines, ""])


def variant_line(name: str, runs: dict[str, dict], split: str) -> str:
    first = next(iter(runs.values()))
    fused = first["validation"][split]["fused"]
    gain = first.get("fused_minus_reference", {}).get(split)
    cells = [
        f"{mean_over(runs, 'validation', split, 'single', 'mean'):.1f}",
        f"{mean_over(runs, 'validation', split, 'fused', 'mean'):.1f} ({fused['low']:.1f} to {fused['high']:.1f})",
        f"{gain['mean']:+.1f} ({gain['low']:+.1f} to {gain['high']:+.1f})" if gain and name != REFERENCE else "",
        f"{mean_over(runs, 'validation', split, 'min10', 'mean'):.1f}",
        f"{mean_over(runs, 'validation', split, 'v_loss'):.3f}",
        f"{mean_over(runs, 'steps'):.0f}",
        f"{mean_over(runs, 'parameters') / 1e6:.2f}",
        *(f"{mean_over(runs, f'cpu_ms_M{m}'):.1f}" for m in (10, 100)),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def sampling_lines(runs: dict[str, dict], key: str) -> list[str]:
    columns = [f"{split} {what}" for split in VALIDATION for what in ("single", "fused", "min of M")]
    lines = [f"| | {' | '.join([*columns, 'CPU ms'])} |", "| --- |" + " ---: |" * (len(columns) + 1)]
    for number in next(iter(runs.values()))[key]:
        cells = [
            f"{mean_over(runs, key, number, split, what, 'mean'):.1f}"
            for split in VALIDATION
            for what in ("single", "fused", "min")
        ]
        lines.append(f"| {number} | {' | '.join(cells)} | {mean_over(runs, key, number, 'cpu_ms'):.1f} |")
    return lines


def draw(result: dict, path: Path) -> None:
    """Accuracy of the fused body against CPU time: variants at M = 10, and the medium MLP over M and over steps."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), sharex=True, constrained_layout=True)
    for axis, split in zip(axes, VALIDATION, strict=True):
        for name, runs in result["results"].items():
            if name == SAMPLING:
                draw_sweeps(axis, runs, split)
                continue
            x, y = mean_over(runs, "cpu_ms_M10"), mean_over(runs, "validation", split, "fused", "mean")
            fused = next(iter(runs.values()))["validation"][split]["fused"]
            bar = [[fused["mean"] - fused["low"]], [fused["high"] - fused["mean"]]]
            marker = "s" if "transformer" in name else "o"
            axis.errorbar(x, y, yerr=bar, marker=marker, markersize=7, capsize=3, linestyle="none", label=name)
        axis.set(xscale="log", title=split, xlabel="CPU ms per person for sampling", ylabel="fused MPJPE (mm)")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.suptitle(f"{result['cpu_seconds']:g} CPU seconds of training each; M = 10, 5 steps unless varied")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_sweeps(axis, runs: dict[str, dict], split: str) -> None:
    for key, style, label in (("hypotheses", "k--", "M = "), ("ddim_steps", "k:", "steps = ")):
        numbers = list(next(iter(runs.values()))[key])
        x = [mean_over(runs, key, n, "cpu_ms") for n in numbers]
        y = [mean_over(runs, key, n, split, "fused", "mean") for n in numbers]
        axis.plot(x, y, style, marker=".", linewidth=1, label=f"{REFERENCE}, {label}{numbers[0]}..{numbers[-1]}")


if __name__ == "__main__":
    main()
