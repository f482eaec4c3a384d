"""What is wanted of a person's body: statements that a user typed, a model said, or our captioner says."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import posed_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.language.agreement import agreement, wanted
from hmralign.language.caption import caption
from hmralign.language.description import PoseDescription
from hmralign.language.reading import read_text
from hmralign.language.statements import STATEMENTS, row_of
from hmralign.refinement.description.believed import Belief
from hmralign.refinement.pull import PullConfig
from hmralign.refinement.refine import RefineConfig
from hmralign.refinement.trust import believed
from hmralign.storage.seeds import seeded
from hmralign.structures import BodyParams, Hypotheses, InputError
from hmralign.structures.errors import shown
from hmralign.systems.language_refinement.starts import InitialPerson

_MOST_UNREAD = 6
_SWAPPED = 0.25
"""How much better a description has to fit with its sides exchanged before that is said."""


@dataclass(frozen=True)
class Wish:
    """What is wanted of one person, and how much each statement counts; `description` is None for nothing."""

    description: PoseDescription | None = None
    weights: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader must know of it, one sentence each."""
    typed: str | None = None
    """What somebody typed, word for word."""

    @property
    def signs(self) -> Float[Tensor, " statements"]:
        """Weight of each statement of the vocabulary, negative where it shall not hold."""
        found = torch.zeros(len(STATEMENTS))
        if self.description is not None:
            for (statement, holds), weight in zip(self.description.statements, self.weights, strict=True):
                found[row_of(statement)] = weight if holds else -weight
        return found

    @property
    def is_typed(self) -> bool:
        """Whether somebody typed it."""
        return self.description is not None and self.description.source == "typed"

    @property
    def margin(self) -> float:
        """By how many softnesses it shall hold."""
        return TYPED_MARGIN if self.is_typed else 0.0


NOTHING_WANTED = Wish()

TYPED_MARGIN = 0.4
"""Typed statements shall be 83 % true; no band of the vocabulary is too narrow for that."""
TYPED = RefineConfig(
    num_steps=1,
    pull=PullConfig(
        keypoint_weight=0.5,
        text_weight=15.0,
        limit_weight=30.0,
        pose_sd_deg=25.0,
        group_share=0.3,
        others_share=0.15,
        steps=20,
    ),
)
"""How typed words are carried out. Somebody meant them, so they count for more than a model's, and the named limb may
turn far. Keypoints count for more too: what they show well is not typed away (docs/results/typed_sentences.md). Joints
hardly leave their ranges on the way: a hand that was sent behind the back left an elbow 44 degrees out of its range
without `limit_weight`, and 2 with it."""


def config_of(wishes: Sequence[Wish]) -> RefineConfig:
    """How people are refined unless somebody says otherwise: by what is typed, where anything is."""
    return TYPED if any(wish.is_typed for wish in wishes) else RefineConfig()


def typed(text: object) -> Wish:
    """What a user typed.

    Raises InputError for what is no text, and as `read_text`: nothing understood, contradictions, too many words.
    """
    if not isinstance(text, str):
        raise InputError(f"the text is {shown(text)}; expected words such as 'left hand on the right knee'")
    description = read_text(text)
    notes = ()
    if description.unread:
        quoted = "; ".join(f"'{words}'" for words in description.unread[:_MOST_UNREAD])
        more = "" if len(description.unread) <= _MOST_UNREAD else ", and more"
        notes = (f"Not understood, and left out: {quoted}{more}.",)
    return Wish(description, (1.0,) * len(description.statements), notes, text)


def captioned(person: InitialPerson, body: BodyModel, seed: int) -> Wish:
    """What our captioner says of the initial body: a control, since it says nothing new."""
    joints, rotmats = joints_and_rotmats(person.initial, body)
    (description,) = caption(joints, seeded(seed, "caption", person.name), rotmats)
    if not description.statements:
        return Wish(notes=("The captioner finds nothing to say of the initial body.",))
    return Wish(description, (1.0,) * len(description.statements))


def heard_from_model(belief: Belief, failures: tuple[str, ...] = ()) -> Wish:
    """What is believed of a model's answers."""
    notes = tuple(f"No answer: {reason}." for reason in failures)
    if belief.description is None:
        return Wish(notes=(*notes, "Nothing that the model said of this person is believed."))
    doubts = tuple(f"Not believed: {doubt}." for doubt in belief.doubts[:_MOST_UNREAD])
    return Wish(belief.description, belief.weights, (*notes, *doubts))


def weighed_by_group(wish: Wish, person: InitialPerson, body: BodyModel) -> Wish:
    """What a model said, each statement also weighed by how probable the person's hypotheses make it.

    Typed words stay as they are: somebody meant them. So does what is said of a person without a group.
    """
    group, description = person.hypotheses, wish.description
    if group is None or len(group.transl) < 2 or description is None or description.source != "vlm":
        return wish
    hypotheses = Hypotheses(BodyParams.stack([group]), posed_joints(body, group)[None])
    signs = believed(wish.signs[None], hypotheses)[0]
    weights = tuple(abs(float(signs[row_of(statement)])) for statement, _ in description.statements)
    return replace(wish, weights=weights)


def without(wish: Wish, left_out: Collection[str]) -> Wish:
    """The wish, some of its statements (by id) having no weight."""
    if wish.description is None:
        return wish
    pairs = zip(wish.description.statements, wish.weights, strict=True)
    return replace(wish, weights=tuple(0.0 if statement in left_out else weight for (statement, _), weight in pairs))


def swapped_sides_note(wish: Wish, person: InitialPerson, body: BodyModel) -> str | None:
    """A sentence where the description fits the initial body much better with left and right exchanged."""
    if wish.description is None:
        return None
    joints, rotmats = joints_and_rotmats(person.initial, body)
    both = wanted([wish.description, wish.description.mirrored()])
    as_said, exchanged = agreement(joints.expand(2, -1, -1), both, rotmats.expand(2, -1, -1, -1)).tolist()
    if exchanged - as_said < _SWAPPED:
        return None
    return (
        f"{person.name}: the description fits the initial body better with left and right exchanged "
        f"({100 * exchanged:.0f} % against {100 * as_said:.0f} %); left and right are the person's own."
    )


def joints_and_rotmats(
    params: BodyParams, body: BodyModel
) -> tuple[Float[Tensor, "1 24 3"], Float[Tensor, "1 24 3 3"]]:
    """What statements are measured on, of one body without batch axis."""
    return posed_joints(body, params)[None, :NUM_JOINTS], params.rotmats[None]
