"""The network of a published configuration: names, shapes, counts, and what stands where in a batch."""

from pathlib import Path

import pytest
import torch

from hmralign.models.pshuman.view_block import ViewBlock, ViewSwitches
from hmralign.models.pshuman.view_unet import build_view_unet, view_unet_config
from hmralign.models.without_memory import without_memory
from hmralign.structures import InputError
from support.pshuman_tiny import EMBEDDING, LATENT, TOKENS, UNET, VIEWS, WORDS, drawn

PATH = Path("unet/config.json")
FULL = {
    **UNET, "attention_head_dim": [5, 10, 20, 20], "block_out_channels": [320, 640, 1280, 1280], "sample_size": 96,
    "cross_attention_dim": 1024, "layers_per_block": 2, "norm_num_groups": 32,
    "down_block_types": ["CrossAttnDownBlockMV2D"] * 3 + ["DownBlock2D"], "projection_class_embeddings_input_dim": 2048,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlockMV2D"] * 3,
}  # fmt: skip
"""Sizes of Stability AI's `v2-1-stable-unclip-h-inference.yaml`, switches of PSHuman's `inference-768-6view.yaml`."""


def needs_diffusers():
    return pytest.importorskip("diffusers", minversion="0.36", reason="the extra [diffusers] is not installed")


def test_switches_are_read_off_the_configuration():
    config = view_unet_config(PATH, UNET)
    assert config.switches == ViewSwitches(views=7) and (config.latent_side, config.latent_channels) == (6, 4)
    assert config.embedding_dim == 2 * EMBEDDING
    mid = view_unet_config(PATH, {**UNET, "cd_attention_mid": True, "multiview_attention": False, "num_views": 3})
    assert mid.switches == ViewSwitches(views=3, joint_domains=False, rows=False, joint_rows=True)
    own = view_unet_config(PATH, UNET, ViewSwitches(face_share=0.9, face_detached=False, face_in_rows=True))
    assert (own.switches.face_share, own.switches.face_detached, own.switches.face_in_rows) == (0.9, False, True)
    assert own.switches.joint_domains and own.switches.rows and not own.switches.joint_rows


