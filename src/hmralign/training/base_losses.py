"""What a base model minimises.

The mean squared error of v over standardised coordinates (Salimans & Ho 2022), which weighs the noise loss by
1 / alpha_bar, plus the squared error of the shape coefficients. Each observation is used with several (t, eps).
"""

from __future__ import annotations

import torch

from hmralign.diffusion.parameterization import add_noise, velocity
from hmralign.models.lite import LiteModel
from hmralign.training.base_batches import TrainingBatch
from hmralign.training.step import Part


def base_part(
    model: LiteModel, batch: TrainingBatch, draws: int, betas_weight: float, generator: torch.Generator
) -> Part:
    """Squared errors of v (draw, n, 130) and of the shape (n, betas). Times are stratified over draws and batch."""
    x_0 = model.codec.encode(batch.pose_vector)
    n, steps = len(x_0), model.denoiser.schedule.num_steps
    strata = (torch.randperm(draws * n, generator=generator) + torch.rand(draws * n, generator=generator)) / (draws * n)
    t = (strata * steps).long().clamp(max=steps - 1).view(draws, n).to(x_0.device)
    eps = torch.randn(draws, *x_0.shape, generator=generator).to(x_0.device)
    alpha_bar = model.denoiser.schedule.at(t)
    context = model.context(batch.features)
    target = velocity(x_0.expand_as(eps), eps, alpha_bar)
    v = model.denoiser.predict_v(add_noise(x_0.expand_as(eps), eps, alpha_bar), t, model.denoiser.prepare(context))
    terms = {"v_loss": (v - target).square(), "betas_loss": (context.betas - batch.betas).square()}
    figures = {name: float(term.detach().mean()) for name, term in terms.items()}
    return Part(terms, {"betas_loss": betas_weight}, figures=figures)
