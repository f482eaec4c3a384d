"""Columns of errors: each is what its name says, and no failure improves any of them."""

from dataclasses import replace

import pytest
import torch

from hmralign.evaluation.person_errors import FAILURE_ERROR, Predicted, Truth, person_errors
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe
from hmralign.structures import InputError
from support.synthetic_persons import seeded

N, M = 6, 12


def case(seed=0):
    g = seeded(seed)
    truth = torch.randn(N, 29, 3, generator=g) * 0.4 + torch.tensor([0.0, 0.0, 4.0])
    joints = truth[:, None] + 0.1 * torch.randn(N, M, 29, 3, generator=g)
    mesh = torch.randn(N, 50, 3, generator=g) * 0.4 + truth[:, :1]
    predicted = Predicted(
        joints=joints,
        fused=joints.mean(1),
        selected=torch.randint(M, (N,), generator=g),
        fused_vertices=mesh + 0.01,
        selected_vertices=mesh + 0.05 * torch.randn(mesh.shape, generator=g),
    )
    return predicted, Truth(truth, mesh)


def test_columns_against_a_loop():
    predicted, truth = case()
    columns = person_errors(predicted, truth, tuple(range(1, M + 1)))
    for i in range(N):
        target = truth.joints[i, :24] - truth.joints[i, :1]
        each = [
            float((predicted.joints[i, m, :24] - predicted.joints[i, m, :1] - target).norm(dim=-1).mean())
            for m in range(M)
        ]
        assert columns["single"][i] == pytest.approx(sum(each) / M, rel=1e-4)
        assert columns["zero_noise"][i] == pytest.approx(each[0], rel=1e-4)
        assert columns["selected"][i] == pytest.approx(each[int(predicted.selected[i])], rel=1e-4)
        aligned = [float(pa_mpjpe(predicted.joints[i, m, :24], truth.joints[i, :24])) for m in range(M)]
        assert columns["single_pa"][i] == pytest.approx(sum(aligned) / M, rel=1e-4)
        assert columns["selected_pa"][i] == pytest.approx(aligned[int(predicted.selected[i])], rel=1e-4)
        for m in range(1, M + 1):
            assert columns[f"min_of_{m}"][i] == pytest.approx(min(each[:m]), rel=1e-4)
            assert columns[f"min_of_{m}_pa"][i] == pytest.approx(min(aligned[:m]), rel=1e-4)
        assert columns["zero_noise_pa"][i] == pytest.approx(aligned[0], rel=1e-4)
        answer = predicted.fused[i, :24] - predicted.fused[i, :1] - target
        assert columns["fused"][i] == pytest.approx(float(answer.norm(dim=-1).mean()), rel=1e-4)
        sight = truth.joints[i, 0] / truth.joints[i, 0].norm()
        along = answer @ sight
        across = (answer - along[:, None] * sight).norm(dim=-1)
        assert columns["fused_depth"][i] == pytest.approx(float(along.abs().mean()), rel=1e-4)
        assert columns["fused_plane"][i] == pytest.approx(float(across.mean()), rel=1e-3)
        relative = predicted.joints[i, :, :24] - predicted.joints[i, :, :1]
        spread = (relative - relative.mean(0)).square().sum(-1).mean(0).sqrt().mean()
        assert columns["spread"][i] == pytest.approx(float(spread), rel=1e-4)
    expected = pa_mpjpe(predicted.fused[:, :24], truth.joints[:, :24])
    torch.testing.assert_close(columns["fused_pa"], expected)
    assert columns["failed"].sum() == 0


def test_the_fused_mean_beats_a_single_draw_and_the_oracle_beats_both():
    columns = person_errors(*case(), (10,))
    assert (columns["fused"] < columns["single"]).all() and (columns["min_of_10"] <= columns["single"]).all()
    assert (columns["fused_pa"] <= columns["fused"] + 1e-6).all()


