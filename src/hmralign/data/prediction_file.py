"""Predictions of other systems from a file: disk -> hypotheses as they gave them, and what was seen of the persons.

Format (npz, no pickles), P persons with H hypotheses each; frame `cam` (x right, y down, z forward), metres, radians,
pixels of the full image. `docs/prediction_files.md` says which output of which system goes where.

    array                    shape                    meaning
    id                       (P,) text                name of each person, no two the same
    skeleton                 text                     "smpl", or "free" for the free body
    global_orient            (P, H, 3, 3) | (P, H, 3) rotation matrices or rotation vectors, SMPL's joint order
    body_pose                (P, H, 23, 3, 3) | (P, H, 69) | (P, H, 23, 3)
    betas                    (P, H, up to 10)         of that skeleton; optional
    transl                   (P, H, 3)                what is added to the body's joints and vertices; or instead:
    pred_cam                 (P, H, 3)                weak perspective (s, tx, ty) of a crop, with the next four
    box_center, box_size     (P, 2), (P,)             of the square crop, pixels
    focal_px, image_size     (P,), (P, 2)             focal length; width and height
    joints                   (P, H, 24, 3)            SMPL's joints as the system itself predicts them; optional where
                                                      there are rotations, which may be absent where there are joints
    rest_joints              (P, H, 24, 3)            the same unposed, shaped, not moved; optional
    keypoints, confidence    (P, N, 2), (P, N)        N = 17 (COCO), 23 (with feet), 27 (`KEYPOINT_NAMES`)
    box                      (P, 4)                   x0, y0, x1, y1; default: around the keypoints (`keypoint_box`)
    K                        (P, 3, 3)                intrinsics of the full image, in which the predictions stand
    knows_camera             (P,) true or false       whether K is known rather than guessed; default: true
    mask                     (P, 48, 48)              as in `Observation`, 0 to 1, or bytes; all zeros: none
    detector                 text                     whose keypoints these are; default: nobody's in particular
    image                    (P,) text                which photo each person is in; optional

Files that other systems write themselves are read by `hmralign.adapters.predictions`, into the same structure.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.npz_file import npz_sizes, read_npz
from hmralign.body.skeleton import NUM_BETAS, NUM_JOINTS, NUM_KEYPOINTS
from hmralign.data.keypoint_box import keypoint_box
from hmralign.geometry.crop_camera import crop_translation
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import MASK_SIZE, InputError, Observation
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

Skeleton = Literal["smpl", "free", "smplx", "mhr"]
"""Whose body was predicted; this format has the first two. Of MHR joints and surface points are known, no rotations."""

KEYPOINT_COUNTS = (17, 23, 27)
"""COCO, COCO with feet, and all of `KEYPOINT_NAMES`: each is the beginning of the next."""

UNKNOWN_DETECTOR = "unknown"
"""Keypoints of nobody in particular: generic noise, no landmark offsets."""

_CROP = ("box_center", "box_size", "focal_px", "image_size")
_REQUIRED = ("id", "skeleton", "keypoints", "confidence", "K")
_OPTIONAL = (
    "global_orient", "body_pose", "betas", "transl", "pred_cam", *_CROP, "joints", "rest_joints", "box", "knows_camera",
    "mask", "detector", "image",
)  # fmt: skip
MAX_PERSONS, MAX_BODIES = 200_000, 1_000_000
"""Persons, and hypotheses of all of them, in one file: what may take some GB of memory."""

_NOT_A_ROTATION = 1e-3
_VALUES_AT_ONCE = 2**18
"""Numbers that are worked on together. What is made of them in between is a megabyte or a few, which is used again for
the next ones; of a whole file it would be fetched from the system anew each time, which costs more than the work."""
_BYTES_AT_ONCE = 2**20
_CAMERA_SHARE, _CAMERA_PX = 0.01, 1.0
"""How far K may be from the camera of `pred_cam`: its focal length, and the centre of its image."""
_FAR_FROM_PELVIS = 0.6
"""Metres between `transl` and the pelvis: 0.23 in SMPL at rest."""


@dataclass(frozen=True)
class PredictionFile:
    """What a file holds. Frame `cam`, metres; None for what it does not give. Rotations or joints are always there.

    `betas` are those of `skeleton`, filled with zeros to 10. `transl` is added to the body's rest pelvis, which in SMPL
    is not the origin. One hypothesis per person is enough to look at, but makes no preference group.
    """

    path: Path
    sha256: str
    ids: tuple[str, ...]
    skeleton: Skeleton
    observation: Observation
    rotmats: Float[Tensor, "person hyp 24 3 3"] | None
    betas: Float[Tensor, "person hyp 10"] | None
    transl: Float[Tensor, "person hyp 3"] | None
    joints: Float[Tensor, "person hyp 24 3"] | None
    rest_joints: Float[Tensor, "person hyp 24 3"] | None
    detector: str = UNKNOWN_DETECTOR
    surface: Float[Tensor, "person hyp 27 3"] | None = None
    """Surface keypoints as the system predicts them, which bodies of another kind are fitted to."""
    images: tuple[str, ...] = ()
    """Which photo each person is in, as the file names it; empty where it does not say."""
    format: str = "npz"
    """Name of the format; one of `adapters.predictions.names.FORMATS`, or `npz`, this one."""
    assumed: tuple[str, ...] = ()
    """What the file does not say and was assumed, a sentence each."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_hypotheses(self) -> int:
        """Hypotheses per person."""
        given = self.rotmats if self.joints is None else self.joints
        assert given is not None
        return given.shape[1]

    def __getitem__(self, index: slice) -> PredictionFile:
        """Some of the persons."""
        parts = {
            name: None if (value := getattr(self, name)) is None else value[index]
            for name in (
                "ids", "observation", "rotmats", "betas", "transl", "joints", "rest_joints", "surface", "images",
            )
        }  # fmt: skip
        return replace(self, **parts)


