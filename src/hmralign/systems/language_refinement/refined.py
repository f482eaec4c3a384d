"""People refined by keypoints and by what is wanted of them.

initial people, wishes -> refinement of all of them at once -> bodies before, on the way and after
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import posed_joints, posed_keypoints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.fitting.person_fit import PersonFit
from hmralign.geometry.cameras import project
from hmralign.language.agreement import measure, statement_costs
from hmralign.language.statements import row_of
from hmralign.models.language.refiner import Refiner
from hmralign.models.person_frame import person_frame
from hmralign.refinement.energy import LEAST_KEYPOINTS
from hmralign.refinement.guide import Guide, StatementGuide
from hmralign.refinement.named_joints import named_joints
from hmralign.refinement.refine import RefineConfig, Refinement, refine
from hmralign.structures import BodyParams, InputError, Observation, PersonGroup
from hmralign.systems.language_refinement.latent_words import LatentWords
from hmralign.systems.language_refinement.starts import InitialPeople, InitialPerson
from hmralign.systems.language_refinement.wishes import (
    Wish,
    config_of,
    joints_and_rotmats,
    swapped_sides_note,
    weighed_by_group,
    without,
)

_MOST_MISSED = 4

FAR_OFF = 0.6
"""Median distance of the initial body's keypoints from the observed ones, in longer sides of the box, beyond which it
is the body of somebody else."""


@dataclass(frozen=True)
class RefinedPerson:
    """One person before and after; no batch axis but that of the steps, the initial body first."""

    start: InitialPerson
    wish: Wish
    refinement: Refinement
    notes: tuple[str, ...]

    @property
    def body(self) -> BodyParams:
        """The refined body, `cam` frame, metres."""
        return self.refinement.refined

    @property
    def wanted_text(self) -> bool:
        """Whether words pulled."""
        return self.wish.description is not None

    def truths(self, body: BodyModel) -> list[tuple[str, float, float, float]]:
        """Each statement: its id ("not: " before one that shall not hold), how true it is before and after, weight."""
        if self.wish.description is None:
            return []
        soft = [measure(*joints_and_rotmats(b, body))[0] for b in (self.start.initial, self.body)]
        rows = []
        for (statement, holds), weight in zip(self.wish.description.statements, self.wish.weights, strict=True):
            before, after = (float(s[row_of(statement)] if holds else 1 - s[row_of(statement)]) for s in soft)
            rows.append((statement if holds else f"not: {statement}", before, after, weight))
        return rows


@dataclass(frozen=True)
class RefinedPeople:
    """The people of a photo or of a file, refined."""

    people: InitialPeople
    persons: tuple[RefinedPerson, ...]
    config: RefineConfig
    notes: tuple[str, ...] = ()


def refine_people(
    people: InitialPeople,
    wishes: Sequence[Wish],
    body: BodyModel,
    config: RefineConfig | None = None,
    *,
    refiner: Refiner | None = None,
    latent: LatentWords | None = None,
    seed: int = 0,
) -> RefinedPeople:
    """Refine everybody, one wish for each; without a trained `refiner` offsets are believed to be normal.

    With `latent` a text space pulls as well, by the words of each wish.

    Raises InputError for nobody, for a person with neither keypoints nor wishes, an initial body that is not finite, or
    so far from the observed keypoints that it is of somebody else.
    """
    config = config or config_of(wishes)
    if not people.persons:
        raise InputError(f"{people.source} holds nobody to refine")
    wishes = [weighed_by_group(wish, person, body) for person, wish in zip(people.persons, wishes, strict=True)]
    for person, wish in zip(people.persons, wishes, strict=True):
        require_refinable(person, wish, body, config)
    persons = _refined(people, wishes, body, config, refiner, latent, seed)
    carried_out = [without(p.wish, contradicted(p, body, config)) for p in persons]
    if carried_out != wishes:
        persons = _refined(people, carried_out, body, config, refiner, latent, seed)
        rows = enumerate(zip(persons, wishes, strict=True))
        persons = tuple(_with_loss_of(wish, p, body, latent and latent.of([row])) for row, (p, wish) in rows)
    persons = tuple(
        replace(p, notes=(*_notes(p.start, wish, body), *unfulfilled_notes(p, body)))
        for p, wish in zip(persons, wishes, strict=True)
    )
    return RefinedPeople(people, persons, config, people.notes)


def _refined(
    people: InitialPeople,
    wishes: Sequence[Wish],
    body: BodyModel,
    config: RefineConfig,
    refiner: Refiner | None,
    latent: LatentWords | None,
    seed: int,
) -> tuple[RefinedPerson, ...]:
    """Everybody, without notes."""
    fit, initial, doubt = _together(people, body)
    wanted = torch.stack([wish.signs for wish in wishes])  # (B, statements)
    guide = StatementGuide(wanted, margin=torch.tensor([wish.margin for wish in wishes]))
    named = named_joints(wanted * (_costs(people, guide, body) > 0))
    draw = torch.Generator().manual_seed(seed)
    pulling = guide if latent is None else latent.beside(guide)
    found = refine(initial, fit, pulling, config, refiner=refiner, doubt=doubt, named=named, generator=draw)
    return tuple(
        RefinedPerson(person, wish, found[row], ())
        for row, (person, wish) in enumerate(zip(people.persons, wishes, strict=True))
    )


def _with_loss_of(wish: Wish, person: RefinedPerson, body: BodyModel, latent: LatentWords | None) -> RefinedPerson:
    """The person with the loss of all that was said, also of what was left out."""
    steps = person.refinement.steps
    guide: Guide = StatementGuide(wish.signs[None], margin=wish.margin)
    guide = guide if latent is None else latent.beside(guide)
    loss = guide.loss(posed_joints(body, steps)[:, :NUM_JOINTS], steps.rotmats)  # (step)
    return replace(person, refinement=replace(person.refinement, text_loss=loss))


def contradicted(person: RefinedPerson, body: BodyModel, config: RefineConfig) -> tuple[str, ...]:
    """Typed statements (ids) that do not hold of the refined body, where keypoints may speak against them.

    Half of what they want would be a limb that is neither where the photo shows it nor where the words have it.
    """
    seen = int((person.start.observation.confidence > 0).sum())
    if not person.wish.is_typed or config.pull.keypoint_weight == 0 or seen < LEAST_KEYPOINTS:
        return ()
    return tuple(name.removeprefix("not: ") for name, _, after, _ in person.truths(body) if after < 0.5)


def require_refinable(person: InitialPerson, wish: Wish, body: BodyModel, config: RefineConfig) -> None:
    """Raise InputError, naming the person, where there is nothing to refine, or nothing to refine it by."""
    for name, tensor in person.initial.tensors().items():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{person.name}: {name} of the initial body is not finite; expected numbers")
    seen = int((person.observation.confidence > 0).sum())
    by_keypoints = seen >= LEAST_KEYPOINTS and config.pull.keypoint_weight > 0
    by_words = wish.description is not None and config.pull.text_weight > 0
    if not by_keypoints and not by_words:
        weightless = ", whose weight is 0," if seen >= LEAST_KEYPOINTS else ""
        words = "no statement is wanted" if wish.description is None else "the weight of the words is 0"
        raise InputError(
            f"{person.name}: there is nothing to refine by: {seen} keypoints are observed{weightless} and {words}; "
            "expected keypoints, or words that say something of the pose"
        )
    if seen >= LEAST_KEYPOINTS and (away := keypoint_distance(person, body)) > FAR_OFF:
        raise InputError(
            f"{person.name}: the initial body lies {away:.1f} box sides off the observed keypoints; expected an answer "
            "for this person in this photo"
        )


def keypoint_distance(person: InitialPerson, body: BodyModel) -> float:
    """Median distance of the initial body's keypoints from the observed ones, in longer sides of the box.

    Infinite for a body that is not in front of the camera.
    """
    points = posed_keypoints(body, person.initial)
    seen = person.observation.confidence > 0
    if not bool((points[seen, 2] > 0).all()):
        return float("inf")
    pixels = project(points, person.observation.K)
    box = person.observation.box
    away = (pixels - person.observation.keypoints).norm(dim=-1)[seen].median()
    return float(away / (box[2:] - box[:2]).max())


def _together(people: InitialPeople, body: BodyModel) -> tuple[PersonFit, BodyParams, PersonGroup | None]:
    """Everybody as one batch, with the groups that their initial bodies come from where all have as many members."""
    persons = people.persons
    observation = Observation.stack([person.observation for person in persons])
    fit = PersonFit.of(body, observation, persons[0].noise)
    initial = BodyParams.stack([person.initial for person in persons])
    groups = [person.hypotheses for person in persons]
    sizes = {0 if group is None else len(group.transl) for group in groups}
    if len(sizes) > 1 or sizes <= {0, 1}:
        return fit, initial, None
    together = BodyParams.stack([group for group in groups if group is not None])
    turn = person_frame(observation).R_person_cam[:, None]
    rotmats = torch.cat([(turn @ together.global_orient)[:, :, None], together.body_pose], dim=2)
    return fit, initial, PersonGroup(rotmats, together.betas)


def _costs(people: InitialPeople, guide: StatementGuide, body: BodyModel) -> Float[Tensor, "person statements"]:
    """How far the initial bodies are from each statement: limbs of which all holds already have no reason to move."""
    both = [joints_and_rotmats(person.initial, body) for person in people.persons]
    joints, rotmats = (torch.cat(parts) for parts in zip(*both, strict=True))
    return statement_costs(joints, guide.wanted, rotmats, margin=guide.margin)


def _notes(person: InitialPerson, wish: Wish, body: BodyModel) -> tuple[str, ...]:
    swapped = swapped_sides_note(wish, person, body)
    seen = int((person.observation.confidence > 0).sum())
    unseen = f"{person.name}: {seen} keypoints are observed, so words alone moved the body."
    return (
        *(f"{person.name}: {note}" for note in wish.notes),
        *([] if swapped is None else [swapped]),
        *([unseen] if seen < LEAST_KEYPOINTS else []),
    )


def unfulfilled_notes(person: RefinedPerson, body: BodyModel) -> tuple[str, ...]:
    """A sentence where what was said does not hold of the refined body; one more where it was left out therefore."""
    truths = person.truths(body)
    missed = [name.replace("_", " ") for name, _, after, _ in truths if after < 0.5]
    if not missed:
        return ()
    left_out = any(weight == 0 for *_, weight in truths)
    why = " The keypoints speak against it, so it moved nothing; keypoint weight 0 lets words win." if left_out else ""
    words = "; ".join(f"'{name}'" for name in missed[:_MOST_MISSED])
    more = "" if len(missed) <= _MOST_MISSED else f", and {len(missed) - _MOST_MISSED} more"
    return (f"{person.start.name}: what was said does not hold of the refined body: {words}{more}.{why}",)


def moved_limbs(person: RefinedPerson, body: BodyModel) -> dict[str, float]:
    """How far each limb's end moved against the pelvis, metres: what was said should move, the rest should stay."""
    ends = {"head": 15, "left hand": 22, "right hand": 23, "left foot": 10, "right foot": 11}
    before, after = (posed_joints(body, b) for b in (person.start.initial, person.body))
    away = ((after - after[:1]) - (before - before[:1])).norm(dim=-1)
    return {name: float(away[joint]) for name, joint in ends.items()}
