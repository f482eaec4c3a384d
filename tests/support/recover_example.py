"""What tests of `recover` need instead of a detector and trained weights: a tiny checkpoint, a photo, keypoints."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hmralign.body.free_body import load_free_body
from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.detection.keypoint_conventions import HALPE136
from hmralign.models.checkpoint import save_checkpoint
from hmralign.models.lite import LiteConfig, LiteModel
from hmralign.systems.recover.demo_scene import demo_scene

SHRINK = 4
WIDTH, HEIGHT = 160, 200


def tiny_model() -> LiteModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LiteModel(LiteConfig(width=32, hidden=64, depth=1, context_width=32, context_depth=1))


def tiny_checkpoint(path: Path, skeleton_hash: str | None = None) -> Path:
    return save_checkpoint(path, tiny_model(), skeleton_hash or load_free_body("3k5").skeleton_hash)


def example_photo() -> tuple[np.ndarray, np.ndarray]:
    """A small picture of one person (HEIGHT, WIDTH, 3) and the exact keypoints (27, 3)."""
    scene = demo_scene(load_free_body("3k5"))
    rgb = np.array(Image.fromarray(scene.rgb).resize((WIDTH, HEIGHT), Image.Resampling.BOX))
    keypoints = scene.keypoints[0].astype(np.float64)
    keypoints[:, :2] = (keypoints[:, :2] + 0.5) / SHRINK - 0.5
    return rgb, keypoints


def alphapose_entry(image_name: str, keypoints: np.ndarray) -> dict:
    flat = np.zeros((HALPE136.count, 3))
    for name, row in zip(KEYPOINT_NAMES, keypoints, strict=True):
        flat[HALPE136.place[name]] = row
    return {"image_id": image_name, "category_id": 1, "keypoints": flat.reshape(-1).tolist(), "score": 0.9}


def write_keypoints(path: Path, people: dict[str, list[np.ndarray]]) -> Path:
    """An AlphaPose file of the people of each image."""
    path.write_text(json.dumps([alphapose_entry(name, k) for name, group in people.items() for k in group]))
    return path
