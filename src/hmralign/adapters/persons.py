"""Labels and the bodies they belong to -> annotated persons in the frame `cam`, on the body a command works on.

    labels of a file        poses and places in its axes, pixels of its images
    -> the label's body     SMPL turns about its rest pelvis: `p_cam = R (transl + J0) + t - J0` moves it to `cam`
    -> the working body     the same where it is the same skeleton; else retargeted; without a body file by the joints

Persons are made when they are asked for, a batch at a time; what lies in memory between is the columns of `Labels`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.adapters.bodies import MEAN_REST_PELVIS, LabelBodies, by_joints
from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.inside import path_below
from hmralign.adapters.labels import GENDERS, Labels, usable
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints, posed_keypoints, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.retarget import retarget
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.data.dataset import DatasetFacts, DatasetSetting
from hmralign.data.images import LoadedImage, load_image
from hmralign.data.keypoint_box import keypoint_box
from hmralign.detection.person_crop import crop_of
from hmralign.geometry.cameras import CROP_MARGIN, project, scaled_pixels
from hmralign.geometry.placement import solve_translation
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import MASK_SIZE, Annotation, BodyParams, Example, InputError, Observation
from hmralign.structures.counted import counted

_ROWS_AT_ONCE, _HASHED_AT_ONCE = 4096, 65_536


@dataclass(frozen=True)
class PlacedBodies:
    """Some labels posed: on the body that they belong to, and on the working one."""

    body: BodyParams
    """Parameters of the working body."""
    joints: Float[Tensor, "n 29 3"]
    """Joints of the label's own body; of the working one where there is no file of it."""
    surface: Float[Tensor, "n 27 3"]
    """Surface keypoints of the same body as `joints`."""


