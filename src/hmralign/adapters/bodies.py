"""The bodies that labels belong to: files of the user's, one for all or one for each gender.

Pose and shape of SMPL say nothing without its file, which nobody may pass on. Without one, labels can still be carried
over to the free body by their rotations and by the joints that many files keep beside them (`by_joints`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.adapters.labels import GENDERS, Gender
from hmralign.body.body_file import BodyFamily, load_body_and_family
from hmralign.body.lbs import posed_joints
from hmralign.body.model import BodyModel
from hmralign.body.retarget import BONE_SPANS, SHARED_JOINTS, fit_betas, span_lengths
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.structures import BodyParams, InputError

MEAN_REST_PELVIS: dict[BodyFamily, tuple[float, float, float]] = {
    "smpl": (-0.0018, -0.2233, 0.0282),
    "smplh": (-0.0018, -0.2233, 0.0282),
    "smplx": (0.0031, -0.3514, 0.0120),
    "free": (0.0, 0.0, 0.0),
}
"""Pelvis of the neutral body of mean shape at rest, metres; used only where there is no body file."""

_SHARED = tuple(joint for joint in SHARED_JOINTS if joint < NUM_JOINTS)


@dataclass(frozen=True)
class LabelBodies:
    """Bodies by gender, all of one family."""

    family: BodyFamily
    by_gender: dict[Gender, BodyModel]

    @staticmethod
    def open(path: Path) -> LabelBodies:
        """A body file, or a folder with one for some of neutral, male and female.

        Raises InputError as `load_body`, for a folder without any, with two of one gender, or of several families.
        """
        if not path.is_dir():
            model, family = _loaded(path)
            return LabelBodies(family, {"neutral": model})
        found: dict[Gender, Path] = {}
        for file in sorted(path.iterdir()):
            gender = _gender_of(file)
            if gender is None:
                continue
            if gender in found:
                raise InputError(f"{path}: has two {gender} bodies, {found[gender].name} and {file.name}")
            found[gender] = file
        if not found:
            raise InputError(f"{path}: holds no body file (.pkl or .npz) that is named neutral, male or female")
        bodies, families = {}, {}
        for gender, file in found.items():
            bodies[gender], families[gender] = _loaded(file)
        if len(set(families.values())) > 1:
            raise InputError(f"{path}: holds bodies of several families: {families}; expected one")
        return LabelBodies(next(iter(families.values())), bodies)

    def of(self, gender: Gender) -> BodyModel:
        """The body of a gender; where there is no file of it the neutral one, or the only one."""
        return self.by_gender.get(gender) or self.by_gender.get("neutral") or next(iter(self.by_gender.values()))

    def require(self, family: BodyFamily, where: str) -> None:
        """Raise InputError where labels are of another family: betas of one mean nothing in another."""
        if self.family not in (family, "free"):
            raise InputError(f"{where}: its labels are of {family}, and the body file is of {self.family}")

    def words(self) -> str:
        """For the records."""
        return ", ".join(f"{gender} {self.by_gender[gender].name}" for gender in GENDERS if gender in self.by_gender)


def _loaded(path: Path) -> tuple[BodyModel, BodyFamily]:
    """A body file, kept in memory: several data sets of a run have the same. Raises InputError as `load_body`."""
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); expected a body file") from error
    return _kept(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _kept(path: Path, changed: int, size: int) -> tuple[BodyModel, BodyFamily]:
    return load_body_and_family(path)


def _gender_of(file: Path) -> Gender | None:
    """What a file name says; None for what is no body file, or does not say."""
    if file.suffix.lower() not in (".pkl", ".npz"):
        return None
    name = file.stem.lower()
    for word in ("neutral", "female", "male"):  # "female" before "male", which it contains
        if word in name:
            return word
    letters = {"_f_": "female", "_m_": "male", "_n_": "neutral"}
    return next((gender for mark, gender in letters.items() if mark in f"_{name}_"), None)  # type: ignore[return-value]


def by_joints(target: BodyModel, rotmats: Float[Tensor, "n 24 3 3"], joints: Float[Tensor, "n 29 3"]) -> BodyParams:
    """The free body in given rotations whose limbs are as long as those between given joints, placed on them.

    Only thighs, shanks and arms of the first 24 joints count (`BONE_SPANS`); the place is a least squares fit on joints
    that mean the same in all skeletons.
    """
    betas = fit_betas(target, span_lengths(joints[:, :NUM_JOINTS], BONE_SPANS), BONE_SPANS)
    unmoved = BodyParams(rotmats[:, 0], rotmats[:, 1:], betas, torch.zeros_like(joints[:, 0]))
    gap = joints[:, list(_SHARED)] - posed_joints(target, unmoved)[:, list(_SHARED)]
    return unmoved.with_transl(gap.mean(1))
