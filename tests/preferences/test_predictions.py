"""Predictions of other systems as groups: nothing is lost on the free body, what is carried over says so."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from hmralign.adapters.bodies import MEAN_REST_PELVIS
from hmralign.alignment.scored_groups import load_groups
from hmralign.body.lbs import posed_joints
from hmralign.critics.catalogue import make_critic
from hmralign.critics.critic import judge
from hmralign.data.prediction_file import read_predictions
from hmralign.preferences import predictions as predictions_module
from hmralign.preferences.person_source import GroupSource
from hmralign.preferences.predictions import PredictionSource, build_prediction_groups
from hmralign.preferences.statistics import statistics_markdown, store_statistics
from hmralign.preferences.store import GroupStore
from hmralign.structures import Example, InputError
from support.group_stores import files_of, tiny_policy
from support.prediction_files import HYP, PERSONS, free_arrays, hypotheses, joint_arrays, observed, rest_arrays, write
from support.synthetic_persons import BODY

SMPL = {"skeleton": "smpl"}
DOCUMENT = (Path(__file__).parents[2] / "docs" / "prediction_files.md").read_text()


def built(tmp_path, arrays=None, critics=("reprojection",), name="store", **changes) -> GroupStore:
    path = write(tmp_path / "theirs.npz", arrays, **changes)
    return build_prediction_groups(
        read_predictions(path), tmp_path / name, critics, predicted_by="Theirs", body=BODY, shard_size=2
    )


def joints_of(store) -> torch.Tensor:
    return torch.cat([store.read(shard).hypotheses.joints for shard in range(store.num_shards)])


def bodies_joints(store) -> torch.Tensor:
    shards = [store.read(shard).hypotheses.body for shard in range(store.num_shards)]
    return torch.cat([posed_joints(BODY, body) for body in shards])


def distance(a, b) -> float:
    return float((a - b).norm(dim=-1).mean())


def test_free_bodies_stay_what_they_are(tmp_path):
    store, group = built(tmp_path), hypotheses()
    torch.testing.assert_close(joints_of(store), group.joints, atol=1e-5, rtol=0)
    torch.testing.assert_close(bodies_joints(store), group.joints, atol=1e-4, rtol=0)
    expected = judge(make_critic("reprojection", BODY, "unknown"), group, Example(observed()))
    torch.testing.assert_close(store.scores("reprojection"), expected, atol=1e-5, rtol=0)
    assert (store.scores("reprojection").argmax(1) == 0).all()  # the truth
    facts = store.facts
    assert (facts.predicted_by, facts.retargeted, facts.checkpoint_sha256) == ("Theirs", False, "")
    assert (facts.source, facts.group_size, facts.detector) == ("predictions:theirs", HYP, "unknown")
    assert store.ids == tuple(free_arrays()["id"]) and store.num_shards == 3 and store.read(0).x_0 is None
    assert facts.options["betas"] == "as predicted" and facts.options["place"] == "transl"


def test_smpl_bodies_are_marked_as_retargeted(tmp_path):
    store = built(tmp_path, **SMPL)
    assert store.facts.retargeted and store.facts.options["betas"] == "zero"
    body = store.read(0).hypotheses.body
    assert not body.betas.any() and torch.allclose(body.rotmats, hypotheses().body.rotmats[:2], atol=1e-5)
    pelvis = hypotheses().body.transl[:2] + torch.tensor(MEAN_REST_PELVIS["smpl"])
    torch.testing.assert_close(store.read(0).hypotheses.joints[:, :, 0], pelvis, atol=1e-5, rtol=0)
    text = statistics_markdown(store_statistics(store))
    assert "Predicted by Theirs (mapped joints only, retargeted)." in text
    assert "retargeted" not in statistics_markdown(store_statistics(built(tmp_path, name="free")))


@pytest.mark.parametrize("given", ["joints", "rest_joints"])
def test_smpl_bodies_are_fitted_to_what_the_file_says_of_their_size(tmp_path, given):
    group = hypotheses()
    own = group.joints[:, :, :24]
    extra = {"joints": own.numpy()} if given == "joints" else {"rest_joints": rest_arrays()}
    store = built(tmp_path, **SMPL, **extra)
    torch.testing.assert_close(joints_of(store)[:, :, :24], own, atol=1e-4, rtol=0)  # the system's own
    carried = bodies_joints(store)
    assert distance(carried[:, :, :24], own) < 0.02
    assert distance(carried, group.joints) < distance(bodies_joints(built(tmp_path, name="mean", **SMPL)), group.joints)
    torch.testing.assert_close(joints_of(store)[:, :, 24:], carried[:, :, 24:], atol=1e-4, rtol=0)
    assert "fitted to" in store.facts.options["betas"] and "shared joints" in store.facts.options["place"]


@pytest.mark.parametrize("skeleton", ["free", "smpl"])
def test_joints_alone_become_bodies_without_twist(tmp_path, skeleton):
    store, own = built(tmp_path, joint_arrays(), skeleton=skeleton), hypotheses().joints[:, :, :24]
    assert store.facts.retargeted == (skeleton == "smpl") and "twist unknown" in store.facts.options["rotations"]
    torch.testing.assert_close(joints_of(store)[:, :, :24], own, atol=1e-5, rtol=0)
    assert distance(bodies_joints(store)[:, :, :24], own) < 0.03
    assert (store.scores("reprojection").argmax(1) == 0).float().mean() > 0.7


def test_critics_that_need_a_surface_judge_the_body_and_others_the_joints(tmp_path):
    """Joints moved by half a metre are judged where they are said to be; the keypoints follow them too."""
    moved = hypotheses().joints[:, :, :24] + torch.tensor([0.5, 0.0, 0.0])
    store = built(tmp_path, **SMPL, joints=moved.numpy())
    torch.testing.assert_close(joints_of(store)[:, :, :24], moved)
    assert (store.scores("reprojection") < built(tmp_path, name="there").scores("reprojection")).all()


def test_a_policy_encodes_them(tmp_path):
    policy = tiny_policy()
    store = built(tmp_path, **SMPL, joints=hypotheses().joints[:, :, :24].numpy())
    groups = load_groups(store, "reprojection", policy, "e" * 64)
    assert groups.x_0.shape == (PERSONS, HYP, 130) and torch.isfinite(groups.x_0).all()
    expected = policy.from_body(store.read(0).hypotheses.body, store.read(0).example.observation)
    assert torch.equal(groups.x_0[:2], expected) and torch.equal(groups.scores, store.scores("reprojection"))


def test_a_source_for_groups_of_other_models_too(tmp_path):
    source = PredictionSource(read_predictions(write(tmp_path / "a.npz")), BODY)
    assert isinstance(source, GroupSource)
    batches = list(source.batches(2, {"photo_0.jpg#0", "photo_1.jpg#0"}))
    assert [b.ids for b in batches] == [source.predictions.ids[2:4], source.predictions.ids[4:]]
    with pytest.raises(InputError, match="the store has 1"):
        list(source.batches(2, {"photo_0.jpg#0"}))


def test_a_run_that_was_stopped_is_continued(tmp_path, monkeypatch):
    whole = built(tmp_path, name="whole")
    real, made = predictions_module.carried_over, []

    def stops(part, body):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(part.ids)
        return real(part, body)

    monkeypatch.setattr(predictions_module, "carried_over", stops)
    with pytest.raises(KeyboardInterrupt):
        built(tmp_path, name="cut")
    assert GroupStore.open(tmp_path / "cut").num_shards == 2
    monkeypatch.setattr(predictions_module, "carried_over", real)
    assert built(tmp_path, name="cut").content_hash() == whole.content_hash()
    before = files_of(tmp_path / "cut")
    built(tmp_path, name="cut")
    assert files_of(tmp_path / "cut") == before
    with pytest.raises(InputError, match="source_sha256"):
        built(tmp_path, name="cut", betas=free_arrays()["betas"] * 0)


def test_what_gives_no_groups(tmp_path):
    one = {n: free_arrays()[n][:, :1] for n in ("global_orient", "body_pose", "betas", "transl")}
    with pytest.raises(InputError, match=r"one hypothesis per person, .* makes no preference group"):
        built(tmp_path, **one)
    with pytest.raises(InputError, match="needs truth"):
        built(tmp_path, critics=("oracle",))
    path = write(tmp_path / "theirs.npz")
    with pytest.raises(InputError, match="predicted_by is empty"):
        build_prediction_groups(read_predictions(path), tmp_path / "store", predicted_by=" ", body=BODY)
    assert not (tmp_path / "store").exists()


def test_ends_that_are_not_known_stay_as_at_rest():
    group = hypotheses()
    rotmats = predictions_module.along_joints(group.joints[:, :, :24], BODY, group.body.betas)
    eye = torch.eye(3).expand(PERSONS, HYP, 5, 3, 3)
    torch.testing.assert_close(rotmats[:, :, [10, 11, 15, 22, 23]], eye, atol=1e-5, rtol=0)


def test_the_snippet_of_the_document_converts_what_4d_humans_gives(tmp_path):
    """Outputs made backwards from known bodies: the camera of a crop is what draws them where they are."""
    group, seen, focal = hypotheses(), observed(), 1000.0
    size = np.tile([640.0, 480.0], (PERSONS, 1))
    outs, batches = [], []
    for h in range(HYP):
        center, side = np.tile([300.0 + h, 250.0], (PERSONS, 1)), np.full(PERSONS, 200.0 + h)
        T = group.body.transl[:, h].numpy()
        s = 2 * focal / (side * T[:, 2])
        shift = T[:, :2] - (2 * center - size) / (s * side)[:, None]
        pose = {"global_orient": group.body.global_orient[:, h, None], "body_pose": group.body.body_pose[:, h]}
        outs.append({"pred_smpl_params": {n: p.numpy() for n, p in pose.items()}, "pred_cam": np.c_[s, shift]})
        batches.append({"box_center": center, "box_size": side, "img_size": size})
    points = np.concatenate([seen.keypoints[:, :17], seen.confidence[:, :17, None]], -1)
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    scope = {"np": np}
    exec(code, scope)
    scope["convert"](tmp_path / "a.npz", free_arrays()["id"], outs, batches, rest_arrays(), points, focal)
    read = read_predictions(tmp_path / "a.npz")
    torch.testing.assert_close(read.transl, group.body.transl, atol=1e-4, rtol=0)
    torch.testing.assert_close(read.rotmats, group.body.rotmats)
    assert read.skeleton == "smpl" and not read.observation.knows_camera.any()
