"""Small files of predictions in the formats of other systems, of persons whose bodies are known.

The persons are those of `published_datasets`; every writer puts them into the camera, units and layout of its format.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmralign.adapters.predictions.mhr70 import COUNT, PLACES
from hmralign.body.lbs import posed_keypoints
from hmralign.body.skeleton import KEYPOINT_NAMES
from support.joblib_writer import dump
from support.published_datasets import HEIGHT, WIDTH, People

SIZE = np.array([WIDTH, HEIGHT])


def image(row: int) -> str:
    return f"/disk/3DPW/imageFiles/walk_00/image_{row:05d}.jpg"


def matrices(who: People) -> np.ndarray:
    return who.params.rotmats.numpy()


def write_4d_humans(path: Path, who: People, *, change=None, **options) -> Path:
    """A frame for each person, and in the first one a track that was not seen there."""
    frames: dict[str, Any] = {}
    for row in range(len(who)):
        R, place = matrices(who)[row], tracker_place(who, row)
        smpl = {"global_orient": R[:1], "body_pose": R[1:], "betas": who.params.betas[row].numpy()}
        frames[image(row)] = {
            "time": row, "shot": 0, "frame_path": image(row), "tid": [row + 1], "bbox": [np.array(who.box(row))],
            "tracked_ids": [row + 1], "tracked_bbox": [np.array(who.box(row))], "tracked_time": [0], "smpl": [smpl],
            "camera": [place.astype(np.float32)], "size": [[HEIGHT, WIDTH]], "conf": [np.float32(0.9)],
            "mask": [[{"size": [HEIGHT, WIDTH], "counts": b"abc"}]], "appe": [np.zeros(16, np.float32)],
        }  # fmt: skip
    first = frames[image(0)]
    for key in ("tid", "bbox", "smpl", "camera", "size"):
        first[key].append(first[key][0])
    first["tracked_time"].append(3)
    if change is not None:
        change(frames)
    return dump(frames, path, **options)


def tracker_place(who: People, row: int) -> np.ndarray:
    """Translation in the tracker's camera of long focal length: the person appears where it is in the photo."""
    pelvis, focal = who.joints[row, 0], 5000.0 * WIDTH / 256
    depth = float(pelvis[2]) * focal / float(who.K[0, 0])
    u, v = who.points[row, 0].tolist()
    there = np.array([(u - WIDTH / 2) * depth / focal, (v - HEIGHT / 2) * depth / focal, depth])
    return there - who.rest_pelvis[row].numpy()


def parameters(who: People) -> dict[str, Any]:
    R = matrices(who)
    return {
        "pred_smpl_params": {
            "global_orient": R[:, :1], "body_pose": R[:, 1:], "betas": who.params.betas.numpy().copy(),
        },
        "pred_cam_t_full": who.params.transl.numpy().copy(), "img_path": [image(row) for row in range(len(who))],
        "img_size": np.tile(SIZE, (len(who), 1)), "focal_length": float(who.K[0, 0]),
    }  # fmt: skip


def write_smpl_parameters(path: Path, who: People, *, change=None) -> Path:
    content = parameters(who)
    if change is not None:
        change(content)
    if path.suffix == ".npz":
        body = content.pop("pred_smpl_params")
        arrays: dict[str, Any] = {key: np.array(value) for key, value in {**content, **body}.items()}
        np.savez(path, **arrays)
    elif path.suffix == ".pt":
        torch.save(_tensors(content), path)
    else:
        dump(content, path)
    return path


def _tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tensors(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tensors(item) for item in value]
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def write_nlf(path: Path, who: People, *, change=None) -> Path:
    """Lists by image, of which the last one has nobody in it."""
    n = len(who)
    by_image = lambda array: [*(array[row : row + 1] for row in range(n)), array[:0]]  # noqa: E731
    content: dict[str, Any] = {
        "pose": by_image(who.poses.reshape(n, 72)), "betas": by_image(who.params.betas.numpy().copy()),
        "trans": by_image(who.params.transl.numpy().copy()), "joints3d": by_image(who.joints[:, :24].numpy() * 1000),
        "boxes": by_image(np.array([[*who.box(row), 0.9] for row in range(n)])),
        "image_path": [*(image(row) for row in range(n)), image(n)], "image_size": np.tile(SIZE, (n + 1, 1)),
        "intrinsic_matrix": who.K.numpy()[None],
    }  # fmt: skip
    if change is not None:
        change(content)
    if path.suffix == ".pt":
        torch.save(_tensors(content), path)
        return path
    return dump(content, path)


def write_smplerx(folder: Path, who: People, *, meta: bool = True, change=None) -> Path:
    for row in range(len(who)):
        name = f"{row:05d}_0"
        content: dict[str, Any] = {
            "global_orient": who.poses[row, :1], "body_pose": who.poses[row, 1:22], "jaw_pose": np.zeros((1, 3)),
            "left_hand_pose": np.zeros((15, 3)), "right_hand_pose": np.zeros((15, 3)), "leye_pose": np.zeros((1, 3)),
            "betas": who.params.betas[row : row + 1].numpy(), "expression": np.zeros((1, 10)),
            "transl": who.params.transl[row : row + 1].numpy(),
        }  # fmt: skip
        if change is not None:
            change(content, row)
        (folder / "smplx").mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"smplx/{name}.npz", **content)
        if meta:
            (folder / "meta").mkdir(exist_ok=True)
            said = {
                "focal": who.K[[0, 1], [0, 1]].tolist(), "princpt": who.K[:2, 2].tolist(), "bbox": who.box(row),
                "bbox_id": 0, "img_path": image(row),
            }  # fmt: skip
            (folder / f"meta/{name}.json").write_text(json.dumps(said))
    return folder


def mhr_person(who: People, row: int) -> dict[str, Any]:
    """MHR70 keypoints of a stand-in body: about a middle of its own, and where `pred_cam_t` puts it."""
    surface = posed_keypoints(who.body, who.params)[row].numpy()
    joints = who.joints[row].numpy()
    points = surface[np.arange(COUNT) % 27] + 0.01  # those that are not read stand somewhere on the body
    for name, place in PLACES.items():
        if name in KEYPOINT_NAMES:
            points[place] = surface[KEYPOINT_NAMES.index(name)]
    points[PLACES["neck"]] = joints[12]
    for side, hand in (("left", 22), ("right", 23)):
        points[PLACES[f"{side}_middle_knuckle"]] = joints[hand]
    place = np.array([0.05, -0.1, 4.0])
    K = who.K.numpy()
    focal = float(K[0, 0])
    pixels = focal * points[:, :2] / points[:, 2:] + K[:2, 2]
    x, y, width, height = who.box(row)
    return {
        "bbox": np.array([x, y, x + width, y + height], np.float32), "focal_length": np.array(focal, np.float32),
        "pred_keypoints_3d": (points - place).astype(np.float32), "pred_keypoints_2d": pixels.astype(np.float32),
        "pred_cam_t": place.astype(np.float32), "shape_params": np.zeros(45), "mask": None,
    }  # fmt: skip


def write_sam_3d_body(path: Path, who: People, *, change=None) -> Path:
    """A dictionary of images with lists (.pkl), a list (.npz), or one person (a folder of .npz)."""
    persons = [mhr_person(who, row) for row in range(len(who))]
    if change is not None:
        change(persons)
    if path.suffix == ".pkl":
        return dump({image(row): [person] for row, person in enumerate(persons)}, path)
    path.mkdir(parents=True, exist_ok=True)
    for row, person in enumerate(persons):
        np.savez(path / f"image_{row:05d}.npz", **person)
    return path
