"""Random RT-DETR and ViTPose models of a few thousand weights, saved as a user's folder would have them."""

from pathlib import Path

import torch


def save_person_model(folder: Path, labels=("dog", "Person"), seed=0, kind="RTDetr") -> Path:
    """An RT-DETR, or an RT-DETRv2."""
    import transformers
    from transformers import RTDetrImageProcessorPil, RTDetrResNetConfig

    backbone = RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4, layer_type="basic", out_features=_stages(2, 3, 4)
    )
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=backbone, encoder_in_channels=[8] * 3, encoder_hidden_dim=16, encoder_ffn_dim=16,
        encoder_attention_heads=2, d_model=16, decoder_in_channels=[16] * 3, decoder_ffn_dim=16, decoder_layers=2,
        decoder_attention_heads=2, num_queries=30, id2label=dict(enumerate(labels)),
        label2id={name: i for i, name in enumerate(labels)},
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, f"{kind}ForObjectDetection")(config)
        for name, weight in model.named_parameters():  # fresh weights say the same of every place
            if weight.ndim > 1 and "bbox" not in name:
                torch.nn.init.normal_(weight, std=1.5 * weight[0].numel() ** -0.5)
    model.save_pretrained(folder)
    RTDetrImageProcessorPil(size={"height": 128, "width": 128}).save_pretrained(folder)
    return folder


def save_pose_model(folder: Path, keypoints=17, experts=1, seed=0, **config_fields) -> Path:
    """A ViTPose, or a ViTPose+ with several experts."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation, VitPoseImageProcessorPil

    backbone = VitPoseBackboneConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, out_indices=[2], num_experts=experts,
        part_features=8, initializer_range=0.3,
    )  # fmt: skip
    config = VitPoseConfig(backbone_config=backbone, num_labels=keypoints, initializer_range=0.3, **config_fields)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        VitPoseForPoseEstimation(config).save_pretrained(folder)
    VitPoseImageProcessorPil().save_pretrained(folder)
    return folder


def save_detector_folder(folder: Path, **pose) -> Path:
    """Both models, as `VitposeDetector` expects them."""
    save_person_model(folder / "person")
    save_pose_model(folder / "pose", **pose)
    return folder


def _stages(*numbers: int) -> list[str]:
    return [f"stage{n}" for n in numbers]
