"""Reports of detectors: generic noise, failures one at a time, and the replay of measured residuals."""

from dataclasses import fields, replace

import pytest
import torch

from hmralign.body.lbs import posed_keypoints
from hmralign.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS
from hmralign.data.synthetic.observation_noise import (
    ARMS,
    FEET,
    KNUCKLES,
    LEGS,
    LIMBS,
    Failures,
    GenericNoise,
    MeasuredNoise,
    Reported,
    body_height,
    layout,
    load_measured_noise,
)
from hmralign.geometry.cameras import project
from support.synthetic_persons import BODY, persons, seeded

N = 4000
SWAP = list(MIRROR_KEYPOINTS)
FLIP = torch.tensor([-1.0, 1.0])
NONE = Failures(**{f.name: 0.0 for f in fields(Failures)})


@pytest.fixture(scope="module")
def truth():
    """True keypoints of persons, pixels."""
    example = persons(100, seed=2)
    assert example.annotation is not None
    keypoints = project(posed_keypoints(BODY, example.annotation.body), example.observation.K)
    return keypoints[(body_height(keypoints) < 3000)].repeat(N // 100 + 20, 1, 1)[:N]


@pytest.fixture(scope="module")
def perfect(truth):
    return Reported(truth, torch.ones(N, 27))


def test_groups_of_keypoints():
    names = lambda group: {KEYPOINT_NAMES[k] for k in group}  # noqa: E731
    assert len(FEET) == 6 and len(KNUCKLES) == 4 and len(LEGS) == 10 and len(ARMS) == 8
    assert [len(limb) for limb in LIMBS] == [4, 4, 5, 5]
    assert names(LIMBS[0]) == {"left_elbow", "left_wrist", "left_index_knuckle", "left_pinky_knuckle"}
    assert all(len({n.split("_")[0] for n in names(limb)}) == 1 for limb in LIMBS), "a limb has one side"


def test_height_and_layout_do_not_depend_on_place_and_size(truth):
    moved = 0.5 * truth[:50] + 40
    torch.testing.assert_close(body_height(moved), 0.5 * body_height(truth[:50]), rtol=1e-4, atol=0)
    torch.testing.assert_close(layout(moved), layout(truth[:50]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("reporter", [GenericNoise(), load_measured_noise()], ids=["generic", "measured"])
def test_reports_are_finite_and_follow_the_generator(reporter, truth):
    report = reporter.report(truth, seeded(0))
    assert torch.isfinite(report.keypoints).all()
    assert report.confidence.min() >= 0 and report.confidence.max() <= 1
    assert torch.equal(report.keypoints, reporter.report(truth, seeded(0)).keypoints)
    assert not torch.equal(report.keypoints, reporter.report(truth, seeded(1)).keypoints)


@pytest.mark.parametrize("reporter", [GenericNoise(), load_measured_noise()], ids=["generic", "measured"])
def test_errors_scale_with_the_body(reporter, truth):
    small = reporter.report(truth, seeded(0)).keypoints - truth
    large = reporter.report(3 * truth, seeded(0)).keypoints - 3 * truth
    torch.testing.assert_close(large.norm(dim=-1).median(), 3 * small.norm(dim=-1).median(), rtol=0.03, atol=0)


def test_generic_noise_has_its_size_tails_and_chains(truth):
    report = GenericNoise().report(truth, seeded(0))
    error = (report.keypoints - truth) / body_height(truth)[:, None, None]
    hips = error[:, [11, 12]].norm(dim=-1)
    assert 0.004 < hips.median() < 0.03
    assert torch.quantile(hips, 0.99) > 5 * hips.median(), "a Gaussian has 2.6"
    elbow, wrist, other = (
        error[:, KEYPOINT_NAMES.index(n)].flatten().clamp(-0.1, 0.1)
        for n in ("left_elbow", "left_wrist", "right_wrist")
    )
    assert torch.corrcoef(torch.stack([elbow, wrist]))[0, 1] > 0.3
    assert torch.corrcoef(torch.stack([elbow, other]))[0, 1].abs() < 0.1
    sizes = [error[:, [KEYPOINT_NAMES.index(f"{side}_{name}") for side in ("left", "right")]].norm(dim=-1).median()
             for name in ("elbow", "wrist", "index_knuckle")]  # fmt: skip
    assert sizes[0] * 1.03 < sizes[1] < sizes[2], "errors are handed down the limb: its end has those of all before it"


def test_confident_keypoints_of_generic_noise_are_the_better_ones(truth):
    report = GenericNoise().report(truth, seeded(0))
    graded = report.confidence.amin(1) < 1  # annotators give no confidence
    assert 0.6 < graded.float().mean() < 0.8
    error = (report.keypoints - truth).norm(dim=-1) / body_height(truth)[:, None]
    error, confidence = error[graded][:, 5:13].flatten(), report.confidence[graded][:, 5:13].flatten()
    assert error[confidence > 0.9].median() < 0.7 * error[confidence < 0.7].median()


def test_nothing_goes_wrong_with_probability_zero(perfect):
    spoilt = NONE.apply(perfect, seeded(0))
    assert torch.equal(spoilt.keypoints, perfect.keypoints) and torch.equal(spoilt.confidence, perfect.confidence)


def test_the_report_that_is_spoilt_stays_as_it_was(perfect):
    before = perfect.keypoints.clone()
    Failures(swap_all=0.5).apply(perfect, seeded(0))
    assert torch.equal(perfect.keypoints, before) and (perfect.confidence == 1).all()


def spoilt(perfect, **only):
    return replace(NONE, **only).apply(perfect, seeded(1))


def share(chosen):
    return chosen.float().mean().item()


def test_keypoints_vanish_as_often_as_said(perfect):
    lost = spoilt(perfect, dropped=0.05).confidence == 0
    assert share(lost) == pytest.approx(0.05, abs=0.005)
    assert (lost.float().mean(0) - 0.05).abs().max() < 0.02


@pytest.mark.parametrize(("name", "group"), [("no_feet", FEET), ("no_knuckles", KNUCKLES)])
def test_conventions_without_feet_or_knuckles(perfect, name, group):
    gone = spoilt(perfect, **{name: 0.3}).confidence == 0
    assert share(gone[:, group].all(1)) == share(gone.any(1)) == pytest.approx(0.3, abs=0.03)
    assert not gone[:, [k for k in range(27) if k not in group]].any()


@pytest.mark.parametrize(("name", "group"), [("swap_all", list(range(27))), ("swap_legs", LEGS), ("swap_arms", ARMS)])
def test_exchanged_sides_are_exchanged(truth, name, group):
    confidence = torch.rand(N, 27, generator=seeded(3)) + 0.01
    report = spoilt(Reported(truth, confidence), **{name: 0.2})
    swapped = (report.confidence != confidence).any(1)
    assert share(swapped) == pytest.approx(0.2, abs=0.03)
    others = [k for k in range(27) if k not in group]
    for got, before in ((report.keypoints, truth), (report.confidence, confidence)):
        assert torch.equal(got[swapped][:, group], before[swapped][:, [SWAP[k] for k in group]])
        assert torch.equal(got[:, others], before[:, others]) and torch.equal(got[~swapped], before[~swapped])


def test_hidden_limbs_vanish_or_are_guessed_nearby(perfect, truth):
    report = spoilt(perfect, hidden_limb=0.4)
    moved = (report.keypoints != truth).any(-1)
    for limb in LIMBS:
        whole = moved[:, limb].all(1)
        assert torch.equal(whole, moved[:, limb].any(1)) and share(whole) == pytest.approx(0.2, abs=0.03)
        assert (report.confidence[:, limb][whole] <= 0.4).all() and (report.confidence[:, limb][~whole] == 1).all()
        assert share((report.confidence[:, limb][whole] == 0).all(1)) == pytest.approx(0.5, abs=0.06)
        error = (report.keypoints - truth).norm(dim=-1)[:, limb][whole] / body_height(truth)[whole, None]
        assert error.median() == pytest.approx(0.06 * 1.18, rel=0.1)


def test_somebody_elses_limb_is_moved_as_one_and_stays_confident(perfect, truth):
    report = spoilt(perfect, wrong_person=0.4)
    assert (report.confidence == 1).all()
    away = (report.keypoints - truth) / body_height(truth)[:, None, None]
    for limb in LIMBS:
        moved = away[:, limb].norm(dim=-1).amax(1) > 1e-4
        assert share(moved) == pytest.approx(0.2, abs=0.03)
        assert (away[:, limb][moved].std(1) < 1e-3).all()
        assert away[:, limb][moved].norm(dim=-1).median() == pytest.approx(0.3 * 1.18, rel=0.1)


def test_what_lies_below_an_occluder_is_gone_or_guessed(perfect, truth):
    report = spoilt(perfect, hidden_below=0.5)
    hidden = report.confidence < 1
    some = hidden.any(1)
    assert share(some) == pytest.approx(0.5, abs=0.03)
    y = truth[..., 1]
    below, above = (torch.where(which, y, torch.nan).nanmean(1) for which in (hidden, ~hidden))
    assert share((below > above)[some]) > 0.97
    gone = (report.confidence == 0) & hidden
    assert share((gone == hidden).all(1)[some]) == pytest.approx(0.6, abs=0.05)
    assert report.confidence[hidden].max() <= 0.4
    assert torch.equal(report.keypoints[~hidden], truth[~hidden])


def mirror(points):
    return points[:, SWAP] * FLIP


def test_measured_residuals_are_replayed_whole_as_they_are_or_mirrored(truth):
    noise = load_measured_noise()
    picked = truth[:300]
    report = noise.report(picked, seeded(4))
    residual = (report.keypoints - picked) / body_height(picked)[:, None, None]
    both = torch.cat([noise.residuals, mirror(noise.residuals)])
    confidence = torch.cat([noise.confidence, noise.confidence[:, SWAP]])
    distance = torch.cdist(residual.flatten(1), both.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    entry = distance.argmin(1)
    assert distance.amin(1).max() < 1e-3
    assert torch.equal(report.confidence, confidence[entry])
    assert 0.4 < share(entry < len(noise.residuals)) < 0.6


def test_a_residual_comes_from_a_similar_layout():
    """Two layouts that differ, each with its own residual: every person gets that of their own layout."""
    wide = torch.rand(27, 2, generator=seeded(0)) * torch.tensor([100.0, 30.0])
    tall = torch.rand(27, 2, generator=seeded(1)) * torch.tensor([30.0, 100.0])
    symmetric = [((p[None] + mirror(p[None])) / 2) for p in (wide, tall)]
    layouts = torch.cat([layout(p) for p in symmetric])
    residuals = torch.zeros(2, 27, 2)
    residuals[1, :, 1] = 0.1
    noise = MeasuredNoise(residuals, torch.ones(2, 27), layouts, torch.zeros(27, 3), torch.ones(27, 5))
    for which, expected in ((0, 0.0), (1, 0.1)):
        points = 7 * symmetric[which].expand(200, 27, 2) + 50
        report = noise.report(points, seeded(2))
        moved = (report.keypoints - points)[..., 1] / body_height(points)[:, None]
        torch.testing.assert_close(moved, torch.full((200, 27), expected), atol=1e-4, rtol=0)


def test_mirrored_entries_are_looked_for_at_the_mirrored_layout():
    """Entries at a layout and at its mirror image: a person gets the one as it is or the other mirrored."""
    points = 100 * torch.rand(1, 27, 2, generator=seeded(0))
    residuals = torch.zeros(2, 27, 2)
    residuals[1, :, 1] = 0.1
    layouts = torch.cat([layout(points), layout(mirror(points))])
    noise = MeasuredNoise(residuals, torch.ones(2, 27), layouts, torch.zeros(27, 3), torch.ones(27, 5))
    report = noise.report(points.expand(400, 27, 2), seeded(1))
    moved = ((report.keypoints - points)[..., 1] / body_height(points)).mean(1)
    assert moved[moved < 0.05].abs().max() < 1e-4 and (moved[moved > 0.05] - 0.1).abs().max() < 1e-4
    assert 0.4 < share(moved > 0.05) < 0.6


def test_the_mirror_image_gets_the_mirrored_replay():
    """With one entry, and layouts that leave no choice, the replay of the mirrored person is the mirrored replay."""
    noise = load_measured_noise()
    one = replace(noise, residuals=noise.residuals[:1], confidence=noise.confidence[:1], layouts=noise.layouts[:1])
    points = 300 * noise.layouts[:1].unflatten(1, (27, 2)).repeat(400, 1, 1)
    replays = {}
    for name, p in (("plain", points), ("mirrored", mirror(points))):
        r = one.report(p, seeded(0))
        replays[name] = ((r.keypoints - p) / 300).round(decimals=4).flatten(1).unique(dim=0)
    back = mirror(replays["mirrored"].unflatten(1, (27, 2))).flatten(1)
    assert len(replays["plain"]) == 2, "the entry and its mirror image"
    for row in replays["plain"]:
        assert (back - row).abs().amax(1).min() < 3e-4


@pytest.mark.parametrize("handed_on", [0.0, 1.0])
def test_as_much_of_an_error_is_handed_along_the_limb_as_is_said(truth, handed_on):
    error = GenericNoise(along_limb=handed_on).report(truth, seeded(4)).keypoints - truth
    elbow, wrist, knee = (KEYPOINT_NAMES.index(f"left_{name}") for name in ("elbow", "wrist", "knee"))
    ranks = error[..., 0].argsort(0).argsort(0).double()  # tails are heavy, ranks are not
    found = torch.corrcoef(ranks.T)
    assert found[elbow, knee].abs() < 0.06
    assert found[elbow, wrist].abs() < 0.06 if handed_on == 0 else found[elbow, wrist] > 0.4