def read_predictions(path: str | Path) -> PredictionFile:
    """Read a file whole.

    Raises InputError naming file, array and person: missing or unknown arrays, wrong shapes or types, pickles, values
    that are not finite, names given twice, matrices that are no rotations, persons without a keypoint, a camera that
    is none or is not that of `pred_cam`, bodies behind the camera, joints that are not where the translation is.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file of predictions")
    reader = _Reader(path)
    ids, skeleton, detector = reader.ids, reader.text("skeleton"), reader.text("detector", UNKNOWN_DETECTOR)
    if skeleton not in ("smpl", "free"):
        raise InputError(f"{path}: 'skeleton' is '{shown(skeleton)}', expected 'smpl' or 'free'")
    if detector.endswith(".npz"):
        raise InputError(f"{path}: 'detector' is '{shown(detector)}', expected a name, not a file")
    rotmats, joints = _rotations(reader), reader.numbers("joints", (NUM_JOINTS, 3), hyp=True)
    if rotmats is None and joints is None:
        raise InputError(f"{path}: has neither rotations ('global_orient', 'body_pose') nor 'joints'; expected some")
    observation = _observation(reader)
    transl = _translation(reader, observation.K)
    if transl is None and joints is None:
        raise InputError(f"{path}: lacks 'transl' or 'pred_cam'; expected one, as there are no 'joints'")
    _check_places(reader, transl, joints)
    rest_joints = reader.numbers("rest_joints", (NUM_JOINTS, 3), hyp=True)
    return PredictionFile(
        path, file_sha256(path), ids, cast(Skeleton, skeleton), observation, rotmats,
        _betas(reader), transl, joints, rest_joints, detector, images=reader.texts("image"),
    )  # fmt: skip


def file_sha256(path: Path) -> str:
    """Hash of a file, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_BYTES_AT_ONCE):
            digest.update(part)
    return digest.hexdigest()


