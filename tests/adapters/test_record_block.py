"""Records in blocks give what they give one by one; whatever does not fit is told by the single record."""

import numpy as np
import pytest

from hmralign.adapters import json_records
from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.json_records import labels_of_records
from hmralign.adapters.labels import LabelColumns, Labels, is_same
from hmralign.adapters.record_block import Block

POSE = [0.1] * 72


def records(count: int, change=lambda row, record: None):
    for row in range(count):
        annotation = {"pose": [0.01 * row] * 72, "box": [[row, 1], [2, 3]], "w": row}
        change(row, annotation)
        yield f"f:{row}", {"file_name": f"{row}.jpg"}, annotation


def columns(image: Block, annotation: Block):
    found = {"image": image.texts("file_name"), "poses": annotation.pose("pose"),
             "box": annotation.numbers("box", (2, 2)).reshape(-1, 4)}  # fmt: skip
    if "betas" in annotation:
        found["betas"] = annotation.betas("betas")
    return found


@pytest.mark.parametrize("at_once", [1, 3, 512])
def test_labels_do_not_depend_on_the_size_of_blocks(at_once, monkeypatch):
    def change(row, record):
        if row % 4 == 0:
            record["betas"] = [[1.0, row]] if row % 8 else [1.0, row]
        if row in (5, 6):
            record["pose"] = POSE[:69]
        if row == 9:
            record["pose"] = np.eye(3).ravel().tolist() * 24  # as matrices
        if row == 10:
            record["box"] = [["1", "2"], ["3", "4"]]

    monkeypatch.setattr(json_records, "_AT_ONCE", at_once)
    faults = Faults()
    labels = labels_of_records(records(20, change), columns, faults)
    assert labels.name.tolist() == [f"f:{row}" for row in range(20) if row not in (5, 6, 10)]
    assert faults.counts == {
        "'pose' has 69 numbers, which are SMPL's 23 body joints without the root; expected 72, root first": 2,
        "'box' is no array of numbers": 1,
    }
    at = labels.name.tolist().index
    assert np.allclose(labels.poses[at("f:9")], 0) and np.allclose(labels.poses[at("f:8")], 0.08)
    assert labels.betas[at("f:4")].tolist() == [1, 4, *[0] * 8] and np.isnan(labels.betas[at("f:7")]).all()
    assert labels.box[at("f:3")].tolist() == [3, 1, 2, 3]


@pytest.mark.parametrize(
    "values",
    [[[1.0, 2], [1.0]], [[1.0, "2"], [1.0, 2]], [[1.0, None], [1.0, 2]], [[1.0, True], [1.0, 2]], [[], []],
     [{"a": 1}, {"a": 2}], [[1, [2]], [1, 2]], [10**400, 1], ["12", "34"]],
)  # fmt: skip
def test_what_is_no_array_of_one_shape_does_not_fit_together(values):
    with pytest.raises(WrongRecordError):
        Block([{"x": value} for value in values]).numbers("x")


def test_columns_that_grow_are_those_of_one_concatenation():
    draw = np.random.default_rng(0)
    parts = [
        Labels.of([f"n{n}" * n for n in range(rows)], poses=draw.normal(size=(rows, 24, 3)), **extra)
        for rows, extra in ((3, {}), (5, {"betas": np.ones(10)}), (1, {"betas": draw.normal(size=(1, 10))}), (7, {}))
    ]
    gathered = LabelColumns()
    for part in parts:
        gathered.add(part)
    found, expected = gathered.labels(), Labels.cat(parts)
    assert found.name.tolist() == expected.name.tolist() and len(found) == 16
    for name in ("poses", "betas", "joints", "K"):
        assert np.array_equal(getattr(found, name), getattr(expected, name), equal_nan=True)
    assert is_same(found.joints) and not is_same(found.betas) and len(LabelColumns().labels()) == 0
