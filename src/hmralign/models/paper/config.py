"""Sizes of the papers' models, and the quirks of the code that made the published weights.

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 3.2, and the layout of published
weights. The papers leave out most of what `Quirks` says; weights trained under a quirk only give their results under
it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hmralign.body.skeleton import NUM_ALL_JOINTS, NUM_TWISTS
from hmralign.diffusion.schedule import ScheduleConfig
from hmralign.structures import InputError

UVD_DIM = NUM_ALL_JOINTS * 3
TWIST_DIM = NUM_TWISTS * 2
SAMPLE_DIM = UVD_DIM + TWIST_DIM
"""Numbers of a diffused sample: 29 joints (u, v, d), then 23 twists (cosine, sine)."""

NUM_TOKENS = NUM_ALL_JOINTS + NUM_TWISTS

GROUPS = 32
"""Groups of every GroupNorm."""


@dataclass(frozen=True)
class Quirks:
    """What published weights were made with, where it is not what one would write today; all on by default."""

    swapped_midpoints: bool = True
    """Image features of a twist are read at the middle of its bone with x and y exchanged, in HypoNet and ScoreNet; the
    twist tokens learned what is there."""
    bgr_constants: bool = True
    """Channel means and deviations of ImageNet in the order blue, green, red, applied to red, green, blue."""
    corner_heatmap: bool = True
    """Soft-argmax calls cell i of n the coordinate 2 i / n - 1, while features are read with cell n - 1 at 1: all
    features come from up to one cell too far to the upper left."""
    masks_on_stored_values: bool = True
    """Masked weights are set to zero in place at each forward pass, outside autograd: their gradients are not zero,
    count in the gradient norm, and move them until the next pass. Off: a masked weight has no gradient."""
    zero_noise_first: bool = True
    """Hypothesis 0 starts from no noise at all, not from a draw: the mode that the tables call z0."""
    strided_times: bool = True
    """N time steps are the times 0, s, 2 s, ... below T with s = T // N: three steps are four calls, at 999, 666, 333
    and 0. Off: exactly N calls, evenly spaced from T - 1 on."""
    dropout_when_aligned: bool = True
    """The policy's dropout can be switched on while it is aligned (`training.dropout`); the reference's is always off,
    so that their losses differ even where their weights are equal. Off: `training.dropout` does nothing."""
    naive_ik: bool = True
    """Rotations come from HybrIK's naive closed form on skeletons in 2 x millimetres; off: our least-squares pelvis."""
    raw_twists: bool = True
    """ScoreNet sees twists as they were sampled; off: on the unit circle, as the body has them."""
    nearest_shrink: bool = True
    """HMR-Scorer takes every second pixel of its 512 x 384 crop, without a filter; off: the mean of each four."""
    truncated_pixels: bool = True
    """Joints carried into HMR-Scorer's crop fall on whole pixels, rounded down; off: they stay where they are."""


OWN = Quirks(**{**dict.fromkeys(Quirks.__dataclass_fields__, False), "zero_noise_first": True})
"""What we train ourselves: all off but the mode first, which all policies of this package have."""


@dataclass(frozen=True)
class HrnetConfig:
    """Size of the image encoder; the defaults are HRNet-W48 (Wang et al. 2020)."""

    stem: int = 64
    """Channels of the two first convolutions; the blocks after them give four times as many."""
    stem_blocks: int = 4
    """Bottleneck blocks before the branches."""
    channels: tuple[int, int, int, int] = (48, 96, 192, 384)
    """Channels of the branches, the finest first."""
    modules: tuple[int, int, int] = (1, 4, 3)
    """Exchanges between two, three and four branches."""
    blocks: int = 4
    """Basic blocks of each branch between two exchanges."""
    head_channels: tuple[int, int, int, int] = (32, 64, 128, 256)
    """Channels of the head's bottlenecks, whose outputs have four times as many."""
    shape_width: int = 2048
    """Channels of the pooled feature that the shape is read from."""


@dataclass(frozen=True)
class PaperConfig:
    """HypoNet and ScoreNet with their image encoders; the defaults are the published size."""

    width: int = 512
    """Channels of a token: one half pose, one half image feature."""
    heads: int = 8
    """Attention heads."""
    feedforward: int = 2048
    """Channels inside a block's feed-forward network."""
    hops: tuple[int, ...] = (7, 6, 5, 4, 3, 1)
    """Per block, how far in the graph of joints and twists a token sees; as many blocks as entries."""
    score_width: int = 1024
    """Channels of ScoreNet's head."""
    image_size: int = 256
    """Side of the picture that the encoder sees, pixels."""
    dropout: float = 0.1
    """Dropout of attention and feed-forward."""
    start_dropout: float = 0.25
    """Dropout of what a sample's numbers become before the blocks, and of ScoreNet's head."""
    time_channels: int = 128
    """Sinusoids of the time."""
    encoder: HrnetConfig = field(default_factory=HrnetConfig)
    schedule: ScheduleConfig = field(default_factory=lambda: ScheduleConfig(kind="linear", num_steps=1000))
    """Noise schedule: Ho et al. 2020, betas 1e-4..0.02."""
    quirks: Quirks = field(default_factory=Quirks)

    def __post_init__(self) -> None:
        """Raise InputError for sizes that do not divide as they must."""
        if self.width % (4 * self.heads) or self.width % (2 * GROUPS) or self.width // self.heads % 2:
            raise InputError(
                f"width of the papers' models must be a multiple of {2 * GROUPS} and of 4 heads, got {self.width} and "
                f"{self.heads}"
            )
        if self.score_width % GROUPS or self.image_size % 32 or not self.hops:
            raise InputError(
                f"expected a score_width in multiples of {GROUPS}, an image_size in multiples of 32 and at least one "
                f"block, got {self.score_width}, {self.image_size} and hops {self.hops}"
            )

    @property
    def context_side(self) -> int:
        """Side of the global map, cells."""
        return self.image_size // 32

    @property
    def local_width(self) -> int:
        """Channels of image features at a joint, and of pose features."""
        return self.width // 2


HYPONET = PaperConfig()
"""The published models: ScoreHypo and ADHMR load into it."""

HYPONET_CLEAN = replace(HYPONET, quirks=OWN)
"""The same size for weights of one's own, without the quirks."""
