import copy
import math
from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from hmralign.body.lbs import posed_keypoints
from hmralign.critics.controls import OracleCritic, RandomCritic
from hmralign.critics.critic import judge
from hmralign.critics.mix import MixCritic
from hmralign.critics.plausibility import PlausibilityCritic
from hmralign.critics.ranking import rank
from hmralign.critics.reprojection import ReprojectionCritic, keypoint_distances, reprojection_error
from hmralign.critics.silhouette import SilhouetteCritic
from hmralign.geometry.cameras import project
from hmralign.structures import Annotation, BodyParams, Example, Hypotheses, InputError
from support.critic_examples import group_around, persons, sizes_of

ANGLES = [0.0, 0.1, 0.2, 0.4, 0.8]


@lru_cache(maxsize=1)
def scene():
    body, example = persons(12)
    return body, example, group_around(body, example.annotation.body, ANGLES)


def critics(body):
    mix = MixCritic([(ReprojectionCritic(body), 1.0), (SilhouetteCritic(body), 0.5), (PlausibilityCritic(body), 0.2)])
    return [ReprojectionCritic(body), SilhouetteCritic(body), PlausibilityCritic(body), mix]


def pick(hypotheses, persons_, hyps):
    return Hypotheses(hypotheses.body[persons_][:, hyps], hypotheses.joints[persons_][:, hyps])


@pytest.mark.parametrize("index", range(4), ids=["reprojection", "silhouette", "plausibility", "mix"])
def test_the_truth_scores_above_disturbed_poses_and_more_so_the_more_they_are_disturbed(index):
    body, example, group = scene()
    scores = judge(critics(body)[index], group, example)
    means = scores.mean(0)
    # Anatomy does not tell a pose from one a little beside it.
    steps = means[[0, 3, 4]] if index == 2 else means
    assert (steps.diff() < 0).all(), means
    assert (scores[:, 0] >= scores[:, -1]).float().mean() > 0.9
    assert (scores[:, 0] >= scores[:, 3]).float().mean() > 0.8


@pytest.mark.parametrize("index", range(4), ids=["reprojection", "silhouette", "plausibility", "mix"])
def test_ground_truth_is_not_seen(index):
    body, example, group = scene()
    critic = critics(body)[index]
    wrong = Annotation(
        example.annotation.body[torch.arange(11, -1, -1)], torch.full_like(group.joints[:, 0], torch.nan)
    )
    scores = judge(critic, group, example)
    assert torch.equal(scores, judge(critic, group, replace(example, annotation=wrong)))
    assert torch.equal(scores, judge(critic, group, replace(example, annotation=None)))


def test_the_annotation_is_removed_unless_it_is_needed():
    _, example, group = scene()
    shown = []

    class Spy:
        name = "spy"
        needs_truth = False

        def __call__(self, hypotheses, example):
            shown.append(example.annotation)
            return torch.zeros(hypotheses.joints.shape[:2])

    spy = Spy()
    judge(spy, group, example)
    judge(MixCritic([(spy, 1.0), (OracleCritic(), 1.0)]), group, example)  # the mix may see it, its part may not
    spy.needs_truth = True
    judge(spy, group, example)
    assert shown[:2] == [None, None] and shown[2] is example.annotation


@pytest.mark.parametrize("index", range(4), ids=["reprojection", "silhouette", "plausibility", "mix"])
def test_a_batch_is_a_loop_over_persons_and_hypotheses(index):
    body, example, group = scene()
    critic = critics(body)[index]
    scores = judge(critic, group, example)
    for p, m in [(0, 0), (3, 2), (11, 4)]:
        alone = judge(critic, pick(group, slice(p, p + 1), slice(m, m + 1)), Example(example.observation[p : p + 1]))
        assert alone.item() == pytest.approx(scores[p, m].item(), abs=1e-5)


def test_many_hypotheses_are_rendered_in_chunks_that_do_not_show():
    body, example, group = scene()
    many = torch.arange(150) % 5
    scores = judge(SilhouetteCritic(body), pick(group, slice(0, 1), many), Example(example.observation[:1]))
    once = judge(SilhouetteCritic(body), pick(group, slice(0, 1), slice(None)), Example(example.observation[:1]))
    assert torch.equal(scores, once[:, many])


def test_unobserved_keypoints_do_not_matter():
    body, example, group = scene()
    observation = example.observation
    elsewhere = torch.where(observation.confidence[..., None] > 0, observation.keypoints, torch.full((), -1e4))
    assert (observation.confidence == 0).any()
    moved = replace(example, observation=replace(observation, keypoints=elsewhere))
    assert torch.equal(judge(ReprojectionCritic(body), group, example), judge(ReprojectionCritic(body), group, moved))
    errors = [reprojection_error(body, group, e.observation) for e in (example, moved)]
    assert torch.equal(errors[0].mean_px, errors[1].mean_px) and torch.equal(errors[0].median_px, errors[1].median_px)


