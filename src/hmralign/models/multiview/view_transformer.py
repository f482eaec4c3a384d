"""The denoiser of views: patches of all views attend to one another and to the front, the clean views come out.

Every token is a patch of one view with an embedding of its view and its place; tokens of the front, the condition,
stand beside those of the noisy views. With `front_reader` each patch also begins with what a network that reads the
person off the front says of its place (`models/multiview/front_reader.py`); without it a small transformer draws sides
that do not depend on the front. Time enters through scales and shifts of the normalisations (Peebles & Xie 2023, DiT).
Patches that are put together as blocks show their seams, so the last layers are convolutions over whole views.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hmralign.diffusion.schedule import ScheduleConfig
from hmralign.models.multiview.front_reader import FrontReader, is_power_of_two
from hmralign.structures import InputError
from hmralign.structures.multi_views import VIEW_CHANNELS


@dataclass(frozen=True)
class ViewTransformerConfig:
    """Size of the denoiser, and what it denoises."""

    views: int = 4
    size: int = 32
    """Pixels across a view."""
    patch: int = 8
    """Pixels across a patch."""
    width: int = 192
    """Channels of a token."""
    depth: int = 4
    """Blocks."""
    heads: int = 6
    head_channels: int = 12
    """Channels of the convolutions at the end."""
    shows_front: int = 0
    """1 where these convolutions also see what the front says of whole views (`front_in_views`), else 0. For rings of
    evenly spaced views."""
    front_reader: int = 0
    """Numbers in which the front is read for all views; 0 leaves it to attention. For patches of a power of two."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        """Raise InputError for sizes that do not fit."""
        if self.views < 2 or self.size % self.patch or self.width % (2 * self.heads):
            raise InputError("view transformer: give 2 views or more, whole patches, and a width of 2 heads' multiples")
        if self.shows_front not in (0, 1):
            raise InputError(f"view transformer: shows_front is {self.shows_front}; expected 0 or 1")
        if self.front_reader < 0:
            raise InputError(f"view transformer: front_reader is {self.front_reader}; expected 0 or more numbers")
        if self.front_reader and not is_power_of_two(self.patch):
            raise InputError(f"view transformer: front_reader needs patches of a power of two, not {self.patch}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(view, channel, height, width) of what is denoised."""
        return self.views, VIEW_CHANNELS, self.size, self.size

    @property
    def dims(self) -> int:
        """Numbers in x_0."""
        return math.prod(self.shape)


def attention(
    q: Float[Tensor, "n head token d"], k: Float[Tensor, "n head token d"], v: Float[Tensor, "n head token d"]
) -> Float[Tensor, "n head token d"]:
    """Scaled dot products; in bfloat16 on a processor written out: fused they take half of a training step there."""
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return nn.functional.scaled_dot_product_attention(q, k, v)
    weights = torch.softmax((q * q.shape[-1] ** -0.5) @ k.mT, -1)
    return weights.to(v.dtype) @ v


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inside = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.time = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.time.weight)
        nn.init.zeros_(self.time.bias)

    def forward(self, x: Float[Tensor, "n token width"], time: Float[Tensor, "n width"]) -> Tensor:
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.time(time)[:, None].chunk(6, -1)
        seen = self.norm_1(x) * (1 + scale_1) + shift_1
        q, k, v = self.qkv(seen).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + (1 + gate_1) * self.out(attended)
        return x + (1 + gate_2) * self.inside(self.norm_2(x) * (1 + scale_2) + shift_2)


class ViewTransformer(nn.Module):
    """(noisy views, time, front) -> clean views."""

    def __init__(self, config: ViewTransformerConfig) -> None:
        super().__init__()
        self.config = config
        w, p = config.width, config.patch
        places = (config.size // p) ** 2
        self.patches = nn.Conv2d(VIEW_CHANNELS, w, p, stride=p)
        self.front = nn.Conv2d(VIEW_CHANNELS, w, p, stride=p)
        self.reader = FrontReader(config.front_reader, config.views, places, p, w) if config.front_reader else None
        self.view = nn.Parameter(0.02 * torch.randn(config.views + 1, 1, w))
        self.place = nn.Parameter(0.02 * torch.randn(1, places, w))
        self.time = nn.Sequential(nn.Linear(w, w), nn.SiLU(), nn.Linear(w, w), nn.SiLU())
        self.blocks = nn.ModuleList(_Block(w, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(w)
        c = config.head_channels
        self.unpatch = nn.ConvTranspose2d(w, c, p, stride=p)
        self.head = nn.Sequential(
            nn.Conv2d(c + VIEW_CHANNELS * (1 + config.shows_front), c, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(c, VIEW_CHANNELS, 3, padding=1),
        )

    def forward(
        self, noisy: Float[Tensor, "n view given h w"], t: Int[Tensor, " n"], front: Float[Tensor, "n 4 h w"]
    ) -> Float[Tensor, "n view 4 h w"]:
        """Predicted clean views; t are indices into the schedule.

        Channels behind the four of a noisy view, as many as the patches take, are told of that view.
        """
        n, views = noisy.shape[:2]
        flat = noisy.flatten(0, 1)
        tokens = self.patches(flat).flatten(2).mT.unflatten(0, (n, views))  # (n, V, P, w)
        tokens = tokens + self.view[:views] + self.place
        time = self.time(_waves(t, self.config.width, self.config.schedule.num_steps).to(tokens))
        if self.reader is not None:
            to_time, to_views = self.reader(front)
            time, tokens = time + to_time, tokens + to_views
        tokens = tokens.flatten(1, 2)
        given = self.front(front).flatten(2).mT + self.view[-1] + self.place
        x = torch.cat([tokens, given], 1)
        for block in self.blocks:
            x = block(x, time)
        side = self.config.size // self.config.patch
        out = self.norm(x[:, : tokens.shape[1]]).unflatten(1, (views, -1)).flatten(0, 1)
        grown = self.unpatch(out.mT.unflatten(-1, (side, side)))
        known = [front_in_views(front, views).flatten(0, 1)] if self.config.shows_front else []
        return self.head(torch.cat([grown, flat[:, :VIEW_CHANNELS], *known], 1)).unflatten(0, (n, views))


def front_in_views(front: Float[Tensor, "n 4 h w"], views: int) -> Float[Tensor, "n views 4 h w"]:
    """What a front says of each of evenly spaced views: itself, its mirror image from behind, and nothing else.

    From behind, an orthographic camera sees the same outline the other way round; the normals there are not known.
    """
    shown = front.new_zeros((len(front), views, *front.shape[1:]))
    shown[:, 0] = front
    if views % 2 == 0:
        shown[:, views // 2, -1] = front[:, -1].flip(-1)
    return shown


def _waves(t: Int[Tensor, " n"], width: int, steps: int) -> Float[Tensor, "n width"]:
    """Sines and cosines of the share of the schedule, from one to a thousand waves over it."""
    rates = torch.exp(torch.linspace(0, math.log(1000.0), width // 2, device=t.device))
    angle = t[:, None].float() / steps * rates
    return torch.cat([angle.sin(), angle.cos()], -1)
