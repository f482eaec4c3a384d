"""Training of the pose space: a resumed run is the straight run, errors mean what they say, nonsense is refused."""

import dataclasses

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints, vertices
from hmralign.body.skeleton import NUM_BETAS
from hmralign.data.synthetic.poses import PoseMix
from hmralign.data.synthetic.views import ViewMix
from hmralign.geometry.rotations import axis_rotmat
from hmralign.models.language.checkpoint import load_pose_space
from hmralign.models.language.pose_space import PoseSpace, PoseSpaceConfig
from hmralign.structures import BodyParams, InputError
from hmralign.training import pose_vqvae
from hmralign.training.pose_draws import drawn_poses, pose_source
from hmralign.training.pose_vqvae import (
    PoseVqvaeTrainingConfig,
    reconstruction_errors,
    reconstruction_terms,
    train_pose_vqvae_file,
)

BODY = load_free_body("3k5")
SMALL = PoseVqvaeTrainingConfig(
    model=PoseSpaceConfig(width=32, depth=1, tokens=16, code_dim=4, codes=64), poses=PoseMix(), views=ViewMix(),
    pose_file=None, num_poses=500, batch_size=32, steps=40, learning_rate=5e-3, weight_decay=1e-4, ema_decay=0.9,
    save_every=20, mesh_weight=10.0, rotation_weight=20.0, joint_weight=100.0, commitment_weight=1.0, code_decay=0.9,
    dead_below=0.1, seed=3,
)  # fmt: skip


def held_out(n=100):
    return drawn_poses(pose_source(PoseMix(), None, "val"), ViewMix(), n, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("codes", [64, 0])
def test_a_resumed_run_is_the_straight_run_and_learns(tmp_path, codes):
    config = dataclasses.replace(SMALL, model=dataclasses.replace(SMALL.model, codes=codes))
    straight = train_pose_vqvae_file(config, tmp_path / "straight")
    whole = pose_vqvae.falling_loop
    with pytest.MonkeyPatch.context() as patch:  # a run that ends early, at the rates of the whole one
        patch.setattr(
            pose_vqvae, "falling_loop", lambda *given, **more: dataclasses.replace(whole(*given, **more), steps=20)
        )
        train_pose_vqvae_file(config, tmp_path / "resumed")
    resumed = train_pose_vqvae_file(config, tmp_path / "resumed")
    first, second = (load_pose_space(path, BODY.skeleton_hash) for path in (straight, resumed))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    given = held_out()
    untrained = PoseSpace(config.model)
    made, before = (
        float(reconstruction_errors(BODY, one(given), given)["joints"].mean()) for one in (first, untrained)
    )
    assert made < 0.8 * before


def test_errors_are_those_of_the_posed_body():
    given = held_out(4)
    turned = given.clone()
    turned[:, 16] = given[:, 16] @ axis_rotmat("z", torch.full((4,), 0.3))  # the left shoulder
    errors = reconstruction_errors(BODY, turned, given)
    assert torch.allclose(errors["angle"], torch.full((4,), 0.3 / 24), atol=1e-5)

    def body(rotmats):
        return BodyParams(rotmats[:, 0], rotmats[:, 1:], torch.zeros(4, NUM_BETAS), torch.zeros(4, 3))

    moved = (posed_joints(BODY, body(turned)) - posed_joints(BODY, body(given)))[:, :24].norm(dim=-1)
    torch.testing.assert_close(errors["joints"], moved.mean(1), atol=1e-6, rtol=1e-4)
    all_vertices = (vertices(BODY, body(turned)) - vertices(BODY, body(given))).norm(dim=-1).mean(1)
    torch.testing.assert_close(errors["mesh"], all_vertices, atol=2e-3, rtol=0.3)  # every 40th vertex stands for all


def test_terms_are_zero_for_the_pose_itself_and_see_the_heading():
    given = held_out(3)
    assert all(
        float(term.abs().max()) == 0 for term in reconstruction_terms(BODY, given, given, with_mesh=True).values()
    )
    turned = given.clone()
    turned[:, 0] = axis_rotmat("y", torch.full((3,), 1.0)) @ given[:, 0]
    terms = reconstruction_terms(BODY, turned, given, with_mesh=False)
    assert set(terms) == {"rotation", "joints"} and all(float(term.min()) > 0 for term in terms.values())


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"num_poses": 0},
        {"commitment_weight": -1.0},
        {"rotation_weight": 0.0, "joint_weight": 0.0, "mesh_weight": 0.0},
        {"code_decay": 1.0},
    ],
)
def test_configurations_without_meaning_are_refused(bad):
    with pytest.raises(InputError, match="pose space training"):
        PoseVqvaeTrainingConfig(**bad)
