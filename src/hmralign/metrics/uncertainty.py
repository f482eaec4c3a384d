"""Does a group know how wrong it is? Calibration of predicted spread against error.

A group's hypotheses give every joint a mean and a covariance, pelvis-relative. Against the truth:

- *reliability*: joints sorted by predicted spread, per bin the root mean square of prediction and of error;
- *expected calibration error*: the mean gap between the two, each bin weighed by its joints (Guo et al. 2017, eq. 3,
  for regression as in Levi et al. 2022, eq. 8, without the division);
- *coverage*: how often the truth lies in the ellipsoid that holds a share p of the Gaussian, nominally p.

Groups of generative models are usually too sure. `Recalibration` widens them: variance = scale^2 * variance + floor^2,
two numbers per joint fitted by maximum likelihood on validation persons.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.structures import InputError

CHI2_3 = {0.5: 2.36597, 0.9: 6.25139}
"""Quantiles of chi-square with three degrees of freedom."""

MIN_VARIANCE = 1e-6
"""Square metres; a group that agrees to the millimetre is not taken to know more than that."""


@dataclass(frozen=True)
class JointGaussians:
    """Mean and covariance of each joint over a group, metres, pelvis-relative."""

    mean: Float[Tensor, "*batch joint 3"]
    covariance: Float[Tensor, "*batch joint 3 3"]

    @property
    def spread(self) -> Float[Tensor, "*batch joint"]:
        """Root of the covariance's trace: the RMS distance from the mean that the group predicts."""
        return self.covariance.diagonal(dim1=-2, dim2=-1).sum(-1).sqrt()


def joint_gaussians(joints: Float[Tensor, "*batch hyp joint 3"]) -> JointGaussians:
    """Gaussians of the joints other than the pelvis (joint 0), relative to it. Needs two hypotheses at least."""
    if joints.shape[-3] < 2:
        raise InputError("a group of one hypothesis has no spread; expected at least 2")
    relative = joints[..., 1:, :] - joints[..., :1, :]
    mean = relative.mean(-3)
    centred = (relative - mean[..., None, :, :]).movedim(-3, -2)  # (*batch, joint, hyp, 3)
    covariance = centred.mT @ centred / (joints.shape[-3] - 1)
    return JointGaussians(mean, covariance + MIN_VARIANCE * torch.eye(3).to(covariance))


def relative_truth(joints: Float[Tensor, "*batch joint 3"]) -> Float[Tensor, "*batch others 3"]:
    """True joints as `joint_gaussians` has them."""
    return joints[..., 1:, :] - joints[..., :1, :]


def squared_mahalanobis(
    predicted: JointGaussians, truth: Float[Tensor, "*batch joint 3"]
) -> Float[Tensor, "*batch joint"]:
    """Squared distance of the truth from the mean in standard deviations of the group; 3 on average if calibrated."""
    away = truth - predicted.mean
    return (away * torch.linalg.solve(predicted.covariance, away[..., None])[..., 0]).sum(-1)


@dataclass(frozen=True)
class Reliability:
    """Predicted against actual, per bin of predicted spread (metres), lowest first."""

    predicted: Float[Tensor, " bins"]
    actual: Float[Tensor, " bins"]
    joints: Float[Tensor, " bins"]
    expected_calibration_error: float
    coverage: dict[float, float]


def reliability(predicted: JointGaussians, truth: Float[Tensor, "*batch joint 3"], *, bins: int = 12) -> Reliability:
    """Calibration over all joints and persons; bins hold equally many joints."""
    spread = predicted.spread.flatten()
    error = (truth - predicted.mean).norm(dim=-1).flatten()
    order = spread.argsort()
    groups = [part for part in order.tensor_split(bins) if len(part)]
    rms = [[values[part].square().mean().sqrt() for part in groups] for values in (spread, error)]
    predicted_rms, actual_rms = torch.stack(rms[0]), torch.stack(rms[1])
    counts = torch.tensor([float(len(part)) for part in groups])
    gap = ((predicted_rms - actual_rms).abs() * counts).sum() / counts.sum()
    distance = squared_mahalanobis(predicted, truth)
    coverage = {p: float((distance <= limit).float().mean()) for p, limit in CHI2_3.items()}
    return Reliability(predicted_rms, actual_rms, counts, float(gap), coverage)


@dataclass(frozen=True)
class Recalibration:
    """Per joint, how a group's covariance becomes an honest one."""

    scale: Float[Tensor, " joint"]
    floor: Float[Tensor, " joint"]
    """Metres, standard deviation per axis."""

    def __call__(self, predicted: JointGaussians) -> JointGaussians:
        """Widened covariances; the means stay."""
        eye = torch.eye(3).to(predicted.covariance)
        wide = self.scale[:, None, None].square() * predicted.covariance + self.floor[:, None, None].square() * eye
        return JointGaussians(predicted.mean, wide)


def negative_log_likelihood(
    predicted: JointGaussians, truth: Float[Tensor, "*batch joint 3"]
) -> Float[Tensor, "*batch joint"]:
    """Negative log-likelihood of the truth under each Gaussian, without the constant."""
    return 0.5 * (squared_mahalanobis(predicted, truth) + torch.logdet(predicted.covariance))


def fit_recalibration(
    predicted: JointGaussians, truth: Float[Tensor, "person joint 3"], *, steps: int = 60
) -> Recalibration:
    """Scale and floor per joint by maximum likelihood (L-BFGS, deterministic); fit on validation persons only.

    Raises InputError where a prediction or a truth is not finite.
    """
    usable: Bool[Tensor, ""] = torch.isfinite(predicted.covariance).all() & torch.isfinite(truth).all()
    if not bool(usable):
        raise InputError("recalibration needs finite predictions and truths")
    fixed = JointGaussians(predicted.mean.double(), predicted.covariance.double())
    truth = truth.double()
    log = torch.zeros(2, truth.shape[-2], dtype=torch.float64)
    log[1] = -4.0  # a floor of 2 cm to begin with
    log.requires_grad_(True)
    optimizer = torch.optim.LBFGS([log], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        scale, floor = log.exp()
        value = negative_log_likelihood(Recalibration(scale, floor)(fixed), truth).mean()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    scale, floor = log.detach().exp().float()
    return Recalibration(scale, floor)
