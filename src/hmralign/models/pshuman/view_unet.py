"""PSHuman's network, `UNetMV2DConditionModel`, at any size: the UNet of `diffusers` with other transformer blocks.

Source: Li et al. 2024 (PSHuman) and its public code, read for layout and names (see `view_block`). The published class
is Stable Diffusion 2.1 unCLIP's UNet with

- `CrossAttnDownBlockMV2D`, `UNetMidBlockMV2DCrossAttn`, `CrossAttnUpBlockMV2D` in place of the blocks without MV: the
  same residual blocks, projections and samplers under the same names, and `ViewBlock`s for transformer blocks;
- twice the channels at the input: noisy latents, then those of the picture that is given;
- the image embedding and its noise level projected and added to that of time (`class_embed_type: projection`).

So the network is built by `diffusers`, and every `transformer_blocks.N` of it is exchanged. A configuration is the
published `unet/config.json`. What it may ask for and is not built here is refused: regressors of elevation and focal
length, DINO features, the additional downsampling, other self-attention blocks than `self_rowwise`; published training
switched all of them off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from hmralign.models.pshuman.diffusers_library import require_diffusers
from hmralign.models.pshuman.view_block import ViewBlock, ViewSwitches
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

CLASS = "UNetMV2DConditionModel"

_PLAIN_BLOCKS = {
    "CrossAttnDownBlockMV2D": "CrossAttnDownBlock2D", "DownBlock2D": "DownBlock2D",
    "CrossAttnUpBlockMV2D": "CrossAttnUpBlock2D", "UpBlock2D": "UpBlock2D",
}  # fmt: skip
"""Published kind of block -> the kind of `diffusers` that it is built as."""

_COUNTS = (
    "sample_size", "in_channels", "out_channels", "layers_per_block", "norm_num_groups", "cross_attention_dim",
    "transformer_layers_per_block", "projection_class_embeddings_input_dim", "downsample_padding", "freq_shift",
    "conv_in_kernel", "conv_out_kernel",
)  # fmt: skip
_LISTS = ("block_out_channels", "attention_head_dim")
_MV_FLAGS = ("mvcd_attention", "cd_attention_mid", "multiview_attention")
_PASSED = (
    "act_fn", "norm_eps", "mid_block_scale_factor", "center_input_sample", "flip_sin_to_cos", "use_linear_projection",
    "resnet_time_scale_shift",
)  # fmt: skip
_ONLY: Mapping[str, object] = {
    "selfattn_block": "self_rowwise", "class_embed_type": "projection", "mid_block_type": "UNetMidBlockMV2DCrossAttn",
    "regress_elevation": False, "regress_focal_length": False, "use_dino": False, "addition_downsample": False,
    "only_cross_attention": False, "dual_cross_attention": False, "encoder_hid_dim": None, "addition_embed_type": None,
    "encoder_hid_dim_type": None, "num_class_embeds": None, "num_attention_heads": None, "time_embedding_dim": None,
    "time_embedding_type": "positional", "time_embedding_act_fn": None, "timestep_post_act": None,
    "time_cond_proj_dim": None, "class_embeddings_concat": False, "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1.0, "cross_attention_norm": None,
}  # fmt: skip
"""Entries whose one value is built; the first three have to be there."""
_NEEDED = ("selfattn_block", "class_embed_type", "mid_block_type")
_WITHOUT_EFFECT = (
    "sparse_mv_attention", "cd_attention_last", "num_regress_blocks", "projection_camera_embeddings_input_dim",
    "addition_channels", "mid_block_only_cross_attention", "addition_embed_type_num_heads", "addition_time_embed_dim",
    "upcast_attention",
)  # fmt: skip
"""Entries that change nothing in the published code where the others are as in `_ONLY`; the last is passed over by the
attention that it runs."""

_LARGEST = 16384
_MOST_BLOCKS = 128


@dataclass(frozen=True)
class ViewUNetConfig:
    """A configuration that was found to be one that can be built."""

    plain: Mapping[str, Any]
    """What `diffusers` is told."""
    switches: ViewSwitches

    @property
    def latent_side(self) -> int:
        """Latents across a picture."""
        return self.plain["sample_size"]

    @property
    def latent_channels(self) -> int:
        """Channels of a picture's latents."""
        return self.plain["out_channels"]

    @property
    def embedding_dim(self) -> int:
        """Numbers of an image embedding with its noise level."""
        return self.plain["projection_class_embeddings_input_dim"]


