"""Training of scorers on groups of hypotheses whose errors are known; members of an ensemble differ by their seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.models.checkpoint import checkpoint_kind, load_checkpoint
from hmralign.models.pixel.checkpoint import load_pixel
from hmralign.models.scorer import Scorer, ScorerConfig, ScorerNetwork
from hmralign.models.scorer_features import ScorerInput, mirrored_input
from hmralign.storage.seeds import derived_seed, seeded
from hmralign.structures import InputError, TensorRecord
from hmralign.training.curve import Curve, five_decimals
from hmralign.training.distillation_losses import weighted_listwise, weighted_ranknet
from hmralign.training.falling_run import falling_loop
from hmralign.training.loop import Loop
from hmralign.training.scorer_losses import error_regression, listwise, ranknet
from hmralign.training.step import Part

ScorerLoss = Literal["ranknet", "listwise", "listwise_regression", "listwise_ranknet"]


@dataclass(frozen=True)
class HypothesisSet(TensorRecord):
    """Groups of hypotheses with their errors (metres, `models.scorer.METRICS`), or minus a critic's scores.

    `weights`, which only the loss `listwise_ranknet` takes, say how far each score is to be trusted, 0 to 1.
    """

    input: ScorerInput
    errors: Float[Tensor, "group hyp metrics"]
    weights: Float[Tensor, "group hyp"] | None = None

    def __post_init__(self) -> None:
        """Raise InputError for errors that are not finite, and weights of other hypotheses."""
        if self.weights is not None and self.weights.shape != self.errors.shape[:2]:
            raise InputError(f"weights {tuple(self.weights.shape)} for errors {tuple(self.errors.shape[:2])}")
        broken = (~torch.isfinite(self.errors)).nonzero()
        if len(broken):
            raise InputError(
                f"group {int(broken[0, 0])}, hypothesis {int(broken[0, 1])} has an error that is not finite"
            )

    def __len__(self) -> int:
        return len(self.errors)

    @staticmethod
    def join(sets: Sequence[HypothesisSet]) -> HypothesisSet:
        """Groups of several sets; where some have weights, those of the others are 1. Raises InputError as `cat`."""
        sizes = {s.errors.shape[1] for s in sets}
        if len(sizes) != 1:
            raise InputError(f"sets of groups of {sorted(sizes)} hypotheses cannot be joined; expected one size")
        if any(s.weights is not None for s in sets):
            sets = [replace(s, weights=torch.ones_like(s.errors[..., 0])) if s.weights is None else s for s in sets]
        return HypothesisSet.cat(sets)


@dataclass(frozen=True)
class ScorerTrainingConfig:
    """One scorer."""

    model: ScorerConfig = field(default_factory=ScorerConfig)
    members: int = 1
    """Networks of the ensemble, each with its own seed and order of data."""
    loss: ScorerLoss = "listwise_regression"
    """`ranknet` is the published one; `regression` makes scores comparable across persons; `listwise_ranknet`
    learns the order that another critic gives."""
    regression_weight: float = 1.0
    """Weight of the regression beside the listwise loss."""
    batch_size: int = 64
    """Groups per step."""
    steps: int = 3000
    """Optimiser steps of each member."""
    learning_rate: float = 1e-3
    """Peak, falling as a cosine after 100 steps of warm-up."""
    weight_decay: float = 1e-2
    dropped_keypoints: float = 0.1
    """Share of groups with a tenth of the keypoints hidden from the scorer, not from the hypotheses' errors."""
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    save_every: int = 500
    """Steps between states to resume from."""
    seed: int = 0
    encoder_from: str | None = None
    """Checkpoint of a pixel or lite model whose encoder the scorer's starts from, as ScoreNet starts from HypoNet's
    weights; of the same context sizes."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if self.members < 1 or self.batch_size < 1 or self.steps < 1 or self.save_every < 1:
            raise InputError("scorer training: members, batch_size, steps and save_every must be at least 1")
        if not 0 <= self.dropped_keypoints <= 1 or self.regression_weight < 0:
            raise InputError("scorer training: dropped_keypoints must be in 0..1 and regression_weight not negative")


class _Trained(torch.nn.Module):
    """A network and the sharpness with which its outputs order a group."""

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        self.network = ScorerNetwork(config)
        self.log_sharpness = torch.nn.Parameter(torch.tensor(1.5))


def scorer_loss(
    model: _Trained,
    x: ScorerInput,
    errors: Float[Tensor, "group hyp metrics"],
    config: ScorerTrainingConfig,
    weights: Float[Tensor, "group hyp"] | None = None,
) -> Float[Tensor, " group"]:
    """Loss per group."""
    outputs = model.network(x)
    if config.loss == "listwise_ranknet":
        scores = -errors.mean(-1)
        trust = torch.ones_like(scores) if weights is None else weights
        terms = weighted_listwise(outputs, scores, trust, model.log_sharpness.exp())
        return terms + weighted_ranknet(outputs, scores, trust)
    if config.loss == "ranknet":
        return ranknet(outputs, errors)
    terms = listwise(outputs, errors, model.log_sharpness.exp())
    if config.loss == "listwise_regression":
        terms = terms + config.regression_weight * error_regression(outputs, errors)
    return terms


def train_scorer(
    data: HypothesisSet, config: ScorerTrainingConfig, folder: Path, device: str | torch.device = "cpu"
) -> Scorer:
    """Train every member, resuming from `folder`; returns the averaged networks on the CPU, in eval mode.

    Writes `member_<n>.pt` (state) and `curve.jsonl`. The draw of a step depends on (seed, member, step) alone, so a
    resumed run equals the straight one. Raises InputError for groups of one, and states that are damaged or of another
    model; RuntimeError where the loss is not finite.
    """
    if data.errors.shape[1] < 2:
        raise InputError("a scorer learns from groups of at least 2 hypotheses")
    folder.mkdir(parents=True, exist_ok=True)
    scorer = Scorer(config.model, config.members)
    for number in range(config.members):
        trained = _train_member(data, config, folder, number, device)
        scorer.members[number].load_state_dict(trained.network.state_dict())
    return scorer.eval().requires_grad_(False)


def _train_member(
    data: HypothesisSet, config: ScorerTrainingConfig, folder: Path, number: int, device: str | torch.device
) -> _Trained:
    seed = derived_seed(config.seed, "member", number)
    torch.manual_seed(derived_seed(seed, "weights"))
    model = _Trained(config.model)
    if config.encoder_from is not None:
        start_encoder(model.network, config.encoder_from)

    def parts(model: _Trained, step: int) -> Iterator[Part]:
        drawn = _drawn(data, config, seeded(seed, "step", step)).to(device)
        yield Part({"loss": scorer_loss(model, drawn.input, drawn.errors, config, drawn.weights)})

    curve = Curve(
        folder / "curve.jsonl", {"member": number}, ("loss",), "cpu_seconds", rounded=five_decimals, said_every=500
    )
    averaged = Loop(
        model,
        parts,
        falling_loop(config, device, clip_norm=config.clip_norm),
        state=folder / f"member_{number}.pt",
        curve=curve,
    ).run()
    assert isinstance(averaged, _Trained)
    return averaged


def start_encoder(network: ScorerNetwork, checkpoint: str) -> None:
    """Take over the encoder of a pixel or lite model; a scorer without pixels leaves a pixel model's reader behind.

    Raises InputError as the loaders, and for an encoder of other sizes or without a reader that the scorer has.
    """
    load = load_pixel if checkpoint_kind(checkpoint) == "pixel" else load_checkpoint
    given = load(checkpoint, load_free_body("3k5").skeleton_hash).encoder.state_dict()
    own = network.encoder.state_dict()
    if wrong := sorted(name for name in own if name not in given or own[name].shape != given[name].shape):
        raise InputError(
            f"{checkpoint}: its encoder does not fit the scorer's (such as '{wrong[0]}'); expected the same "
            "context_width and context_depth, and pixels where the scorer looks at them"
        )
    network.encoder.load_state_dict({name: given[name] for name in own})


def _drawn(data: HypothesisSet, config: ScorerTrainingConfig, generator: torch.Generator) -> HypothesisSet:
    """Groups with replacement, half of them mirrored, of some a few keypoints hidden."""
    index = torch.randint(len(data), (config.batch_size,), generator=generator)
    x = data.input[index]
    mirror = torch.rand(config.batch_size, generator=generator) < 0.5
    x = mirrored_input(x).where(mirror, x)
    if config.dropped_keypoints > 0:
        x = _with_hidden_keypoints(x, config.dropped_keypoints, generator)
    return HypothesisSet(x, data.errors[index], None if data.weights is None else data.weights[index])


def _with_hidden_keypoints(x: ScorerInput, share: float, generator: torch.Generator) -> ScorerInput:
    n, count = x.landmarks.shape[0], x.landmarks.shape[2]
    hide = (torch.rand(n, 1, generator=generator) < share) & (torch.rand(n, count, generator=generator) < 0.1)
    keep = (~hide).float()
    vector = x.observation.vector.clone()
    vector[:, : 4 * count] *= keep.repeat_interleave(4, dim=1)
    landmarks = x.landmarks.clone()
    landmarks[..., 2:4] *= keep[:, None, :, None]
    landmarks[..., 5] *= keep[:, None]
    return replace(x, observation=replace(x.observation, vector=vector), landmarks=landmarks)
