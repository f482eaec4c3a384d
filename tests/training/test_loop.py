"""The training loop: a run cut off anywhere ends as the straight one, parts add up, and what goes wrong stops it."""

import json
import math
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError
from hmralign.training import curve as curve_module
from hmralign.training import state as state_module
from hmralign.training.curve import Curve
from hmralign.training.learning_rate import warm_cosine
from hmralign.training.loop import Checks, Loop, LoopConfig
from hmralign.training.step import Part
from support.synthetic_persons import seeded

STEPS = 12
CONFIG = LoopConfig(
    rate=lambda step, _: warm_cosine(step, step, STEPS, peak=0.05, warmup=3),
    steps=STEPS,
    ema_decay=0.9,
    log_every=4,
    save_every=3,
)


class Cut(BaseException):
    """Whatever ends a process."""


class Line(nn.Module):
    """A line in float64, with dropout's place taken by a frozen weight."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([0.5, -1.0, 0.0]).double())
        self.frozen = nn.Parameter(torch.ones(3).double(), requires_grad=False)

    def forward(self, x):
        return x @ (self.slope * self.frozen)


def parts_of(count=1, before=lambda step: None):
    """Squared errors from the line (1, 2, 3) on 16 points of a step, in so many parts."""

    def parts(model, step):
        x = torch.randn(16, 3, generator=seeded(step)).double()
        for some in torch.arange(16).tensor_split(count):
            before(step)
            error = model(x[some]) - x[some] @ torch.tensor([1.0, 2.0, 3.0]).double()
            far = {"far": float(error.detach().abs().mean())}
            yield Part({"error": error.square()}, share=len(some) / 16, figures=far)

    return parts


def run(folder, config=CONFIG, step=None, checks=None, model=None):
    """The average, its loop, and the lines of its curve without times."""
    folder.mkdir(exist_ok=True)
    loop = Loop(
        model or Line(), step or parts_of(), config, state=folder / "state.pt", curve=Curve(folder / "curve.jsonl"),
        checks=checks,
    )  # fmt: skip
    average = loop.run()
    return average.slope.detach().clone(), loop, lines(folder)


def lines(folder):
    path = folder / "curve.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def watch(guard=lambda figures, start: None):
    """Checks whose look is the first slope of the average."""
    return Checks(lambda average: {"slope": float(average.slope[0])}, guard)


@contextmanager
def cut_off(where, at, folder):
    """Ends a run before its n-th step, while its n-th state is written, or within its n-th line; gives the step."""
    moments, dumps = iter(range(10_000)), json.dumps

    def moment(kind):
        if kind == where and next(moments) == at:
            raise Cut

    def dying(row):
        try:
            moment("line")
        except Cut:
            with (folder / "curve.jsonl").open("a") as handle:
                handle.write(dumps(row)[:9])
            raise
        return dumps(row)

    def unwritten(path, content):
        moment("state")
        write_whole(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_module, "write_whole", unwritten)
        patch.setattr(curve_module.json, "dumps", dying)
        yield lambda step: moment("step")


@settings(max_examples=20, deadline=None)
@given(
    data=st.data(),
    where=st.sampled_from(["step", "state", "line"]),
    save_every=st.integers(1, 7),
    log_every=st.integers(1, 7),
    log_last=st.booleans(),
    looks=st.booleans(),
    count=st.sampled_from([1, 3]),
)
def test_a_run_that_is_cut_off_anywhere_ends_as_the_straight_one(
    data, where, save_every, log_every, log_last, looks, count, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("run")
    config = replace(CONFIG, save_every=save_every, log_every=log_every, log_last=log_last)
    checks = watch() if looks else None
    straight, _, straight_lines = run(folder / "straight", config, parts_of(count), checks)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, STEPS * count - 1))
        with cut_off(where, at, folder / "cut") as before, suppress(Cut):
            run(folder / "cut", config, parts_of(count, before), checks)
    resumed, loop, resumed_lines = run(folder / "cut", config, parts_of(count), checks)
    assert (straight - resumed).abs().max() == 0 and (straight - resumed).abs().mean() == 0
    assert resumed_lines == straight_lines and loop.progress.step == STEPS


@pytest.mark.parametrize(("where", "left"), [("step", []), ("state", [4]), ("line", [4])])
def test_what_is_cut_off_was_cut_off(where, left, tmp_path):
    """The property above would hold for runs that nobody ended."""
    with cut_off(where, 1, tmp_path / "run") as before, pytest.raises(Cut):
        run(tmp_path / "run", step=parts_of(1, before))
    whole = [line for line in (tmp_path / "run").glob("curve.jsonl") for line in line.read_text().splitlines()]
    assert [json.loads(line)["step"] for line in whole if line.endswith("}")] == left
    assert (whole[-1:] == ['{"step": ']) == (where == "line")


@pytest.mark.parametrize("count", [2, 3, 4, 16])
def test_a_batch_in_parts_is_the_batch(count, tmp_path):
    whole, _, whole_lines = run(tmp_path / "a")
    parts, _, part_lines = run(tmp_path / "b", step=parts_of(count))
    assert (whole - parts).abs().max() < 1e-12 and (whole - parts).abs().mean() < 1e-13
    for a, b in zip(whole_lines, part_lines, strict=True):
        assert a == pytest.approx(b, rel=1e-5)


def test_the_loop_is_adamw_on_the_mean_of_the_terms(tmp_path):
    """Written out: clipping, decay and the average of weights included."""
    config = replace(CONFIG, clip_norm=0.3, weight_decay=0.1)
    model = Line()
    average, updates = model.slope.detach().clone(), 0
    optimizer = torch.optim.AdamW([model.slope], weight_decay=0.1)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = config.rate(step, step / STEPS)
        x = torch.randn(16, 3, generator=seeded(step)).double()
        optimizer.zero_grad()
        (model(x) - x @ torch.tensor([1.0, 2.0, 3.0]).double()).square().mean().backward()
        model.slope.grad *= min(1.0, 0.3 / float(model.slope.grad.norm()))
        optimizer.step()
        updates += 1
        decay = min(0.9, (1 + updates) / (10 + updates))
        average = decay * average + (1 - decay) * model.slope.detach()
    torch.testing.assert_close(run(tmp_path, config)[0], average, rtol=1e-6, atol=0)


def test_terms_are_averaged_weighed_and_added():
    terms = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([[4.0], [6.0], [8.0]])}
    assert float(Part(terms).loss()) == 2 + 6
    assert float(Part(terms, {"b": 0.5}, share=0.25).loss()) == 0.25 * (2 + 3)


def test_the_curve_holds_means_of_steps_and_looks(tmp_path):
    def step(model, number):
        yield Part({"x": model.slope * 0 + number}, figures={"number": float(number)})

    _, _, rows = run(tmp_path, replace(CONFIG, steps=10), step, watch())
    assert [row["step"] for row in rows] == [0, 4, 8, 10]
    assert set(rows[0]) == {"step", "slope"}, "nothing was trained before the first look"
    assert [row["number"] for row in rows[1:]] == [1.5, 5.5, 8.5]
    assert [row["loss"] for row in rows[1:]] == [1.5, 5.5, 8.5]
    bare = run(tmp_path / "bare", replace(CONFIG, steps=10, log_last=False), step)[2]
    assert [row["step"] for row in bare] == [4, 8]


def test_a_guard_stops_a_run_and_the_last_good_average_is_kept(tmp_path):
    """The guard trips at the second look after the start; what is kept is the average at the first."""
    good, _, _ = run(tmp_path / "good", replace(CONFIG, steps=4))

    def guard(figures, start):
        return "it went far" if abs(figures["slope"] - start["slope"]) > 1.5 * moved else None

    moved = float(good[0] - 0.5)
    found, loop, rows = run(tmp_path / "stopped", checks=watch(guard))
    assert loop.progress.stopped == "it went far at step 8" and [row["step"] for row in rows] == [0, 4, 8]
    assert torch.equal(found, good) and loop.progress.good_figures == {"slope": float(good[0])}
    again, loop, same = run(tmp_path / "stopped", step=parts_of(1, lambda step: pytest.fail("it was stopped")))
    assert torch.equal(again, found) and loop.progress.stopped == "it went far at step 8" and same == rows


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_loss_or_gradient_that_is_not_finite_stops_the_run(broken, tmp_path):
    def step(model, number):
        for part in parts_of()(model, number):
            if number < 5:
                yield part
            elif broken == "loss":
                yield replace(part, share=math.nan)
            else:  # the root of nothing is nothing, and its slope is not finite
                yield Part({"root": (model.slope * 0).sqrt()}, figures={"far": 0.0})

    good, _, _ = run(tmp_path / "good", replace(CONFIG, steps=4))
    found, loop, _ = run(tmp_path / "looked", step=step, checks=watch())
    assert loop.progress.stopped == "the loss is not finite at step 5" and torch.equal(found, good)
    with pytest.raises(RuntimeError, match="diverged at step 5"):
        run(tmp_path / "blind", step=step)
    state = torch.load(tmp_path / "blind/state.pt", weights_only=True)
    assert state["step"] == 3 and bool(torch.isfinite(state["model"]["slope"]).all())


def test_a_run_may_end_by_time_and_the_rate_follows_it(tmp_path):
    asked, times = [], iter(range(10_000))  # each step asks twice: before it and behind it

    def rate(step, done):
        asked.append((step, done))
        return 0.01

    config = replace(CONFIG, rate=rate, steps=None, seconds=5.0, clock=lambda: float(next(times)))
    _, loop, rows = run(tmp_path, config)
    assert loop.progress.step == 5 and loop.progress.seconds == 5.0 and [row["step"] for row in rows] == [4, 5]
    assert asked[1:] == [(k, k / 5) for k in range(5)]
    assert replace(config, steps=4).done(2, 1.0) == 0.5, "whichever is more"
    with pytest.raises(ValueError, match="a number of steps or a time"):
        replace(CONFIG, steps=None)


def test_without_files_it_is_the_same_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    average = Loop(Line(), parts_of(), CONFIG).run()
    assert not list(tmp_path.iterdir())
    assert torch.equal(average.slope, run(tmp_path / "run")[0])
    assert not average.training and not average.slope.requires_grad


def test_what_is_frozen_stays_and_nothing_trainable_is_named(tmp_path):
    _, loop, _ = run(tmp_path)
    assert torch.equal(loop.ema.module.frozen, torch.ones(3).double())
    with pytest.raises(InputError, match="trainable"):
        Loop(Line().requires_grad_(False), parts_of(), CONFIG)


def test_another_run_gives_weights_and_average_but_no_steps(tmp_path):
    first, loop, _ = run(tmp_path / "first")
    second = Loop(Line(), parts_of(), replace(CONFIG, rate=lambda *_: 0.0, steps=1, weight_decay=0.0))
    second.begin_from(tmp_path / "first/state.pt")
    second.run()
    assert second.progress.step == 1 and second.ema.updates == STEPS + 1
    assert torch.equal(second.model.slope, loop.model.slope) and not torch.equal(first, loop.model.slope)


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"no device '(mps|cuda)' here; expected one of cpu"):
        Loop(Line(), parts_of(), replace(CONFIG, device="mps" if torch.cuda.is_available() else "cuda"))


def test_checks_need_a_curve():
    with pytest.raises(ValueError, match="lines of the curve"):
        Loop(Line(), parts_of(), CONFIG, checks=watch())


def test_states_that_cannot_be_continued_are_named_and_say_what_to_do(tmp_path):
    run(tmp_path)
    path = tmp_path / "state.pt"
    whole = torch.load(path, weights_only=True)

    def refusal(state):
        torch.save(state, path)
        with pytest.raises(InputError) as caught:
            run(tmp_path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        return str(caught.value)

    older = {name: value for name, value in whole.items() if name != "format"}
    for state in (older, {**whole, "format": 99}, [1, 2]):
        assert "finish the run with the version that began it, or remove" in refusal(state)
    for name in whole.keys() - {"format"}:
        assert f"has no '{name}'" in refusal({k: v for k, v in whole.items() if k != name})
    other = {**whole, "model": {"slope": torch.zeros(4).double(), "frozen": torch.zeros(4).double()}}
    assert "another model" in refusal(other)
    assert "another model" in refusal({**whole, "optimizer": {"state": {}, "param_groups": []}})


def test_what_a_curve_shows_goes_to_listeners_unrounded(tmp_path):
    heard = []
    curve = Curve(tmp_path / "curve.jsonl", columns=("a",), listeners=(lambda step, row: heard.append((step, row)),))
    curve.append(3, 0.5, 1.23456, {"a": 1 / 3, "b": 2.0})
    assert heard == [(3, {"seconds": 1.23456, "a": 1 / 3})]
    assert json.loads(curve.path.read_text()) == {"step": 3, "seconds": 1.23, "a": 0.333333}


def test_runs_that_share_a_curve_cut_their_own_lines(tmp_path):
    path = tmp_path / "curve.jsonl"
    first, second = (Curve(path, {"member": n}, rounded=lambda x: x) for n in (0, 1))
    for curve in (first, second):
        for step in (1, 2, 3):
            curve.append(step, 0.0, 0.0, {"x": math.inf})
    second.cut(1)
    assert [(r["member"], r["step"]) for r in lines(tmp_path)] == [(0, 1), (0, 2), (0, 3), (1, 1)]
    second.cut(-1)
    first.cut(-1)
    assert not path.exists()


def test_a_figure_that_is_not_finite_is_written_as_a_word(tmp_path):
    curve = Curve(tmp_path / "curve.jsonl")
    curve.append(1, 0.0, 0.0, {"a": math.nan, "b": -math.inf, "c": 123_456_789.0})
    assert lines(tmp_path) == [{"step": 1, "a": "nan", "b": "-inf", "c": 123_457_000.0}]


@given(
    steps=st.integers(1, 3000), warmup=st.integers(0, 500), floor=st.floats(0, 0.5), data=st.data(), falls=st.booleans()
)
def test_the_rate_rises_to_the_peak_and_falls_to_the_floor(steps, warmup, floor, data, falls):
    step = data.draw(st.integers(0, steps - 1))
    rate = warm_cosine(step, step, steps, peak=2.0, warmup=warmup, floor=floor, falls=falls)
    assert rate == pytest.approx(warm_cosine(step, step / steps, peak=2.0, warmup=warmup, floor=floor, falls=falls))
    assert 0 < rate <= 2.0 and rate <= 2.0 * (step + 1) / max(warmup, 1)
    end = warm_cosine(steps + warmup, steps, steps, peak=2.0, warmup=warmup, floor=floor, falls=falls)
    assert end == pytest.approx(2.0 * (floor if falls else 1.0))


def test_a_loss_that_leaps_ends_the_run_before_its_state_is_saved(tmp_path):
    """Finite, but out of all proportion: the state of before is kept, and a run that falls from far is none of this."""

    def leaping(model, step):
        scale = 1e4 if step >= 7 else 1.0
        for part in parts_of()(model, step):
            yield Part({"error": scale * part.terms["error"]}, figures=part.figures)

    with pytest.raises(RuntimeError, match=r"diverged before step 9.*which is kept"):
        run(tmp_path / "leaping", step=leaping)
    kept = torch.load(tmp_path / "leaping" / "state.pt", weights_only=True)
    assert kept["step"] == 6
    straight = run(tmp_path / "straight", config=replace(CONFIG, steps=6, rate=CONFIG.rate))[1]
    assert torch.equal(kept["model"]["slope"], straight.model.slope)

    def falling(model, step):
        for part in parts_of()(model, step):
            yield Part({"error": 10.0**-step * part.terms["error"]}, figures=part.figures)

    assert run(tmp_path / "falling", step=falling)[1].progress.step == STEPS