def view_unet_config(path: Path, content: Mapping[str, Any], switches: ViewSwitches | None = None) -> ViewUNetConfig:
    """The configuration of a published `config.json`; `switches` are those that it does not know.

    Raises InputError, naming the file, for entries that are unknown, cannot be, or ask for what is not built.
    """
    entries = {key: value for key, value in content.items() if not key.startswith("_")}
    known = {*_COUNTS, *_LISTS, *_MV_FLAGS, *_PASSED, *_ONLY, *_WITHOUT_EFFECT, "num_views", *_BLOCKS}
    if unknown := sorted(set(entries) - known):
        raise InputError(f"{path}: says {shown(unknown[0])}, which {CLASS} does not know")
    for key, value in _ONLY.items():
        if entries.get(key, None if key in _NEEDED else value) != value:
            raise InputError(f"{path}: says {key} = {shown(repr(entries.get(key)))}; only {value!r} is built")
    plain = {key: entries[key] for key in _PASSED if key in entries}
    plain |= {key: _count(path, key, entries[key]) for key in _COUNTS if key in entries}
    plain |= {key: _list(path, key, entries[key]) for key in _LISTS if key in entries}
    plain |= {key: _blocks(path, key, entries.get(key)) for key in _BLOCKS}
    if missing := [key for key in _MUST if key not in plain]:
        raise InputError(f"{path}: does not say {missing[0]}")
    _require_sizes(path, plain)
    return ViewUNetConfig(
        plain | {"class_embed_type": "projection"}, _switches(path, entries, switches or ViewSwitches())
    )


_BLOCKS = ("down_block_types", "up_block_types")
_MUST = (
    "sample_size", "in_channels", "out_channels", "block_out_channels", "attention_head_dim", "cross_attention_dim",
    "projection_class_embeddings_input_dim",
)  # fmt: skip


def build_view_unet(config: ViewUNetConfig) -> nn.Module:
    """The network with numbers of its own: `net(latents, t, words, class_labels=embeddings, return_dict=False)[0]`.

    Rows are pictures in the order of `view_block`. Raises InputError where `diffusers` is not installed or refuses.
    """
    require_diffusers()
    from diffusers.models.transformers.transformer_2d import Transformer2DModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    try:
        network = UNet2DConditionModel(**config.plain)
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        raise InputError(f"diffusers cannot build the network: {shown(' '.join(str(error).split()), 200)}") from error
    for module in network.modules():
        if isinstance(module, Transformer2DModel):
            width, heads = module.inner_dim, module.num_attention_heads
            blocks = [
                ViewBlock(width, heads, config.plain["cross_attention_dim"], config.switches)
                for _ in module.transformer_blocks
            ]
            module.transformer_blocks = nn.ModuleList(blocks)
    return network


def _switches(path: Path, entries: Mapping[str, Any], given: ViewSwitches) -> ViewSwitches:
    flags = {"mvcd_attention": False, "cd_attention_mid": False, "multiview_attention": True}
    for name in flags:
        flags[name] = entries.get(name, flags[name])
        if not isinstance(flags[name], bool):
            raise InputError(f"{path}: says {name} = {shown(repr(flags[name]))}; expected true or false")
    views = _count(path, "num_views", entries.get("num_views", 1))
    if views < 2:
        raise InputError(f"{path}: says num_views = {views}; expected the face and at least one side")
    return replace(
        given, views=views, joint_domains=flags["mvcd_attention"] and not flags["cd_attention_mid"],
        rows=flags["multiview_attention"], joint_rows=flags["cd_attention_mid"],
    )  # fmt: skip


def _count(path: Path, key: str, value: object) -> int:
    least = 0 if key in ("downsample_padding", "freq_shift") else 1
    if type(value) is not int or not least <= value <= _LARGEST:
        raise InputError(f"{path}: says {key} = {shown(repr(value))}; expected a number of {least} to {_LARGEST}")
    return value


def _list(path: Path, key: str, value: object) -> int | tuple[int, ...]:
    if not isinstance(value, list):
        return _count(path, key, value)
    if len(value) > _MOST_BLOCKS:
        raise InputError(f"{path}: says {counted(len(value), 'number')} of {key}")
    return tuple(_count(path, key, one) for one in value)


def _blocks(path: Path, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or any(one not in _PLAIN_BLOCKS for one in map(str, value)):
        raise InputError(f"{path}: says {key} = {shown(repr(value))}; expected {', '.join(_PLAIN_BLOCKS)}")
    return tuple(_PLAIN_BLOCKS[one] for one in value)


def _require_sizes(path: Path, plain: Mapping[str, Any]) -> None:
    widths, heads = plain["block_out_channels"], plain["attention_head_dim"]
    count = len(plain["down_block_types"])
    if not isinstance(widths, tuple) or len(widths) != count or len(plain["up_block_types"]) != count:
        raise InputError(f"{path}: its blocks and block_out_channels are not of one number")
    heads = heads if isinstance(heads, tuple) else (heads,) * count
    if len(heads) != count or any(width % head for width, head in zip(widths, heads, strict=True)):
        raise InputError(f"{path}: attention_head_dim (numbers of heads) does not divide block_out_channels")
    layers = plain.get("layers_per_block", 2) * plain.get("transformer_layers_per_block", 1)
    if count * layers > _MOST_BLOCKS:
        raise InputError(f"{path}: asks for {count * layers} blocks; at most {_MOST_BLOCKS} are built")
    if plain["in_channels"] != 2 * plain["out_channels"]:
        raise InputError(f"{path}: in_channels must be twice out_channels: noisy latents beside the given picture's")