@dataclass(frozen=True)
class AdaptedPersons:
    """`LabelledPersons` of a published data set."""

    card: DatasetCard
    split: str
    labels: Labels
    transl: Float[Tensor, "n 3"]
    """In `cam`, of the label's own body; of its pelvis where there is no file of it."""
    bodies: LabelBodies | None
    target: BodyModel
    setting: DatasetSetting
    images: Path
    faults: Faults
    meshes: Callable[[Labels], Tensor] | None = None
    """Annotated meshes (n, vert, 3) of some labels in `cam`, where the data set's truth is meshes of the label body."""

    @property
    def name(self) -> str:
        """Data set and split."""
        return f"{self.card.name}/{self.split}"

    @property
    def benchmark(self) -> str:
        """The data set's title."""
        return self.card.title

    @property
    def agreement(self) -> str:
        """Nothing is frozen of somebody else's files; what was left out is counted."""
        return f"not frozen; {counted(self.faults.total, 'record')} left out"

    @property
    def facts(self) -> DatasetFacts:
        """What the card says, and what was made of it here."""
        return DatasetFacts(
            self.name, f"{self.card.source} ({self.card.tried})", self.card.licence, self.card.frame,
            joints=self.joints_are, keypoints=self.keypoints_are, body=self.body_is, crop=self.crop_is,
        )  # fmt: skip

    @property
    def joints_are(self) -> str:
        """Whose joints the truth is."""
        if not self.is_own_family:
            return f"24 joints of {self.target.name}, carried over"
        return f"24 joints of the annotated bodies ({self.bodies.words() if self.bodies else ''})"

    @property
    def keypoints_are(self) -> str:
        """Whose keypoints the persons are observed with."""
        seen = (self.labels.confidence > 0).any(1)
        if seen.all():
            return self.card.keypoints
        true = "the true body's surface keypoints in the image, which is truth that a model gets to see"
        return true if not seen.any() else f"{self.card.keypoints}; for {int((~seen).sum())} persons {true}"

    @property
    def body_is(self) -> str:
        """Whose body the labels were posed with, and what became of it."""
        if self.bodies is None:
            return f"no file of {self.card.family}: rotations as annotated, limbs and place by the annotated joints"
        own = f"{self.bodies.words()} ({'own gender' if self.setting.gender == 'own' else 'neutral for all'})"
        hashes = {
            body.skeleton_hash for _, body in _by_body(self.labels, self.bodies, self.setting) if body is not None
        }
        return (
            own if hashes == {self.target.skeleton_hash} else f"{own}, carried over to {self.target.name} (retargeted)"
        )

    @property
    def crop_is(self) -> str:
        """What the boxes are around."""
        if self.setting.crop == "true_joints":
            return f"square of {self.setting.crop_scale:g} times the box of the 24 true joints in the image"
        given = np.isfinite(self.labels.box).all(1)
        words = "box of the file" if given.all() else "box of the observed keypoints"
        return words if given.all() or not given.any() else "box of the file; where there is none, of the keypoints"

    @property
    def is_own_family(self) -> bool:
        """Whether the working body is one of those that labels belong to: joints then are those of each person's own
        gender, as published evaluations have them."""
        return self.bodies is not None and self.target.skeleton_hash in {
            body.skeleton_hash for body in self.bodies.by_gender.values()
        }

    @cached_property
    def sha256(self) -> str:
        """Hash of the columns, of the bodies, and of how persons are made of them; pixels are not read for it."""
        digest = hashlib.sha256()
        for field in fields(self.labels):
            column = getattr(self.labels, field.name)
            digest.update(f"{field.name} {column.dtype} {column.shape}".encode())
            for first in range(0, len(column), _HASHED_AT_ONCE):
                digest.update(np.ascontiguousarray(column[first : first + _HASHED_AT_ONCE]).tobytes())
        bodies = [] if self.bodies is None else [b.skeleton_hash for b in self.bodies.by_gender.values()]
        made = (self.target.skeleton_hash, *bodies, self.setting.gender, self.setting.crop, self.setting.crop_scale)
        digest.update(repr(made).encode())
        return digest.hexdigest()

    @property
    def examples(self) -> Example:
        """All persons in one batch."""
        return self.batch(slice(0, len(self)))

    def batch(self, rows: slice) -> Example:
        """Some of the persons. Raises InputError for a photo that is missing, damaged or of another size."""
        some, transl = self.labels[rows], self.transl[rows]
        placed = self.placed(some, transl)
        K, knows = cameras(some)
        keypoints, confidence = _observed(some, placed.surface, K)
        box = self._boxes(some, placed, keypoints, confidence, K)
        n = len(some)
        seen = Observation(
            keypoints, confidence, box, K, knows,
            torch.zeros(n, MASK_SIZE, MASK_SIZE), torch.zeros(n, dtype=torch.bool),
        )  # fmt: skip
        joints = placed.joints if self.is_own_family else posed_joints(self.target, placed.body)
        mesh = None if self.meshes is None or not self.is_own_family else self.meshes(some)
        return Example(self._with_pixels(some, seen), Annotation(placed.body, joints, mesh))

    def placed(self, some: Labels, transl: Float[Tensor, "n 3"]) -> PlacedBodies:
        """The bodies of labels with their places in `cam`."""
        parts = []
        for rows, source in _by_body(some, self.bodies, self.setting):
            params = _in_cam(some[rows], transl[torch.from_numpy(rows)])
            parts.append((rows, self._carried(params, some[rows], source)))
        order = torch.from_numpy(np.argsort(np.concatenate([rows for rows, _ in parts])))
        body = BodyParams.cat([part.body for _, part in parts])[order]
        joints = torch.cat([part.joints for _, part in parts])[order]
        return PlacedBodies(body, joints, torch.cat([part.surface for _, part in parts])[order])

    def _carried(self, params: BodyParams, some: Labels, source: BodyModel | None) -> PlacedBodies:
        if source is None:
            there, joints = _has_joints(some), torch.from_numpy(some.joints)
            body = _without_shape(self.target, params)
            if bool(there.any()):
                joints = joints - joints[:, :1] + params.transl[:, None]  # some files have them about the root
                body = by_joints(self.target, params.rotmats, joints.nan_to_num()).where(there, body)
            return PlacedBodies(body, posed_joints(self.target, body), posed_keypoints(self.target, body))
        same = source.skeleton_hash == self.target.skeleton_hash
        body = params if same else retarget(source, params, self.target)
        return PlacedBodies(body, posed_joints(source, params), posed_keypoints(source, params))

    def _boxes(
        self, some: Labels, placed: PlacedBodies, keypoints: Tensor, confidence: Tensor, K: Tensor
    ) -> Float[Tensor, "n 4"]:
        if self.setting.crop == "true_joints":
            joints = project(placed.joints[:, :NUM_JOINTS], K)
            low, high = joints.amin(1), joints.amax(1)
            half = (high - low).amax(-1, keepdim=True) / 2 * self.setting.crop_scale / CROP_MARGIN
            return torch.cat([(low + high) / 2 - half, (low + high) / 2 + half], dim=-1)
        given = torch.from_numpy(some.box)
        return torch.where(torch.isfinite(given), given, keypoint_box(keypoints, confidence))

    def _with_pixels(self, some: Labels, seen: Observation) -> Observation:
        side = self.setting.crop_side
        if side is None:
            return seen
        crops, opened, name = torch.zeros(len(some), 3, side, side, dtype=torch.uint8), None, ""
        for row in range(len(some)):
            if opened is None or some.image[row] != name:
                name = str(some.image[row])
                opened = self._opened(name, some.size[row], str(some.name[row]))
            box = scaled_pixels(seen.box[row].view(2, 2), opened.scale).flatten()
            crops[row] = crop_of(opened.rgb, box.tolist(), side)
        return replace(seen, crop=crops, has_crop=torch.ones(len(some), dtype=torch.bool))

    def _opened(self, name: str, size: np.ndarray, record: str) -> LoadedImage:
        try:
            image = load_image(path_below(self.images, name))
        except WrongRecordError as error:
            raise InputError(f"{self.name}: record '{record}' {error}") from error
        width, height = image.original_size
        if np.isfinite(size).all() and (width, height) != tuple(size.astype(int)):
            raise InputError(
                f"{self.name}: the image of '{record}' has {width} x {height} pixels, its annotation says "
                f"{int(size[0])} x {int(size[1])}: it is another photo, or was resized"
            )
        return image

    def masks(self) -> Mapping[str, Bool[Tensor, " n"]]:
        """None."""
        return {}

    def first(self, persons: int) -> AdaptedPersons:
        """The first so many; the hash is then of these."""
        return replace(self, labels=self.labels[:persons], transl=self.transl[:persons])

    def __len__(self) -> int:
        return len(self.labels)


