"""The quick measurement gives the figures of `hmralign evaluate`, and what it adds to them is what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hmralign.critics.plausibility import PlausibilityCritic
from hmralign.data.synthwild_folder import open_split
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.models.checkpoint import load_checkpoint
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import SamplerConfig
from hmralign.studies.alignment.measure import BY_REPROJECTION, MeasureConfig, Persons, measure_persons
from hmralign.systems.evaluate.predict import PredictConfig
from hmralign.systems.evaluate.run import EvaluateConfig, evaluate_policy
from support.alignment_study import know_splits, tiny_base, tiny_benchmark
from support.synthetic_persons import BODY

PREDICT = PredictConfig(SamplerConfig(num_hypotheses=12, num_steps=2), selection=BY_REPROJECTION, batch=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        know_splits(patch)
        yield tiny_benchmark(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture(scope="module")
def persons(data):
    return Persons.of(open_split(data, "tiny/val"), BODY, batch=3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_base(tmp_path_factory.mktemp("weights") / "m.safetensors")


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_checkpoint(checkpoint, BODY.skeleton_hash)  # stored in half precision


@pytest.fixture(scope="module")
def measured(model, persons):
    config = MeasureConfig(PREDICT, temperatures=(1e-6, 1e6))
    return measure_persons(LitePolicy(model, BODY), persons, config, PlausibilityCritic(BODY))[0]


@pytest.mark.parametrize(("kind", "method"), [("raw", "none"), ("refined", "gauss_newton")])
def test_shared_columns_are_those_of_evaluate(data, checkpoint, measured, kind, method):
    config = EvaluateConfig(replace(PREDICT, refinement=RefinementConfig(method=method)))
    published = evaluate_policy(checkpoint, data, "tiny/val", config).evaluation.columns
    both = set(measured[kind]) & set(published)
    assert {"single", "zero_noise", "selected", "fused", "min_of_10", "fused_pa", "fused_pve", "spread"} <= both
    for name in both:
        np.testing.assert_allclose(measured[kind][name], published[name], atol=1e-6, err_msg=name)


def test_the_batch_size_and_the_other_kind_do_not_matter(model, persons, measured):
    config = MeasureConfig(replace(PREDICT, batch=8), kinds=("refined",))
    again = measure_persons(LitePolicy(model, BODY), persons, config)[0]["refined"]
    for name, values in again.items():
        np.testing.assert_allclose(values, measured["refined"][name], atol=2e-4, err_msg=name)


@pytest.mark.parametrize("kind", ["raw", "refined"])
def test_weights_go_from_the_scorers_pick_to_the_plain_mean(measured, kind):
    found = measured[kind]
    np.testing.assert_allclose(found["weighted_1e+06"], found["fused"], atol=1e-4)
    assert np.abs(found["weighted_1e-06"] - found["fused"]).max() > 1e-3
    if kind == "raw":  # the pick is not refined again
        np.testing.assert_allclose(found["weighted_1e-06"], found["selected_scorer"], atol=1e-4)


def test_without_a_scorer_there_are_no_columns_of_it(model, persons):
    config = MeasureConfig(PREDICT, kinds=("raw",), temperatures=(1.0,))
    found = measure_persons(LitePolicy(model, BODY), persons, config)[0]["raw"]
    assert not any("scorer" in n or "weighted" in n for n in found)


def test_oracle_columns_alone(model, persons, measured):
    config = MeasureConfig(PREDICT, min_of=(5, 10), answers=False)
    found, seconds = measure_persons(LitePolicy(model, BODY), persons, config)
    assert set(found["raw"]) == {"min_of_5", "min_of_10"} and seconds > 0
    for kind in ("raw", "refined"):
        np.testing.assert_allclose(found[kind]["min_of_10"], measured[kind]["min_of_10"], atol=2e-4)
        assert (found[kind]["min_of_5"] >= found[kind]["min_of_10"]).all()


def test_nothing_is_drawn_from_the_global_generator(model, persons):
    config = MeasureConfig(PREDICT, kinds=("raw",))
    torch.manual_seed(1)
    first = measure_persons(LitePolicy(model, BODY), persons, config)[0]["raw"]["single"]
    torch.manual_seed(2)
    assert np.array_equal(first, measure_persons(LitePolicy(model, BODY), persons, config)[0]["raw"]["single"])