def test_one_wrong_keypoint_costs_at_most_its_weight():
    body, example, group = scene()
    observation = example.observation
    certain = replace(observation, confidence=torch.ones_like(observation.confidence))
    spoilt = certain.keypoints.clone()
    spoilt[:, 5] = 1e5
    before = judge(ReprojectionCritic(body), group, Example(certain))
    after = judge(ReprojectionCritic(body), group, Example(replace(certain, keypoints=spoilt)))
    assert ((before - after).abs() <= 1 / 27 + 1e-6).all()


def exact_observation(body, example, truth: BodyParams, shift: torch.Tensor):
    """The true keypoints moved by a pixel shift (27, 2), all certain."""
    keypoints = project(posed_keypoints(body, truth), example.observation.K) + shift
    return replace(example.observation, keypoints=keypoints, confidence=torch.ones(keypoints.shape[:-1]))


def test_reprojection_error_means_what_it_says():
    body, example, group = scene()
    before_camera = (posed_keypoints(body, example.annotation.body)[..., 2] > 0).all(-1)
    shift = torch.zeros(27, 2)
    shift[:, 0] = (5 * torch.arange(27)) % 27  # all differ, so that the two middle values do
    shift[26] = 1e4  # not confident: must not count
    observation = exact_observation(body, example, example.annotation.body, shift)
    observation.confidence[:, 26] = 0.3
    error = reprojection_error(body, group, observation)
    expected = shift[:26, 0]
    median = expected.quantile(0.5).item()  # 26 values: the mean of the two middle ones
    assert torch.allclose(error.median_px[before_camera, 0], torch.tensor(median), atol=1e-2)
    assert torch.allclose(error.mean_px[before_camera, 0], expected.mean(), atol=1e-2)
    longer = (observation.box[:, 2:] - observation.box[:, :2]).amax(-1, keepdim=True)
    assert torch.allclose(error.mean_share * longer, error.mean_px)
    # one keypoint fewer: an odd number has one middle value
    observation.confidence[:, 25] = 0.0
    odd = reprojection_error(body, group, observation).median_px[before_camera, 0]
    assert torch.allclose(odd, expected[:25].quantile(0.5), atol=1e-2)


def test_a_perfect_fit_scores_zero_and_a_hopeless_one_minus_one():
    body, example, group = scene()
    truth = example.annotation.body
    critic = ReprojectionCritic(body)
    exact = Example(exact_observation(body, example, truth, torch.zeros(27, 2)))
    near = (posed_keypoints(body, truth)[..., 2] > 0).all(-1)
    assert torch.allclose(judge(critic, group, exact)[near, 0], torch.zeros(()), atol=1e-4)
    far = Example(exact_observation(body, example, truth, torch.full((27, 2), 1e5)))
    assert torch.allclose(judge(critic, group, far), torch.tensor(-1.0), atol=1e-3)
    behind = BodyParams(truth.global_orient, truth.body_pose, truth.betas, -truth.transl.abs() - 5)
    behind_group = group_around(body, behind, [0.0])
    assert (judge(critic, behind_group, exact) == -1).all()
    assert keypoint_distances(body, behind_group, exact.observation).isinf().all()


def test_offsets_and_sigma_are_used():
    body, example, group = scene()
    offsets = torch.zeros(27, 3)
    offsets[11] = torch.tensor([0.1, 0.0, 0.0])
    change = keypoint_distances(body, group, example.observation, offsets) - keypoint_distances(
        body, group, example.observation
    )
    moved = change.abs().amax((0, 1)) > 1e-3
    assert moved[11] and moved.sum() == 1
    strict, lenient = (
        judge(ReprojectionCritic(body, sigma=torch.full((27,), s)), group, example) for s in (0.005, 0.05)
    )
    assert (strict < lenient).all()


def test_a_person_without_keypoints_has_no_reprojection():
    body, example, group = scene()
    blind = replace(example.observation, confidence=torch.zeros(12, 27))
    assert (judge(ReprojectionCritic(body), group, Example(blind)) == 0).all()
    assert not ReprojectionCritic(body).can_judge(Example(blind)).any()
    assert reprojection_error(body, group, blind).mean_px.isnan().all()
    assert reprojection_error(body, group, blind).median_share.isnan().all()


def test_the_true_silhouette_fills_a_mask_that_was_cut_the_other_way():
    """Masks come from full-image silhouettes: a crop half a cell off would show here."""
    body, example, group = scene()
    for i, size in enumerate(sizes_of(example)):
        one = Example(example.observation[i : i + 1])
        score = judge(SilhouetteCritic(body, size), pick(group, slice(i, i + 1), slice(0, 1)), one)
        assert score.item() > 0.93, i


def test_parts_outside_the_image_count_neither_way():
    """Of a person cut by the border: legs that nobody can see may be anywhere."""
    body, example = persons(60)
    group = group_around(body, example.annotation.body, [0.0])
    observation, truth = example.observation, example.annotation.body
    i = next(
        i
        for i, (_, height) in enumerate(sizes_of(example))
        if project(posed_keypoints(body, truth[i]), observation.K[i])[15:17, 1].min() > height + 40
    )
    bent = truth[i : i + 1].body_pose.clone()
    bent[:, 6:8] = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))  # ankles turned
    one = Example(observation[i : i + 1])
    other = group_around(body, replace(truth[i : i + 1], body_pose=bent), [0.0])
    straight = pick(group, slice(i, i + 1), slice(0, 1))
    critic = SilhouetteCritic(body, sizes_of(example)[i])
    assert judge(critic, straight, one).item() > 0.93
    assert judge(critic, other, one).item() == pytest.approx(judge(critic, straight, one).item(), abs=0.02)