Reader = Callable[[Path, str, Faults], tuple[Labels, Path]]
"""`(folder, split, faults) -> (labels, folder of images)`."""


def adapted(
    card: DatasetCard, read: Reader, folder: Path, split: str, setting: DatasetSetting,
    meshes: Callable[[Labels], Tensor] | None = None,
) -> AdaptedPersons:  # fmt: skip
    """The persons of a split, checked: impossible records, missing photos and bodies behind the camera are left out.

    Raises InputError where the folder is none of this data set, nothing is left, or the body is of another family.
    """
    faults = Faults()
    labels, images = read(folder, split, faults)
    bodies = None if setting.label_body is None else LabelBodies.open(setting.label_body)
    if bodies is not None:
        bodies.require(card.family, f"{card.name}/{split}")
    labels = usable(labels[:: setting.every], faults)
    if setting.crop_side is not None:
        labels = _with_photos(labels, images, faults)
    target = load_free_body("3k5") if setting.body is None else setting.body
    if bodies is None and target.skeleton_hash != load_free_body("3k5").skeleton_hash:
        raise InputError(
            f"{card.name}/{split}: its labels are poses of {card.family}, and no body file of it was given; expected "
            "one, or a folder with one for each gender"
        )
    transl = _places(card, labels, bodies, setting, target)
    transl, labels = _in_front(transl, labels, bodies, faults)
    if len(labels) == 0:
        reasons = f": {'; '.join(faults.sentences())}" if faults.total else ""
        raise InputError(f"{folder}: no record of {card.name}/{split} can be used{reasons}")
    faults.warn(f"{card.name}/{split}")
    return AdaptedPersons(card, split, labels, transl, bodies, target, setting, images, faults, meshes)


