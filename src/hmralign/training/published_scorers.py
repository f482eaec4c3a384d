"""Training of ScoreNet and HMR-Scorer from pictures: the order of hypotheses by their errors, RankNet of sharpness 5.

| | ScoreNet (ScoreHypo, Xu et al. 2024) | HMR-Scorer (ADHMR, Shen et al. 2025, sec. 4.2) |
| --- | --- | --- |
| hypotheses | samples of HypoNets, 3 + 4 + 4 + 4 of four of different age | truth with noise, 15 a picture |
| order by | PVE, MPJPE | PVE, PA-PVE, MPJPE, PA-MPJPE |
| besides | joints in the picture, as HypoNet | nothing |
| encoder | its own, trained | not trained |
| begins from | HypoNet's weights, by name and shape | an encoder that `start_from` holds |
| length | 10 epochs of batches of 80, rates halved after 5 | 25 epochs of batches of 32, 5e-4, halved after 5 |

Departures: hypotheses are made once, before training; crops are not augmented; means over pairs and metrics, where the
codes add up metrics. Errors of samples are taken with the true shape, as there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_ALL_JOINTS
from hmralign.data.dataset import LabelledPersons
from hmralign.models.paper.body_sample import sample_of_body
from hmralign.models.paper.checkpoint import load_hyponet
from hmralign.models.paper.config import UVD_DIM, PaperConfig
from hmralign.models.paper.hmr_scorer import HmrScorer, HmrScorerConfig, joints_on_canvas, square_on_canvas
from hmralign.models.paper.image_input import encoder_input, require_crops
from hmralign.models.paper.local_features import heatmap_points
from hmralign.models.paper.uvd import unit_sample
from hmralign.models.published.scorers import ScoreNetModel, load_hmr_scorer, load_scorenet, save_published_scorer
from hmralign.models.scorer import METRICS
from hmralign.policies.catalogue import open_policy
from hmralign.policies.hyponet import HypoNetPolicy
from hmralign.policies.policy import sample_each
from hmralign.storage.seeds import derived_seed, seeded
from hmralign.structures import BodyParams, InputError, Observation, TensorRecord
from hmralign.structures.counted import counted
from hmralign.training.curve import Curve
from hmralign.training.hypothesis_sets import PUBLISHED_NOISE, body_errors, perturbed_truth
from hmralign.training.loop import Loop, LoopConfig
from hmralign.training.paper import HEADS, keep_statistics, opened_data, write_configuration
from hmralign.training.paper_configuration import MixedData
from hmralign.training.processes import number_of_processes, own_draw, own_number, own_parts, require_parts_for_all
from hmralign.training.scorer_losses import ranknet
from hmralign.training.shared_norms import share_norms
from hmralign.training.step import Part, Step

Metric = Literal["mpjpe", "pa_mpjpe", "pve", "pa_pve"]

_PERSONS_AT_ONCE = 32


@dataclass(frozen=True)
class RankingConfig:
    """One run; the defaults are ScoreNet's."""

    kind: Literal["scorenet", "hmr-scorer"] = "scorenet"
    """Which network."""
    data: tuple[MixedData, ...] = ()
    """Persons with pictures and true bodies; their weights do not matter, all are used alike."""
    model: PaperConfig = field(default_factory=PaperConfig)
    """Size of ScoreNet."""
    scorer: HmrScorerConfig = field(default_factory=HmrScorerConfig)
    """Size of HMR-Scorer."""
    start_from: str | None = None
    """Checkpoint whose weights are taken: for ScoreNet a HypoNet or ScoreNet, for HMR-Scorer one of it."""
    sampled_by: tuple[str, ...] = ()
    """Checkpoints of HypoNet that propose; without any, hypotheses are truth with noise."""
    hypotheses: tuple[int, ...] = (3, 4, 4, 4)
    """How many of each; of noise alone their sum."""
    metrics: tuple[Metric, ...] = ("pve", "mpjpe")
    """Errors that give the order."""
    sharpness: float = 5.0
    """Factor on differences of scores in RankNet."""
    heatmap_weight: float = 10.0
    """ScoreNet: weight of joints in the picture."""
    train_encoder: bool = True
    """Whether the image encoder is trained."""
    epochs: float = 10.0
    """Passes over the persons."""
    halve_at: tuple[int, ...] = (5,)
    """Epochs after each of which rates are halved."""
    batch_size: int = 80
    """Persons of a step."""
    accumulate: int = 1
    """A batch is computed in so many parts."""
    learning_rate: float = 5.0e-4
    """Adam's rate of the scorer."""
    body_rate: float = 2.0e-4
    """Adam's rate of an encoder that is trained."""
    head_rate: float = 1.0e-3
    """Adam's rate of its heads."""
    clip_norm: float = 1.0
    """Gradient norm is clipped to this."""
    ema_decay: float = 0.9999
    """Decay of the weight average, which is the result."""
    seed: int = 0
    """Seed of weights, hypotheses, batches and dropout."""
    save_every: int = 500
    """Steps between saved states."""
    log_every: int = 50
    """Steps between lines of the curve."""

    def __post_init__(self) -> None:
        """Raise InputError for a value with which no run makes sense."""
        for name in (
            "sharpness", "epochs", "batch_size", "accumulate", "learning_rate", "body_rate", "head_rate", "clip_norm",
            "save_every", "log_every",
        ):  # fmt: skip
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"training of a scorer: {name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1 or not 0 <= self.heatmap_weight < math.inf or self.seed < 0:
            raise InputError("training of a scorer: expected an ema_decay in 0..1, heatmap_weight and seed from 0 on")
        if sum(self.hypotheses) < 2 or min(self.hypotheses) < 1 or not self.metrics:
            raise InputError("training of a scorer: expected at least two hypotheses, and a metric")
        if self.sampled_by and len(self.sampled_by) != len(self.hypotheses):
            raise InputError(
                f"training of a scorer: hypotheses are {self.hypotheses}, and "
                f"{counted(len(self.sampled_by), 'checkpoint')} propose; expected a number for each"
            )
        if self.accumulate > self.batch_size:
            raise InputError("training of a scorer: a batch cannot be computed in more parts than it has persons")


