"""Where the package stands beside the aims of speed: rows of docs/results/speed_aims.md.

    python benchmarks/speed/aims.py [--out docs/results/speed_aims.json]

One thread, CPU seconds (user and system), medians of 3, warm; opening is that of fresh processes. A drawn photo of
2560 x 1600 pixels with two people; groups of 20 by `lite-lab`; 20 hypotheses. `recover` of a folder and `critic score`
are whole commands, opening included (`folder_mode.py`, `critic_score.py`). Without the detector (`hmralign
setup-detector`) the rows that need it are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import critic_score
import folder_mode
from hmralign import Recoverer
from hmralign.body.free_body import load_free_body
from hmralign.detection.environment import detector_environment
from hmralign.metrics.joint_errors import pa_mpjpe
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.policies.lite import LitePolicy
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.storage.seeds import seeded
from hmralign.studies.speed import stages
from startup_and_pictures import child_seconds, drawn_photo, process_seconds

BASE = "lite-lab"
OPENING = "from hmralign import Recoverer; Recoverer.load(detector=None)"


def cpu(job: Callable[[], object]) -> float:
    """Median CPU seconds, warm."""
    job()
    return process_seconds(job)


class Rows(dict[str, float]):
    """What is measured, said as soon as it is."""

    def __setitem__(self, name: str, value: float) -> None:
        print(f"{value:8.3f}  {name}", flush=True)
        super().__setitem__(name, value)


def by_numpy(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """PA-MPJPE by one batched SVD of numpy."""
    a, b = (x - x.mean(1, keepdims=True) for x in (one, other))
    u, s, vt = np.linalg.svd(np.einsum("nji,njk->nik", a, b))
    s[:, 2] *= (sign := np.sign(np.linalg.det(u @ vt)))
    u[:, :, 2] *= sign[:, None]
    scale = s.sum(1) / (a**2).sum((1, 2))
    return np.linalg.norm(scale[:, None, None] * (a @ (u @ vt)) - b, axis=-1).mean(1)


def recovering(rows: dict[str, float], folder: Path) -> None:
    photo, keypoints = drawn_photo()
    recoverer = Recoverer.load(detector=None, num_hypotheses=20)
    people = recoverer(photo, keypoints=keypoints)
    answer = cpu(lambda: recoverer(photo, keypoints=keypoints))
    drawn = cpu(lambda: people.save(folder / "drawn", overwrite=True))
    bare = cpu(lambda: people.save(folder / "bare", overwrite=True, pictures=False))
    rows["recover M = 20 with files and report, persons per CPU s"] = 2 / (answer + drawn)
    rows["recover M = 20 without pictures, persons per CPU s"] = 2 / (answer + bare)


def grouping(rows: dict[str, float], folder: Path) -> None:
    body = load_free_body("3k5")
    policy, sha256 = LitePolicy.load(BASE, body), checkpoint_hash(BASE)
    with stages.opened_setting() as setting:
        for critics in (("reprojection", "plausibility"), ("mix",), ("scorer",)):
            places = iter(range(100))

            def build(critics=critics, places=places):
                place = folder / "_".join(critics) / str(next(places))
                config = GroupStoreConfig(group_size=20)
                build_groups(policy, body, sha256, (), stages._Source(setting.example), place, config, critics)

            rows[f"groups G = 20, {' + '.join(critics)}, per CPU s"] = stages.PERSONS / cpu(build)
        for stage in stages.stages(setting, ("step best-of-n", "step dpo")):
            rows[f"{stage.name}, per CPU s"] = 1 / cpu(stage.work)
        for stage in stages.stages(setting, ("sample", "lift", "refine")):
            if stage.name.endswith("1 person, M = 100"):
                rows[f"{stage.name}, CPU s"] = cpu(stage.work)


def measuring(rows: dict[str, float]) -> None:
    draw = seeded(0, "aims")
    one, other = torch.randn(2000, 14, 3, generator=draw), torch.randn(2000, 14, 3, generator=draw)
    np.testing.assert_allclose(pa_mpjpe(one, other).numpy(), by_numpy(one.double().numpy(), other.numpy()), rtol=1e-4)
    numpy = cpu(lambda: by_numpy(one.numpy(), other.numpy()))
    rows["PA-MPJPE, faster than one batched SVD of numpy"] = numpy / cpu(lambda: pa_mpjpe(one, other))


def commanding(rows: dict[str, float], folder: Path) -> None:
    """Whole commands, as somebody types them."""
    (folder / "scored").mkdir()
    for name, value in critic_score.measured(folder / "scored").items():
        rows[name] = value
    if detector_environment() is None:
        print("no detector is installed: its rows are left out", flush=True)
        return
    for more in ((), ("--no-pictures",)):
        place = folder / "".join(("recovered", *more))
        place.mkdir()
        for name, value in folder_mode.measured(place, more=more).items():
            rows[" ".join((name, *more))] = value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "docs/results/speed_aims.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the commands
    rows = Rows()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        measuring(rows)
        recovering(rows, Path(folder))
        with torch.enable_grad():
            grouping(rows, Path(folder))
        commanding(rows, Path(folder))
    rows["import and load, CPU s"] = statistics.median(child_seconds(("-c", OPENING)) for _ in range(3))
    arguments.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
