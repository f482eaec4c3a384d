"""Training of the pose space: reconstruction through the codebook (eq. 2 of the vision-language paper).

    ||D(Z) - theta||^2 on rotations, joints and, if asked, vertices + alpha ||E(theta) - sg[Z]||^2

The codes follow their tokens as running means (`models.language.codebook`). Default weights are those of Dwivedi et al.
2024 (TokenHMR) for the same parts. With `codes: 0` the same networks are the plain autoencoder that sets the aim.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import forward_kinematics, rest_joints, vertices_from_fk
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_BETAS
from hmralign.data.synthetic.poses import PoseMix
from hmralign.data.synthetic.views import ViewMix
from hmralign.geometry.rotations import rotmat_angle
from hmralign.models.language.checkpoint import save_pose_space
from hmralign.models.language.codebook import Codebook
from hmralign.models.language.pose_space import PoseSpace, PoseSpaceConfig
from hmralign.storage.seeds import derived_seed, seeded
from hmralign.structures import InputError
from hmralign.training.configuration import write_training_config
from hmralign.training.curve import Curve, five_decimals
from hmralign.training.falling_run import falling_loop
from hmralign.training.loop import Loop
from hmralign.training.pose_draws import drawn_poses, pose_source, pose_sources
from hmralign.training.step import Part

_VERTEX_STRIDE = 40
"""The mesh is compared on every 40th vertex: neighbours move together."""


@dataclass(frozen=True)
class PoseVqvaeTrainingConfig:
    """One pose space."""

    model: PoseSpaceConfig = field(default_factory=PoseSpaceConfig)
    poses: PoseMix = field(default_factory=PoseMix)
    views: ViewMix = field(default_factory=ViewMix)
    pose_file: str | None = None
    """Motion-capture poses; without it all poses come from the shipped prior and from postures."""
    num_poses: int = 200_000
    """Poses drawn once, from which every batch is taken."""
    rotation_weight: float = 20.0
    """Squared error of matrix entries."""
    joint_weight: float = 100.0
    """Squared error of joints, metres, of the mean shape, root-relative."""
    mesh_weight: float = 0.0
    """Squared error of vertices, metres."""
    commitment_weight: float = 1.0
    """alpha of eq. 2."""
    code_decay: float = 0.99
    """Share of a code's mean that a step keeps."""
    dead_below: float = 0.1
    """Codes of a mean count below this start anew."""
    batch_size: int = 256
    steps: int = 6000
    """Optimiser steps."""
    learning_rate: float = 1e-3
    """Peak, falling as a cosine after 100 steps of warm-up."""
    weight_decay: float = 1e-4
    ema_decay: float = 0.998
    save_every: int = 1000
    """Steps between states to resume from."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if min(self.batch_size, self.steps, self.save_every, self.num_poses) < 1:
            raise InputError("pose space training: batch_size, steps, save_every and num_poses must be at least 1")
        weights = (self.rotation_weight, self.joint_weight, self.mesh_weight, self.commitment_weight)
        if min(weights) < 0 or self.rotation_weight + self.joint_weight + self.mesh_weight == 0:
            raise InputError("pose space training: weights must not be negative, nor all of the reconstruction zero")
        if not 0 <= self.code_decay < 1 or self.dead_below < 0:
            raise InputError("pose space training: code_decay must be in 0..1 and dead_below not negative")


def posed(
    body: BodyModel, rotmats: Float[Tensor, "n 24 3 3"], with_mesh: bool
) -> tuple[Float[Tensor, "n 24 3"], Float[Tensor, "n vert 3"] | None]:
    """Joints of the mean shape about its pelvis, metres, and every 40th vertex where asked for."""
    betas = rotmats.new_zeros(NUM_BETAS)
    turned, joints = forward_kinematics(rest_joints(body, betas), rotmats, body.parents)
    pelvis = joints[:, :1]
    ids = torch.arange(0, body.num_vertices, _VERTEX_STRIDE)
    mesh = vertices_from_fk(body, betas, rotmats[:, 1:], turned, joints, ids) - pelvis if with_mesh else None
    return joints[:, :24] - pelvis, mesh


def reconstruction_terms(
    body: BodyModel, made: Float[Tensor, "n 24 3 3"], given: Float[Tensor, "n 24 3 3"], *, with_mesh: bool
) -> dict[str, Float[Tensor, " n"]]:
    """Squared errors per pose: of matrix entries, joint coordinates and, if asked, vertex coordinates."""
    joints, mesh = posed(body, made, with_mesh)
    true_joints, true_mesh = posed(body, given, with_mesh)
    terms = {
        "rotation": (made - given).square().flatten(1).mean(1),
        "joints": (joints - true_joints).square().flatten(1).mean(1),
    }
    if mesh is not None and true_mesh is not None:
        terms["mesh"] = (mesh - true_mesh).square().flatten(1).mean(1)
    return terms


@torch.no_grad()
def reconstruction_errors(
    body: BodyModel, made: Float[Tensor, "n 24 3 3"], given: Float[Tensor, "n 24 3 3"]
) -> dict[str, Float[Tensor, " n"]]:
    """Mean distance per pose of joints and vertices (metres, root-relative), and mean angle of joints (radians)."""
    joints, mesh = posed(body, made, True)
    true_joints, true_mesh = posed(body, given, True)
    assert mesh is not None and true_mesh is not None
    return {
        "joints": (joints - true_joints).norm(dim=-1).mean(-1),
        "mesh": (mesh - true_mesh).norm(dim=-1).mean(-1),
        "angle": rotmat_angle(made, given).mean(-1),
    }


def train_pose_vqvae(config: PoseVqvaeTrainingConfig, folder: Path, device: str | torch.device = "cpu") -> PoseSpace:
    """Train, resuming from the folder; returns the averaged networks on the CPU, in eval mode.

    Writes `state.pt` and `curve.jsonl`. Raises InputError for a pose file or states that are no use; RuntimeError where
    the loss is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = pose_source(config.poses, config.pose_file, "train")
    poses = drawn_poses(source, config.views, config.num_poses, seeded(config.seed, "poses")).to(device)
    body = load_free_body("3k5").to(torch.device(device))
    torch.manual_seed(derived_seed(config.seed, "weights"))
    space = PoseSpace(config.model)

    def parts(model: PoseSpace, step: int) -> Iterator[Part]:
        draw = seeded(config.seed, "step", step)
        given = poses[torch.randint(len(poses), (config.batch_size,), generator=draw).to(poses.device)]
        yield _part(model, body, given, config, draw)

    columns = ("loss", "joints_mm") + (("perplexity",) if config.model.codes else ())
    curve = Curve(folder / "curve.jsonl", {}, columns, "cpu_seconds", rounded=five_decimals, said_every=500)
    averaged = Loop(
        space, parts, falling_loop(config, device, fused=True), state=folder / "state.pt", curve=curve
    ).run()
    assert isinstance(averaged, PoseSpace)
    return averaged.requires_grad_(False)