def test_without_the_image_size_what_is_far_from_the_mask_does_not_count():
    body, example, group = scene()
    cut = example.observation.mask.clone()
    cut[:, 24:] = 0
    observation = replace(example.observation, mask=cut)
    scores = judge(SilhouetteCritic(body), group, Example(observation))[:, 0]
    whole = judge(SilhouetteCritic(body, (4000, 4000)), group, Example(observation))[:, 0]
    assert (scores >= whole - 1e-6).all() and scores[cut.flatten(1).sum(1) > 50].median() > 0.75


def test_a_person_without_mask_is_not_judged_by_silhouette_and_the_mix_leaves_it_out():
    body, example, group = scene()
    has_mask = example.observation.has_mask.clone()
    has_mask[::2] = False
    some = Example(replace(example.observation, has_mask=has_mask))
    silhouette, reprojection = SilhouetteCritic(body), ReprojectionCritic(body)
    alone = judge(silhouette, group, some)
    assert (alone[::2] == 0).all() and (alone[1::2, 0] > 0).all()
    mixed = judge(MixCritic([(silhouette, 3.0), (reprojection, 1.0)]), group, some)
    other = judge(reprojection, group, some)
    assert torch.allclose(mixed[::2], other[::2])
    assert torch.allclose(mixed[1::2], (3 * alone[1::2] + other[1::2]) / 4)
    assert (judge(MixCritic([(silhouette, 1.0)]), group, some)[::2] == 0).all()
    empty = Example(replace(example.observation, mask=torch.zeros_like(example.observation.mask)))
    assert (judge(silhouette, group, empty) == 0).all()


def test_plausibility_dislikes_a_reversed_knee_and_an_arm_through_the_chest():
    body, example, _ = scene()
    rest = replace(
        example.annotation.body[:1], body_pose=torch.eye(3).expand(1, 23, 3, 3), betas=torch.zeros(1, body.num_betas)
    )
    critic = PlausibilityCritic(body)

    def score(joint, axis, degrees):
        from hmralign.geometry.rotations import axis_rotmat

        pose = rest.body_pose.clone()
        if joint is not None:
            pose[:, joint - 1] = axis_rotmat(axis, torch.tensor(math.radians(degrees)))
        return judge(critic, group_around(body, replace(rest, body_pose=pose), [0.0]), example_of_one).item()

    example_of_one = Example(example.observation[:1])
    assert score(None, "x", 0) == pytest.approx(0, abs=1e-3)
    assert score(4, "x", 90) == pytest.approx(0, abs=1e-3)  # a knee bends
    assert score(4, "x", -90) < -0.5  # but not forwards
    assert score(16, "y", -120) <= score(16, "y", -45)
    assert -1 < score(4, "x", -170) < score(4, "x", -60)


def test_controls():
    _, example, group = scene()
    oracle = judge(OracleCritic(), group, example)
    assert torch.allclose(oracle[:, 0], torch.zeros(()), atol=1e-4) and (rank(oracle)[:, 0] == 0).all()
    assert judge(OracleCritic("pa_mpjpe"), group, example).mean() > oracle.mean()
    a, b = (judge(RandomCritic(torch.Generator().manual_seed(1)), group, example) for _ in range(2))
    assert torch.equal(a, b) and a.unique().numel() == a.numel()
    generator = torch.Generator().manual_seed(1)
    first, second = (judge(RandomCritic(generator), group, example) for _ in range(2))
    assert not torch.equal(first, second)


def test_wrong_input_is_refused():
    body, example, group = scene()
    with pytest.raises(InputError, match=r"oracle_mpjpe.*needs ground truth"):
        judge(OracleCritic(), group, replace(example, annotation=None))
    with pytest.raises(InputError, match=r"expected \(person, hyp\)"):
        judge(ReprojectionCritic(body), group, Example(example.observation[:3]))
    with pytest.raises(InputError, match="at least one"):
        MixCritic([])
    with pytest.raises(InputError, match="'plausibility' has weight -1"):
        MixCritic([(PlausibilityCritic(body), -1.0)])


def test_rank_puts_the_best_first_and_ties_in_order():
    order = rank(torch.tensor([[0.2, 0.9, 0.2, 0.9], [1.0, 1.0, 1.0, 1.0]]))
    assert order.tolist() == [[1, 3, 0, 2], [0, 1, 2, 3]]
    scores = torch.randn(7, 20, generator=torch.Generator().manual_seed(0))
    assert (scores.gather(1, rank(scores)).diff(dim=1) <= 0).all()
    assert rank(torch.tensor([[-torch.inf, 0.0]])).tolist() == [[1, 0]]
    broken = copy.deepcopy(scores)
    broken[3, 5] = torch.nan
    with pytest.raises(InputError, match="person 3"):
        rank(broken)
