"""Photos from calibrated cameras, and where a person's joints truly are: given, or triangulated from 2D keypoints.

A set is a folder:

    cameras.json    {"format_version": 1,
                     "up": [x, y, z],                      optional: the world's up, for camera heights
                     "cameras": {NAME: {"K": 3 x 3, "T_cam_world": 4 x 4, "distortion": [k1, k2, p1, p2]}},
                     "instants": {INSTANT: {NAME: "photo.jpg", ...}}}     all photos of an instant show one moment
    keypoints.json  {INSTANT: {NAME: [[x, y, confidence], ...]}}          optional: one person, 17 or 27 keypoints
    truth.json      {INSTANT: {JOINT: [x, y, z]}}                         optional: joints in the world

Pixels are those of the photos as they lie there (0, 0 the centre of the first one), metres, `cam` x right, y down,
z forward. `distortion` (OpenCV) may be left out. Without `truth.json` the joints are triangulated from
`keypoints.json`; without that, from the detector's own reading of the largest person in each photo, which must then be
the same one everywhere. Truth made of the keypoints of a network that is judged shares its errors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.geometry.cameras import project
from hmralign.geometry.lens import distorted_pixels, undistorted_pixels
from hmralign.geometry.procrustes import procrustes
from hmralign.geometry.triangulation import Triangulated, Views, triangulate
from hmralign.storage.json_file import read_json
from hmralign.structures import InputError

JOINTS = KEYPOINT_NAMES[5:17]
"""Shoulders, elbows, wrists, hips, knees, ankles."""
INDEX = list(range(5, 17))
GYM_LEVEL = ("m02", "m03")
MAX_RESIDUAL = 0.025
"""Of a photo's height: views that see a joint farther from where the others put it do not agree."""


@dataclass(frozen=True)
class PhotoSet:
    """Cameras in one order, photos by instant and camera, and what is known of the person."""

    name: str
    cameras: tuple[str, ...]
    views: Views
    distortion: torch.Tensor  # (view, 4)
    photos: dict[str, dict[str, Path]]
    up: torch.Tensor | None  # (3,) world, unit
    keypoints: dict[str, dict[str, np.ndarray]]
    truth: dict[str, torch.Tensor]  # instant -> (12, 3) world
    notes: tuple[str, ...] = ()

    def in_camera(self, points: torch.Tensor, camera: str) -> torch.Tensor:
        """World points in the frame of a camera."""
        T = self.views.T_cam_world[self.cameras.index(camera)].double()
        return points.double() @ T[:3, :3].mT + T[:3, 3]

    def pixels(self, points: torch.Tensor, camera: str) -> torch.Tensor:
        """World points in the photo of a camera, lens and all."""
        view = self.cameras.index(camera)
        K = self.views.K[view].double()
        return distorted_pixels(project(self.in_camera(points, camera), K), K, self.distortion[view].double())

    def elevation(self, points: torch.Tensor, camera: str) -> float | None:
        """Degrees by which a camera stands above the horizon of the person's joints; None where up is not known."""
        if self.up is None:
            return None
        away = self.views.centres[self.cameras.index(camera)] - points.mean(0).to(self.views.K)
        return float(torch.rad2deg(torch.asin((away / away.norm()) @ self.up.to(away))))

    def triangulated(self, read: dict[str, np.ndarray], height: float) -> Triangulated:
        """The twelve joints of one instant from keypoints (27, 3) or (17, 3) by camera."""
        pixels, weights = torch.zeros(len(self.cameras), 12, 2).double(), torch.zeros(len(self.cameras), 12).double()
        for view, camera in enumerate(self.cameras):
            if camera in read:
                found = torch.from_numpy(np.asarray(read[camera], np.float64))[INDEX]
                K, lens = self.views.K[view].double(), self.distortion[view].double()
                pixels[view], weights[view] = undistorted_pixels(found[:, :2], K, lens), found[:, 2]
        enough = min(3, len(self.cameras))
        return triangulate(pixels, weights, self.views, max_residual=MAX_RESIDUAL * height, min_views=enough)


