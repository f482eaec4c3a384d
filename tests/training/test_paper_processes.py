"""Several processes train the papers' models as one does: batches, norms, gradients; and go on in another number."""

import json

import pytest
import torch

from support import many_papers, sharded_paper
from support.launched import launched

RUNS = ("hyponet", "parts", "scorenet")


def in_this_process(folder, *steps):
    folder.mkdir(parents=True, exist_ok=True)
    many_papers.main(folder, list(steps))
    return json.loads((folder / "said_0_of_1.json").read_text())


def curve_of(folder, run):
    return [json.loads(line) for line in (folder / run / "curve.jsonl").read_text().splitlines()]


def weights(folder, number=0, of=1):
    return torch.load(folder / f"said_{number}_of_{of}.pt", weights_only=True)


def require_equal(ours, theirs):
    """Weights and statistics, each number relative to the largest of its tensor."""
    for run in RUNS:
        names = [name for name in theirs if name.startswith(f"{run}/")]
        pairs = [(ours[name].double(), theirs[name].double()) for name in names]
        gap = torch.cat([((a - b).abs() / b.abs().max().clamp(min=1e-2)).flatten() for a, b in pairs])
        print(f"{run}: largest residual {float(gap.max()):.1e}, mean {float(gap.mean()):.1e}")
        assert gap.max() < 5e-3 and gap.mean() < 5e-6


def test_two_processes_train_as_one(tmp_path):
    one = in_this_process(tmp_path / "one", 2)
    (tmp_path / "two").mkdir()
    first, second = launched(many_papers, 2, tmp_path / "two", 2)
    two = [weights(tmp_path / "two", k, of=2) for k in range(2)]
    require_equal(two[0], weights(tmp_path / "one"))
    assert all(torch.equal(value, two[1][name]) for name, value in two[0].items())
    for run in RUNS:
        lines = [curve_of(tmp_path / folder, run) for folder in ("two", "one")]
        assert [line["step"] for line in lines[0]] == [1, 2]
        for line, other in zip(*lines, strict=True):
            assert list(line) == list(other)
            for name in set(line) - {"seconds", "gradient_norm"}:
                assert line[name] == pytest.approx(other[name], rel=1e-4), name  # sums of other orders, by processor
            # The first step is of the same weights; what Adam makes of its rounding differs by processor.
            apart = 1e-3 if line["step"] == 1 else 1e-2
            assert line["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=apart)
    for said in (first, second):
        print(said["gaps"])
        assert max(said["gaps"].values()) < 2e-6
        assert said["diverged"] == "training diverged at step 1: the loss is not finite"
        assert "expected at least 10 items, so that each has as many parts" in said["refused"]
    assert one["diverged"] == first["diverged"] and one["refused"] == ""


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, before, after):
    in_this_process(tmp_path / "one", 3)
    (tmp_path / "cut").mkdir()
    for number, steps in ((before, 2), (after, 3)):
        if number > 1:
            launched(many_papers, number, tmp_path / "cut", steps)
        else:
            in_this_process(tmp_path / "cut", steps)
    require_equal(weights(tmp_path / "cut", of=after), weights(tmp_path / "one"))


@pytest.mark.slow
def test_weights_in_shards_train_as_whole_ones(tmp_path):
    """Of the model; the loop does not shard (docs/paper_models.md)."""
    sharded_paper.main(tmp_path, 3)
    one = json.loads((tmp_path / "said_0_of_1.json").read_text())
    two = launched(sharded_paper, 2, tmp_path, 3)
    for said in two:
        assert said["losses"][:2] == pytest.approx(one["losses"][:2], rel=1e-5)
        assert said["losses"][2] == pytest.approx(one["losses"][2], rel=1e-4)  # Adam magnifies what rounding has left
        assert said["held"] < 0.6 * one["held"]
    print([abs(a / b - 1) for a, b in zip(two[0]["losses"], one["losses"], strict=True)])
