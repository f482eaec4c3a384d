"""The multi-view model as a policy: the denoising half of the protocol, with all views of a person as one vector x_0.

Contexts are fronts. x_0 are pixels times `SCALE`, so that their spread is nearer to that of the noise. The network
predicts x_0; its eps is what `predict_noise` shows, so that whoever stops a gradient stops that of eps.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hmralign.diffusion import ddim
from hmralign.diffusion.parameterization import add_noise
from hmralign.diffusion.schedule import Schedule, make_schedule
from hmralign.models.multiview.checkpoint import load_view_transformer, save_view_transformer
from hmralign.models.multiview.view_transformer import ViewTransformer
from hmralign.structures import InputError

SCALE = 2.0
"""x_0 of a pixel: normals and masks reach from -1 to 1 and are mostly background."""


class MultiViewPolicy(nn.Module):
    """A `ViewTransformer` that is sampled by DDIM (eta 0)."""

    def __init__(self, network: ViewTransformer, *, num_steps: int = 10) -> None:
        super().__init__()
        self.network = network
        self.num_steps = num_steps
        self._schedule = make_schedule(network.config.schedule)

    @classmethod
    def load(cls, checkpoint: str | Path, *, num_steps: int = 10) -> MultiViewPolicy:
        """From a checkpoint's path. Errors as `load_view_transformer`."""
        return cls(load_view_transformer(checkpoint), num_steps=num_steps)

    def save(self, path: Path, sources: tuple[str, ...]) -> Path:
        """Write a checkpoint; `sources` say what it was trained on."""
        return save_view_transformer(path, self.network, sources)

    @property
    def schedule(self) -> Schedule:
        """The noise schedule."""
        return self._schedule

    @property
    def denoiser(self) -> nn.Module:
        """What is trained."""
        return self.network

    @property
    def dims(self) -> int:
        """Numbers in x_0."""
        return self.network.config.dims

    def context(self, front: Float[Tensor, "person 4 h w"]) -> Float[Tensor, "person 4 h w"]:
        """Fronts, as they are seen. Raises InputError for pictures of another size or pixels that are not finite."""
        if front.shape[1:] != self.network.config.shape[1:]:
            raise InputError(
                f"fronts have shape {tuple(front.shape[1:])}; the model sees {self.network.config.shape[1:]}"
            )
        if not bool(torch.isfinite(front).all()):
            raise InputError("a front has pixels that are not finite")
        return front

    def to_views(self, x_0: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch view 4 h w"]:
        """Pixels of views."""
        return (x_0 / SCALE).unflatten(-1, self.network.config.shape)

    def from_views(self, pixels: Float[Tensor, "*batch view 4 h w"]) -> Float[Tensor, "*batch dims"]:
        """x_0 of views."""
        return (pixels * SCALE).flatten(-4)

    def predict_x_0(
        self, x_t: Float[Tensor, "person hyp dims"], t: Int[Tensor, "person hyp"], context: Tensor
    ) -> Float[Tensor, "person hyp dims"]:
        """Predicted clean samples."""
        people, hyps = t.shape
        front = context[:, None].expand(-1, hyps, -1, -1, -1).flatten(0, 1)
        noisy = x_t.unflatten(-1, self.network.config.shape).flatten(0, 1)
        return self.network(noisy, t.flatten(), front).flatten(1).unflatten(0, (people, hyps))

    def predict_noise(
        self, x_t: Float[Tensor, "person hyp dims"], t: Int[Tensor, "person hyp"], context: Tensor
    ) -> Float[Tensor, "person hyp dims"]:
        """eps = (x_t - sqrt(ab) x_0) / sqrt(1 - ab)."""
        alpha_bar = self.schedule.at(t)[..., None].to(x_t)
        return (x_t - alpha_bar.sqrt() * self.predict_x_0(x_t, t, context)) / (1 - alpha_bar).sqrt()

    def denoising_loss(
        self, x_0: Float[Tensor, "person hyp dims"], t: Int[Tensor, "person hyp"], eps: Tensor, context: Tensor
    ) -> Float[Tensor, "person hyp"]:
        """Mean squared noise error per sample."""
        x_t = add_noise(x_0, eps, self.schedule.at(t))
        return (eps - self.predict_noise(x_t, t, context)).square().mean(-1)

    def view_loss(
        self, x_0: Float[Tensor, "person hyp dims"], t: Int[Tensor, "person hyp"], eps: Tensor, context: Tensor
    ) -> Float[Tensor, "person hyp"]:
        """Mean squared error of x_0 per sample: what the base is trained by."""
        x_t = add_noise(x_0, eps, self.schedule.at(t))
        return (x_0 - self.predict_x_0(x_t, t, context)).square().mean(-1)

    @torch.no_grad()
    def sample(
        self, context: Tensor, num_hypotheses: int, generator: torch.Generator
    ) -> Float[Tensor, "person hyp dims"]:
        """Clean samples, each from noise of its own."""
        x_T = torch.randn(len(context), num_hypotheses, self.dims, generator=generator).to(context)
        return ddim.sample(
            lambda x, t: self.predict_noise(x, t.expand(x.shape[:2]), context),
            x_T,
            self.schedule,
            num_steps=self.num_steps,
            clamp=SCALE,
        )
