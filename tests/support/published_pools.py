"""Pools of pairs and groups in the published formats, of random samples."""

import json
from pathlib import Path
from typing import Any

import numpy as np


def image_record(number: int, rng: np.random.Generator) -> dict[str, Any]:
    zoom, shift = rng.uniform(0.5, 2), rng.uniform(-50, 50, 2)
    return {
        "img_path": f"imageFiles/walk_{number}/image_{number:05d}.jpg",
        "img_idx": number * 10,
        "trans": np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]], np.float32),
        "trans_inv": np.array([[1 / zoom, 0, -shift[0] / zoom], [0, 1 / zoom, -shift[1] / zoom]], np.float32),
    }


def samples(rng: np.random.Generator, *lead: int) -> tuple[np.ndarray, np.ndarray]:
    """Joints in pixels of the crop and millimetres, and twists that are not quite of unit length."""
    joints = np.concatenate([rng.uniform(20, 236, (*lead, 29, 2)), rng.normal(0, 250, (*lead, 29, 1))], axis=-1)
    angle = rng.uniform(-3, 3, (*lead, 23))
    twist = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * rng.uniform(0.9, 1.1, (*lead, 23, 1))
    return joints.astype(np.float32), twist.astype(np.float32)


def pair_records(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng, records = np.random.default_rng(seed), []
    for number in range(count):
        record = image_record(number, rng)
        for who in "lw":
            record[f"{who}_joints"], record[f"{who}_twist"] = samples(rng)
        records.append({key: v.tolist() if isinstance(v, np.ndarray) else v for key, v in record.items()})
    return records


def group_records(count: int, members: int = 4, seed: int = 0) -> list[dict[str, Any]]:
    rng, records = np.random.default_rng(seed), []
    for number in range(count):
        record = image_record(number, rng)
        record["pred_joints_uvd_29"], record["pred_twist"] = samples(rng, members)
        record["gt_joints"], record["gt_twist"] = samples(rng)
        for name in ("pve", "mpjpe", "pampjpe"):
            record[name] = rng.uniform(20, 200, members)
        record |= {"score": rng.uniform(0, 100, members).tolist(), "score_raw": [np.float32(x) for x in range(members)]}
        record |= {"theta": rng.normal(0, 1, (members, 96)).astype(np.float32), "multi_n": members}
        record["render_smpl_dir_list"] = ["renders/a", "renders/b"]
        records.append(record)
    return records


def write_pairs(path: Path, records: Any) -> Path:
    path.write_text(json.dumps(records))
    return path


def write_groups(path: Path, records: list[Any], *, compressed: bool = False) -> Path:
    array = np.empty(len(records), object)
    array[:] = records
    (np.savez_compressed if compressed else np.savez)(path, grpo_pair_list=array)
    return path
