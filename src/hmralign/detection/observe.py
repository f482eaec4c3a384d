"""From a detection in a photo to what the model may see of that person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hmralign.body.skeleton import NUM_KEYPOINTS
from hmralign.data.images import LoadedImage
from hmralign.data.keypoint_box import keypoint_box
from hmralign.detection.detection import Detection
from hmralign.detection.mediapipe_landmarks import landmarks_to_points3d
from hmralign.detection.person_mask import mask_in_box
from hmralign.geometry.cameras import estimate_intrinsics, intrinsics_from_exif, scaled_intrinsics, scaled_pixels
from hmralign.structures import MASK_SIZE, Camera, InputError, Landmarks3d, Observation

MIN_KEYPOINTS = 3
"""Keypoints fewer than these, but any, are an error: two points say neither size nor orientation."""


def camera_of(image: LoadedImage, K: np.ndarray | None = None, focal_px: float | None = None) -> Camera:
    """Camera of the photo as loaded: the given one, else that of its EXIF, else a guess from its size.

    `K` and `focal_px` are pixels of the *original* photo; with `focal_px` the principal point is the middle. Raises
    InputError when both are given or a number is not usable.
    """
    if K is not None and focal_px is not None:
        raise InputError("both K and a focal length are given; expected at most one of them")
    if K is None and focal_px is None:
        return intrinsics_from_exif(image.exif, image.width, image.height) or estimate_intrinsics(
            image.width, image.height
        )
    original = _checked_K(np.asarray(K, np.float64)) if K is not None else _centred_K(focal_px, image.original_size)
    scaled = scaled_intrinsics(torch.from_numpy(original).float(), image.scale)
    return Camera(scaled, image.width, image.height, "given")


def _centred_K(focal_px: float | None, size: tuple[int, int]) -> np.ndarray:
    if focal_px is None or not (np.isfinite(focal_px) and focal_px > 0):
        raise InputError(f"focal length is {focal_px}; expected a positive number of pixels")
    return np.array([[focal_px, 0, (size[0] - 1) / 2], [0, focal_px, (size[1] - 1) / 2], [0, 0, 1]], np.float64)


def _checked_K(K: np.ndarray) -> np.ndarray:
    pinhole = K.shape == (3, 3) and np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0
    if not pinhole or not np.allclose(K[2], [0, 0, 1]) or K[1, 0] != 0:
        raise InputError(f"K is {K.tolist()}; expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels")
    return K


def in_loaded_pixels(detection: Detection, image: LoadedImage) -> Detection:
    """A detection in pixels of the original photo as one in pixels of the photo as loaded (`LoadedImage.scale`)."""
    if image.scale == (1.0, 1.0):
        return detection
    corners = scaled_pixels(torch.from_numpy(detection.box).reshape(2, 2), image.scale).reshape(4).numpy()
    keypoints = scaled_pixels(torch.from_numpy(detection.keypoints), image.scale).numpy()
    return Detection(keypoints, detection.confidence, corners, detection.score, detector=detection.detector)


def observe(detection: Detection, camera: Camera) -> Observation:
    """What the model sees of one person (no batch axes), in pixels of the photo that `camera` belongs to.

    The box is that of the confident keypoints, whatever box named the person. Of a person known only by a box that
    box is all that is seen, neither keypoints nor mask. Raises InputError for a person with keypoints, but fewer than
    `MIN_KEYPOINTS`.
    """
    confidence = torch.from_numpy(detection.confidence).clone()
    keypoints = torch.from_numpy(detection.keypoints).clone()
    seen = int((confidence > 0).sum())
    if 0 < seen < MIN_KEYPOINTS:
        raise InputError(f"a person has {seen} observed keypoints; expected at least {MIN_KEYPOINTS}")
    box = keypoint_box(keypoints, confidence) if seen else torch.from_numpy(detection.box).clone()
    has_mask = seen > 0 and detection.mask is not None
    mask = torch.zeros(MASK_SIZE, MASK_SIZE)
    if seen and detection.mask is not None:
        mask = torch.from_numpy(mask_in_box(detection.mask, box.numpy(), MASK_SIZE))
    return Observation(
        keypoints=keypoints,
        confidence=confidence,
        box=box,
        K=camera.K,
        knows_camera=torch.tensor(camera.known),
        mask=mask,
        has_mask=torch.tensor(has_mask),
    )


def landmarks_of(detection: Detection) -> Landmarks3d:
    """The detector's 3D landmarks of one person (no batch axes), for critics; nowhere and unseen where it gave none.

    mediapipe's have the axes of the picture: x right, y down, and z away from the camera, as the `cam` frame.
    """
    if detection.landmarks3d is None:
        return Landmarks3d(torch.zeros(NUM_KEYPOINTS, 3), torch.zeros(NUM_KEYPOINTS))
    points, confidence = landmarks_to_points3d(detection.landmarks3d, detection.confidence)
    return Landmarks3d(torch.from_numpy(points), torch.from_numpy(confidence))


def photo_title(image: LoadedImage) -> str:
    """File name of a photo, or what stands for it."""
    return Path(image.name).name or image.name
