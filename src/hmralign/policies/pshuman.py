"""PSHuman's model as a policy: the denoising half of the protocol, with the latents of all pictures as one vector x_0.

Source: Li et al. 2024 (PSHuman) and its public pipeline, read for the order of operations; stable unCLIP of `diffusers`
for the noise of the embedding. A context is made once of the two pictures that are given, the front and the face:

    1. colours are cut to 8 bits, 0 to 255
    2. e = CLIP(picture at CLIP's side, bicubic); of every view the front's, of the last view the face's
    3. e = unscale(sqrt(ab) scale(e) + sqrt(1 - ab) noise), ab of `noise_level`; noise of its own for each picture
    4. e = [e, cos(level w), sin(level w)], w = 10000^(-k / n), k = 0 .. n - 1: half as many frequencies as numbers in e
    5. l = mode of the autoencoder's encoding of 2 c - 1, times its scaling

and a prediction is

    6. rows (domain, given or not, person and sample, view): noisy latents beside l, words of domain and view, e; where
       nothing is given, l and e (its level, too) are zero, and the words stay
    7. output = o_not + guidance (o_given - o_not), turned into eps by the schedule's kind of prediction

x_0 is (domain, view, channel, h, w), normals first, flattened; pictures are decoded from it one by one. From one
generator noise is drawn in the order of the public pipeline: embeddings, latents, then each step's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn

from hmralign.adapters.pshuman_folder import PSHumanParts
from hmralign.diffusion import ddim
from hmralign.diffusion.parameterization import add_noise, eps_from_v
from hmralign.diffusion.schedule import Schedule
from hmralign.storage.seeds import seeded
from hmralign.structures import InputError
from hmralign.structures.tensor_record import TensorRecord


@dataclass(frozen=True)
class PSHumanSampling:
    """How pictures are sampled; defaults are those of the public configuration."""

    num_steps: int = 40
    """Calls of the network for one sample, two at once with guidance."""
    eta: float = 1.0
    """Share of fresh noise in each step."""
    guidance: float = 3.0
    """Weight of what the given picture adds; 1 asks for nothing without it."""
    noise_level: int = 0
    """Time of the image embedding's noise."""
    eight_bits: bool = True
    """Given colours are cut to 8 bits."""

    def __post_init__(self) -> None:
        """Raise InputError for numbers that no sampler has."""
        if self.num_steps < 1 or not 0 <= self.eta <= 1 or not math.isfinite(self.guidance) or self.noise_level < 0:
            raise InputError(f"{self}: expected steps of 1 or more, eta of 0 to 1, and a noise level not negative")


@dataclass(frozen=True)
class GivenPictures(TensorRecord):
    """What the network sees of persons."""

    embeds: Float[Tensor, "person 2 view e"]
    """Image embeddings with their noise levels, of each domain and view."""
    latents: Float[Tensor, "person view c h w"]