def _part(
    model: PoseSpace,
    body: BodyModel,
    given: Float[Tensor, "n 24 3 3"],
    config: PoseVqvaeTrainingConfig,
    draw: torch.Generator,
) -> Part:
    latent = model.encode(given)
    quantized, figures = latent, {}
    if model.codebook is not None:
        quantized, figures["perplexity"] = _quantized(model, model.codebook, latent, config, draw)
    terms = reconstruction_terms(body, model.decode(quantized), given, with_mesh=config.mesh_weight > 0)
    figures["joints_mm"] = 1000 * float((3 * terms["joints"].detach().mean()).sqrt())
    if model.codebook is not None:
        terms["commitment"] = (latent - quantized.detach()).square().mean(1)
    weights = {
        "rotation": config.rotation_weight, "joints": config.joint_weight, "mesh": config.mesh_weight,
        "commitment": config.commitment_weight,
    }  # fmt: skip
    return Part(terms, weights, figures=figures)


def _quantized(
    model: PoseSpace, codebook: Codebook, latent: Tensor, config: PoseVqvaeTrainingConfig, draw: torch.Generator
) -> tuple[Tensor, float]:
    """The latent in codes, and the perplexity of their use; the codes then move on."""
    tokens = model.split(latent)
    index = codebook.nearest(tokens)
    quantized = codebook(tokens, index).flatten(-2)
    return quantized, codebook.update(
        tokens, index, decay=config.code_decay, dead_below=config.dead_below, generator=draw
    )


def train_pose_vqvae_file(config: PoseVqvaeTrainingConfig, folder: Path, device: str | torch.device = "cpu") -> Path:
    """`train_pose_vqvae`, written with its configuration into the folder. Errors as there."""
    space = train_pose_vqvae(config, folder, device)
    write_training_config(folder / "config.yaml", config)
    skeleton = load_free_body("3k5").skeleton_hash
    return save_pose_space(folder / "pose.safetensors", space, skeleton, sources=pose_sources(config.pose_file))
