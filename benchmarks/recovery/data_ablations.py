"""What in the synthetic training data matters: one change at a time, equal CPU time, measured on validation.

    python benchmarks/recovery/data_ablations.py --data DIR --poses FILE [--cpu-seconds 80] [--examples 100000]
        [--only ARM]

Every arm draws its own persons (no masks), trains the medium model of `model_study.py` on them for the same process
time, and is measured on wild/val of SynthWild (poses of the training prior, wild views) and on persons with poses of
validation clips seen through the measured detector. `fused` and `single` MPJPE, mm, M = 10, no refinement; differences
to the reference are paired, with 95 % intervals over persons; one seed, so variation between trainings is not in them.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from hmralign.body.free_body import load_free_body
from hmralign.data.pose_file import PoseSet, load_pose_file
from hmralign.data.synthetic.generator import Generator, SyntheticMix
from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseMix, PoseSource
from hmralign.data.synthetic.proportions import AS_MODELLED
from hmralign.data.synthwild_folder import open_split
from hmralign.metrics.intervals import paired_difference
from hmralign.models.context import KeypointFeatures
from hmralign.policies.policy import SamplerConfig
from hmralign.training.base_batches import TrainingBatch, training_batch
from model_study import (
    MEDIUM,
    ROOT,
    TrainingSet,
    Variant,
    errors,
    first,
    stored,
    summary,
    train,
    without_masks,
    write,
)
from refinement import validation_persons

REFERENCE = "everything"
MIX, POSES = SyntheticMix(box_only_share=0.0), PoseMix()


def thinned(poses: PoseSet, n: int) -> PoseSet:
    """`n` poses, evenly over the file."""
    index = torch.linspace(0, len(poses.up_in_pelvis) - 1, n).round().long()
    return PoseSet(poses.body_pose[index], poses.up_in_pelvis[index], poses.rotvecs[index], poses.sha256)


def arms(poses: PoseSet) -> dict[str, Generator]:
    """Name -> source of training persons."""
    body, prior, noise = load_free_body("3k5"), load_pose_prior("train"), load_measured_noise()

    def source(data: SyntheticMix = MIX, mix: PoseMix = POSES, real: PoseSet | None = poses, seen=noise) -> Generator:
        return Generator(body, PoseSource(prior, mix, real), data, seen)

    only_file = replace(POSES, posture_share=0.0, file_share=1.0, recombine_share=0.0)
    return {
        REFERENCE: source(),
        "guessed noise": source(seen=None),
        "measured noise only": source(replace(MIX, measured_share=1.0)),
        "the body's proportions": source(replace(MIX, proportions=AS_MODELLED)),
        "poses not mirrored": source(mix=replace(POSES, mirror_share=0.0)),
        "poses not recombined": source(mix=replace(POSES, recombine_share=0.0)),
        "no typed postures": source(mix=replace(POSES, posture_share=0.0)),
        "prior only, no pose file": source(real=None),
        "file only": source(mix=only_file),
        "file only, 1,000 poses": source(mix=only_file, real=thinned(poses, 1000)),
        "file only, 100 poses": source(mix=only_file, real=thinned(poses, 100)),
    }


class DrawnSet(TrainingSet):
    """Training persons drawn from a generator instead of read; no masks."""

    def __init__(self, source: Generator, examples: int) -> None:
        parts = []
        for block in range(0, examples, 4096):
            n = min(4096, examples - block)
            batch = training_batch(source.sample(n, torch.Generator().manual_seed(9_000_001 + block)), source.model)
            parts.append(batch)
        vector = torch.cat([p.features.vector for p in parts])
        # Masks that nobody has: one byte stands for all, and batches unfold it.
        mask = torch.zeros(1, *parts[0].features.mask.shape[1:], dtype=torch.uint8).expand(len(vector), -1, -1)
        features = KeypointFeatures(vector, mask, torch.zeros(len(vector)))
        self.persons = TrainingBatch(
            features, torch.cat([p.pose_vector for p in parts]), torch.cat([p.betas for p in parts])
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs/synthwild", help="folder with wild/val")
    parser.add_argument("--poses", type=Path, default=ROOT.parent / "shared/data/poses/cmu_smpl24_poses.npz")
    parser.add_argument("--cpu-seconds", type=float, default=80)
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--persons", type=int, default=600, help="of each validation set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="compute this arm; the table holds all that are done")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/data_ablations")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/data_ablations.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.runs.mkdir(parents=True, exist_ok=True)
    poses = load_pose_file(args.poses, "train")
    wild = open_split(args.data, "wild/val")
    validation = {
        "wild/val": without_masks(first(wild.examples, args.persons)),
        "validation clips": validation_persons(args.poses, args.persons, 99),
    }
    settings = {"cpu_seconds": args.cpu_seconds, "examples": args.examples, "persons": args.persons, "seed": args.seed}
    settings |= {"poses_sha256": poses.sha256, "wild_val_sha256": wild.sha256}
    done = {}
    for name, source in arms(poses).items():
        file = args.runs / f"{name.replace(' ', '_').replace(',', '')}.json"
        result = stored(file, settings)
        if result is None and args.only in (None, name):
            model, result = train(Variant(MEDIUM), args.seed, DrawnSet(source, args.examples), args.cpu_seconds)
            result |= {"settings": settings, "validation": {}, "per_person_fused_mm": {}}
            for split, example in validation.items():
                values = errors(model, example, SamplerConfig(10))
                result["validation"][split] = summary({k: values[k] for k in ("single", "fused")})
                result["per_person_fused_mm"][split] = values["fused"].tolist()
            write(file, json.dumps(result) + "\n")
            print(name, "done", flush=True)
        if result is not None:
            done[name] = result
    report(done, settings, args.out)


def report(done: dict[str, dict], settings: dict, out: Path) -> None:
    rows = {}
    for name, result in done.items():
        rows[name] = {"steps": result["steps"], **result["validation"]}
        for split, values in result["per_person_fused_mm"].items() if REFERENCE in done else ():
            difference = paired_difference(
                torch.tensor(values).numpy(), torch.tensor(done[REFERENCE]["per_person_fused_mm"][split]).numpy()
            )
            rows[name].setdefault("fused minus reference", {})[split] = asdict(difference)
    out.write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")
    lines = [
        "# What in the training data matters",
        "",
        f"Medium model, {settings['cpu_seconds']:g} CPU seconds and {settings['examples']:,} persons per arm,",
        f"{settings['persons']} persons of each validation set, mm (free body), M = 10, no refinement, no masks. One",
        "seed: differences of two or three mm may be the training's.",
        "Command: `python benchmarks/recovery/data_ablations.py`.",
        "",
        "| training data | steps | wild/val fused | minus reference | validation clips fused | minus reference |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in rows.items():
        cells = [str(row["steps"])]
        for split in ("wild/val", "validation clips"):
            d = row.get("fused minus reference", {}).get(split)
            cells.append(f"{row[split]['fused']['mean']:.1f}")
            cells.append(
                "" if d is None or name == REFERENCE else f"{d['mean']:+.1f} ({d['low']:+.1f} to {d['high']:+.1f})"
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    out.with_suffix(".md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
