"""Where the time of generation, evaluation and training goes, on one thread.

    python benchmarks/speed/evaluation_speed.py

CPU seconds (process time), medians: SynthWild generation with and without masks, batched Procrustes against a
loop over poses (NumPy's SVD, the usual evaluation code), prediction and errors per person, the bootstrap, and
training steps of the two committed configurations.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import vertices
from hmralign.data.synthetic.synthwild import SPLITS, world_generator
from hmralign.evaluation.person_errors import Truth, person_errors
from hmralign.metrics.intervals import bootstrap_mean
from hmralign.metrics.joint_errors import pa_mpjpe
from hmralign.models.lite import LiteModel
from hmralign.policies.catalogue import open_policy
from hmralign.policies.policy import SamplerConfig
from hmralign.storage.presets import preset_path
from hmralign.systems.evaluate.predict import PredictConfig, predict_in_batches
from hmralign.systems.synth.write_synthwild import masked_chunk
from hmralign.training.base_batches import training_batch
from hmralign.training.base_losses import base_part
from hmralign.training.configuration import read_training_config

ROOT = Path(__file__).parents[2]


def cpu_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def procrustes_loop(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """PA-MPJPE one pose at a time, as evaluation scripts of the field do it."""
    errors = []
    for a, b in zip(pred, target, strict=True):
        mean_a, mean_b = a.mean(0), b.mean(0)
        x, y = a - mean_a, b - mean_b
        u, s, vt = np.linalg.svd(x.T @ y)
        sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
        rotation = (u @ sign @ vt).T
        scale = (s * np.diag(sign)).sum() / (x**2).sum()
        errors.append(np.linalg.norm(scale * x @ rotation.T - y, axis=1).mean())
    return np.array(errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/evaluation_speed.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    body = load_free_body("3k5")
    rows: dict[str, float] = {}

    wild = world_generator("wild", "train")
    rows["wild persons per CPU s, without masks"] = 4096 / cpu_seconds(
        lambda: wild.sample(4096, torch.Generator().manual_seed(0)), 3
    )
    small = replace(SPLITS["wild/train"], size=500, mask_share=1.0)
    rows["wild persons per CPU s, with masks"] = 500 / cpu_seconds(lambda: masked_chunk(small, 0), 3)

    g = torch.Generator().manual_seed(0)
    target = torch.randn(5000, 24, 3, generator=g)
    pred = target + 0.1 * torch.randn(target.shape, generator=g)
    loop = procrustes_loop(pred.double().numpy(), target.double().numpy())
    assert np.abs(loop - pa_mpjpe(pred, target).numpy()).max() < 1e-4
    batched = cpu_seconds(lambda: pa_mpjpe(pred, target))
    looped = cpu_seconds(lambda: procrustes_loop(pred.numpy(), target.numpy()), 3)
    rows["PA-MPJPE, microseconds per pose, batched"] = 1e6 * batched / 5000
    rows["PA-MPJPE, microseconds per pose, loop"] = 1e6 * looped / 5000
    rows["PA-MPJPE, batched is faster by"] = looped / batched

    example = wild.sample(100, torch.Generator().manual_seed(1))
    policy = open_policy("lite-lab", body).policy
    for m in (10, 100):
        config = PredictConfig(sampler=SamplerConfig(num_hypotheses=m))
        predicted = next(predict_in_batches(policy, example.observation, config))[1]
        rows[f"prediction, CPU ms per person, M = {m}"] = 10 * cpu_seconds(
            lambda config=config: list(predict_in_batches(policy, example.observation, config)), 3
        )
        truth = Truth(example.annotation.joints, vertices(body, example.annotation.body))
        rows[f"errors, CPU ms per person, M = {m}"] = 10 * cpu_seconds(
            lambda predicted=predicted, truth=truth, m=m: person_errors(predicted, truth, (m,)), 3
        )
    values = np.random.default_rng(0).random(2000)
    rows["bootstrap of 2,000 persons, CPU ms"] = 1000 * cpu_seconds(lambda: bootstrap_mean(values))

    for name in ("lite", "lite-lab"):
        config = read_training_config(preset_path("base", name))
        batch = training_batch(wild.sample(config.batch_size, torch.Generator().manual_seed(2)), body)
        network = LiteModel(config.model)
        network.codec.fit(batch.pose_vector)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)

        def step(network=network, batch=batch, config=config, optimizer=optimizer) -> None:
            part = base_part(network, batch, config.draws, config.betas_weight, torch.Generator().manual_seed(3))
            optimizer.zero_grad()
            part.loss().backward()
            optimizer.step()

        rows[f"training steps per CPU s, preset {name}"] = 1 / cpu_seconds(step)
    result = {"rows": {name: round(value, 3) for name, value in rows.items()}, "torch": torch.__version__}
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    lines = ["# Speed of generation, evaluation and training", "", "One thread, process time, medians."]
    lines += ["Command: `python benchmarks/speed/evaluation_speed.py`.", "", "| | |", "| --- | ---: |"]
    lines += [f"| {name} | {value:,.1f} |" for name, value in rows.items()]
    args.out.with_suffix(".md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
