"""`hmralign train scorer`: labelled persons -> hypotheses of models with known errors -> scorer -> calibration -> file.

The persons are taken as they were observed, and again before other cameras and with the detector's noise
(`data.synthetic.reobserved`): the only labels are those of the folder that the configuration names.

With a `distil` section the scores of a critic in a store of groups are learned instead of errors (`distil`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import TypeAdapter

from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.data.shards import open_shards, read_index, source_of
from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.data.synthetic.reobserved import reobserved
from hmralign.fitting.detector_noise import noise_of
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.models.scorer import METRICS, Scorer
from hmralign.models.scorer_calibration import Calibration, fit_calibration
from hmralign.models.scorer_checkpoint import CalibratedScorer, save_scorer
from hmralign.models.scorer_features import mirrored_input
from hmralign.policies.catalogue import open_policy
from hmralign.storage.run_record import require_same_run
from hmralign.storage.seeds import derived_seed, seeded
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.storage.yaml_file import read_yaml
from hmralign.structures import Example, InputError
from hmralign.structures.counted import counted
from hmralign.systems.scorer_dpo.distil import (
    DistilConfig,
    distil_sets,
    distilled_calibration,
    distilled_record,
    require_distillable,
)
from hmralign.training.configuration import read_config
from hmralign.training.hypothesis_sets import WIDE_NOISE, hypothesis_set, perturbing, sampling
from hmralign.training.scorer import HypothesisSet, ScorerTrainingConfig, train_scorer

logger = logging.getLogger("hmralign.scorer")


@dataclass(frozen=True)
class ScorerDataConfig:
    """Whose hypotheses of which persons."""

    labelled: str = "runs/synthwild/lab_train"
    """Folder of shards with truth."""
    checkpoints: tuple[str, ...] = ("lite-lab",)
    """Models that sample the hypotheses, each for an equal share of the persons."""
    as_observed: int = 8000
    """Persons as they are in the folder, the first ones."""
    seen_again: int = 12000
    """Persons in poses of the folder's next ones, seen again; 0 leaves them out."""
    perturbed: int = 0
    """Persons (the first ones, as observed) whose truth is perturbed instead of a model being sampled."""
    hypotheses: int = 16
    """Per person."""
    detector: str = "mediapipe"
    """Whose landmark offsets and noise."""
    calibration_persons: int = 1000
    """Held out at the end of each kind of persons; the map to (0, 1) is fitted on them."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for nobody to learn from."""
        if min(self.as_observed, self.seen_again, self.perturbed) < 0 or self.hypotheses < 2:
            raise InputError("scorer data: numbers of persons must not be negative, and hypotheses be at least 2")
        if self.as_observed + self.seen_again + self.perturbed == 0 or not self.checkpoints:
            raise InputError("scorer data: there is nobody to learn from, or no checkpoint to sample from")
        if self.calibration_persons < 10:
            raise InputError("scorer data: calibration_persons must be at least 10")


@dataclass(frozen=True)
class ScorerConfigFile:
    """A whole configuration."""

    data: ScorerDataConfig = field(default_factory=ScorerDataConfig)
    training: ScorerTrainingConfig = field(default_factory=ScorerTrainingConfig)
    distil: DistilConfig = field(default_factory=DistilConfig)

    def __post_init__(self) -> None:
        """Raise InputError for two things to learn from, and a loss that does not fit what is learned."""
        if self.distil.store:
            if self.data != ScorerDataConfig():
                raise InputError("both data and distil are given; a scorer learns from one of them")
            require_distillable(self.training)
        elif self.training.loss == "listwise_ranknet":
            raise InputError("the loss listwise_ranknet is for a critic's scores; give a distil section")


def read_scorer_config(path: str | Path) -> ScorerConfigFile:
    """Read a YAML file. Raises InputError naming the file and the key that is unknown or has a wrong value."""
    return read_config(ScorerConfigFile, path)


@dataclass(frozen=True)
class ScorerSets:
    """What is learned from, and what the scale is fitted on."""

    training: HypothesisSet
    calibration: HypothesisSet
    sources: tuple[str, ...]


