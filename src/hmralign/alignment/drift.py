"""How far a policy has moved from its reference: the KL term of GPA and DrPose, as the squared difference of the two
noise predictions."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from hmralign.training.objective import Losses


def drift(
    prediction: Float[Tensor, "*batch channels"], reference: Float[Tensor, "*batch channels"]
) -> Float[Tensor, "*batch"]:
    """Mean squared difference of two noise predictions: KL of the two models at this time, up to its factor."""
    return (prediction - reference.detach()).square().mean(-1)


def drift_of(losses: Losses) -> Float[Tensor, "item member"]:
    """Drift of each sample; for objectives that ask for predictions."""
    assert losses.prediction is not None
    return drift(losses.prediction.policy, losses.prediction.reference)
