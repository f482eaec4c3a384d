"""A refined person as a user holds it in Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import posed_joints, vertices
from hmralign.body.model import BodyModel
from hmralign.export.rotvec_params import rotvec_params
from hmralign.models.language.refiner_checkpoint import load_refiner
from hmralign.refinement.refine import RefineConfig, Refinement
from hmralign.structures import BodyParams, InputError
from hmralign.structures.errors import shown
from hmralign.systems.language_refinement.outputs import write_refined
from hmralign.systems.language_refinement.refined import RefinedPeople, RefinedPerson, refine_people
from hmralign.systems.language_refinement.starts import InitialPeople, of_recovered
from hmralign.systems.language_refinement.wishes import NOTHING_WANTED, TYPED, captioned, typed
from hmralign.systems.recover.people import RecoveredPhoto

Which = Literal["before", "after"]


class Refined:
    """One person before and after a refinement. Bodies are in the `cam` frame, metres, without a batch axis."""

    def __init__(self, people: RefinedPeople, model: BodyModel):
        self.model = model
        self._people = people

    @property
    def before(self) -> BodyParams:
        """The initial body: the fused answer."""
        return self._person.start.initial

    @property
    def body(self) -> BodyParams:
        """The refined body."""
        return self._person.body

    @property
    def refinement(self) -> Refinement:
        """Bodies and losses of every step, the initial body first."""
        return self._person.refinement

    @property
    def statements(self) -> dict[str, tuple[float, float]]:
        """What was wanted, by its id, with how true it is of the body before and after (0 to 1)."""
        return {name: (before, after) for name, before, after, _ in self._person.truths(self.model)}

    @property
    def notes(self) -> tuple[str, ...]:
        """What one must know of it: what was not understood, what does not hold."""
        return (*self._people.notes, *self._person.notes)

    def joints(self, which: Which = "after") -> Float[Tensor, "29 3"]:
        """Joints of one of the two bodies."""
        return posed_joints(self.model, self._params(which))

    def vertices(self, which: Which = "after") -> Float[Tensor, "vert 3"]:
        """Mesh of one of the two bodies; `faces` are `refined.model.faces`."""
        return vertices(self.model, self._params(which))

    def to_rotvec(self, which: Which = "after") -> dict[str, Float[Tensor, " values"]]:
        """SMPL-style parameters of one of the two bodies, as `Person.to_rotvec`."""
        return rotvec_params(self._params(which))

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write report, meshes, overlays and arrays into a new folder, whole or not at all."""
        made_by = {"command": "Person.refine"}
        return write_refined(Path(folder), self._people, self.model, made_by, overwrite=overwrite)

    @property
    def _person(self) -> RefinedPerson:
        return self._people.persons[0]

    def _params(self, which: Which) -> BodyParams:
        if which not in ("before", "after"):
            raise InputError(f"body {which!r} does not exist; expected 'before' or 'after'")
        return self.before if which == "before" else self.body

    def __repr__(self) -> str:
        said = ", ".join(f"{name} {100 * a:.0f} -> {100 * b:.0f} %" for name, (a, b) in self.statements.items())
        losses = self.refinement.keypoint_loss
        return (
            f"Refined({self._person.start.name}: keypoints {losses[0]:.2f} -> {losses[-1]:.2f}; {said or 'no words'})"
        )


def refine_recovered(
    photo: RecoveredPhoto,
    number: int,
    body: BodyModel,
    text: object = None,
    describe: object = "none",
    keypoint_weight: object = None,
    text_weight: object = None,
    refiner: object = None,
    seed: object = 0,
) -> Refined:
    """One person of a recovered photo, refined; arguments as users give them, of whatever kind.

    Raises InputError for arguments of another kind than `Person.refine` says, and as `refine_people` and `typed` do.
    """
    everybody = of_recovered(photo)
    person = everybody.persons[number]
    if text is not None and describe != "none":
        raise InputError("a text and a description are both given; expected one of them")
    if describe not in ("none", "caption"):
        raise InputError(f"describe is {shown(describe)}; expected 'none' or 'caption', or words as text")
    if refiner is not None and not isinstance(refiner, str | Path):
        raise InputError(f"refiner is {shown(refiner)}; expected 'refiner', or the path of a file")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 1 << 63:
        raise InputError(f"seed is {shown(seed)}; expected a whole number from 0 up")
    config = _config(text, keypoint_weight, text_weight)
    wish = typed(text) if text is not None else NOTHING_WANTED
    wish = captioned(person, body, seed) if describe == "caption" else wish
    alone = InitialPeople((person,), everybody.source, everybody.photo)
    weights = None if refiner is None else load_refiner(refiner, body.skeleton_hash)
    return Refined(refine_people(alone, [wish], body, config, refiner=weights, seed=seed), body)


def _config(text: object, keypoint_weight: object, text_weight: object) -> RefineConfig:
    """Settings of the kind of words, with the weights that are given."""
    config = RefineConfig() if text is None else TYPED
    weights: dict[str, float] = {}
    for name, value in (("keypoint_weight", keypoint_weight), ("text_weight", text_weight)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise InputError(f"{name} is {shown(value)}; expected a number from 0 up")
        weights[name] = float(value)
    return replace(config, pull=replace(config.pull, **weights))