def scorer_sets(config: ScorerDataConfig, body: BodyModel, *, pixels: bool = False) -> ScorerSets:
    """Groups with known errors. Raises InputError for a folder with too few persons, and as the checkpoints do."""
    if pixels and config.seen_again:
        raise InputError("scorer data: seen_again must be 0 for a scorer that looks at pixels: no picture shows them")
    folder = Path(config.labelled)
    facts, shards = read_index(folder), open_shards(folder)
    held_out = config.calibration_persons
    needed = max(config.as_observed, config.perturbed) + held_out + (1 if config.seen_again else 0)
    if len(shards) < needed:
        raise InputError(f"{folder}: has {counted(len(shards), 'person')}; the configuration needs at least {needed}")
    source = source_of(facts)
    offsets = noise_of(config.detector).offsets
    policies = [open_policy(c, body, detector=config.detector).diffusion() for c in config.checkpoints]
    training, calibration = [], []

    def add(purpose: str, examples: Example, held: int, *, perturb: bool = False) -> None:
        count = len(examples.observation.box)
        for number, part in enumerate(torch.arange(count - held).chunk(len(policies))):
            seed = derived_seed(config.seed, purpose, number)
            kind = perturbing(config.hypotheses, WIDE_NOISE, seed) if perturb else None
            propose = kind or sampling(policies[number], config.hypotheses, seed)
            training.append(hypothesis_set(body, examples[part], propose, offsets, pixels=pixels))
        if held:
            propose = sampling(policies[0], config.hypotheses, derived_seed(config.seed, purpose, "calibration"))
            calibration.append(
                hypothesis_set(body, examples[torch.arange(count - held, count)], propose, offsets, pixels=pixels)
            )

    if config.as_observed:
        add("as observed", shards[torch.arange(config.as_observed + held_out)], held_out)
    if config.perturbed:
        add("perturbed", shards[torch.arange(config.perturbed)], 0, perturb=True)
    if config.seen_again:
        first = config.as_observed + held_out if len(shards) > 2 * needed else 0
        annotation = shards[torch.arange(first, len(shards))].annotation
        assert annotation is not None
        draw = seeded(config.seed, "seen again", "observations")
        count = config.seen_again + held_out
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        again = reobserved(body.to("cpu"), annotation, name, load_measured_noise(config.detector), count, draw)
        add("seen again", again, held_out)
    return ScorerSets(HypothesisSet.join(training), HypothesisSet.join(calibration), (source,))


@torch.no_grad()
def mirrored_outputs(scorer: Scorer, data: HypothesisSet) -> torch.Tensor:
    """Mean output (group, hyp) over heads, and over each person as observed and in the mirror."""
    parts = []
    for start in range(0, len(data), 128):
        x = data.input[slice(start, start + 128)]
        parts.append(((scorer(x) + scorer(mirrored_input(x))) / 2).mean(-1))
    return torch.cat(parts)


def calibrated(scorer: Scorer, data: HypothesisSet) -> Calibration:
    """The scale of a scorer's outputs on held-out groups."""
    mpjpe = data.errors[..., METRICS.index("mpjpe")]
    return fit_calibration(mirrored_outputs(scorer, data).flatten().numpy(), mpjpe.flatten().numpy())


def train_scorer_file(config: ScorerConfigFile, folder: Path, device: str | torch.device = "cpu") -> Path:
    """Sample and train, resuming from `folder`, and write `scorer.safetensors` and `config.yaml` there.

    Raises InputError for a folder that holds a run with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    body = load_free_body("3k5")
    if config.distil.store:
        return _train_distilled(config, folder, body, device)
    _claim(folder / "config.yaml", config, {name: checkpoint_hash(name) for name in config.data.checkpoints})
    sets = scorer_sets(config.data, body.to(device), pixels=config.training.model.pixels)
    scorer = train_scorer(sets.training, config.training, folder, device)
    scored = CalibratedScorer(scorer, calibrated(scorer, sets.calibration), sets.sources)
    return save_scorer(folder / "scorer.safetensors", scored, body.skeleton_hash)


def _train_distilled(config: ScorerConfigFile, folder: Path, body: BodyModel, device: str | torch.device) -> Path:
    """As `train_scorer_file`, from a critic's scores; `distilled.json` says how well its order was learned."""
    sets = distil_sets(config.distil, body)
    _claim(folder / "config.yaml", config, sets.made_by)
    scorer = train_scorer(sets.training, config.training, folder, device)
    outputs = mirrored_outputs(scorer, sets.held_out)
    record = distilled_record(sets, outputs, config.distil)
    write_json(folder / "distilled.json", record, indent=1)
    scored = CalibratedScorer(scorer, distilled_calibration(sets, outputs), sets.sources)
    return save_scorer(folder / "scorer.safetensors", scored, body.skeleton_hash)


def _claim(path: Path, config: ScorerConfigFile, made_by: dict[str, Any]) -> None:
    plain = TypeAdapter(dict[str, Any]).dump_python(asdict(config), mode="json")
    del plain["data" if config.distil.store else "distil"]  # what is not learned from decides nothing
    plain["made_by"] = made_by
    if path.is_file():
        require_same_run(path.parent, read_yaml(path, "the configuration of a run"), plain)
        return
    write_whole(path, yaml.safe_dump(plain, sort_keys=False))
