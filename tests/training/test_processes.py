"""Two processes of `accelerate launch` (gloo) train as one does, and a run goes on with another number of processes."""

import json

import pytest
import torch

from hmralign.structures import InputError
from hmralign.training import processes
from hmralign.training.loop import Loop, LoopConfig
from hmralign.training.processes import by_the_first, own_draw, own_number, own_parts, require_parts_for_all
from support import many_processes
from support.launched import launched


def in_this_process(folder, *steps):
    folder.mkdir(parents=True, exist_ok=True)
    many_processes.main(folder, list(steps))
    return json.loads((folder / "said_0_of_1.json").read_text())


def curve_of(folder):
    return [json.loads(line) for line in (folder / "dpo/curve.jsonl").read_text().splitlines()]


def apart(a, b):
    """Largest and mean difference."""
    gap = (torch.tensor(a, dtype=torch.float64) - torch.tensor(b, dtype=torch.float64)).abs()
    return float(gap.max()), float(gap.mean())


def test_two_processes_train_as_one_and_one_goes_on_where_two_were(tmp_path):
    one = in_this_process(tmp_path / "one", 8)
    (tmp_path / "two").mkdir()
    first, second = launched(many_processes, 2, tmp_path / "two", 8)
    largest, mean = apart(first["weights"], one["weights"])
    print(f"two processes against one after 8 steps: largest residual {largest:.2e}, mean {mean:.2e}")
    assert largest < 1e-9 and mean < 1e-10 and first["weights"] == second["weights"]

    # Every item of a step once: what the two have drawn for is what one draws for, and no part is seen by both.
    drawn = [sum(sum(row[1:]) for row in said["seen"]) for said in (first, second, one)]
    assert abs(drawn[0] + drawn[1] - drawn[2]) < 1e-6 and not any(row in second["seen"] for row in first["seen"])

    lines, same = curve_of(tmp_path / "two"), curve_of(tmp_path / "one")
    assert [line["step"] for line in lines] == [line["step"] for line in same]  # each line once
    for line, other in zip(lines, same, strict=True):
        assert list(line) == list(other)
        for name in set(line) - {"seconds"}:
            assert line[name] == pytest.approx(other[name], rel=1e-5, abs=1e-9), name
    for refused in (first["refused"], second["refused"]):
        assert "does not divide its steps: 2 processes would do the same" in refused["whole"]
        assert "begin from different states" in refused["other start"]
        assert "accumulate = 1 and one process" in refused["batch"]
    assert one["refused"] == {}


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, before, after):
    straight = in_this_process(tmp_path / "one", 8)
    (tmp_path / "cut").mkdir()
    for number, steps in ((before, 5), (after, 8)):
        said = (
            launched(many_processes, number, tmp_path / "cut", steps)
            if number > 1
            else [in_this_process(tmp_path / "cut", steps)]
        )
    largest, mean = apart(said[0]["weights"], straight["weights"])
    print(f"{before} processes, then {after}: largest residual {largest:.2e}, mean {mean:.2e}")
    assert largest < 1e-9 and mean < 1e-10


@pytest.mark.parametrize(("items", "parts", "count"), [(7, 1, 2), (8, 3, 2), (5, 4, 3), (3, 1, 3)])
def test_parts_of_all_processes_are_the_batch_once(monkeypatch, items, parts, count):
    monkeypatch.setenv("WORLD_SIZE", str(count))
    found = []
    for number in range(count):
        monkeypatch.setenv("RANK", str(number))
        assert own_number() == number
        found.append(list(own_parts(torch.arange(items), parts)))
        assert found[-1] and len(found[-1]) <= parts
    assert sorted(torch.cat([part for own in found for part in own]).tolist()) == list(range(items))


def test_each_process_has_as_many_parts_and_draws_its_own(monkeypatch):
    require_parts_for_all(2, 2)
    assert own_draw("dropout", 3) == ("dropout", 3)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "2")
    require_parts_for_all(6, 2)
    assert own_draw("dropout", 3) == ("dropout", 3, 2)
    with pytest.raises(InputError, match="a batch of 5 items in 2 parts for 3 processes: expected at least 6 items"):
        require_parts_for_all(5, 2)


def test_a_batch_that_is_smaller_than_its_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match="a batch has 2 items for 3 processes"):
        list(own_parts(torch.arange(2), 1))


@pytest.mark.parametrize(("variable", "name"), [("FSDP", "FSDP"), ("DEEPSPEED", "DeepSpeed")])
def test_a_launch_that_wants_shards_is_refused(monkeypatch, variable, name):
    monkeypatch.setenv(f"ACCELERATE_USE_{variable}", "true")
    with pytest.raises(InputError, match=f"the launcher asks for {name}, and trainings keep their weights whole"):
        Loop(torch.nn.Linear(1, 1), lambda model, step: [], LoopConfig(rate=lambda *_: 0.1, steps=1))


def test_one_process_holds_a_folder(monkeypatch):
    monkeypatch.setattr(processes, "own_number", lambda: 1)
    with by_the_first(pytest.raises(ValueError)):
        pass
    monkeypatch.setattr(processes, "own_number", lambda: 0)
    with by_the_first(pytest.raises(ZeroDivisionError)):
        _ = 1 / 0
