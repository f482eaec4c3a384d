"""The `lite` model as a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hmralign.body.inverse_kinematics import twists
from hmralign.body.lbs import forward_kinematics, posed_joints, rest_joints
from hmralign.body.model import BodyModel
from hmralign.diffusion.parameterization import add_noise
from hmralign.diffusion.schedule import Schedule
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.evidence import KeypointNoise
from hmralign.fitting.person_fit import PersonFit
from hmralign.models.checkpoint import load_checkpoint, save_checkpoint
from hmralign.models.context import Context
from hmralign.models.lite import LiteModel
from hmralign.models.person_frame import person_frame
from hmralign.models.pose_vector import POSE_DIM, pack
from hmralign.policies import lite_sampling
from hmralign.policies.lite_sampling import both_contexts, sample_vectors, shapes
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import BodyParams, Hypotheses, Observation, PersonGroup, TensorRecord

_JOINT_DIMS = POSE_DIM - 46
"""The first numbers of a pose vector are joints, the last 46 the 23 twists."""


@dataclass(frozen=True)
class LiteContext(TensorRecord):
    """A person as observed and in the mirror: the group is sampled from both, losses are taken on the first."""

    plain: Context
    mirrored: Context

    @property
    def swapped(self) -> LiteContext:
        """The mirrored person's own context."""
        return LiteContext(self.mirrored, self.plain)