def _parts(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Slices of some rows of all of them, as many as are worked on together; the first one has the most numbers."""
    rows = max(1, _VALUES_AT_ONCE // max(1, tensors[0][:1].numel()))
    return zip(*(tensor.split(rows) for tensor in tensors), strict=True)


class _Reader:
    """The arrays of one file, checked as they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        sizes = npz_sizes(path)
        if missing := [name for name in _REQUIRED if name not in sizes]:
            raise InputError(f"{path}: lacks {missing}, which every file of predictions has")
        if unknown := [name for name in sizes if name not in (*_REQUIRED, *_OPTIONAL)]:
            raise InputError(f"{path}: has the arrays {shown(unknown)}, which mean nothing here; leave them out")
        self.arrays = self._read(path)
        self.ids = self._ids()
        self.hypotheses: int | None = None

    def _read(self, path: Path) -> dict[str, np.ndarray]:
        try:
            return read_npz(path)
        except InputError as error:
            raise InputError(f"an array cannot be read, expected numbers or text: {error}") from error

    def _ids(self) -> tuple[str, ...]:
        ids = self.arrays["id"]
        if ids.dtype.kind != "U" or ids.ndim != 1 or len(ids) == 0:
            raise InputError(f"{self.path}: 'id' is {ids.dtype} of shape {ids.shape}, expected text of shape (P,)")
        if len(ids) > MAX_PERSONS:
            raise InputError(
                f"{self.path}: has {counted(len(ids), 'person')}, expected at most {MAX_PERSONS} in one file"
            )
        names = ids.tolist()
        if len(set(names)) != len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise InputError(f"{self.path}: 'id' names '{shown(twice)}' twice; expected one entry per person")
        return tuple(names)

    def text(self, name: str, default: str = "") -> str:
        array = self.arrays.get(name)
        if array is None:
            return default
        if array.dtype.kind != "U" or array.ndim != 0:
            raise InputError(f"{self.path}: '{name}' is {array.dtype} of shape {array.shape}, expected one text")
        return str(array)

    def texts(self, name: str) -> tuple[str, ...]:
        array = self.arrays.get(name)
        if array is None:
            return ()
        if array.dtype.kind != "U" or array.shape != (len(self.ids),):
            raise InputError(f"{self.path}: '{name}' is {array.dtype} of shape {array.shape}, expected text (P,)")
        return tuple(array.tolist())

    def numbers(self, name: str, shape: tuple[int, ...], *, hyp: bool = False) -> Tensor | None:
        """(P, *shape) or (P, H, *shape), finite, float32; None where the file does not have it."""
        if name not in self.arrays:
            return None
        array = self.raw(name, [shape], hyp=hyp)
        values = torch.from_numpy(array.astype(np.float32, copy=False))
        self.refuse(values, lambda v: ~torch.isfinite(v), name, "is not finite; expected numbers everywhere")
        return values

    def raw(self, name: str, shapes: Sequence[tuple[int, ...]], *, hyp: bool) -> np.ndarray:
        """The array, of one of the shapes behind (P,) or (P, H)."""
        array = self.arrays[name]
        if hyp and self.hypotheses is None and array.ndim >= 2:
            self.hypotheses = count = array.shape[1]  # of the first such array, which the others have to fit
            if count * len(self.ids) > MAX_BODIES:
                raise InputError(
                    f"{self.path}: '{name}' has {counted(count, 'hypothesis')} of "
                    f"{counted(len(self.ids), 'person')}, expected at most "
                    f"{MAX_BODIES} bodies in one file"
                )
        lead = [len(self.ids), self.hypotheses] if hyp else [len(self.ids)]
        if array.dtype.kind not in "iufb" or array.shape not in [(*lead, *s) for s in shapes] or 0 in array.shape:
            expected = " or ".join(str((*("PH"[: len(lead)]), *s)).replace("'", "") for s in shapes)
            counts = f"P = {lead[0]}" + (f", H = {lead[1]}" if hyp and lead[1] else "")
            raise InputError(
                f"{self.path}: '{name}' is {array.dtype} of shape {array.shape}, expected numbers {expected}, {counts}"
            )
        return array

    def refuse(self, values: Tensor, is_wrong: Callable[[Tensor], Tensor], name: str, what: str) -> None:
        """Raises InputError naming the first person of whose `values` (P, ...) anything is wrong."""
        first = 0
        for (some,) in _parts(values):
            bad = is_wrong(some).reshape(len(some), -1).any(1)
            if bool(bad.any()):
                person = self.ids[first + int(bad.nonzero()[0])]
                raise InputError(f"{self.path}: '{name}' of person '{shown(person)}' {what}")
            first += len(some)


def _rotations(reader: _Reader) -> Tensor | None:
    """(P, H, 24, 3, 3), from matrices or vectors."""
    names = ("global_orient", "body_pose")
    there = [name for name in names if name in reader.arrays]
    if len(there) == 1:
        raise InputError(f"{reader.path}: has '{there[0]}' alone; expected both of 'global_orient' and 'body_pose'")
    if not there:
        return None
    rotmats, first = torch.empty(0), 0
    for name, count in zip(names, (1, NUM_JOINTS - 1), strict=True):
        vectors = [(3,)] if count == 1 else [(3 * count,), (count, 3)]
        matrices = (3, 3) if count == 1 else (count, 3, 3)
        shape = reader.raw(name, [matrices, *vectors], hyp=True).shape
        values = reader.numbers(name, shape[2:], hyp=True)
        assert values is not None
        if first == 0:
            rotmats = torch.empty(*shape[:2], NUM_JOINTS, 3, 3)
        is_matrices = shape[2:] == matrices
        if is_matrices:
            reader.refuse(values, _is_no_rotation, name, "has a matrix that is no rotation; expected orthonormal, "
                          "determinant 1")  # fmt: skip
        for into, some in _parts(rotmats[:, :, first : first + count], values):
            into.copy_(some.reshape(into.shape) if is_matrices else rotvec_to_rotmat(some.reshape(into.shape[:-1])))
        first += count
    return rotmats


def _is_no_rotation(matrices: Float[Tensor, "*batch 3 3"]) -> Bool[Tensor, "*batch"]:
    away = (matrices @ matrices.mT - torch.eye(3)).abs().amax((-2, -1)) > _NOT_A_ROTATION
    return away | (torch.linalg.det(matrices) < 0)


def _betas(reader: _Reader) -> Tensor | None:
    given = reader.arrays.get("betas")
    if given is None:
        return None
    count = given.shape[-1] if given.ndim == 3 else NUM_BETAS
    if count > NUM_BETAS:
        raise InputError(f"{reader.path}: 'betas' has {count} components, expected at most {NUM_BETAS}")
    values = reader.numbers("betas", (count,), hyp=True)
    assert values is not None
    return torch.nn.functional.pad(values, (0, NUM_BETAS - count))


def _translation(reader: _Reader, K: Tensor) -> Tensor | None:
    """`transl`, or that of `pred_cam` in the camera K."""
    if "pred_cam" not in reader.arrays:
        if extra := [name for name in _CROP if name in reader.arrays]:
            raise InputError(f"{reader.path}: has '{extra[0]}', which belongs to 'pred_cam', and no 'pred_cam'")
        return reader.numbers("transl", (3,), hyp=True)
    if "transl" in reader.arrays:
        raise InputError(f"{reader.path}: has both 'transl' and 'pred_cam'; expected one")
    if missing := [name for name in _CROP if name not in reader.arrays]:
        raise InputError(f"{reader.path}: lacks {missing}, which 'pred_cam' needs")
    pred_cam = reader.numbers("pred_cam", (3,), hyp=True)
    center, image = reader.numbers("box_center", (2,)), reader.numbers("image_size", (2,))
    size, focal = reader.numbers("box_size", ()), reader.numbers("focal_px", ())
    assert pred_cam is not None and center is not None and image is not None and size is not None and focal is not None
    for name, values in (("box_size", size), ("focal_px", focal), ("image_size", image)):
        reader.refuse(values, lambda v: v <= 0, name, "is not positive")
    reader.refuse(pred_cam[..., 0], lambda s: s <= 0, "pred_cam", "has a scale that is not positive")
    other = ((K[:, [0, 1], [0, 1]] / focal[:, None] - 1).abs() > _CAMERA_SHARE) | (
        (K[:, :2, 2] - image / 2).abs() > _CAMERA_PX
    )
    reader.refuse(
        other,
        torch.Tensor.bool,
        "K",
        "is not the camera of 'pred_cam': expected focal length 'focal_px', centre of the image",
    )
    return crop_translation(pred_cam, center[:, None], size[:, None], focal[:, None], image[:, None] / 2)


def _observation(reader: _Reader) -> Observation:
    persons = len(reader.ids)
    count = reader.raw("keypoints", [(n, 2) for n in KEYPOINT_COUNTS], hyp=False).shape[1]
    keypoints, confidence = reader.numbers("keypoints", (count, 2)), reader.numbers("confidence", (count,))
    K, box = reader.numbers("K", (3, 3)), reader.numbers("box", (4,))
    assert keypoints is not None and confidence is not None and K is not None
    reader.refuse(confidence, lambda c: (c < 0) | (c > 1), "confidence", "is outside of 0 to 1")
    reader.refuse(confidence, lambda c: (c == 0).all(1), "confidence",
                  "is 0 everywhere; a person without keypoints gives no group")  # fmt: skip
    reader.refuse(K, _is_no_camera, "K", "is no camera; expected [[f, 0, x], [0, f, y], [0, 0, 1]] with positive f")
    keypoints = torch.nn.functional.pad(keypoints, (0, 0, 0, NUM_KEYPOINTS - count))
    confidence = torch.nn.functional.pad(confidence, (0, NUM_KEYPOINTS - count))
    if box is None:
        box = torch.cat([keypoint_box(*some) for some in _parts(keypoints, confidence)])
    reader.refuse(
        box, lambda b: b[:, 2:] <= b[:, :2], "box", "is empty; expected (x0, y0, x1, y1) with x1 > x0, y1 > y0"
    )
    knows = reader.numbers("knows_camera", ())
    mask, has_mask = _masks(reader)
    return Observation(
        keypoints, confidence, box, K, torch.ones(persons).bool() if knows is None else knows != 0, mask, has_mask
    )


def _is_no_camera(K: Float[Tensor, "person 3 3"]) -> Bool[Tensor, " person"]:
    return (K[:, [0, 1], [0, 1]] <= 0).any(1) | (K[:, 2] != torch.tensor([0.0, 0.0, 1.0])).any(1)


def _masks(reader: _Reader) -> tuple[Float[Tensor, "person side side"], Bool[Tensor, " person"]]:
    """Masks, 0 to 1, and who has one. Where nobody has, all of them are one empty mask in memory."""
    side, persons = (MASK_SIZE, MASK_SIZE), len(reader.ids)
    if "mask" not in reader.arrays:
        return torch.zeros(1, *side).expand(persons, *side), torch.zeros(persons, dtype=torch.bool)
    mask = reader.numbers("mask", side)
    assert mask is not None
    as_bytes = reader.arrays["mask"].dtype == np.uint8
    there = []
    for (some,) in _parts(mask):
        if as_bytes:
            some /= 255
        there.append((some > 0).flatten(1).any(1))
    reader.refuse(mask, lambda m: (m < 0) | (m > 1), "mask", "is outside of 0 to 1")
    return mask, torch.cat(there)


def _check_places(reader: _Reader, transl: Tensor | None, joints: Tensor | None) -> None:
    """Most files go wrong here: joints relative to the pelvis, or of another camera than the translation."""
    if transl is not None:
        name = "pred_cam" if "pred_cam" in reader.arrays else "transl"
        reader.refuse(
            transl, lambda t: t[..., 2] <= 0, name,
            "is behind the camera; expected z > 0, frame x right, y down, z forward",
        )  # fmt: skip
    if joints is None:
        return
    if transl is not None:
        reader.refuse(joints[:, :, 0] - transl, lambda gap: gap.norm(dim=-1) > _FAR_FROM_PELVIS, "joints",
                      "are not where the translation is; expected them in the camera frame, moved")  # fmt: skip
    reader.refuse(joints[:, :, 0], lambda pelvis: pelvis[..., 2] <= 0, "joints",
                  "have the pelvis behind the camera; expected z > 0, camera frame")  # fmt: skip