def _with_photos(labels: Labels, images: Path, faults: Faults) -> Labels:
    there, seen = np.zeros(len(labels), bool), {}
    for row in range(len(labels)):
        name = str(labels.image[row])
        if name not in seen:
            seen[name] = _why_no_photo(images, name)
        if seen[name] is None:
            there[row] = True
        else:
            faults.add(str(labels.name[row]), str(seen[name]))
    return labels[there]


def _why_no_photo(images: Path, name: str) -> str | None:
    if not name:
        return "names no image"
    try:
        return None if path_below(images, name).is_file() else "has an image that is not there"
    except WrongRecordError:
        return "has a path that leads out of the data set's folder"


def cameras(some: Labels) -> tuple[Float[Tensor, "n 3 3"], Bool[Tensor, " n"]]:
    """Intrinsics, guessed from the size of the image where the file does not say, and whether it does."""
    K = torch.from_numpy(some.K.copy())
    knows = torch.isfinite(K).all(-1).all(-1)
    for row in (~knows).nonzero()[:, 0].tolist():
        width, height = some.size[row].tolist()
        focal = math.hypot(width, height)  # as `estimate_intrinsics`
        K[row] = torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return K, knows


def _by_body(
    some: Labels, bodies: LabelBodies | None, setting: DatasetSetting
) -> list[tuple[np.ndarray, BodyModel | None]]:
    """Rows, and the body that they belong to."""
    if bodies is None:
        return [(np.arange(len(some)), None)]
    if setting.gender == "neutral":
        return [(np.arange(len(some)), bodies.of("neutral"))]
    codes = np.unique(some.gender)
    return [(np.flatnonzero(some.gender == code), bodies.of(GENDERS[code])) for code in codes] or [
        (np.arange(0), bodies.of("neutral"))
    ]


def _in_cam(some: Labels, transl: Float[Tensor, "n 3"]) -> BodyParams:
    """Parameters whose root and place are in `cam`."""
    rotmats = rotvec_to_rotmat(torch.from_numpy(some.poses))
    root = torch.from_numpy(some.R_cam_file) @ rotmats[:, 0]
    return BodyParams(root, rotmats[:, 1:], torch.from_numpy(some.betas), transl)


def _without_shape(target: BodyModel, params: BodyParams) -> BodyParams:
    """The mean shape with its pelvis where `params.transl` says."""
    betas = torch.zeros(len(params.transl), target.num_betas)
    return replace(params, betas=betas, transl=params.transl - rest_joints(target, betas)[:, 0])


def _places(
    card: DatasetCard, labels: Labels, bodies: LabelBodies | None, setting: DatasetSetting, target: BodyModel
) -> Float[Tensor, "n 3"]:
    """`AdaptedPersons.transl`, from whatever the file gives: a translation, the pelvis, or points in the image."""
    transl = torch.full((len(labels), 3), torch.nan)
    for first in range(0, len(labels), _ROWS_AT_ONCE):
        some = labels[first : first + _ROWS_AT_ONCE]
        for rows, source in _by_body(some, bodies, setting):
            transl[first + torch.from_numpy(rows)] = _place(card, some[rows], source, target)
    return transl


