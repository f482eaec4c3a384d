"""Protocols measure what an independent program measures, and name what they are; tables are whole."""

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes

from hmralign.data.names import DATASETS
from hmralign.evaluation.benchmarks.errors import PICK_14, measured_joints, protocol_errors, read_regressor
from hmralign.evaluation.benchmarks.protocol import (
    all_protocols,
    find_protocol,
    protocol_names,
    published_for,
    published_tables,
)
from hmralign.structures import InputError

PERSONS, CANDIDATES, VERTICES = 3, 4, 60


@pytest.fixture()
def drawn():
    draw = torch.Generator().manual_seed(0)
    regressor = torch.rand(17, VERTICES, generator=draw)
    regressor = regressor / regressor.sum(1, keepdim=True)
    mesh = 0.4 * torch.randn(PERSONS, CANDIDATES, VERTICES, 3, generator=draw)
    truth = 0.4 * torch.randn(PERSONS, VERTICES, 3, generator=draw)
    joints = 0.4 * torch.randn(PERSONS, CANDIDATES, 29, 3, generator=draw)
    return regressor, mesh, truth, joints, joints[:, 1] + 0.05


def by_loop(protocol, joints, true_joints, mesh, true_mesh):
    """The same for one candidate, with SciPy's Procrustes, after what is written of the public code."""
    pred, true = joints - joints[0], true_joints - true_joints[0]
    rows = {"smpl24": range(24), "mesh24": range(24), "h36m14": PICK_14, "h36m17": range(17)}
    keep, fitted = list(rows[protocol.joints]), list(rows[protocol.procrustes_on])
    a, b = pred[fitted], true[fitted]
    a0, b0 = a - a.mean(0), b - b.mean(0)
    R, scale = orthogonal_procrustes(a0, b0)
    if np.linalg.det(R) < 0:  # never a reflection: the weakest direction turns around
        u, s, vt = np.linalg.svd(a0.T @ b0)
        u[:, -1] *= -1
        R, scale = u @ vt, s[:2].sum() - s[2]
    aligned = (pred - a.mean(0)) @ R * scale / (a0**2).sum() + b.mean(0)
    found = {} if "pa_pve" not in protocol.metrics else {"pa_pve": fitted_mesh_error(mesh, true_mesh)}
    return found | {
        "mpjpe": np.mean([np.linalg.norm(pred[j] - true[j]) for j in keep]),
        "pa_mpjpe": np.mean([np.linalg.norm(aligned[j] - true[j]) for j in keep]),
        "pve": np.mean(np.linalg.norm((mesh - joints[0]) - (true_mesh - true_joints[0]), axis=1)),
    }


def fitted_mesh_error(mesh, true_mesh):
    """Mean distance after the best similarity without reflection, by Kabsch on vertices that are centred and scaled."""
    a, b = mesh - mesh.mean(0), true_mesh - true_mesh.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    d = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    return np.linalg.norm((s * d).sum() / (a**2).sum() * a @ (u * d @ vt).T - b, axis=1).mean()


@pytest.mark.parametrize("protocol", all_protocols(), ids=lambda p: f"{p.name}-{p.datasets[0]}")
def test_errors_are_those_of_an_independent_program(protocol, drawn):
    regressor, mesh, truth, joints, true_joints = drawn
    if protocol.joints == "mesh24":
        regressor = torch.cat([regressor, regressor[:7].roll(1, dims=1)])
    pred = measured_joints(protocol, joints, mesh, regressor)
    true = measured_joints(protocol, true_joints, truth, regressor)
    found = protocol_errors(protocol, pred, true, mesh, truth)
    for person in range(PERSONS):
        for candidate in range(CANDIDATES):
            parts = pred[person, candidate], true[person], mesh[person, candidate], truth[person]
            expected = by_loop(protocol, *(part.double().numpy() for part in parts))
            for metric, value in expected.items():
                assert float(found[metric][person, candidate]) == pytest.approx(value, abs=2e-6), metric