class PSHumanPolicy(nn.Module):
    """The model of a folder, sampled by DDIM. All of it is frozen until somebody unfreezes `denoiser`."""

    words: Tensor
    embed_mean: Tensor
    embed_std: Tensor

    def __init__(self, parts: PSHumanParts, sampling: PSHumanSampling | None = None) -> None:
        super().__init__()
        self.parts, self.sampling = parts, sampling or PSHumanSampling()
        self.unet, self.vae, self.image_encoder = parts.unet, parts.vae, parts.image_encoder
        for name in ("words", "embed_mean", "embed_std"):
            self.register_buffer(name, getattr(parts, name), persistent=False)
        side, channels = parts.config.latent_side, parts.config.latent_channels
        self.shape = (2, parts.config.switches.views, channels, side, side)
        """Axes of x_0: domain, view, channel, h, w."""

    @property
    def schedule(self) -> Schedule:
        """The noise schedule."""
        return self.parts.noise.schedule

    @property
    def denoiser(self) -> nn.Module:
        """What is trained."""
        return self.unet

    @property
    def dims(self) -> int:
        """Numbers in x_0."""
        return math.prod(self.shape)

    @torch.no_grad()
    def context(
        self, pictures: Float[Tensor, "person 2 3 h w"], generator: torch.Generator | None = None
    ) -> GivenPictures:
        """What the network sees of persons, whose front and face are given in colours 0 to 1.

        Without a generator the noise of the embeddings is always the same.
        Raises InputError for another size, and colours that are none.
        """
        size, views = self.parts.size, self.shape[1]
        if pictures.shape[-2:] != (size, size):
            raise InputError(f"pictures have shape {tuple(pictures.shape[-2:])}; the model sees ({size}, {size})")
        if not bool(torch.isfinite(pictures).all()) or pictures.min() < 0 or pictures.max() > 1:
            raise InputError("a picture has colours that are not 0 to 1")
        if self.sampling.eight_bits:
            pictures = (pictures * 255).byte().float() / 255  # 1
        of_view = [0] * (views - 1) + [1]
        embeds = self._embedded(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])[:, of_view]
        embeds = self._noised(embeds, generator or seeded(0, "noise of image embeddings"))
        encoded = self.vae.encode(2 * pictures.flatten(0, 1) - 1).latent_dist.mode()
        latents = (encoded * self.parts.scaling).unflatten(0, pictures.shape[:2])  # 5
        return GivenPictures(embeds, latents[:, of_view])

    def _embedded(self, pictures: Float[Tensor, "picture 3 h w"]) -> Float[Tensor, "picture e"]:
        """Step 2."""
        how, seen = self.parts.clip_input, []
        mean, std = np.array(how.mean, dtype=np.float32), np.array(how.std, dtype=np.float32)
        for picture in pictures:
            pixels = (picture * 255).round().byte().permute(1, 2, 0).cpu().numpy()
            small = Image.fromarray(pixels).resize((how.side, how.side), Image.Resampling.BICUBIC)
            seen.append((np.asarray(small, dtype=np.float32) / 255 - mean) / std)
        given = torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2).to(pictures)
        return self.image_encoder(given).image_embeds

    def _noised(self, embeds: Float[Tensor, "person view e"], generator: torch.Generator) -> Tensor:
        """Steps 3 and 4, of both domains."""
        level, width = self.sampling.noise_level, embeds.shape[-1]
        if level >= self.parts.embed_noise.num_steps:
            raise InputError(f"noise_level is {level}; expected 0 to {self.parts.embed_noise.num_steps - 1}")
        both = embeds[:, None].expand(-1, 2, -1, -1)
        # Drawn as the pipeline's rows stand: domain, person, view.
        drawn = torch.randn(2, len(embeds), *embeds.shape[1:], generator=generator, device=generator.device)
        alpha_bar = self.parts.embed_noise.at(torch.tensor(level)).to(embeds)
        scaled = (both - self.embed_mean) / self.embed_std
        noisy = add_noise(scaled, drawn.transpose(0, 1).to(embeds), alpha_bar) * self.embed_std + self.embed_mean
        rates = torch.exp(-math.log(10_000) * torch.arange(width // 2) / (width // 2)).to(embeds)
        said = torch.cat([torch.cos(level * rates), torch.sin(level * rates)])
        return torch.cat([noisy, said.expand_as(noisy)], dim=-1)

    def predict_noise(
        self, x_t: Float[Tensor, "person hyp dims"], t: Int[Tensor, "person hyp"], context: GivenPictures
    ) -> Float[Tensor, "person hyp dims"]:
        """eps of all pictures, with guidance."""
        people, hyps = t.shape
        noisy = x_t.reshape(people * hyps, *self.shape).transpose(0, 1)  # (domain, g, v, c, h, w)
        given = context.latents.repeat_interleave(hyps, 0).expand(2, -1, -1, -1, -1, -1)
        embeds = context.embeds.repeat_interleave(hyps, 0).transpose(0, 1)  # (domain, g, v, e)
        if guided := self.sampling.guidance != 1:
            noisy, given = torch.stack([noisy, noisy], 1), torch.stack([torch.zeros_like(given), given], 1)
            embeds = torch.stack([torch.zeros_like(embeds), embeds], 1)  # (domain, given or not, g, v, e)
        rows = noisy.shape[:-3]
        times = t.flatten()[:, None].expand(*rows).flatten()
        words = self.words.reshape(2, *(1,) * (len(rows) - 2), *self.words.shape[1:]).expand(*rows, -1, -1)
        out = self.unet(
            torch.cat([noisy, given], -3).flatten(0, -4), times, words.flatten(0, -3),
            class_labels=embeds.flatten(0, -2), return_dict=False,
        )[0].unflatten(0, rows)  # fmt: skip
        if guided:
            out = out[:, 0] + self.sampling.guidance * (out[:, 1] - out[:, 0])  # 7
        return self._eps(out.transpose(0, 1).reshape(x_t.shape), x_t, t)

    def _eps(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        predicted = self.parts.noise.predicted
        if predicted == "epsilon":
            return output
        alpha_bar = self.schedule.at(t).to(x_t)
        if predicted == "v_prediction":
            return eps_from_v(output, x_t, alpha_bar)
        alpha_bar = alpha_bar[..., None]
        return (x_t - alpha_bar.sqrt() * output) / (1 - alpha_bar).sqrt()

    def denoising_loss(
        self, x_0: Float[Tensor, "person hyp dims"], t: Int[Tensor, "person hyp"], eps: Tensor, context: GivenPictures
    ) -> Float[Tensor, "person hyp"]:
        """Mean squared noise error per sample."""
        x_t = add_noise(x_0, eps, self.schedule.at(t))
        return (eps - self.predict_noise(x_t, t, context)).square().mean(-1)

    @torch.no_grad()
    def sample(
        self, context: GivenPictures, num_hypotheses: int, generator: torch.Generator
    ) -> Float[Tensor, "person hyp dims"]:
        """Clean samples, each from noise of its own."""
        x_t = self._drawn((len(context.latents), num_hypotheses), generator).to(context.latents)
        for now, here, below in self.parts.noise.levels(self.sampling.num_steps):
            t = torch.full(x_t.shape[:2], now, device=x_t.device)
            eps = self.predict_noise(x_t, t, context)
            # Drawn as the pipeline's rows stand, which begin with the domain.
            stepped = ddim.step(
                self._by_domain(x_t), self._by_domain(eps), here.to(x_t), below.to(x_t), eta=self.sampling.eta,
                generator=generator,
            )  # fmt: skip
            x_t = stepped.transpose(0, 1).reshape(x_t.shape)
        return x_t

    def _drawn(self, count: tuple[int, int], generator: torch.Generator) -> Tensor:
        shape = (2, math.prod(count), *self.shape[1:])
        drawn = torch.randn(shape, generator=generator, device=generator.device)
        return drawn.transpose(0, 1).reshape(*count, self.dims)

    def _by_domain(self, x: Float[Tensor, "person hyp dims"]) -> Tensor:
        return x.reshape(-1, *self.shape).transpose(0, 1)

    def to_pictures(self, x_0: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch 2 view 3 h w"]:
        """Decoded normals and colours, 0 to 1, with gradients where x_0 has them."""
        latents = x_0.reshape(-1, *self.shape[2:]) / self.parts.scaling
        decoded = [self.vae.decode(one, return_dict=False)[0] for one in latents.split(1)]
        pictures = (torch.cat(decoded) / 2 + 0.5).clamp(0, 1)
        return pictures.reshape(*x_0.shape[:-1], *self.shape[:2], *pictures.shape[1:])

    @torch.no_grad()
    def from_pictures(self, pictures: Float[Tensor, "*batch 2 view 3 h w"]) -> Float[Tensor, "*batch dims"]:
        """x_0 of normals and colours, 0 to 1: the most likely latents."""
        flat = pictures.reshape(-1, *pictures.shape[-3:])
        encoded = [self.vae.encode(2 * one - 1).latent_dist.mode() for one in flat.split(1)]
        return (torch.cat(encoded) * self.parts.scaling).reshape(*pictures.shape[:-5], self.dims)
