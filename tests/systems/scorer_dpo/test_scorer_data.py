"""Whose hypotheses a scorer learns from: each number of persons is the one that was asked for, in its own kind."""

from dataclasses import replace

import pytest
import torch

from hmralign.data.shards import write_index, write_shard
from hmralign.models.checkpoint import save_checkpoint
from hmralign.models.scorer import METRICS
from hmralign.structures import InputError
from hmralign.systems.scorer_dpo.train import ScorerDataConfig, scorer_sets
from support.synthetic_persons import BODY, persons, tiny_model

PERSONS, HELD_OUT = 60, 10


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Twelve persons as observed, of a folder of persons with truth, sampled by an untrained model."""
    folder = tmp_path_factory.mktemp("scorer_data")
    (folder / "shards").mkdir()
    write_shard(folder / "shards", 0, persons(PERSONS))
    write_index(folder / "shards", examples=PERSONS)
    weights = save_checkpoint(folder / "tiny.safetensors", tiny_model(), BODY.skeleton_hash)
    return ScorerDataConfig(
        str(folder / "shards"), (str(weights),), as_observed=12, seen_again=0, hypotheses=4,
        calibration_persons=HELD_OUT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def plain(config):
    return scorer_sets(config, BODY)


def observed(data):
    return data.input.observation.vector


def test_persons_as_observed_are_the_first_of_the_folder(config, plain):
    fewer = scorer_sets(replace(config, as_observed=5), BODY)
    assert (len(plain.training), len(fewer.training), len(plain.calibration)) == (12, 5, HELD_OUT)
    assert torch.equal(observed(fewer.training), observed(plain.training)[:5])
    assert torch.equal(observed(fewer.calibration)[:7], observed(plain.training)[5:]), "held out are the next ones"


def test_persons_seen_again_are_added_before_other_cameras(config, plain):
    both = scorer_sets(replace(config, seen_again=6), BODY)
    assert (len(both.training), len(both.calibration)) == (18, 2 * HELD_OUT)
    assert torch.equal(observed(both.training)[:12], observed(plain.training))
    everybody = observed(scorer_sets(replace(config, as_observed=PERSONS - HELD_OUT), BODY).training)
    again = observed(both.training)[12:]
    assert (again[:, None] - everybody).abs().amax(-1).min() > 0.01, "nobody is seen as in the folder"


def test_perturbed_persons_are_the_first_ones_with_their_truth_bent(config, plain):
    bent = scorer_sets(replace(config, perturbed=8), BODY)
    assert (len(bent.training), len(bent.calibration)) == (20, HELD_OUT), "the scale is not fitted on them"
    assert torch.equal(observed(bent.training)[12:], observed(plain.training)[:8])
    errors = bent.training.errors[..., METRICS.index("mpjpe")]
    assert errors[12:].median() < 0.5 * errors[:12].median(), "the truth is near, an untrained model is not"


def test_nobody_to_learn_from_is_refused(config):
    with pytest.raises(InputError, match="nobody to learn from"):
        replace(config, as_observed=0)
    with pytest.raises(InputError, match="must not be negative"):
        replace(config, perturbed=-1)
    with pytest.raises(InputError, match="has 60 persons; the configuration needs at least 71"):
        scorer_sets(replace(config, seen_again=3, as_observed=60), BODY)
