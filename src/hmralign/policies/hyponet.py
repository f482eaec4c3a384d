"""The papers' HypoNet as a policy: it looks at pixels and proposes bodies.

    crop -> image encoder -> context -> DDIM -> joints (u, v, d) and twists -> lifted by K -> rotations -> bodies

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 3.2. Departures: nothing is taken from
ground truth. The depth of the pelvis is where the limbs are as long as the shape says, and bodies stand where the
observed keypoints put them, as those of every other policy do.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hmralign.body.inverse_kinematics import joints_twists_to_pose
from hmralign.body.lbs import rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.naive_inverse_kinematics import naive_joints_twists_to_pose
from hmralign.diffusion import ddim
from hmralign.diffusion.parameterization import add_noise
from hmralign.diffusion.schedule import Schedule
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.evidence import KeypointNoise
from hmralign.fitting.person_fit import PersonFit
from hmralign.fitting.uvd_lifting import bone_lengths, lift, root_depth
from hmralign.geometry.cameras import apply_affine, crop_affine, rays
from hmralign.models.paper.body_sample import lifted_axes, sample_of_body
from hmralign.models.paper.checkpoint import PaperModel, load_hyponet, save_hyponet
from hmralign.models.paper.config import SAMPLE_DIM, UVD_DIM
from hmralign.models.paper.fast_hyponet import FastHypoNet
from hmralign.models.paper.image_encoder import PaperContext
from hmralign.models.paper.image_input import encoder_input, require_crops
from hmralign.models.paper.uvd import mirrored_sample, unpack_uvd
from hmralign.models.person_frame import PersonFrame, person_frame
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import BodyParams, Hypotheses, InputError, Observation, PersonGroup

_MOST_AT_ONCE = 400
"""Hypotheses in one call of the denoiser while sampling: some hundred MB at full size."""

_PICTURES_AT_ONCE = 16
"""Pictures in one call of the encoder where it is not trained."""


class HypoNetPolicy(nn.Module):
    """A `PaperModel` with the body it is bound to. `dtype` is that of the denoiser's blocks while sampling.

    Variants of a context: 0 is the person as observed, 1 its mirror image.
    """

    def __init__(
        self,
        model: PaperModel,
        body: BodyModel,
        *,
        num_steps: int = 3,
        noise: KeypointNoise | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.model = model
        self.body = body
        self.num_steps = num_steps
        self.noise = noise_of("mediapipe") if noise is None else noise
        self.dtype = dtype
        self._fast: tuple[int, FastHypoNet] | None = None
        self._seen: tuple[weakref.ref[Tensor], tuple[int, ...], Tensor] | None = None

    @classmethod
    def load(
        cls, checkpoint: str | Path, body: BodyModel, *, num_steps: int = 3, detector: str = "mediapipe"
    ) -> HypoNetPolicy:
        """From a checkpoint's path, on the device of the body. Errors as `load_hyponet`."""
        model = load_hyponet(checkpoint, body.skeleton_hash).to(body.device)
        return cls(model, body, num_steps=num_steps, noise=noise_of(detector))

    def save(self, path: Path, sources: tuple[str, ...]) -> Path:
        """Write a checkpoint that every command takes; `sources` say what it was trained on."""
        return save_hyponet(path, self.model, self.body.skeleton_hash, sources=sources)

    def train(self, mode: bool = True) -> HypoNetPolicy:
        """Switch dropout; the encoder's norms keep their statistics, as they did where it was aligned.

        Without `Quirks.dropout_when_aligned` nothing is switched on.
        """
        super().train(mode)
        self.model.encoder.eval()
        if not self.model.config.quirks.dropout_when_aligned:
            self.model.eval()
        return self

    @property
    def crop_side(self) -> int:
        """Side of the encoder's picture, pixels."""
        return self.model.config.image_size

    @property
    def schedule(self) -> Schedule:
        """The denoiser's noise schedule."""
        return self.model.denoiser.schedule

    @property
    def denoiser(self) -> nn.Module:
        """What alignment trains by default."""
        return self.model.denoiser

    # -- what denoises -------------------------------------------------------------------------------------------------

    def context(self, observation: Observation) -> PaperContext:
        """Encode pictures of persons. Raises InputError for persons without pixels."""
        return self.context_variant(observation, 0)

    def context_variant(self, observation: Observation, variant: int) -> PaperContext:
        """The same persons mirrored where the variant is 1. Raises InputError for others, and without pixels."""
        if variant not in (0, 1):
            raise InputError(f"HypoNet sees a person plain or mirrored, in 2 variants; variant {variant} was asked for")
        crop = require_crops(observation)
        config = self.model.config
        image = encoder_input(crop, config.image_size, bgr_constants=config.quirks.bgr_constants)
        image = image.flip(-1) if variant else image
        if torch.is_grad_enabled() and any(p.requires_grad for p in self.model.encoder.parameters()):
            return self.model.encoder.context(image)
        with torch.no_grad():
            return PaperContext.cat([self.model.encoder.context(some) for some in image.split(_PICTURES_AT_ONCE)])

    def x_0_variant(self, x_0: Float[Tensor, "*any 133"], variant: int) -> Float[Tensor, "*any 133"]:
        """Mirrored where the context is: sides change places, u and the twists' sines change signs."""
        if not variant:
            return x_0
        return mirrored_sample(x_0, self.model.config.image_size)

    def predict_noise(
        self, x_t: Float[Tensor, "person hyp 133"], t: Int[Tensor, "person hyp"], context: PaperContext
    ) -> Float[Tensor, "person hyp 133"]:
        """eps of each sample."""
        return self.model.denoiser(x_t, t, context)

    def denoising_loss(
        self,
        x_0: Float[Tensor, "person hyp 133"],
        t: Int[Tensor, "person hyp"],
        eps: Float[Tensor, "person hyp 133"],
        context: PaperContext,
    ) -> Float[Tensor, "person hyp"]:
        """Mean squared noise error per sample."""
        return self._squared_error(x_0, t, eps, context).mean(-1)

    def part_losses(
        self,
        x_0: Float[Tensor, "person hyp 133"],
        t: Int[Tensor, "person hyp"],
        eps: Float[Tensor, "person hyp 133"],
        context: PaperContext,
    ) -> Float[Tensor, "person hyp 2"]:
        """Squared errors of joints and of twists."""
        error = self._squared_error(x_0, t, eps, context)
        return torch.stack([error[..., :UVD_DIM].mean(-1), error[..., UVD_DIM:].mean(-1)], dim=-1)

    def _squared_error(self, x_0: Tensor, t: Tensor, eps: Tensor, context: PaperContext) -> Tensor:
        x_t = add_noise(x_0, eps, self.schedule.at(t))
        return (eps - self.predict_noise(x_t, t, context)).square()

    # -- what samples --------------------------------------------------------------------------------------------------

    def times(self, num_steps: int) -> list[int]:
        """Times of the denoiser's calls; see `Quirks.strided_times`. Raises InputError for a number out of range."""
        strided = self.model.config.quirks.strided_times
        return (ddim.strided_times if strided else ddim.timesteps)(self.schedule, num_steps)

    @torch.no_grad()
    def sample(
        self, context: PaperContext, num_hypotheses: int, generator: torch.Generator
    ) -> Float[Tensor, "person hyp 133"]:
        """M samples per person, from the same noise for all persons. Raises InputError where they are not finite."""
        return self._sampled(context, self._noise(num_hypotheses, generator), self.num_steps)

    @torch.no_grad()
    def sample_each(
        self, context: PaperContext, num_hypotheses: int, generators: Sequence[torch.Generator]
    ) -> Float[Tensor, "person hyp 133"]:
        """As `sample`, in one batch, with noise of its own for each person."""
        noise = torch.stack([self._noise(num_hypotheses, generator) for generator in generators])
        return self._sampled(context, noise, self.num_steps)

    def _noise(self, num_hypotheses: int, generator: torch.Generator) -> Float[Tensor, "hyp 133"]:
        if num_hypotheses < 1:
            raise InputError(f"number of hypotheses must be at least 1, got {num_hypotheses}")
        noise = torch.randn(num_hypotheses, SAMPLE_DIM, generator=generator)
        if self.model.config.quirks.zero_noise_first:
            noise[0] = 0
        return noise

    def _sampled(
        self, context: PaperContext, noise: Float[Tensor, "*person hyp 133"], num_steps: int
    ) -> Float[Tensor, "person hyp 133"]:
        """All persons and hypotheses in as few calls as memory allows."""
        fast, times = self._fast_denoiser(), self.times(num_steps)
        persons = len(context.local)
        x_T = noise.to(context.local.device).expand(persons, *noise.shape[-2:])
        parts = torch.arange(persons).split(max(1, _MOST_AT_ONCE // noise.shape[-2]))
        x_0 = torch.cat([self._run(fast, context[part], x_T[part], times) for part in parts])
        if not bool(torch.isfinite(x_0).all()):
            raise InputError("HypoNet gave samples that are not finite: its weights do not fit what it looks at")
        return x_0

    def _run(self, fast: FastHypoNet, context: PaperContext, x_T: Tensor, times: list[int]) -> Tensor:
        prepared = fast.prepare(context)
        return ddim.sample(lambda x_t, t: fast.step(x_t, t, prepared), x_T, self.schedule, num_steps=times)

    def _fast_denoiser(self) -> FastHypoNet:
        """The denoiser as it is now, made ready for sampling; made again once its weights have changed."""
        state = _state_of(self.model.denoiser)
        if self._fast is None or self._fast[0] != state:
            self._fast = state, FastHypoNet(self.model.denoiser, self.dtype)
        return self._fast[1]

    # -- what proposes bodies ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def propose(self, observation: Observation, sampler: SamplerConfig, generator: torch.Generator) -> PersonGroup:
        """M bodies per person. Raises InputError for persons without pixels and for M < 1."""
        return self._proposed(observation, self._noise(sampler.num_hypotheses, generator), sampler)

    @torch.no_grad()
    def propose_each(
        self, observation: Observation, sampler: SamplerConfig, generators: Sequence[torch.Generator]
    ) -> PersonGroup:
        """As `propose`, in one batch, with noise of its own for each person."""
        noise = torch.stack([self._noise(sampler.num_hypotheses, generator) for generator in generators])
        return self._proposed(observation, noise, sampler)

    def _proposed(self, observation: Observation, noise: Tensor, sampler: SamplerConfig) -> PersonGroup:
        context = self.context(observation)
        x_0 = self._sampled(context, noise, sampler.num_steps)
        return self._group(x_0, observation, context.betas)

    def to_body(self, x_0: Float[Tensor, "person hyp 133"], observation: Observation) -> Hypotheses:
        """Bodies where the keypoints put them, `cam` frame, metres. Shapes are those the encoder predicts."""
        return PersonFit.of(self.body, observation, self.noise).hypotheses(self.to_group(x_0, observation))

    def to_group(
        self,
        x_0: Float[Tensor, "person hyp 133"],
        observation: Observation,
        root: Float[Tensor, " person"] | None = None,
    ) -> PersonGroup:
        """Rotations in the person frame, and the shapes that the encoder predicts.

        `root` are depths of the pelvises where they are known, metres along the camera's axis.
        """
        return self._group(x_0, observation, self._betas(observation), root)

    def from_body(self, body: BodyParams, observation: Observation) -> Float[Tensor, "person hyp 133"]:
        """Samples of bodies in the `cam` frame, axes (person, hyp)."""
        return sample_of_body(self.body, body, observation, self.model.config.image_size)

    def from_group(self, group: PersonGroup, observation: Observation) -> Float[Tensor, "person hyp 133"]:
        """Samples of rotations in the person frame, placed by the keypoints; a sample does not carry the shape."""
        return self.from_body(PersonFit.of(self.body, observation, self.noise).bodies(group), observation)

    def _group(
        self, x_0: Tensor, observation: Observation, betas: Float[Tensor, "person betas"], root: Tensor | None = None
    ) -> PersonGroup:
        frame = person_frame(observation)
        uv, depth, twist = unpack_uvd(x_0, self.model.config.image_size)
        tangents = self._tangents(uv, observation, frame)
        shape = betas[:, None].expand(-1, x_0.shape[1], -1)
        rest = rest_joints(self.body, shape)
        z = root_depth(tangents, depth, bone_lengths(rest)) if root is None else root[:, None].expand(depth.shape[:2])
        joints = lift(tangents, depth, z)
        naive = self.model.config.quirks.naive_ik
        rotmats = (naive_joints_twists_to_pose if naive else joints_twists_to_pose)(joints, twist, rest)
        turn = (frame.R_person_cam @ lifted_axes(frame).mT)[:, None]  # (B, 1, 3, 3)
        return PersonGroup(torch.cat([(turn @ rotmats[:, :, 0])[:, :, None], rotmats[:, :, 1:]], dim=2), shape)

    def _tangents(self, uv: Tensor, observation: Observation, frame: PersonFrame) -> Float[Tensor, "person hyp 29 2"]:
        """x / z and y / z of pixels of the crop.

        With a guessed camera they are those of the nominal one that looks at the person (`models.person_frame`).
        """
        _, to_photo = crop_affine(observation.box, self.model.config.image_size)
        pixels = apply_affine(to_photo[:, None], uv)  # (B, N, 29, 2)
        ray = rays(pixels, observation.K[:, None])
        centre = (observation.box[:, :2] + observation.box[:, 2:]) / 2
        longest = (observation.box[:, 2:] - observation.box[:, :2]).amax(-1) / 2
        nominal = (pixels - centre[:, None, None]) * (frame.tan_half_size / longest)[:, None, None, None]
        return torch.where(frame.known[:, None, None, None], ray[..., :2] / ray[..., 2:], nominal)

    @torch.no_grad()
    def _betas(self, observation: Observation) -> Float[Tensor, "person betas"]:
        """Shapes of persons; those who were asked for last are not looked at again while nothing has changed."""
        crop = require_crops(observation)
        state = _state_of(self.model.encoder), *_version(crop)
        if self._seen is None or self._seen[0]() is not crop or self._seen[1] != state:
            self._seen = weakref.ref(crop), state, self.context(observation).betas
        return self._seen[2]


def _state_of(module: nn.Module) -> int:
    """What changes when a weight does, or its place."""
    return hash(tuple(map(_version, [*module.parameters(), *module.buffers()])))


def _version(tensor: Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version
