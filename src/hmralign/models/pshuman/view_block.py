"""The transformer block of PSHuman's network: tokens look at their own picture, the other domain, other views, words.

Source: Li et al. 2024 (PSHuman) and its public code, read for layout, names, shapes and order of operations; every line
here was written from the description below.

Rows of a batch are pictures, in the order (domain, group, view): all normals, then all colours; a group is a person, or
a person without the condition where guidance asks for both; the last of a group's V views is the face. Pictures are
square, s tokens a side, row by row. A block is

    1. x += F(attn1(J(norm1(x))))   own picture, with that of the other domain
    2. x += attn_mv(R(norm_mv(x)))  rows over the views; the face stays as it is
    3. x += attn2(norm2(x), words)  77 tokens of text for each picture
    4. x += ff(norm3(x))            gated by GELU, four times as wide

    J   joins picture i of the normals with picture i of the colours: 2 s^2 tokens see each other
    F   the face is laid into the front: the output at the face, brought to s // 3 a side by bilinear interpolation, is
        mixed half and half into that of the front, rows 0 to s // 3, columns s // 3 to 2 s // 3, in each domain for
        itself; no gradient goes to the face by this way
    R   row r of all V - 1 sides is one sequence of (V - 1) s tokens

| name        | tensors                                                      | shape                          |
| ----------- | ------------------------------------------------------------ | ------------------------------ |
| `norm1`, `norm_mv`, `norm2`, `norm3` | `weight`, `bias`                    | d                              |
| `attn1`, `attn_mv` | `to_q.weight`, `to_k.weight`, `to_v.weight`           | (d, d), no bias                |
| `attn2`     | the same, keys and values from words                         | (d, d), (d, words), (d, words) |
| each `attn` | `to_out.0.weight`, `to_out.0.bias`                           | (d, d), d                      |
| `ff`        | `net.0.proj.weight`, `.bias`, `net.2.weight`, `.bias`        | (8 d, d), 8 d, (d, 4 d), d     |

What of this is the published code's own choice is a field of `ViewSwitches`. Heads are scaled by the root of their
width. The public code runs these attentions only where the package xformers is switched on, as its script does; without
it `attn1` and `attn_mv` would fall back to plain attention within a picture, which nobody trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention

from hmralign.structures import InputError
from hmralign.structures.counted import counted

DOMAINS = ("normal", "color")
"""In the order of a batch."""


@dataclass(frozen=True)
class ViewSwitches:
    """How pictures see each other; defaults are as published."""

    views: int = 7
    """V, pictures of a group; the last is the face."""
    joint_domains: bool = True
    """J: `attn1` sees the other domain (`mvcd_attention` without `cd_attention_mid`)."""
    rows: bool = True
    """Whether there is an `attn_mv` (`multiview_attention`)."""
    joint_rows: bool = False
    """Rows are of both domains, each view's two beside each other (`cd_attention_mid`)."""
    face_share: float = 0.5
    """Share of the face where it is laid into the front; 0 leaves the front alone. Only with `joint_domains`."""
    face_detached: bool = True
    """No gradient goes from the front to the face by F."""
    face_in_rows: bool = False
    """The face takes part in step 2."""

    def __post_init__(self) -> None:
        """Raise InputError for views without a side, and a share that is none."""
        if self.views < 2:
            raise InputError(f"{self.views} views; expected the face and at least one side")
        if not 0 <= self.face_share <= 1:
            raise InputError(f"face_share is {self.face_share}; expected 0 to 1")


