"""What large annotation indexes cost: opening 100,000 records, cleaning a million rows, memory and processor time.

    python benchmarks/data/large_indexes.py open --rows 100000 --out runs/indexes
    python benchmarks/data/large_indexes.py clean --rows 1000000 --out runs/indexes

The indexes are made up: some persons of the free body, over and over, in HumanData and in Human3.6M's JSON. Every
measurement is of a process of its own; `indexes.json` in the output folder has processor seconds and peak memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints, posed_keypoints
from hmralign.geometry.cameras import project
from hmralign.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from hmralign.storage.whole_file import write_json
from hmralign.structures import BodyParams

WIDTH, HEIGHT, DIFFERENT = 640, 480, 64
COCO = [55, 57, 56, 59, 58, 16, 17, 18, 19, 20, 21, 145, 144, 4, 5, 7, 8]
"""Places of COCO's keypoints among the 190 of HumanData."""

OPEN = """
import resource, sys, time
from pathlib import Path
from hmralign.data.dataset import open_dataset
import hmralign.adapters.persons
start, cpu = time.perf_counter(), time.process_time()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
persons = open_dataset(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
print(len(persons), time.perf_counter() - start, time.process_time() - cpu, before / 1024,
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def persons() -> tuple[np.ndarray, BodyParams, torch.Tensor]:
    """Rotation vectors, bodies in `cam`, intrinsics."""
    draw = torch.Generator().manual_seed(0)
    vectors = 0.2 * torch.randn(DIFFERENT, 24, 3, generator=draw)
    rotmats = rotvec_to_rotmat(vectors)
    rotmats[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotmats[:, 0]
    place = torch.tensor([0.0, 0.2, 5.0]) + 0.3 * torch.randn(DIFFERENT, 3, generator=draw)
    body = BodyParams(rotmats[:, 0], rotmats[:, 1:], torch.zeros(DIFFERENT, 10), place)
    K = torch.tensor([[600.0, 0, WIDTH / 2], [0, 600.0, HEIGHT / 2], [0, 0, 1]])

    return rotmat_to_rotvec(rotmats).numpy(), body, K


def write_human_data(path: Path, rows: int) -> None:
    """COCO's keypoints alone, compressed, as converters of photos write them."""
    poses, body, K = persons()
    surface = project(posed_keypoints(load_free_body("3k5"), body), K)[:, :17].numpy()
    which = np.arange(rows) % DIFFERENT
    noise = np.random.default_rng(0).normal(0, 4, (rows, 17, 2)).astype(np.float32)
    points = np.ones((rows, 17, 3), np.float32)
    points[..., :2] = surface[which] + noise
    order = np.argsort(COCO)
    mask = np.zeros(190, np.uint8)
    mask[COCO] = 1
    low, high = points[..., :2].min(1), points[..., :2].max(1)
    content = {
        "image_path": np.array([f"frames/{row:08d}.jpg" for row in range(rows)]),
        "bbox_xywh": np.concatenate([low, high - low, np.ones((rows, 1), np.float32)], axis=1),
        "keypoints2d_original": points[:, order], "keypoints2d_original_mask": mask,
        "smpl": {"global_orient": poses[which, 0], "body_pose": poses[which, 1:],
                 "betas": np.zeros((rows, 10), np.float32), "transl": body.transl.numpy()[which]},
        "meta": {"height": np.full(rows, HEIGHT), "width": np.full(rows, WIDTH),
                 "focal_length": np.full((rows, 2), 600.0, np.float32),
                 "principal_point": np.tile(K[:2, 2].numpy(), (rows, 1))},
        "misc": {}, "__keypoints_compressed__": True,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **content)


def write_h36m(path: Path, rows: int) -> None:
    """HybrIK-style JSON with 29 joints, twists and 17 joints of Human3.6M, as the training file has them."""
    poses, body, K = persons()
    joints = 1000 * posed_joints(load_free_body("3k5"), body).double().numpy()
    made = []
    for row in range(DIFFERENT):
        made.append(json.dumps({
            "bbox": [10.0, 10.0, 300.0, 400.0], "h36m_joints": joints[row, :17].tolist(),
            "smpl_joints": joints[row].tolist(), "betas": [0.0] * 10, "thetas": poses[row].reshape(-1).tolist(),
            "root_coord": joints[row, 0].tolist(), "joint_2d": joints[row, :29, :2].tolist(),
            "angle_twist": {"angle": [0.1] * 23, "cos": [0.9] * 23, "sin": [0.1] * 23},
        })[1:])  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    camera = {"f": [600.0, 600.0], "c": K[:2, 2].tolist()}
    with path.open("w") as file:
        file.write('{"images": [')
        for row in range(rows):
            name = f"s_01_act_02_subact_01_ca_01/{row:06d}.jpg"
            image = {"id": row, "file_name": name, "width": WIDTH, "height": HEIGHT, "cam_param": camera}
            file.write(("," if row else "") + json.dumps(image))
        file.write('], "annotations": [')
        for row in range(rows):
            file.write(("," if row else "") + f'{{"id": {row}, "image_id": {row}, ' + made[row % DIFFERENT])
        file.write("]}")


def opened(dataset: str, folder: Path, split: str) -> dict[str, float]:
    """Seconds and memory of opening a split in a process of its own."""
    done = subprocess.run([sys.executable, "-c", OPEN, dataset, str(folder), split], capture_output=True, text=True,
                          check=True)  # fmt: skip
    count, wall, cpu, before, peak = map(float, done.stdout.split())
    return {"records": count, "wall_s": wall, "cpu_s": cpu, "imports_mb": before, "peak_mb": peak}


def measure_opening(rows: int, out: Path) -> dict[str, object]:
    """First and second opening of a JSON index, and of an archive."""
    json_file = out / "h36m/annotations/Sample_5_train_Human36M_smpl_leaf_twist_protocol_2.json"
    archive = out / f"human-data/many_{rows}.npz"
    for path, write in ((json_file, write_h36m), (archive, write_human_data)):
        if not path.is_file():
            write(path, rows)
    return {
        "json_mb": json_file.stat().st_size / 2**20,
        "json first": opened("h36m", out / "h36m", "train"),
        "json again": opened("h36m", out / "h36m", "train"),
        "archive": opened("human-data", out / "human-data", f"many_{rows}"),
    }


def measure_cleaning(rows: int, out: Path) -> dict[str, object]:
    """`hmralign clean --keep-share 0.6 --write --export` on an archive."""
    archive = out / f"human-data/many_{rows}.npz"
    if not archive.is_file():
        write_human_data(archive, rows)
    words = ["clean", "--data", archive.parent, "--dataset", "human-data", "--split", archive.stem, "--critic",
             "reprojection", "--keep-share", 0.6, "--sheet-items", 0, "--chunk-size", 4096, "--write", "--export",
             out / f"scores_{rows}.parquet", "--out", out / f"cleaned_{rows}", "--json"]  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "hmralign.cli", *map(str, words)], capture_output=True, text=True,
                          check=True)  # fmt: skip
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    counts = json.loads(done.stdout)["counts"]
    return {"rows": rows, "counts": counts, "wall_s": time.perf_counter() - start,
            "cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("open", "clean"))
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    measure = measure_opening if options.what == "open" else measure_cleaning
    found = measure(options.rows, options.out)
    write_json(options.out / f"indexes_{options.what}_{options.rows}.json", found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
