"""The gate: exchanged sides turn its sign, a mirrored photo changes nothing, whatever its weights."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.special import expit

from hmralign.body.free_body import load_free_body
from hmralign.body.skeleton import MIRROR_KEYPOINTS
from hmralign.data.synthetic.generator import Generator
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseSource
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.models.side_gate import (
    SideGate,
    SideGateConfig,
    SideGateNetwork,
    exchanged_sides,
    load_side_gate,
    save_side_gate,
    shipped_side_gate,
    side_features,
    side_gate_path,
)
from hmralign.structures import InputError
from hmralign.training.side_gate import MIX


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SideGateNetwork(SideGateConfig(width=24, depth=2)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def persons():
    source = PoseSource(load_pose_prior("heldout"))
    return Generator(load_free_body("3k5"), source, MIX).sample(300, torch.Generator().manual_seed(5)).observation


def mirrored(seen, width=1000.0):
    """The photo in a mirror: x turns, sides change their names, the principal point moves."""
    turned = exchanged_sides(seen)
    flip = torch.tensor([-1.0, 1.0])
    keypoints = turned.keypoints * flip + torch.tensor([width, 0.0])
    box = torch.stack([width - seen.box[:, 2], seen.box[:, 1], width - seen.box[:, 0], seen.box[:, 3]], 1)
    K = seen.K.clone()
    K[:, 0, 2] = width - K[:, 0, 2]
    return dataclasses.replace(turned, keypoints=keypoints, box=box, K=K)


def test_exchanging_sides_twice_is_nothing(persons):
    again = exchanged_sides(exchanged_sides(persons))
    assert torch.equal(again.keypoints, persons.keypoints) and torch.equal(again.confidence, persons.confidence)
    assert torch.equal(exchanged_sides(persons).keypoints, persons.keypoints[:, list(MIRROR_KEYPOINTS)])


def test_exchanged_sides_turn_the_sign(persons):
    gate = SideGate(network(), scale=3.0)
    as_read = gate(persons)
    assert float(as_read.abs().mean()) > 0.01
    torch.testing.assert_close(gate(exchanged_sides(persons)), -as_read, atol=1e-5, rtol=0)


def test_a_mirrored_photo_has_the_same_answer(persons):
    gate = SideGate(network(), scale=3.0)
    torch.testing.assert_close(gate(mirrored(persons)), gate(persons), atol=2e-3, rtol=0)


def test_the_answer_is_the_difference_of_two_plausibilities(persons):
    one = network()
    both = 0.0
    for seen in (persons, mirrored(persons)):
        exchanged, plain = (one.plausibility(side_features(s)) for s in (exchanged_sides(seen), seen))
        both = both + exchanged - plain
    torch.testing.assert_close(one(side_features(persons)), both, atol=2e-3, rtol=0)


def test_nothing_seen_says_nothing_and_no_answer_is_beyond_the_limit(persons):
    nobody = dataclasses.replace(persons, confidence=torch.zeros_like(persons.confidence))
    assert not SideGate(network(), scale=3.0)(nobody).any()
    assert float(SideGate(network(), scale=1e4, limit=2.0)(persons).abs().max()) == 2.0


def test_a_saved_gate_is_read_back(persons, tmp_path):
    gate = SideGate(network(), 1.7, 4.0, ("prior:train",))
    read = load_side_gate(save_side_gate(tmp_path / "g.safetensors", gate, "skeleton", half=False))
    assert (read.scale, read.limit, read.trained_on) == (1.7, 4.0, ("prior:train",))
    assert torch.equal(read(persons), gate(persons))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("kind", "lite", "kind 'lite'"),
        ("format_version", "9", "format 9"),
        ("config", '{"width": 0}', "expected 1"),
        ("config", '{"width": 24, "depth": 3}', "weights do not fit"),
        ("config", "[]", "no mapping"),
        ("config", "{", "not JSON"),
        ("calibration", '{"scale": -1, "limit": 5}', "positive"),
        ("calibration", '{"scale": 1}', "positive"),
    ],
)
def test_another_file_is_refused(tmp_path, field, value, said):
    path = save_side_gate(tmp_path / "g.safetensors", SideGate(network()), "skeleton")
    with safe_open(path, framework="pt") as handle:
        header = dict(handle.metadata())
    save_file(load_file(path), path, header | {field: value})
    with pytest.raises(InputError, match=said) as told:
        load_side_gate(path)
    assert str(path) in str(told.value)


def test_the_shipped_gate_is_small_named_in_its_card_and_calibrated_on_persons_it_has_not_seen(persons):
    path, gate = side_gate_path("sides"), shipped_side_gate()
    assert path.stat().st_size <= 1e6
    assert checkpoint_hash(path)[:12] in path.with_suffix(".md").read_text()
    with safe_open(path, framework="pt") as handle:
        header = handle.metadata()
    assert json.loads(header["calibration"]) == {"scale": gate.scale, "limit": gate.limit}
    assert "prior:train" in gate.trained_on
    logit = gate(persons).double().numpy()
    assert (logit < 0).mean() > 0.6 and np.logaddexp(0, logit).mean() < 0.62  # ln 2 knows nothing
    # Persons in held-out poses, each also exchanged: of those said to be exchanged with p, about p are.
    said = expit(np.abs(logit))
    assert abs(said.mean() - (logit < 0).mean()) < 0.06
