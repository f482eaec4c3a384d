"""ScoreNet and HMR-Scorer as critics: what they are shown, against networks that are called by hand."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.body.lbs import posed_joints
from hmralign.critics.catalogue import critic_crop_side, make_critic, weights_of
from hmralign.critics.critic import CriticError, judge
from hmralign.critics.names import is_critic, score_name
from hmralign.critics.published_scorers import HmrScorerCritic, ScoreNetCritic
from hmralign.models.paper.body_sample import sample_of_body
from hmralign.models.paper.hmr_scorer import HmrScorer
from hmralign.models.paper.image_input import encoder_input
from hmralign.models.paper.vit import VitConfig
from hmralign.models.published.conversion import convert_snapshot
from hmralign.models.published.layouts import hmr_scorer_layout
from hmralign.models.published.scorers import ScoreNetModel
from hmralign.structures import Example, Hypotheses, InputError
from support.published_snapshots import TINY_SCORER, snapshot_content, tiny_layout
from support.synthetic_persons import BODY, mirrored, mirrored_body
from support.tiny_paper import TINY_PAPER, crops, seen_persons, speaking, tiny_hyponet

SCORER = replace(TINY_SCORER, score_width=64, encoder=VitConfig(channels=8, depth=1, heads=2, task_tokens=2))
"""Tiny, for pictures of the published size."""
KNOWN = seen_persons(3, known=1.0)
SEEN = KNOWN.observation


@lru_cache
def scorenet():
    network = ScoreNetModel(TINY_PAPER)
    speaking(network.encoder, 64, 64)
    speaking(network.score_net, seed=1)
    return network.eval().requires_grad_(False)


@lru_cache
def hmr_scorer():
    return speaking(HmrScorer(SCORER))


def bodies(shift=(0.0, 0.0, 0.0)) -> Hypotheses:
    """Two of each person, the second with another pose; moved in the camera's frame."""
    truth = KNOWN.annotation.body[:, None]
    bent = replace(truth, body_pose=truth.body_pose.roll(1, 0))
    pair = type(truth).cat([truth, bent], dim=1)
    moved = replace(pair, transl=pair.transl + torch.tensor(shift))
    return Hypotheses(moved, posed_joints(BODY, moved))


def by_hand(hypotheses: Hypotheses, person: int, hyp: int) -> tuple[np.ndarray, np.ndarray]:
    """u, v of -1 to 1 over the 1.25-fold square, and depths from the pelvis, in plain loops."""
    x0, y0, x1, y1 = SEEN.box[person].double().tolist()
    side = 1.25 * max(x1 - x0, y1 - y0)
    K = SEEN.K[person].double().numpy()
    uv, depth = np.zeros((29, 2)), np.zeros(29)
    joints = hypotheses.joints[person, hyp].double().numpy()
    for j, (x, y, z) in enumerate(joints):
        for axis, (value, middle) in enumerate(((x, (x0 + x1) / 2), (y, (y0 + y1) / 2))):
            pixel = K[axis, axis] * value / z + K[axis, 2]
            uv[j, axis] = (pixel - middle) / side  # -0.5 to 0.5 between the square's borders
        depth[j] = z - joints[0, 2]
    return uv, depth


def test_scorenet_is_shown_the_projected_joints_the_depths_and_the_twists():
    hypotheses, network = bodies(), scorenet()
    scores = judge(ScoreNetCritic(BODY, network), hypotheses, Example(SEEN))
    features = network.encoder(encoder_input(SEEN.crop, 64, bgr_constants=True))
    for person in range(3):
        for hyp in range(2):
            uv, depth = by_hand(hypotheses, person, hyp)
            uvd = np.concatenate([(2 * 64 * uv + 63) / 64 - 1, depth[:, None]], axis=1)  # pixel 2 u / size - 1
            one = sample_of_body(BODY, hypotheses.body, SEEN, 64)[person, hyp] / 50
            np.testing.assert_allclose(one[:87].numpy(), uvd.reshape(-1), atol=2e-4)
            twists = one[87:].reshape(23, 2)
            torch.testing.assert_close(twists.norm(dim=-1), torch.ones(23), atol=1e-4, rtol=0)
            given = torch.cat([torch.from_numpy(uvd).float().flatten(), twists.flatten()])[None, None]
            alone = network.score_net(given, features[person : person + 1])
            torch.testing.assert_close(scores[person, hyp], alone[0, 0], atol=2e-3, rtol=1e-3)
    assert scores.std() > 0.01