@dataclass(frozen=True)
class RankedPersons(TensorRecord):
    """Persons with pictures and hypotheses whose errors are known, metres; samples are over the crops."""

    crop: UInt8[Tensor, "n 3 side side"]
    x_0: Float[Tensor, "n hyp 133"]
    errors: Float[Tensor, "n hyp metrics"]
    true_uv: Float[Tensor, "n 29 2"]
    """-1 to 1 over the crop."""


@torch.no_grad()
def ranked_persons(persons: LabelledPersons, body: BodyModel, config: RankingConfig) -> RankedPersons:
    """Propose and measure. Raises InputError, naming the data set, for persons without pictures or annotations, and for
    a checkpoint that is no HypoNet."""
    example = persons.examples
    if example.annotation is None:
        raise InputError(f"{persons.name}: has no annotations; expected persons whose bodies are known")
    try:
        crop = require_crops(example.observation)
    except InputError as error:
        raise InputError(f"{persons.name}: {error}") from error
    policies, size, parts = [_hyponet(path, body) for path in config.sampled_by], config.model.image_size, []
    for some in torch.arange(len(crop)).split(_PERSONS_AT_ONCE):
        seen, truth = example.observation[some], example.annotation[some]
        if policies:
            x_0, bodies = _sampled(policies, seen, truth.body, config, some)
        else:
            draw = seeded(config.seed, "noise", int(some[0]))
            bodies = perturbed_truth(truth, sum(config.hypotheses), PUBLISHED_NOISE, draw)
            x_0 = sample_of_body(body, bodies, seen, size)
        errors = body_errors(body, bodies, truth)[..., [METRICS.index(name) for name in config.metrics]]
        true = unit_sample(sample_of_body(body, truth.body[:, None], seen, size))[:, 0, :UVD_DIM]
        parts.append(RankedPersons(crop[some], x_0, errors, true.unflatten(-1, (NUM_ALL_JOINTS, 3))[..., :2]))
    return RankedPersons.cat(parts)


