"""Where the time of `recover` goes.

    python benchmarks/speed/speed.py [--photo FILE] [--checkpoint lite]

CPU seconds (`time.process_time`, one thread, median of 5 after a warm-up) per person for the stages that run in this
process, and wall seconds of a whole photo with the detector.
"""

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from hmralign import Recoverer
from hmralign.body.free_body import load_free_body
from hmralign.body.inverse_kinematics import joints_twists_to_pose, twists
from hmralign.body.lbs import forward_kinematics, rest_joints, vertices
from hmralign.data.images import load_image
from hmralign.data.synthetic.generator import Generator
from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseSource
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.evidence import Evidence
from hmralign.fitting.keypoint_update import RefinementConfig, refine_group
from hmralign.models.checkpoint import load_checkpoint
from hmralign.models.person_frame import person_frame
from hmralign.policies.lite_sampling import sample_group
from hmralign.policies.policy import SamplerConfig
from hmralign.rendering.zbuffer import render

ROOT = Path(__file__).parents[2]


def cpu(function, repeats: int = 5) -> float:
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return float(np.median(times))


def stages(checkpoint: str) -> dict[str, float]:
    small, body = load_free_body("3k5"), load_free_body("7k")
    model = load_checkpoint(checkpoint, body.skeleton_hash)
    source = Generator(small, PoseSource(load_pose_prior()), noise=load_measured_noise())
    generator = torch.Generator().manual_seed(0)
    example = source.sample(4, generator)
    out = {"4096 synthetic observations": cpu(lambda: source.sample(4096, generator), 3)}
    for m in (10, 100):
        draw = lambda m=m: sample_group(  # noqa: E731
            model, body, example.observation, SamplerConfig(m), torch.Generator().manual_seed(0)
        )
        out[f"sampling with IK, M = {m}, per person"] = cpu(draw) / 4
        group, frame = draw(), person_frame(example.observation)
        evidence = Evidence(frame.keypoints_tan, example.observation.confidence, noise_of("mediapipe"))
        out[f"refinement, M = {m}, per person"] = (
            cpu(lambda: refine_group(body, group.rotmats, group.betas, evidence, RefinementConfig())) / 4  # noqa: B023
        )
    rest = rest_joints(body, group.betas)
    _, joints = forward_kinematics(rest, group.rotmats, body.parents)
    twist = twists(group.rotmats[..., 1:, :, :], rest)
    out["inverse kinematics, M = 100, per person"] = cpu(lambda: joints_twists_to_pose(joints, twist, rest)) / 4
    params = example.annotation.body[torch.arange(4).repeat(5)]
    out["skinning of 20 bodies, 6.9k vertices"] = cpu(lambda: vertices(body, params))
    placed = vertices(body, params)
    K = torch.tensor([[300.0, 0, 128], [0, 300.0, 128], [0, 0, 1]])
    out["rendering of 20 bodies at 256 px"] = cpu(lambda: render(placed, body.faces, K, (256, 256)))
    return out


def whole_photo(checkpoint: str, photo: Path, num_hypotheses: int) -> dict[str, float]:
    with Recoverer.load(checkpoint, num_hypotheses=num_hypotheses) as recoverer:
        # Another photo starts the detector and compiles the renderer; the detector remembers its last one.
        recoverer(load_image(photo).rgb[:, ::-1].copy())
        start = time.perf_counter()
        people = recoverer(photo)
        answered = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as folder:
            people.save(Path(folder) / "out")
        return {
            **{f"{k} (wall)": v for k, v in people.seconds.items()},
            "answer (wall)": answered,
            "answer and files (wall)": time.perf_counter() - start,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, default=ROOT / "src/hmralign/data/assets/astronaut.jpg")
    parser.add_argument("--checkpoint", default="lite")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/speed.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "machine": f"{platform.machine()}, one thread, torch {torch.__version__}",
        "cpu_seconds": stages(args.checkpoint),
    }
    result["one_photo_one_person"] = {f"M = {m}": whole_photo(args.checkpoint, args.photo, m) for m in (10, 100)}
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))


def markdown(result: dict) -> str:
    lines = [
        "# Speed",
        "",
        f"{result['machine']}. Command: `python benchmarks/speed/speed.py`.",
        "",
        "| stage | CPU s |",
        "| --- | ---: |",
    ]
    lines += [f"| {k} | {v:.4f} |" for k, v in result["cpu_seconds"].items()]
    for name, row in result["one_photo_one_person"].items():
        lines += ["", f"One photo with one person, {name}:", "", "| | s |", "| --- | ---: |"]
        lines += [f"| {k} | {v:.3f} |" for k, v in row.items()]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