def test_hmr_scorer_sees_whole_pixels_of_its_canvas_and_no_twists():
    hypotheses, network = bodies(), hmr_scorer()
    critic = HmrScorerCritic(BODY, network)
    scores = judge(critic, hypotheses, Example(SEEN))
    for person in range(3):
        square = torch.from_numpy(
            np.asarray(
                Image.fromarray(SEEN.crop[person].permute(1, 2, 0).numpy()).resize(
                    (384, 384), Image.Resampling.BILINEAR
                )
            ).copy()
        )
        canvas = torch.zeros(3, 512, 384)
        canvas[:, 64:448] = square.permute(2, 0, 1) / 255
        for hyp in range(2):
            uv, depth = by_hand(hypotheses, person, hyp)
            unit = (2 * 256 * uv + 255) / 256 - 1
            column = np.trunc((unit[:, 0] + 1) / 2 * 384)
            row = np.trunc((unit[:, 1] + 1) / 2 * 384 + 64)
            joints = np.stack([2 * column / 384 - 1, 2 * row / 512 - 1, depth], axis=1)
            alone = network(canvas[None], torch.from_numpy(joints).float()[None, None])
            torch.testing.assert_close(scores[person, hyp], alone[0, 0], atol=5e-2, rtol=2e-2)
    assert scores.std() > 0.01


@pytest.mark.parametrize(
    "make", [lambda: ScoreNetCritic(BODY, scorenet()), lambda: HmrScorerCritic(BODY, hmr_scorer())]
)
def test_hypotheses_that_are_moved_in_the_picture_get_other_features(make):
    critic, read = make(), []
    net = critic.network.score_net
    handle = net.blocks[0].register_forward_pre_hook(lambda _, given: read.append(given[0].detach().clone()))
    try:
        here = judge(critic, bodies(), Example(SEEN))
        moved = judge(critic, bodies((0.15, 0.0, 0.0)), Example(SEEN))
    finally:
        handle.remove()
    half = read[0].shape[-1] // 2  # image features are the second half of a token
    assert (read[0][..., half:] - read[1][..., half:]).abs().max() > 1e-3
    assert (here - moved).abs().max() > 1e-4
    other = replace(SEEN, crop=crops(3, seed=7))
    assert (judge(critic, bodies(), Example(other)) - here).abs().max() > 1e-4


def test_a_mirrored_body_in_a_mirrored_picture_has_the_mirrored_sample():
    """What the policy mirrors is what a mirrored body projects to: sides exchanged, u and sines with other signs."""
    body, observed = KNOWN.annotation.body[:, None], mirrored(SEEN)
    other = mirrored_body(body)
    expected = tiny_hyponet().x_0_variant(sample_of_body(BODY, body, SEEN, 64), 1)
    found = sample_of_body(BODY, other, observed, 64)
    torch.testing.assert_close(found, expected, atol=0.5, rtol=0)  # of 50: the free body is symmetric to some mm
    assert (found - sample_of_body(BODY, body, SEEN, 64)).abs().max() > 5


@pytest.mark.parametrize("kind", ["scorenet", "hmr-scorer"])
def test_a_converted_file_is_a_critic_by_its_kind(tmp_path, kind):
    network = scorenet() if kind == "scorenet" else hmr_scorer()
    layout = tiny_layout(kind) if kind == "scorenet" else hmr_scorer_layout(SCORER)
    parts = {"model_score": "score_net.", "model_score_cond": "encoder."} if kind == "scorenet" else {"network": ""}
    states = {
        key: {n.removeprefix(prefix): v for n, v in network.state_dict().items() if n.startswith(prefix)}
        for key, prefix in parts.items()
    }
    torch.save({**snapshot_content(layout), **states}, tmp_path / "a.pth")
    path = tmp_path / "mine.safetensors"
    convert_snapshot(
        tmp_path / "a.pth", path, kind, skeleton_hash=BODY.skeleton_hash, weights="raw", layout=layout
    )  # fmt: skip
    critic = make_critic(str(path), BODY)
    assert critic.name == "mine" == score_name(str(path)) and is_critic(str(path)) and not critic.needs_truth
    assert weights_of(str(path)) == path and critic_crop_side(str(path)) == 256
    direct = (ScoreNetCritic if kind == "scorenet" else HmrScorerCritic)(BODY, network)
    assert torch.equal(judge(critic, bodies(), Example(SEEN)), judge(direct, bodies(), Example(SEEN)))
    with pytest.raises(InputError, match="another skeleton"):
        make_critic(str(path), replace(BODY, J_template=1.01 * BODY.J_template))


def test_without_pixels_one_sentence(tmp_path):
    blind = replace(SEEN, crop=None, has_crop=None)
    for critic in (ScoreNetCritic(BODY, scorenet()), HmrScorerCritic(BODY, hmr_scorer())):
        with pytest.raises(CriticError, match=f"^critic '{critic.name}': the model looks at pixels"):
            judge(critic, bodies(), Example(blind))


def test_a_checkpoint_that_is_no_scorer_is_refused(tmp_path):
    path = tiny_hyponet().save(tmp_path / "h.safetensors", ())
    with pytest.raises(InputError, match="kind 'hyponet', expected 'scorer' or 'scorenet' or 'hmr-scorer'"):
        make_critic(str(path), BODY)
    with pytest.raises(InputError, match=r"no such|does not exist|neither"):
        make_critic(str(tmp_path / "nowhere.safetensors"), BODY)
