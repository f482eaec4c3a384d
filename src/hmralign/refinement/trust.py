"""How far each statement of a description is to be believed, by what hypotheses of the person make of it.

A statement is right with the description's reliability r, or it is said of nobody in particular; and the description as
a whole is of this person, or of somebody else (`SHARE_RIGHT` of the former's statements being right):

    P(said) = r p + (1 - r) f,    belief = mine * r p / (r p + (1 - r) f)
    mine / (1 - mine) = product over statements of (SHARE_RIGHT p / f + 1 - SHARE_RIGHT)

p is how probable the statement is for this person, by a group of hypotheses (which may miss the truth: then it is as
probable as for anybody), f how probable it is for anybody. r has a Beta prior and is found by EM. A description of
somebody else says what no hypothesis shows, statement after statement, and is hardly listened to. Mixtures as in Dawid
& Skene 1979, with hypotheses in place of a second rater.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.skeleton import NUM_JOINTS
from hmralign.language.agreement import measure
from hmralign.language.caption import frequencies
from hmralign.language.statements import STATEMENTS
from hmralign.structures import Hypotheses, InputError

_ROUNDS = 20

SHARE_RIGHT = 0.9
"""Statements that are right in a description of this person, where descriptions are compared."""


@dataclass(frozen=True)
class TrustConfig:
    """What is believed of descriptions beforehand."""

    right: float = 4.0
    """Statements seen to be right before, as it were."""
    wrong: float = 1.0
    """Statements seen to be wrong before."""
    missed: float = 0.1
    """How often a group of hypotheses does not hold the truth."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if min(self.right, self.wrong) <= 0 or not 0 < self.missed <= 1:
            raise InputError("trust: right and wrong must be positive, missed in 0..1")


def believed(
    wanted: Float[Tensor, "person statements"], hypotheses: Hypotheses, config: TrustConfig | None = None
) -> Float[Tensor, "person statements"]:
    """What is wanted, each statement times how far it is believed."""
    config = config or TrustConfig()
    general = base_rates().to(wanted)
    special = (1 - config.missed) * group_rates(hypotheses) + config.missed * general
    p = torch.where(wanted > 0, special, 1 - special)
    f = torch.where(wanted > 0, general, 1 - general)
    said = (wanted != 0).float()
    prior = config.right / (config.right + config.wrong)
    r = torch.full((len(wanted), 1), prior).to(wanted)
    for _ in range(_ROUNDS):
        belief = r * p / (r * p + (1 - r) * f)
        r = ((belief * said).sum(-1, keepdim=True) + config.right) / (
            said.sum(-1, keepdim=True) + config.right + config.wrong
        )
    evidence = (torch.log(SHARE_RIGHT * p / f + 1 - SHARE_RIGHT) * said).sum(-1, keepdim=True)
    return wanted * belief * evidence.sigmoid()


def group_rates(hypotheses: Hypotheses) -> Float[Tensor, "person statements"]:
    """How probable each statement is by the group: its mean soft truth."""
    persons, members = hypotheses.joints.shape[:2]
    joints = hypotheses.joints[..., :NUM_JOINTS, :].flatten(0, 1)
    return measure(joints, hypotheses.body.rotmats.flatten(0, 1)).unflatten(0, (persons, members)).mean(1)


def base_rates() -> Float[Tensor, " statements"]:
    """How probable each statement is for anybody."""
    by_family = frequencies()
    return torch.tensor([by_family[s.family] for s in STATEMENTS]).clamp(0.01, 0.99)
