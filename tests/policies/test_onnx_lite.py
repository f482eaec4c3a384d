"""A policy whose networks ONNX Runtime computes proposes what the same checkpoint proposes in torch."""

import pytest
import torch

from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.policies.catalogue import open_policy, policy_skeleton
from hmralign.policies.onnx_lite import OnnxLitePolicy, export_checkpoint
from hmralign.policies.policy import BodyProposer, PersonProposer, SamplerConfig
from hmralign.structures import InputError
from support.synthetic_persons import BODY, persons, seeded
from support.toy_policy import tiny_policy

pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")

OBSERVED = persons(6).observation
FEW = SamplerConfig(num_hypotheses=7)


def joints(group):
    return forward_kinematics(rest_joints(BODY, group.betas), group.rotmats, BODY.parents)[1]


def test_the_shipped_policy_proposes_the_same_bodies_whatever_computes_it():
    ours, theirs = (open_policy("lite", BODY, runtime=runtime) for runtime in ("torch", "onnx"))
    assert (ours.sha256, ours.trained_on, ours.name) == (theirs.sha256, theirs.trained_on, theirs.name)
    assert isinstance(theirs.policy, BodyProposer) and isinstance(theirs.policy, PersonProposer)
    bodies = [joints(opened.policy.propose(OBSERVED, FEW, seeded(3))) for opened in (ours, theirs)]
    apart_mm = 1000 * (bodies[0] - bodies[1]).norm(dim=-1)
    print(f"joints: {float(apart_mm.max()):.1e} mm apart at most, {float(apart_mm.mean()):.1e} mm in the mean")
    assert apart_mm.max() < 0.5 and apart_mm.mean() < 0.005
    with pytest.raises(InputError, match="proposes bodies but is no diffusion policy"):
        theirs.diffusion()


def test_a_person_does_not_depend_on_who_else_is_asked_for():
    policy = open_policy("lite", BODY, runtime="onnx").policy
    together = joints(policy.propose_each(OBSERVED, FEW, [seeded(k) for k in range(6)]))
    alone = joints(policy.propose_each(OBSERVED[2:3], FEW, [seeded(2)]))
    assert (together[2:3] - alone).norm(dim=-1).max() < 5e-4
    nobody = policy.propose(OBSERVED[:0], FEW, seeded(0))
    assert nobody.rotmats.shape == (0, 7, 24, 3, 3)


def test_a_folder_is_opened_by_its_path(tmp_path):
    path = tiny_policy().save(tmp_path / "tiny.safetensors", ("here/train",))
    export_checkpoint(path, BODY, tmp_path / "tiny")
    opened, straight = open_policy(tmp_path / "tiny", BODY), open_policy(str(path), BODY, runtime="onnx")
    assert opened.trained_on == ("here/train",) == straight.trained_on
    assert opened.sha256 != checkpoint_hash(path) == straight.sha256
    assert policy_skeleton(tmp_path / "tiny") == BODY.skeleton_hash == policy_skeleton(path)
    groups = [each.policy.propose(OBSERVED, FEW, seeded(1)) for each in (opened, straight)]
    assert torch.equal(groups[0].rotmats, groups[1].rotmats) and torch.equal(groups[0].betas, groups[1].betas)


def test_what_onnx_is_not_written_of():
    with pytest.raises(InputError, match="pixel: holds a model of kind 'pixel'; ONNX is written of kind 'lite' alone"):
        open_policy("pixel", BODY, runtime="onnx")
    for own in (tiny_policy(), "mine.py:made"):
        with pytest.raises(InputError, match="a policy of your own computes as it does"):
            open_policy(own, BODY, runtime="onnx")
    with pytest.raises(InputError, match="computes on the cpu here; expected device cpu, got meta"):
        OnnxLitePolicy(OnnxLitePolicy.of_checkpoint("lite", BODY).model, BODY.to(torch.device("meta")))
