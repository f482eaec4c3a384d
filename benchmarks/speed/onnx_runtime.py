"""What ONNX Runtime saves where `lite` samples: torch against it, the same seed, in turns.

    python benchmarks/speed/onnx_runtime.py [--rounds 9]

One thread, CPU seconds of the process (`time.process_time`); a factor is the median over rounds of the quotient of a
round. A call is `propose`: both contexts, five steps of both halves, mirroring, inverse kinematics; and the networks
alone, `sample_vectors` with contexts that are there.
"""

import argparse
import platform
import statistics
import time
from pathlib import Path

import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.data.synthetic.generator import Generator, SyntheticMix
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseSource
from hmralign.models.person_frame import person_frame
from hmralign.policies.catalogue import open_policy
from hmralign.policies.lite_sampling import both_contexts, sample_vectors
from hmralign.policies.policy import SamplerConfig
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.whole_file import write_json, write_whole

ROOT = Path(__file__).parents[2]
SIZES = (10, 20, 100)
PEOPLE = (1, 4)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cpu(function, times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        function()
    return (time.process_time() - started) / times


def in_turns(rounds: int, times: int, ours, theirs) -> dict[str, float]:
    ours(), theirs()
    pairs = [(cpu(ours, times), cpu(theirs, times)) for _ in range(rounds)]
    return {
        "torch_ms": 1000 * statistics.median(a for a, _ in pairs),
        "onnx_ms": 1000 * statistics.median(b for _, b in pairs),
        "factor": statistics.median(a / b for a, b in pairs),
        "least": min(a / b for a, b in pairs),
        "most": max(a / b for a, b in pairs),
    }


def ways(policy, seen, size: int):
    """The networks alone, and the whole call."""
    config = SamplerConfig(num_hypotheses=size)
    contexts = both_contexts(policy.model, seen, person_frame(seen))
    return (
        lambda: sample_vectors(policy.model, *contexts, config, seeded(3)),
        lambda: policy.propose(seen, config, seeded(3)),
    )


def measured(rounds: int) -> tuple[list[dict], dict[str, float]]:
    import onnxruntime

    body = load_free_body("3k5")
    people = Generator(body, PoseSource(load_pose_prior()), SyntheticMix()).sample(64, seeded(5)).observation
    policies = [open_policy("lite", body, runtime=runtime).policy for runtime in ("torch", "onnx")]
    rows = []
    for persons in PEOPLE:
        for size in SIZES:
            networks, calls = zip(*(ways(policy, people[:persons], size) for policy in policies), strict=True)
            times = max(1, 30 // (persons * size // 10 + 2))
            for what, both in (("networks", networks), ("propose", calls)):
                rows.append({"persons": persons, "M": size, "what": what, **in_turns(rounds, times, *both)})
    groups = [policy.propose(people, SamplerConfig(num_hypotheses=100), seeded(3)) for policy in policies]
    joints = [forward_kinematics(rest_joints(body, g.betas), g.rotmats, body.parents)[1] for g in groups]
    apart_mm = 1000 * (joints[0] - joints[1]).norm(dim=-1)
    versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__, "processor": platform.machine()}
    return rows, {"largest_mm": float(apart_mm.max()), "mean_mm": float(apart_mm.mean()), **versions}


def page(rows: list[dict], apart: dict) -> str:
    cells = [
        [str(r["persons"]), str(r["M"]), r["what"], f"{r['torch_ms']:.2f}", f"{r['onnx_ms']:.2f}",
         f"{r['factor']:.2f} ({r['least']:.2f} to {r['most']:.2f})"]
        for r in rows
    ]  # fmt: skip
    table = markdown_table(["persons", "M", "what", "torch, CPU ms", "ONNX Runtime, CPU ms", "factor (range)"], cells)
    return (
        "# ONNX Runtime against torch\n\n"
        "`lite` samples with five steps on one thread; CPU milliseconds a call, medians of rounds in which both took "
        f"turns. torch {apart['torch']}, ONNX Runtime {apart['onnxruntime']}.\n\n{table}\n\n"
        "`networks` are the five steps of both halves; `propose` also encodes persons and turns samples into "
        f"rotations, which torch does either way. From the same seed, joints of 64 persons with 100 hypotheses are "
        f"{apart['largest_mm']:.2f} mm apart at most, {apart['mean_mm']:.5f} mm in the mean.\n\n"
        "Command: `python benchmarks/speed/onnx_runtime.py`.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/onnx_runtime.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, apart = measured(options.rounds)
    write_json(options.out, {"command": "python benchmarks/speed/onnx_runtime.py", "rows": rows, "apart": apart})
    print(write_whole(options.out.with_suffix(".md"), page(rows, apart)).read_text())


if __name__ == "__main__":
    main()