def test_only_joints_that_count_and_the_place_do_not_matter():
    predicted, truth = case()
    columns = person_errors(predicted, truth, (10,))
    leaves = predicted.joints.clone()
    leaves[..., 24:, :] += 1.0
    moved = replace(predicted, joints=leaves + torch.tensor([1.0, 2.0, 3.0]))
    for name in ("single", "selected", "min_of_10", "single_pa"):
        torch.testing.assert_close(person_errors(moved, truth, (10,))[name], columns[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("where", ["joints", "fused", "fused_vertices", "selected_vertices"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_failure_costs_a_metre_in_every_column_and_is_counted(where, value):
    predicted, truth = case()
    broken = getattr(predicted, where).clone()
    broken[2].view(-1)[5] = value
    clean = person_errors(predicted, truth, (10,))
    columns = person_errors(replace(predicted, **{where: broken}), truth, (10,))
    assert columns["failed"].tolist() == [0, 0, 1, 0, 0, 0]
    others = torch.tensor([0, 1, 3, 4, 5])
    for name, values in columns.items():
        assert torch.isfinite(values).all()
        torch.testing.assert_close(values[others], clean[name][others])
        if name not in ("failed", "spread"):
            assert values[2] == FAILURE_ERROR


def test_a_failed_hypothesis_cannot_be_hidden_behind_the_best_one():
    """Min-of-M of a group with one broken hypothesis is a failure, not the best of the rest."""
    predicted, truth = case()
    broken = predicted.joints.clone()
    broken[0, M - 1] = torch.nan
    assert person_errors(replace(predicted, joints=broken), truth, (10,))["min_of_10"][0] == FAILURE_ERROR


def test_more_hypotheses_than_there_are():
    with pytest.raises(InputError, match="min-of-100 was asked for, but a group has 12"):
        person_errors(*case(), (10, 100))


def test_without_meshes_there_are_no_vertex_columns():
    predicted, truth = case()
    bare = replace(predicted, fused_vertices=None, selected_vertices=None)
    assert not [name for name in person_errors(bare, truth, ()) if "pve" in name]


def test_bodies_are_measured_from_the_pelvis_whatever_the_other_joints_do():
    """Moving one joint of an answer costs its own distance over 24; moving the pelvis costs all the others theirs."""
    _, truth = case()
    for joint in range(24):
        moved = truth.joints.clone()
        moved[:, joint] += torch.tensor([0.03, 0.0, 0.04])
        group = moved[:, None].expand(-1, 2, -1, -1)
        columns = person_errors(Predicted(group, moved, torch.zeros(N, dtype=torch.long)), truth, ())
        cost = torch.full((N,), 0.05 * (23 if joint == 0 else 1) / 24)
        for name in ("single", "zero_noise", "selected", "fused"):
            torch.testing.assert_close(columns[name], cost, atol=1e-6, rtol=1e-4)


def test_vertices_are_measured_from_the_pelvis_joint_of_their_own_body():
    predicted, truth = case()
    columns = person_errors(predicted, truth, ())
    fused, selected = predicted.fused, predicted.joints[torch.arange(N), predicted.selected]
    for name, mesh, body in (("fused", predicted.fused_vertices, fused),
                             ("selected", predicted.selected_vertices, selected)):  # fmt: skip
        away = mesh - body[:, :1] - (truth.vertices - truth.joints[:, :1])
        torch.testing.assert_close(columns[f"{name}_pve"], away.norm(dim=-1).mean(1), atol=1e-5, rtol=1e-4)


def test_an_error_along_the_line_of_sight_is_depth_and_one_across_it_is_plane():
    _, truth = case()
    sight = torch.nn.functional.normalize(truth.joints[:, :1], dim=-1)
    side = torch.nn.functional.normalize(torch.linalg.cross(sight, torch.eye(3)[1].expand_as(sight)), dim=-1)
    for direction, name, other in ((sight, "fused_depth", "fused_plane"), (side, "fused_plane", "fused_depth")):
        answer = truth.joints.clone()
        answer[:, 7] += 0.24 * direction[:, 0]
        group = answer[:, None].expand(-1, 2, -1, -1)
        columns = person_errors(Predicted(group, answer, torch.zeros(N, dtype=torch.long)), truth, ())
        torch.testing.assert_close(columns[name], torch.full((N,), 0.01), atol=1e-5, rtol=1e-3)
        assert columns[other].max() < 1e-3


def test_plane_and_depth_belong_to_the_fused_answer():
    predicted, truth = case()
    columns = person_errors(predicted, truth, ())
    error = mpjpe(predicted.fused[:, :24], truth.joints[:, :24], root=0)
    assert (columns["fused_plane"] <= error).all() and (columns["fused_plane"] + columns["fused_depth"] >= error).all()