def _hyponet(path: str, body: BodyModel) -> HypoNetPolicy:
    policy = open_policy(path, body, num_steps=3).policy
    if not isinstance(policy, HypoNetPolicy):
        raise InputError(f"{path}: is no HypoNet, whose samples a ScoreNet judges")
    return policy


def _sampled(
    policies: Sequence[HypoNetPolicy], seen: Observation, truth: BodyParams, config: RankingConfig, numbers: Tensor
) -> tuple[Float[Tensor, "person hyp 133"], BodyParams]:
    """Samples of each policy, and their bodies with the true shape."""
    samples, bodies = [], []
    for which, (policy, count) in enumerate(zip(policies, config.hypotheses, strict=True)):
        if policy.crop_side != config.model.image_size:
            raise InputError("training of a scorer: its pictures are of another size than the proposing HypoNet's")
        draws = [seeded(config.seed, "samples", which, int(number)) for number in numbers]
        x_0 = sample_each(policy, policy.context(seen), count, draws)
        found = policy.to_body(x_0, seen).body
        samples.append(x_0)
        bodies.append(replace(found, betas=truth.betas[:, None].expand_as(found.betas)))
    return torch.cat(samples, dim=1), BodyParams.cat(bodies, dim=1)


class RankingLosses(nn.Module):
    """A scorer and what is minimised, as one module."""

    def __init__(self, network: ScoreNetModel | HmrScorer, config: RankingConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config

    def forward(self, batch: RankedPersons) -> dict[str, Float[Tensor, " n"]]:
        """RankNet of each person's hypotheses, and for ScoreNet the squared error of joints in the picture."""
        if isinstance(self.network, ScoreNetModel):
            size = self.config.model.image_size
            image = encoder_input(batch.crop, size, bgr_constants=self.config.model.quirks.bgr_constants)
            features = self.network.encoder(image)
            scores = self.network.score_net(unit_sample(batch.x_0), features)
            uv = (batch.true_uv + 1) / 2 * size
            target = heatmap_points(uv, size, corner=self.config.model.quirks.corner_heatmap)
            return {
                "rank": self._rank(scores, batch),
                "heatmap": (features.joints - target).square().flatten(1).sum(-1),
            }
        uvd = unit_sample(batch.x_0)[..., :UVD_DIM].unflatten(-1, (NUM_ALL_JOINTS, 3))
        joints = joints_on_canvas(uvd, truncated=self.network.config.quirks.truncated_pixels)
        return {"rank": self._rank(self.network(square_on_canvas(batch.crop.float() / 255), joints), batch)}

    def _rank(self, scores: Float[Tensor, "n hyp"], batch: RankedPersons) -> Float[Tensor, " n"]:
        return ranknet(self.config.sharpness * scores[..., None], batch.errors)


def starting_scorer(config: RankingConfig, body: BodyModel) -> ScoreNetModel | HmrScorer:
    """Random weights, or as far as `start_from` has them; an encoder that is not trained is frozen.

    Raises InputError as the loaders, and for an encoder that would be random and frozen.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "weights"))
        network = ScoreNetModel(config.model) if config.kind == "scorenet" else HmrScorer(config.scorer)
    if config.start_from is not None:
        _take_weights(network, config, body)
    elif not config.train_encoder:
        raise InputError(
            "training of a scorer: its image encoder is not trained, and no weights are given; expected start_from, or "
            "train_encoder: true"
        )
    network.encoder.requires_grad_(config.train_encoder)
    return network


def _take_weights(network: ScoreNetModel | HmrScorer, config: RankingConfig, body: BodyModel) -> None:
    """Weights of the same name and shape."""
    from hmralign.models.checkpoint import checkpoint_kind

    path = str(config.start_from)
    if isinstance(network, HmrScorer):
        theirs = load_hmr_scorer(path, body.skeleton_hash, config.scorer).state_dict()
    elif checkpoint_kind(path) == "scorenet":
        theirs = load_scorenet(path, body.skeleton_hash, config.model).state_dict()
    else:
        hyponet = load_hyponet(path, body.skeleton_hash).state_dict()
        theirs = {name.replace("denoiser.", "score_net.", 1): value for name, value in hyponet.items()}
    ours = network.state_dict()
    network.load_state_dict(
        {n: theirs[n] if n in theirs and theirs[n].shape == v.shape else v for n, v in ours.items()}
    )


def ranking_step(config: RankingConfig, persons: RankedPersons) -> Step:
    """What a step minimises; a function of its number, the persons and the configuration alone."""

    def parts(model: Any, step: int) -> Iterator[Part]:
        model.train()
        if not config.train_encoder:
            keep_statistics(model)
        torch.manual_seed(
            derived_seed(config.seed, *own_draw("dropout", step))
        )  # dropout draws from the global generator
        draw, place = seeded(config.seed, "step", step), next(model.parameters()).device
        batch = persons[torch.randint(len(persons.crop), (config.batch_size,), generator=draw)]
        for part in own_parts(torch.arange(config.batch_size), config.accumulate):
            terms = model(batch[part].to(place))
            figures = {name: float(term.detach().mean()) for name, term in terms.items()}
            yield Part(terms, {"heatmap": config.heatmap_weight}, len(part) / config.batch_size, figures)

    return parts


def train_ranking(
    config: RankingConfig,
    persons: RankedPersons,
    body: BodyModel,
    folder: Path,
    device: str | torch.device = "cpu",
    *,
    steps: int | None = None,
) -> ScoreNetModel | HmrScorer:
    """Train, resuming from `folder` where it holds an unfinished run; returns the averaged network, on the CPU.

    Writes `state.pt` and `curve.jsonl`. `steps` replaces the epochs. Raises InputError as `starting_scorer`, and for a
    state that is damaged or of another model.
    """
    require_parts_for_all(config.batch_size, config.accumulate)
    folder.mkdir(parents=True, exist_ok=True)
    network = starting_scorer(config, body)
    if number_of_processes() > 1:
        share_norms(network)
    epoch = max(1, round(len(persons.crop) / config.batch_size))
    heads = {id(p) for name, p in network.encoder.named_parameters() if name.split(".")[0] in HEADS}
    encoder = set(map(id, network.encoder.parameters()))

    def share(parameter: Tensor) -> float:
        if id(parameter) not in encoder:
            return 1.0
        return (config.head_rate if id(parameter) in heads else config.body_rate) / config.learning_rate

    loop = Loop(
        RankingLosses(network, config),
        ranking_step(config, persons),
        LoopConfig(
            rate=lambda step, _: config.learning_rate * 0.5 ** sum(step / epoch >= at for at in config.halve_at),
            steps=round(config.epochs * epoch) if steps is None else steps,
            weight_decay=0.0,
            clip_norm=config.clip_norm,
            ema_decay=config.ema_decay,
            log_every=config.log_every,
            save_every=config.save_every,
            rate_share=share,
            device=device,
        ),
        state=folder / "state.pt",
        curve=Curve(folder / "curve.jsonl", said_every=250),
    )
    return loop.run().network.eval().requires_grad_(False)


def train_ranking_file(
    config: RankingConfig, folder: Path, body: BodyModel | None = None, device: str | torch.device = "cpu"
) -> Path:
    """`train_ranking` on the configuration's data, as a checkpoint that every `--critic` takes. Errors as there."""
    body = load_free_body("3k5") if body is None else body
    opened = [opened_data(data, body, config.model.image_size) for data in config.data]
    persons = RankedPersons.cat([ranked_persons(one, body, config) for one in opened])
    folder.mkdir(parents=True, exist_ok=True)
    write_configuration(folder, config)
    network = train_ranking(config, persons, body, folder, device)
    names = tuple(dict.fromkeys(one.name for one in opened))
    path = folder / f"{config.kind}.safetensors"
    return save_published_scorer(path, network, body.skeleton_hash, names) if own_number() == 0 else path