def _place(card: DatasetCard, some: Labels, source: BodyModel | None, target: BodyModel) -> Float[Tensor, "n 3"]:
    given, pelvis = torch.from_numpy(some.transl), torch.from_numpy(some.pelvis)
    if source is None:
        rest = torch.tensor(MEAN_REST_PELVIS[card.family]).expand(len(some), 3)
    else:
        rest = rest_joints(source, torch.from_numpy(some.betas))[:, 0]
    R, t = torch.from_numpy(some.R_cam_file), torch.from_numpy(some.t_cam_file)
    moved = (R @ (given + rest)[..., None])[..., 0] + t  # where the pelvis is
    given_pelvis = torch.isfinite(pelvis).all(-1, keepdim=True)
    use = given_pelvis & ~torch.isfinite(moved).all(-1, keepdim=True) if source is not None else given_pelvis
    moved = torch.where(use, pelvis, moved)  # without the body its rest pelvis is a guess, so the joint itself counts
    unplaced = ~torch.isfinite(moved).all(-1)
    if bool(unplaced.any()):
        rows = unplaced.numpy()
        moved[unplaced] = _by_points(some[rows], rest[unplaced], source, target)
    return moved if source is None else moved - rest


def _by_points(
    some: Labels, rest: Float[Tensor, "n 3"], source: BodyModel | None, target: BodyModel
) -> Float[Tensor, "n 3"]:
    """Where the pelvis is, so that joints and surface keypoints fall on what the file marks in the image."""
    params = _in_cam(some, -rest)
    body = _without_shape(target, params.with_transl(torch.zeros_like(rest))) if source is None else params
    model = target if source is None else source
    points = torch.from_numpy(np.concatenate([some.points, some.keypoints], axis=1))
    weights = torch.cat([torch.isfinite(points[:, :29]).all(-1).float(), torch.from_numpy(some.confidence)], dim=1)
    K, _ = cameras(some)
    tangents = (points.nan_to_num() - K[:, None, :2, 2]) / K[:, [0, 1], [0, 1]][:, None]
    own, there = torch.from_numpy(some.joints[:, :NUM_JOINTS]), _has_joints(some)[:, None, None]
    joints = posed_joints(model, body)
    if source is None:  # the file's own joints are those that its points mark; another skeleton's are elsewhere
        own = (own - own[:, :1]).nan_to_num()
        joints = torch.cat([torch.where(there, own, joints[:, :NUM_JOINTS]), joints[:, NUM_JOINTS:]], dim=1)
        weights = torch.where(there[..., 0] & (torch.arange(56) >= NUM_JOINTS), 0.0, weights)
    shape = torch.cat([joints, posed_keypoints(model, body)], dim=1)
    return solve_translation(shape, tangents, weights)


def _in_front(
    transl: Float[Tensor, "n 3"], labels: Labels, bodies: LabelBodies | None, faults: Faults
) -> tuple[Float[Tensor, "n 3"], Labels]:
    """Those whose place is finite and in front of the camera."""
    ahead = (torch.isfinite(transl).all(-1) & (transl[:, 2] > 0)).numpy()
    if ahead.all():
        return transl, labels  # no copy of all columns
    for row in np.flatnonzero(~ahead):
        faults.add(str(labels.name[row]), "stands behind the camera, or nowhere")
    return transl[torch.from_numpy(ahead)], labels[ahead]


def _has_joints(some: Labels) -> Bool[Tensor, " n"]:
    return torch.from_numpy(np.isfinite(some.joints[:, :NUM_JOINTS]).all((1, 2)))


def _observed(
    some: Labels, surface: Float[Tensor, "n 27 3"], K: Float[Tensor, "n 3 3"]
) -> tuple[Float[Tensor, "n 27 2"], Float[Tensor, "n 27"]]:
    """Keypoints of the file; for persons without any, the true surface keypoints that lie in the image."""
    keypoints, confidence = torch.from_numpy(some.keypoints), torch.from_numpy(some.confidence)
    true = project(surface, K)
    size = torch.from_numpy(some.size)[:, None]
    outside = (true < -0.5) | (true > torch.where(torch.isfinite(size), size, torch.inf) - 0.5)
    seen = ((surface[..., 2] > 0) & ~outside.any(-1)).float()
    none = (confidence == 0).all(1, keepdim=True)
    confidence = torch.where(none, seen, confidence)
    keypoints = torch.where(none[..., None], true, keypoints)
    return torch.where((confidence > 0)[..., None], keypoints, 0.0).contiguous(), confidence