WRONG = [
    ({"selfattn_block": "custom"}, "selfattn_block = 'custom'; only 'self_rowwise' is built"),
    ({"selfattn_block": None}, "selfattn_block = None"), ({"regress_elevation": True}, "regress_elevation = True"),
    ({"use_dino": True}, "use_dino"), ({"color": 1}, "says color, which UNetMV2DConditionModel does not know"),
    ({"in_channels": 4}, "twice out_channels"), ({"sample_size": 0}, "sample_size = 0"),
    ({"num_views": 1}, "num_views = 1"), ({"mvcd_attention": 1}, "mvcd_attention = 1; expected true"),
    ({"attention_head_dim": 3}, "does not divide"), ({"block_out_channels": [8]}, "not of one number"),
    ({"block_out_channels": 8}, "not of one number"), ({"layers_per_block": 200}, "asks for 400 blocks"),
    ({"down_block_types": ["AttnDownBlock2D"] * 2}, "down_block_types"), ({"block_out_channels": [8] * 999}, "999"),
    ({"cross_attention_dim": [4, 4]}, "cross_attention_dim"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_what_cannot_be_built_is_refused_by_its_entry(change, said):
    with pytest.raises(InputError, match=said):
        view_unet_config(PATH, {**UNET, **change})


def test_a_size_that_is_not_said_is_missed():
    with pytest.raises(InputError, match="does not say cross_attention_dim"):
        view_unet_config(PATH, {key: value for key, value in UNET.items() if key != "cross_attention_dim"})


def views_of_block(dim):
    """Numbers of `norm_mv` and `attn_mv`."""
    return 2 * dim + 4 * dim * dim + dim


def test_at_full_size_the_network_is_the_unclip_unet_with_rows_over_the_views():
    library = needs_diffusers()
    with without_memory():
        found = build_view_unet(view_unet_config(PATH, FULL)).state_dict()
        plain = library.UNet2DConditionModel(
            sample_size=96, attention_head_dim=[5, 10, 20, 20], cross_attention_dim=1024, use_linear_projection=True,
            class_embed_type="projection", projection_class_embeddings_input_dim=2048,
        ).state_dict()  # fmt: skip
    shapes, theirs = ({n: tuple(t.shape) for n, t in state.items()} for state in (found, plain))
    assert sum(t.numel() for t in plain.values()) == 870_173_124  # Stable Diffusion 2.1 unCLIP (ViT-H)
    more = {name for name in shapes if name not in theirs}
    assert set(theirs) <= set(shapes) and all(".norm_mv." in n or ".attn_mv." in n for n in more)
    assert {n: s for n, s in shapes.items() if n in theirs and s != theirs[n]} == {"conv_in.weight": (320, 8, 3, 3)}
    blocks = [320] * 5 + [640] * 5 + [1280] * 6
    assert len(more) == 7 * len(blocks) and len(shapes) == 690 + 112 == 802
    total = sum(t.numel() for t in found.values())
    assert total == 919_783_684 == 870_173_124 + 320 * 4 * 9 + sum(map(views_of_block, blocks))
    assert shapes["down_blocks.0.attentions.1.transformer_blocks.0.attn_mv.to_out.0.bias"] == (320,)
    assert shapes["mid_block.attentions.0.transformer_blocks.0.norm_mv.weight"] == (1280,)


def inputs(groups=1):
    draw = torch.Generator().manual_seed(5)
    rows = 2 * groups * VIEWS
    return (
        torch.randn(rows, 8, LATENT, LATENT, generator=draw), torch.randint(1000, (rows,), generator=draw),
        torch.randn(rows, TOKENS, WORDS, generator=draw), torch.randn(rows, 2 * EMBEDDING, generator=draw),
    )  # fmt: skip


def test_where_views_are_left_apart_it_is_the_unet_of_diffusers_with_the_same_weights():
    library = needs_diffusers()
    switched_off = {"mvcd_attention": False, "multiview_attention": False}
    config = view_unet_config(PATH, {**UNET, **switched_off})
    ours, theirs = build_view_unet(config), library.UNet2DConditionModel(**config.plain)
    state = drawn(theirs.state_dict(), 3)
    ours.load_state_dict(state)
    theirs.load_state_dict(state)
    x, t, words, embeds = inputs()
    with torch.no_grad():
        a, b = (n(x, t, words, class_labels=embeds, return_dict=False)[0] for n in (ours, theirs))
    assert a.std() > 0.1 and torch.allclose(a, b, atol=2e-6)


def test_every_switch_is_seen_at_the_output():
    needs_diffusers()
    x, t, words, embeds = inputs()
    found = []
    for change, switches in (
        ({}, {}), ({"mvcd_attention": False}, {}), ({"cd_attention_mid": True}, {}), ({}, {"face_share": 0.0}),
        ({}, {"face_in_rows": True}),
    ):  # fmt: skip
        network = build_view_unet(view_unet_config(PATH, {**UNET, **change}, ViewSwitches(**switches)))
        network.load_state_dict(drawn(network.state_dict(), 3))
        with torch.no_grad():
            found.append(network(x, t, words, class_labels=embeds, return_dict=False)[0])
    assert all((a - b).abs().max() > 1e-4 for i, a in enumerate(found) for b in found[:i])


def test_recomputed_activations_give_the_same_gradient():
    needs_diffusers()
    network = build_view_unet(view_unet_config(PATH, UNET))
    network.load_state_dict(drawn(network.state_dict(), 3))
    x, t, words, embeds = inputs()
    gradients = []
    for recomputed in (False, True):
        if recomputed:
            network.enable_gradient_checkpointing()
        network.zero_grad()
        network.train()(x, t, words, class_labels=embeds, return_dict=False)[0].square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    assert sum(isinstance(m, ViewBlock) for m in network.modules()) == 4
    assert all(torch.allclose(a, b, atol=1e-7) and a.isfinite().all() for a, b in zip(*gradients, strict=True))
