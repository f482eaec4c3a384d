"""A folder of PSHuman's layout at tiny size with random weights, written as `save_pretrained` would."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

VIEWS, WORDS, TOKENS, EMBEDDING = 7, 12, 5, 8
LATENT, PIXELS = 6, 24

UNET = {
    "_class_name": "UNetMV2DConditionModel", "_diffusers_version": "0.27.2", "act_fn": "silu",
    "addition_channels": [1280, 1280, 1280], "addition_downsample": False, "addition_embed_type": None,
    "attention_head_dim": [1, 2], "block_out_channels": [8, 16], "cd_attention_last": False, "cd_attention_mid": False,
    "center_input_sample": False, "class_embed_type": "projection", "cross_attention_dim": WORDS,
    "down_block_types": ["CrossAttnDownBlockMV2D", "DownBlock2D"], "flip_sin_to_cos": True, "freq_shift": 0,
    "in_channels": 8, "layers_per_block": 1, "mid_block_type": "UNetMidBlockMV2DCrossAttn",
    "multiview_attention": True, "mvcd_attention": True, "norm_eps": 1e-05, "norm_num_groups": 4,
    "num_regress_blocks": 2, "num_views": VIEWS, "out_channels": 4, "projection_camera_embeddings_input_dim": 2,
    "projection_class_embeddings_input_dim": 2 * EMBEDDING, "regress_elevation": False, "regress_focal_length": False,
    "sample_size": LATENT, "selfattn_block": "self_rowwise", "sparse_mv_attention": True, "upcast_attention": True,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlockMV2D"], "use_dino": False, "use_linear_projection": True,
}  # fmt: skip
VAE = {
    "_class_name": "AutoencoderKL", "block_out_channels": [8, 8, 8], "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3, "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 4,
    "sample_size": PIXELS, "scaling_factor": 0.18215, "act_fn": "silu", "in_channels": 3, "out_channels": 3,
}  # fmt: skip
ENCODER = {
    "architectures": ["CLIPVisionModelWithProjection"], "hidden_size": 8, "intermediate_size": 16, "image_size": 16,
    "num_attention_heads": 2, "num_hidden_layers": 1, "patch_size": 8, "projection_dim": EMBEDDING,
    "hidden_act": "gelu", "model_type": "clip_vision_model",
}  # fmt: skip
NORMALIZER = {"_class_name": "StableUnCLIPImageNormalizer", "embedding_dim": EMBEDDING}
NOISING = {"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 1000}
SCHEDULER = {
    "_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "clip_sample": False, "num_train_timesteps": 1000, "prediction_type": "v_prediction", "set_alpha_to_one": False,
    "steps_offset": 1, "trained_betas": None,
}  # fmt: skip


def configs() -> dict[str, dict]:
    """A configuration of each component, to be changed."""
    every = {"unet": UNET, "vae": VAE, "image_encoder": ENCODER, "image_normalizer": NORMALIZER,
             "image_noising_scheduler": NOISING, "scheduler": SCHEDULER}  # fmt: skip
    return json.loads(json.dumps(every))


def drawn(state: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Random weights of the same shapes, small enough for every layer to say something."""
    draw = torch.Generator().manual_seed(seed)

    def one(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():
            return tensor
        if tensor.ndim < 2:
            return ("norm" in name and name.endswith("weight")) + 0.1 * torch.randn(tensor.shape, generator=draw)
        return torch.randn(tensor.shape, generator=draw) / tensor[0].numel() ** 0.5

    return {name: one(name, tensor).contiguous() for name, tensor in sorted(state.items())}


def networks(every: dict[str, dict]) -> dict[str, torch.nn.Module]:
    """Networks of the configurations; needs `diffusers` and `transformers`."""
    from diffusers import AutoencoderKL
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from hmralign.models.pshuman.view_unet import build_view_unet, view_unet_config

    config = {k: v for k, v in every["image_encoder"].items() if k not in ("architectures", "model_type")}
    return {
        "unet": build_view_unet(view_unet_config(Path("config.json"), every["unet"])),
        "vae": AutoencoderKL(**{k: v for k, v in every["vae"].items() if not k.startswith("_")}),
        "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**config)),
    }


def write_folder(folder: Path, every: dict[str, dict] | None = None) -> Path:
    """The folder, with safetensors."""
    every = every or configs()
    states = {name: drawn(net.state_dict(), seed) for seed, (name, net) in enumerate(networks(every).items())}
    draw = torch.Generator().manual_seed(9)
    states["image_normalizer"] = {"mean": 0.1 * torch.randn(1, EMBEDDING, generator=draw),
                                  "std": 1 + torch.rand(1, EMBEDDING, generator=draw)}  # fmt: skip
    for name, config in every.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        file = "config.json" if name in states else "scheduler_config.json"
        (folder / name / file).write_text(json.dumps(config))
        if name in states:
            weights = "model.safetensors" if name == "image_encoder" else "diffusion_pytorch_model.safetensors"
            save_file(states[name], folder / name / weights)
    index = {"_class_name": "StableUnCLIPImg2ImgPipeline",
             "image_encoder": ["transformers", "CLIPVisionModelWithProjection"]}  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index))
    for seed, name in enumerate(("clr_embeds.pt", "normal_embeds.pt")):
        words = torch.randn(VIEWS, TOKENS, WORDS, generator=torch.Generator().manual_seed(seed))
        torch.save(words.half(), folder / name)
    return folder
