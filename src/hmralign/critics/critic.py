"""What a critic is, and the one way to ask it.

A critic looks at every hypothesis of every person and gives a score, higher is better. Ground truth is kept from it
unless it declares that it needs it: `judge` takes the annotation away before the critic is called.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.structures import Example, Hypotheses, InputError


class CriticError(InputError):
    """A critic that failed or answered nonsense; the sentence names it."""


@runtime_checkable
class Critic(Protocol):
    """Scores hypotheses.

    Scores of one person compare across its hypotheses. They do not depend on which others are in the group, except
    those of critics that say so (`consistency`, scorers with the inputs `group`).
    """

    @property
    def name(self) -> str:
        """Short name, for tables."""
        ...

    @property
    def needs_truth(self) -> bool:
        """Whether it must see the annotation."""
        ...

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores, higher is better. Both arguments have one person axis."""
        ...


@runtime_checkable
class SelectiveCritic(Protocol):
    """A critic that has nothing to say on some persons; it gives them equal scores, and a mix leaves it out there."""

    def can_judge(self, example: Example) -> Bool[Tensor, " person"]:
        """Whether there is evidence to judge each person by."""
        ...


def judge(critic: Critic, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
    """Scores of a critic, which sees the annotation only where it declares that it needs truth. No gradients.

    Raises `InputError` where hypotheses and example are not of the same persons and where truth is needed and absent;
    `CriticError`, an `InputError` that names the critic, where it fails, returns another shape than (person, hyp), or a
    score that is NaN or infinite: an order of such scores would be made up, and a sum with others would be lost.
    """
    shape = tuple(hypotheses.joints.shape[:-2])
    if len(shape) != 2 or tuple(example.observation.batch_shape) != shape[:1]:
        raise InputError(
            f"critic {critic.name!r}: hypotheses have batch shape {shape} and the example "
            f"{tuple(example.observation.batch_shape)}; expected (person, hyp) and (person,)."
        )
    if critic.needs_truth and example.annotation is None:
        raise InputError(f"critic {critic.name!r} needs ground truth; the example has no annotation.")
    shown = example if critic.needs_truth else replace(example, annotation=None)
    try:
        with torch.no_grad():
            scores = critic(hypotheses, shown)
    except CriticError:
        raise  # a part of a mix; its own name says more
    except Exception as error:
        raise CriticError(f"critic {critic.name!r} failed: {type(error).__name__}: {error}") from error
    return _checked(scores, shape, critic.name)


def _checked(scores: object, shape: tuple[int, ...], name: str) -> Tensor:
    """Scores as they are, or `CriticError`."""
    if not isinstance(scores, Tensor) or tuple(scores.shape) != shape:
        given = f"scores of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
        raise CriticError(f"critic {name!r} gave {given}; expected {shape}.")
    broken = (~torch.isfinite(scores)).nonzero()
    if len(broken):
        person, hypothesis = broken[0].tolist()
        raise CriticError(
            f"critic {name!r} gave person {person}, hypothesis {hypothesis} the score "
            f"{float(scores[person, hypothesis])}; expected finite numbers."
        )
    return scores


def can_judge(critic: Critic, example: Example) -> Bool[Tensor, " person"]:
    """Persons on whom a critic has something to say: all of them unless it is a `SelectiveCritic`."""
    if isinstance(critic, SelectiveCritic):
        return critic.can_judge(replace(example, annotation=None))
    box = example.observation.box
    return torch.ones(box.shape[:-1], dtype=torch.bool, device=box.device)
