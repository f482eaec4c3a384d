"""Published figures stand beside ours only where both are of the same mesh and of all persons."""

from dataclasses import replace

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.structures import InputError
from hmralign.systems.evaluate.benchmark import (
    BenchmarkConfig,
    benchmark_markdown,
    evaluate_benchmark,
    why_not_comparable,
)
from support.published_datasets import body_file, people, same_shape, write_emdb


def cut(body: BodyModel, vertices: int) -> BodyModel:
    """Another skeleton, with so many vertices."""
    first = slice(0, vertices)
    return replace(
        body,
        v_template=body.v_template[first],
        shapedirs=body.shapedirs[first],
        weights=body.weights[first],
        faces=body.faces[:10],
        J_template=body.J_template + 0.01,
    )


def test_figures_of_another_body_or_of_fewer_persons_stand_alone():
    free = load_free_body("7k")
    like_smpl = cut(free, 6890)
    assert "free body" in str(why_not_comparable(free, BenchmarkConfig()))
    assert why_not_comparable(like_smpl, BenchmarkConfig()) is None
    assert "first 7 persons" in str(why_not_comparable(like_smpl, BenchmarkConfig(persons=7)))
    assert "vertices, SMPL has 6890" in str(why_not_comparable(cut(free, 500), BenchmarkConfig()))


def document(published) -> dict:
    return {
        "protocol": {"name": "scorehypo-code", "sentence": "Protocol scorehypo-code: ..."},
        "data": {
            "name": "3dpw/test",
            "persons": 9,
            "left": "none left out",
            "sha256": "a" * 64,
            "body": "b",
            "source": "s",
            "keypoints": "k",
        },
        "predictor": {"name": "mine"},
        "num_hypotheses": 100,
        "num_steps": 3,
        "seed": 0,
        "rows_mm": {"min of 100": {m: [1.0, 0.5, 1.5] for m in ("pve", "mpjpe", "pa_mpjpe")}},
        "published": published,
        "not_comparable": None,
    }


def test_published_figures_come_with_their_source_and_errata():
    from dataclasses import asdict

    from hmralign.evaluation.benchmarks.protocol import published_for

    text = benchmark_markdown(document(asdict(published_for("scorehypo-code", "3dpw"))))
    assert "| HypoNet | 100 | 73.4 | 63.0 | 37.6 |" in text and "Source: ADHMR" in text
    assert "measured under this protocol: inferred for all rows" in text
    assert "half of the signal" in text and "| min of 100 | 1.0 (0.5 to 1.5) |" in text
    assert "No figures are known" in benchmark_markdown(document(None))


def test_a_model_of_any_kind_is_measured_where_nothing_true_is_given(tmp_path):
    """The shipped model on EMDB's 24 joints, carried over to the free body: no published figure beside it."""
    who = same_shape(people(body_file(str(tmp_path))))
    write_emdb(tmp_path / "emdb", who)
    config = BenchmarkConfig(num_hypotheses=5, num_steps=2, label_body=body_file(str(tmp_path)), batch=2)
    found = evaluate_benchmark("lite", tmp_path / "emdb", "emdb", "emdb-24", config, tmp_path / "out")
    assert found["data"]["persons"] == 3 and "free body" in found["not_comparable"] and found["published"] is None
    rows = found["rows_mm"]
    assert rows["min of 5"]["mpjpe"][0] <= rows["selected"]["mpjpe"][0] and rows["fused"]["mpjpe"][0] < 400
    again = evaluate_benchmark(
        "lite", tmp_path / "emdb", "emdb", "emdb-24", replace(config, batch=3), tmp_path / "again"
    )
    assert torch.allclose(
        torch.tensor([r["pve"][0] for r in again["rows_mm"].values()]),
        torch.tensor([r["pve"][0] for r in rows.values()]),
        atol=0.05,
    )
    assert (tmp_path / "emdb/test_openings.jsonl").read_text().count("\n") == 2


def test_what_a_protocol_needs_is_asked_for(tmp_path):
    with pytest.raises(InputError, match="only a HypoNet takes; lite is none"):
        evaluate_benchmark("lite", tmp_path, "3dpw", "scorehypo-code", BenchmarkConfig(), tmp_path / "out")
    with pytest.raises(InputError, match="J_regressor_h36m finds in the mesh"):
        evaluate_benchmark("lite", tmp_path, "3dpw", "clean", BenchmarkConfig(), tmp_path / "out")