def read_set(folder: Path) -> PhotoSet:
    """A set of the format above. Raises InputError naming what is missing or wrong."""
    record = read_json(folder / "cameras.json", "the cameras of a set of photos")
    if not isinstance(record, dict) or record.get("format_version") != 1:
        raise InputError(f"{folder / 'cameras.json'}: expected format_version 1")
    cameras, instants = record.get("cameras"), record.get("instants")
    if not isinstance(cameras, dict) or len(cameras) < 2 or not isinstance(instants, dict) or not instants:
        raise InputError(f"{folder / 'cameras.json'}: expected at least two cameras, and instants")
    names = tuple(sorted(cameras))
    for instant, shots in instants.items():
        for camera, photo in shots.items():
            if camera not in cameras or not (folder / photo).is_file():
                raise InputError(f"{folder}: instant {instant}: no camera {camera}, or no photo {photo}")
    try:
        K = torch.tensor([cameras[n]["K"] for n in names], dtype=torch.float64).reshape(-1, 3, 3)
        T = torch.tensor([cameras[n]["T_cam_world"] for n in names], dtype=torch.float64).reshape(-1, 4, 4)
        lens = torch.tensor([cameras[n].get("distortion", [0.0] * 4) for n in names], dtype=torch.float64)
        up = None if record.get("up") is None else torch.tensor(record["up"], dtype=torch.float64).reshape(3)
        truth = {
            instant: torch.tensor([joints[n] for n in JOINTS], dtype=torch.float64).reshape(12, 3)
            for instant, joints in _optional(folder / "truth.json").items()
        }
        keypoints = {
            instant: {c: np.asarray(points, np.float64).reshape(-1, 3) for c, points in shots.items()}
            for instant, shots in _optional(folder / "keypoints.json").items()
        }
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{folder}: a number is missing or wrong ({error})") from error
    photos = {i: {c: folder / p for c, p in shots.items()} for i, shots in sorted(instants.items())}
    up = None if up is None else up / up.norm()
    return PhotoSet(folder.name, names, Views(K, T), lens.reshape(-1, 4), photos, up, keypoints, truth)


def _optional(path: Path) -> dict:
    return read_json(path, "what is known of the person") if path.is_file() else {}


def gym_set(data: Path) -> PhotoSet:
    """The man of the gym photos, from `truth/gym_man.json` and `photos/`: joints are given per photo in its camera.

    Where the cameras stand to each other follows from those joints. Up is at right angles to the x axes of
    `GYM_LEVEL`, in whose photos walls and windows stand upright, by eye; it then runs along the slanting furniture of
    the two others as well.
    """
    rows = json.loads((data / "truth" / "gym_man.json").read_text())
    shots = {tuple(Path(name).stem.split("_")[2:]): (name, row) for name, row in sorted(rows.items())}
    instants, cameras = sorted({t for t, _ in shots}), sorted({c for _, c in shots})

    def joints(camera: str) -> torch.Tensor:
        given = [[shots[t, camera][1]["joints_cam_m"][n] for n in JOINTS] for t in instants]
        return torch.tensor(given, dtype=torch.float64).reshape(-1, 3)

    world = joints(cameras[0])
    T = torch.eye(4, dtype=torch.float64).repeat(len(cameras), 1, 1)
    misfit = []
    for view, camera in enumerate(cameras):
        there, (T[view, :3, :3], _, T[view, :3, 3]) = procrustes(world, joints(camera), with_scale=False)
        misfit.append(float((there - joints(camera)).norm(dim=-1).max()))
    sideways = [T[cameras.index(c), 0, :3] for c in GYM_LEVEL]
    up = torch.nn.functional.normalize(torch.linalg.cross(*sideways), dim=0)
    up = up if float(T[0, 1, :3] @ up) < 0 else -up  # the y axis of a camera points down
    first = [shots[instants[0], c][1] for c in cameras]
    fitted = [c for c, row in zip(cameras, first, strict=True) if row["in_truth_fit"]]
    notes = (
        "The truth was made from the clips of cameras " + ", ".join(fitted) + "; the others were resected afterwards.",
        f"Cameras were put together from the joints in their frames, which fit within {1000 * max(misfit):.1f} mm.",
    )
    truth = dict(zip(instants, world.reshape(-1, 12, 3), strict=True))
    K = torch.tensor([row["K"] for row in first], dtype=torch.float64)
    lens = torch.tensor([row["distortion"] for row in first], dtype=torch.float64)
    photos = {t: {c: data / "photos" / shots[t, c][0] for c in cameras} for t in instants}
    return PhotoSet("gym", tuple(cameras), Views(K, T), lens, photos, up, {}, truth, notes)