class Attention(nn.Module):
    """Attention of several heads over tokens (b, n, d); keys and values of other tokens where they are given."""

    def __init__(self, dim: int, heads: int, seen_dim: int | None = None) -> None:
        super().__init__()
        seen_dim = dim if seen_dim is None else seen_dim
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(seen_dim, dim, bias=False)
        self.to_v = nn.Linear(seen_dim, dim, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim), nn.Identity()])  # as published, where the second drops out

    def forward(
        self, tokens: Float[Tensor, "b n d"], seen: Float[Tensor, "b m e"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Every token's answer."""
        seen = tokens if seen is None else seen
        q, k, v = self._of_heads(self.to_q(tokens)), self._of_heads(self.to_k(seen)), self._of_heads(self.to_v(seen))
        return self.to_out[0](scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _of_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class _Gated(nn.Module):
    """Twice as many numbers, half of which are the gates of the others."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, 2 * inner)

    def forward(self, tokens: Tensor) -> Tensor:
        value, gate = self.proj(tokens).chunk(2, dim=-1)
        return value * gelu(gate)


class FeedForward(nn.Module):
    """Each token for itself."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([_Gated(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim)])

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """What is added to the tokens."""
        return self.net[2](self.net[0](tokens))


class ViewBlock(nn.Module):
    """One block, under the names of published weights."""

    def __init__(self, dim: int, heads: int, words_dim: int, switches: ViewSwitches) -> None:
        super().__init__()
        self.switches = switches
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn1, self.attn2 = Attention(dim, heads), Attention(dim, heads, words_dim)
        self.ff = FeedForward(dim)
        if switches.rows:
            self.norm_mv, self.attn_mv = nn.LayerNorm(dim), Attention(dim, heads)
            # As published: a block that is not trained yet leaves the views apart.
            nn.init.zeros_(self.attn_mv.to_out[0].get_parameter("weight"))

    def forward(
        self,
        hidden_states: Float[Tensor, "row n d"],
        attention_mask: None = None,
        encoder_hidden_states: Float[Tensor, "row words e"] | None = None,
        encoder_attention_mask: None = None,
        timestep: None = None,
        cross_attention_kwargs: None = None,
        class_labels: None = None,
    ) -> Float[Tensor, "row n d"]:
        """The tokens after the block; parameters stand as `diffusers` hands them over, and those of type None are
        without effect. Raises InputError for pictures that are not square, a side that has no third, and rows that
        are no whole groups in two domains."""
        x, words = hidden_states, encoder_hidden_states
        self._require_groups(x)
        x = x + self._own(self.norm1(x))  # 1
        if self.switches.rows:
            x = self._over_rows(x)  # 2
        x = x + self.attn2(self.norm2(x), words)  # 3
        return x + self.ff(self.norm3(x))  # 4

    def _require_groups(self, x: Tensor) -> None:
        if len(x) % (2 * self.switches.views):
            raise InputError(f"{counted(len(x), 'picture')}; expected two domains of groups of {self.switches.views}")
        side = _side(x)
        if self.switches.joint_domains and self.switches.face_share > 0 and side % 3:
            raise InputError(f"pictures of {side} tokens a side, in whose front the face's third has no place")

    def _own(self, x: Tensor) -> Tensor:
        if not self.switches.joint_domains:
            return self.attn1(x)
        both = self.attn1(torch.cat(x.chunk(2, dim=0), dim=1))  # J: (domain g v, n, d) -> (g v, domain n, d)
        return torch.cat([self._with_face(part) for part in both.chunk(2, dim=1)], dim=0)

    def _with_face(self, x: Float[Tensor, "row n d"]) -> Float[Tensor, "row n d"]:
        """F, in one domain."""
        share = self.switches.face_share
        if share == 0:
            return x
        side, third = _side(x), _side(x) // 3
        pictures = x.unflatten(1, (side, side)).unflatten(0, (-1, self.switches.views))  # (g, v, s, s, d)
        face = pictures[:, -1].detach() if self.switches.face_detached else pictures[:, -1]
        small = interpolate(face.movedim(-1, 1), (third, third), mode="bilinear").movedim(1, -1)
        pictures = pictures.clone()
        place = pictures[:, 0, :third, third : 2 * third]
        pictures[:, 0, :third, third : 2 * third] = (1 - share) * place + share * small
        return pictures.flatten(0, 1).flatten(1, 2)

    def _over_rows(self, x: Tensor) -> Tensor:
        """Step 2 with its residual."""
        groups = x.unflatten(0, (-1, self.switches.views))  # (domain g, v, n, d)
        sides = groups if self.switches.face_in_rows else groups[:, :-1]
        sides = sides + self._rows(self.norm_mv(sides))
        return torch.cat([sides, groups[:, sides.shape[1] :]], dim=1).flatten(0, 1)

    def _rows(self, x: Float[Tensor, "group v n d"]) -> Float[Tensor, "group v n d"]:
        side, views = _side(x[:, 0]), x.shape[1]
        rows = x.unflatten(2, (side, side)).transpose(1, 2)  # R: (domain g, s, v, s, d)
        if self.switches.joint_rows:
            rows = torch.cat(rows.chunk(2, dim=0), dim=3)  # (g, s, v, 2 s, d)
        found = self.attn_mv(rows.flatten(0, 1).flatten(1, 2))
        found = found.unflatten(1, (views, -1)).unflatten(0, (-1, side))
        if self.switches.joint_rows:
            found = torch.cat(found.chunk(2, dim=3), dim=0)
        return found.transpose(1, 2).flatten(2, 3)


def _side(x: Float[Tensor, "row n d"]) -> int:
    side = round(x.shape[1] ** 0.5)
    if side * side != x.shape[1]:
        raise InputError(f"{x.shape[1]} tokens are no square picture")
    return side