class LitePolicy(nn.Module):
    """A `LiteModel` with the body it is bound to. Placement reads the keypoints with the detector's measured noise.

    Variants of a context: odd ones are mirrored, every two more hide another tenth of the keypoints.
    """

    def __init__(self, model: LiteModel, body: BodyModel, *, num_steps: int = 5, noise: KeypointNoise | None = None):
        super().__init__()
        self.model = model
        self.body = body
        self.num_steps = num_steps
        self.noise = noise_of("mediapipe") if noise is None else noise

    @classmethod
    def load(cls, checkpoint: str | Path, body: BodyModel, *, num_steps: int = 5, detector: str = "mediapipe"):
        """From a checkpoint's name or path, on the device of the body. Errors as `load_checkpoint`."""
        model = load_checkpoint(checkpoint, body.skeleton_hash).to(body.v_template.device)
        return cls(model, body, num_steps=num_steps, noise=noise_of(detector))

    def save(self, path: Path, sources: tuple[str, ...]) -> Path:
        """Write a checkpoint that every command takes; `sources` say what it was trained on."""
        return save_checkpoint(path, self.model, self.body.skeleton_hash, half=False, sources=sources)

    @property
    def schedule(self) -> Schedule:
        """The denoiser's noise schedule."""
        return self.model.denoiser.schedule

    @property
    def denoiser(self) -> nn.Module:
        """What alignment trains by default."""
        assert isinstance(self.model.denoiser, nn.Module)
        return self.model.denoiser

    def context(self, observation: Observation) -> LiteContext:
        """Encode persons and their mirror images."""
        return LiteContext(*both_contexts(self.model, observation, person_frame(observation)))

    def context_variant(self, observation: Observation, variant: int) -> LiteContext:
        """The same person mirrored (odd), or with keypoints hidden (2 and above), always the same ones."""
        if variant >= 2:
            draw = torch.Generator().manual_seed(variant // 2)
            shown = torch.rand(observation.confidence.shape[-1], generator=draw) >= 0.1
            shown = shown.to(observation.confidence.device)
            observation = replace(observation, confidence=torch.where(shown, observation.confidence, 0.0))
        context = self.context(observation)
        return context.swapped if variant % 2 else context

    def x_0_variant(self, x_0: Float[Tensor, "*any 130"], variant: int) -> Float[Tensor, "*any 130"]:
        """Mirrored where the context is."""
        return self.model.codec.mirror(x_0) if variant % 2 else x_0

    def predict_noise(
        self, x_t: Float[Tensor, "person hyp 130"], t: Int[Tensor, "person hyp"], context: LiteContext
    ) -> Float[Tensor, "person hyp 130"]:
        """eps of each sample."""
        prepared = self.model.denoiser.prepare(context.plain).per_hypothesis()
        return self.model.denoiser(x_t, t, prepared)

    def denoising_loss(
        self,
        x_0: Float[Tensor, "person hyp 130"],
        t: Int[Tensor, "person hyp"],
        eps: Float[Tensor, "person hyp 130"],
        context: LiteContext,
    ) -> Float[Tensor, "person hyp"]:
        """Mean squared noise error per sample."""
        return self._squared_error(x_0, t, eps, context).mean(-1)

    def part_losses(
        self,
        x_0: Float[Tensor, "person hyp 130"],
        t: Int[Tensor, "person hyp"],
        eps: Float[Tensor, "person hyp 130"],
        context: LiteContext,
    ) -> Float[Tensor, "person hyp 2"]:
        """Squared errors of joints and of twists."""
        error = self._squared_error(x_0, t, eps, context)
        return torch.stack([error[..., :_JOINT_DIMS].mean(-1), error[..., _JOINT_DIMS:].mean(-1)], dim=-1)

    def _squared_error(self, x_0: Tensor, t: Tensor, eps: Tensor, context: LiteContext) -> Tensor:
        x_t = add_noise(x_0, eps, self.schedule.at(t))
        return (eps - self.predict_noise(x_t, t, context)).square()

    @torch.no_grad()
    def sample(
        self, context: LiteContext, num_hypotheses: int, generator: torch.Generator
    ) -> Float[Tensor, "person hyp 130"]:
        """M samples per person, half of them from the mirror image; the first is the zero-noise mode."""
        config = SamplerConfig(num_hypotheses=num_hypotheses, num_steps=self.num_steps)
        return sample_vectors(self.model, context.plain, context.mirrored, config, generator)

    @torch.no_grad()
    def sample_each(
        self, context: LiteContext, num_hypotheses: int, generators: Sequence[torch.Generator]
    ) -> Float[Tensor, "person hyp 130"]:
        """As `sample`, in one batch, with noise of its own for each person."""
        config = SamplerConfig(num_hypotheses=num_hypotheses, num_steps=self.num_steps)
        return sample_vectors(self.model, context.plain, context.mirrored, config, generators)

    propose = propose_each = lite_sampling.propose

    def to_body(self, x_0: Float[Tensor, "person hyp 130"], observation: Observation) -> Hypotheses:
        """Bodies where the keypoints put them, `cam` frame, metres. Shapes are those the encoder predicts."""
        return PersonFit.of(self.body, observation, self.noise).hypotheses(self.to_group(x_0, observation))

    def to_body_in(
        self, x_0: Float[Tensor, "person hyp 130"], observation: Observation, context: LiteContext
    ) -> Hypotheses:
        """As `to_body`, with the context of the observation at hand."""
        return PersonFit.of(self.body, observation, self.noise).hypotheses(self._group(x_0, context))

    def from_body(self, body: BodyParams, observation: Observation) -> Float[Tensor, "person hyp 130"]:
        """Pose vectors of bodies in the `cam` frame, as a base model is trained on them."""
        R = person_frame(observation).R_person_cam[:, None]
        joints = posed_joints(self.body, body) @ R.mT
        return self.model.codec.encode(pack(joints, twists(body.body_pose, rest_joints(self.body, body.betas))))

    def to_group(self, x_0: Float[Tensor, "person hyp 130"], observation: Observation) -> PersonGroup:
        """Rotations in the person frame, and the shapes that the encoder predicts."""
        with torch.no_grad():
            context = self.context(observation)
        return self._group(x_0, context)

    def _group(self, x_0: Tensor, context: LiteContext) -> PersonGroup:
        betas = shapes(context.plain, context.mirrored).detach()[:, None].expand(-1, x_0.shape[1], -1)
        return PersonGroup(self.model.codec.to_rotmats(x_0, rest_joints(self.body, betas)), betas)

    def from_group(self, group: PersonGroup, observation: Observation) -> Float[Tensor, "person hyp 130"]:
        """Pose vectors of rotations in the person frame; a pose vector does not carry the shape."""
        rest = rest_joints(self.body, group.betas)
        _, joints = forward_kinematics(rest, group.rotmats, self.body.parents)
        return self.model.codec.encode(pack(joints, twists(group.rotmats[..., 1:, :, :], rest)))
