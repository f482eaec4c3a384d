"""What a base model minimises.

The mean squared error of v over standardised coordinates (Salimans & Ho 2022), which weighs the noise loss by
1 / alpha_bar, plus the squared error of the shape coefficients. Each observation is used with several (t, eps).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.diffusion.parameterization import add_noise, velocity
from hmralign.models.context import Context
from hmralign.models.lite import LiteModel
from hmralign.training.base_batches import TrainingBatch
from hmralign.training.step import Part


def base_part(
    model: LiteModel, batch: TrainingBatch, draws: int, betas_weight: float, generator: torch.Generator
) -> Part:
    """Squared errors of v (draw, n, 130) and of the shape (n, betas)."""
    context = model.context(batch.features)
    terms = {
        "v_loss": velocity_errors(model, context, batch.pose_vector, draws, generator),
        "betas_loss": (context.betas - batch.betas).square(),
    }
    figures = {name: float(term.detach().mean()) for name, term in terms.items()}
    return Part(terms, {"betas_loss": betas_weight}, figures=figures)


def velocity_errors(
    model: LiteModel, context: Context, pose_vector: Float[Tensor, "n 130"], draws: int, generator: torch.Generator
) -> Float[Tensor, "draw n 130"]:
    """Squared errors of v for raw pose vectors, each with several (t, eps); times are stratified over all of them."""
    x_0 = model.codec.encode(pose_vector)
    n, steps = len(x_0), model.denoiser.schedule.num_steps
    strata = (torch.randperm(draws * n, generator=generator) + torch.rand(draws * n, generator=generator)) / (draws * n)
    t = (strata * steps).long().clamp(max=steps - 1).view(draws, n).to(x_0.device)
    eps = torch.randn(draws, *x_0.shape, generator=generator).to(x_0.device)
    alpha_bar = model.denoiser.schedule.at(t)
    target = velocity(x_0.expand_as(eps), eps, alpha_bar)
    x_t = add_noise(x_0.expand_as(eps), eps, alpha_bar)
    return (model.denoiser.predict_v(x_t, t, model.denoiser.prepare(context)) - target).square()
