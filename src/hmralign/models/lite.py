"""The `lite` denoiser: a residual MLP on pose vectors, conditioned by shift and scale.

It predicts v inside and returns eps (Salimans & Ho 2022): with a raw eps output the same network did not train. Other
choices are there to be compared (`LiteConfig.prediction`, `LiteConfig.architecture`).
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from hmralign.diffusion.parameterization import PredictionType, eps_from_v, v_from
from hmralign.diffusion.schedule import Schedule, make_schedule
from hmralign.models.context import Context, KeypointEncoder, KeypointFeatures, keypoint_features
from hmralign.models.denoiser import Denoiser, LiteConfig, Prepared, time_embedding
from hmralign.models.person_frame import PersonFrame
from hmralign.models.pose_vector import POSE_DIM, PoseCodec
from hmralign.models.transformer_denoiser import TransformerDenoiser
from hmralign.structures import Observation


class ModulatedMlp(nn.Module):
    """x + W2 silu(W1 (norm(x) (1 + scale) + shift))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Apply."""
        return x + self.down(nn.functional.silu(self.up(self.norm(x) * (1 + scale) + shift)))


class LiteDenoiser(nn.Module):
    """eps_theta(x_t, t, context) for vectors of 130 numbers."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.schedule: Schedule = make_schedule(config.schedule)
        self.prediction: PredictionType = config.prediction
        self.embed = nn.Linear(POSE_DIM, config.width)
        self.time = nn.Sequential(nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU())
        self.time_modulation = nn.Linear(128, config.depth * 2 * config.width)
        self.context_modulation = nn.Linear(config.context_width, config.depth * 2 * config.width)
        self.blocks = nn.ModuleList(ModulatedMlp(config.width, config.hidden) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, POSE_DIM)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def prepare(self, context: Context) -> Prepared:
        """Project the context once for all steps and hypotheses."""
        modulation = self.context_modulation(nn.functional.silu(context.global_tokens[..., 0, :]))  # (*B, depth * 2 W)
        return Prepared(modulation.unflatten(-1, (len(self.blocks), -1)))

    def predict_v(
        self, x_t: Float[Tensor, "*batch 130"], t: Int[Tensor, "*times"], prepared: Prepared
    ) -> Float[Tensor, "*batch 130"]:
        """v of each sample; `t` and the conditioning broadcast over the leading axes of `x_t`."""
        modulation = prepared.modulation + self.time_modulation(self.time(time_embedding(t))).unflatten(
            -1, (len(self.blocks), -1)
        )
        x = self.embed(x_t)  # (*B, W)
        for k, block in enumerate(self.blocks):
            scale, shift = modulation[..., k, :].chunk(2, dim=-1)  # each (*B, W)
            x = block(x, scale, shift)
        output = self.head(self.norm(x))  # (*B, 130)
        return v_from(self.prediction, output, x_t, self.schedule.at(t.expand(x_t.shape[:-1])))

    def forward(
        self, x_t: Float[Tensor, "*batch 130"], t: Int[Tensor, "*times"], prepared: Prepared
    ) -> Float[Tensor, "*batch 130"]:
        """eps of each sample."""
        alpha_bar = self.schedule.at(t.expand(x_t.shape[:-1]))
        return eps_from_v(self.predict_v(x_t, t, prepared), x_t, alpha_bar)


def make_denoiser(config: LiteConfig) -> Denoiser:
    """The denoiser of a configuration."""
    return TransformerDenoiser(config) if config.architecture == "transformer" else LiteDenoiser(config)


class LiteModel(nn.Module):
    """Encoder, denoiser and pose statistics: everything a checkpoint holds."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        self.codec = PoseCodec()
        local_width = config.width if config.architecture == "transformer" else None
        self.encoder = KeypointEncoder(config.context_width, config.context_depth, local_width)
        self.denoiser = make_denoiser(config)

    def features(self, observation: Observation, frame: PersonFrame, *, mirrored: bool = False) -> KeypointFeatures:
        """What the encoder sees of persons, or of their mirror images."""
        return keypoint_features(observation, frame, mirrored=mirrored)

    def context(self, features: KeypointFeatures) -> Context:
        """Encode persons."""
        return self.encoder(features)