def test_the_two_variants_of_the_public_code_differ(drawn):
    regressor, mesh, truth, joints, true_joints = drawn
    found = []
    for dataset in ("3dpw-json", "h36m"):
        protocol = find_protocol("scorehypo-code", dataset)
        parts = (
            measured_joints(protocol, joints, mesh, regressor),
            measured_joints(protocol, true_joints, truth, regressor),
        )
        found.append(protocol_errors(protocol, *parts, mesh, truth))
        assert protocol.every == 10 and protocol.candidates == "m_plus_2" and protocol.true_depth
    assert torch.equal(found[0]["mpjpe"], found[1]["mpjpe"]) and torch.equal(found[0]["pve"], found[1]["pve"])
    assert not torch.allclose(found[0]["pa_mpjpe"], found[1]["pa_mpjpe"])


def test_similarities_are_forgiven_and_mirroring_is_not(drawn):
    _, mesh, truth, joints, _ = drawn
    protocol = find_protocol("emdb-24", "emdb")
    R = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))[0]
    R = R * torch.linalg.det(R)
    moved = joints @ R.T * 1.3 + 2.0
    assert (
        float(protocol_errors(protocol, moved[:, :1, :24], joints[:, 0, :24], mesh[:, :1], truth)["pa_mpjpe"].max())
        < 1e-5
    )
    mirrored = joints * torch.tensor([-1.0, 1, 1])
    assert (
        float(protocol_errors(protocol, mirrored[:, :1, :24], joints[:, 0, :24], mesh[:, :1], truth)["pa_mpjpe"].min())
        > 0.1
    )


def test_names_are_found_and_what_is_not_there_is_told():
    assert {"scorehypo-code", "clean", "3dpw-14", "emdb-24", "h36m-p2", "ehf"} == set(protocol_names())
    for protocol in all_protocols():
        assert set(protocol.datasets) <= set(DATASETS)
        assert protocol.name in protocol.sentence() and protocol.joints in protocol.sentence()
        assert ("no true root depth" in protocol.sentence()) != protocol.true_depth
    with pytest.raises(InputError, match="there is no protocol 'usual'; expected one of scorehypo-code"):
        find_protocol("usual", "3dpw")
    with pytest.raises(InputError, match="emdb-24 is not for the data set '3dpw'; expected one of emdb"):
        find_protocol("emdb-24", "3dpw")


def test_published_figures_belong_to_a_protocol_and_get_better_with_m():
    for table in published_tables():
        assert table.source and table.measured.startswith(("inferred", "not known", "stated"))
        assert find_protocol(table.protocol, table.dataset)
        for method in {row.method for row in table.rows}:
            rows = sorted((row for row in table.rows if row.method == method), key=lambda row: row.m)
            assert [row.mpjpe for row in rows] == sorted((row.mpjpe for row in rows), reverse=True)
    assert published_for("scorehypo-code", "3dpw-json").rows[0].mpjpe == 68.5
    assert published_for("clean", "3dpw") is None
    assert any("ground truth" in line for line in published_for("scorehypo-code", "3dpw").errata)


def test_a_regressor_that_is_none_is_refused(tmp_path):
    path = tmp_path / "J_regressor_h36m.npy"
    for content, said in (
        (np.ones((17, 5)) / 5, r"expected \(17, 6\)"), (np.ones((17, 6)), "rows do not sum to one"),
        (np.array([{}] * 3), "cannot be read"), (np.zeros((17, 6), int), "expected"),
    ):  # fmt: skip
        np.save(path, content, allow_pickle=True)
        with pytest.raises(InputError, match=said):
            read_regressor(path, 6)
    with pytest.raises(InputError, match="cannot be read"):
        read_regressor(tmp_path / "none.npy", 6)
    np.save(path, np.eye(17, 20))
    assert read_regressor(path, 20).shape == (17, 20)
