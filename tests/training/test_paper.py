"""Training of HypoNet at tiny size: what a step minimises, that it learns, and that a run is continued as it began."""

from dataclasses import replace

import pytest
import torch

from hmralign.cli.main import main
from hmralign.data.dataset import DatasetFacts, DatasetPersons
from hmralign.diffusion.parameterization import add_noise
from hmralign.models.paper.checkpoint import PaperModel
from hmralign.policies.catalogue import open_policy
from hmralign.policies.hyponet import HypoNetPolicy
from hmralign.storage.presets import preset_names, preset_path
from hmralign.structures import InputError
from hmralign.training.configuration import from_mapping, read_config
from hmralign.training.crop_augmentation import NO_AUGMENTATION
from hmralign.training.loop import Loop
from hmralign.training.paper import (
    HypoNetLosses,
    PicturedPersons,
    _loop,
    hyponet_batch,
    hyponet_step,
    pictured_persons,
    starting_hyponet,
    train_hyponet,
)
from hmralign.training.paper_configuration import MixedData, PaperTrainingConfig
from support.synthetic_persons import BODY
from support.tiny_paper import TINY_PAPER, seen_persons, tiny_paper

EIGHT = seen_persons(8, known=1.0)
SIDE = EIGHT.observation.crop.shape[-1]
TINY = replace(TINY_PAPER, dropout=0.0, start_dropout=0.0)
CONFIG = PaperTrainingConfig(
    model=TINY, batch_size=8, augmentation=NO_AUGMENTATION, ema_decay=0.5, log_every=1, save_every=2,
    body_rate=1e-3, head_rate=1e-3, denoiser_rate=1e-3,
)  # fmt: skip


PERSONS = DatasetPersons(DatasetFacts("mine/train", "a test", "CC0", "cam, metres"), EIGHT, "0" * 64)


def people(**flags) -> PicturedPersons:
    return pictured_persons(PERSONS, BODY, MixedData("a", "b", "c", **flags))


def test_labels_are_the_samples_of_the_true_bodies():
    found = people()
    policy = HypoNetPolicy(tiny_paper(replace(TINY_PAPER, image_size=64)), BODY)
    expected = policy.from_body(EIGHT.annotation.body[:, None], EIGHT.observation)[:, 0]
    batch = hyponet_batch([found], CONFIG, 0, torch.device("cpu"))
    which = [int((expected - row).abs().mean(-1).argmin()) for row in batch.x_0]
    torch.testing.assert_close(batch.x_0, expected[which], atol=2e-2, rtol=0)  # of 50, through another crop's pixels
    torch.testing.assert_close(batch.betas, EIGHT.annotation.body.betas[which])
    blind = replace(EIGHT, observation=replace(EIGHT.observation, crop=None, has_crop=None))
    with pytest.raises(InputError, match="mine/train: the model looks at pixels"):
        pictured_persons(replace(PERSONS, examples=blind), BODY)


def test_the_loss_is_the_one_of_the_recipe():
    batch = hyponet_batch([people()], CONFIG, 3, torch.device("cpu"))
    model = tiny_paper(TINY)
    terms = HypoNetLosses(model)(batch)
    context, seen = model.encoder.context(batch.image), model.encoder(batch.image)
    for n in range(8):
        x_t = add_noise(batch.x_0[n], batch.eps[n], model.denoiser.schedule.at(batch.t[n]))
        error = (model.denoiser(x_t[None, None], batch.t[n], context[n : n + 1])[0, 0] - batch.eps[n]) ** 2
        error = error * batch.labelled[n]
        expected = {
            "shape": (seen.betas[n] - batch.betas[n]).square().sum(),
            "heatmap": sum(
                (seen.joints[n, j, a] - batch.x_0[n, 3 * j + a] / 50) ** 2 * batch.labelled[n, 3 * j]
                for j in range(29) for a in range(2)
            ),
            "joints": error[:87].sum(), "twists": error[87:].sum(),
        }  # fmt: skip
        for name, value in expected.items():
            torch.testing.assert_close(terms[name][n], value, rtol=2e-3, atol=2e-3)
    config = replace(CONFIG, shape_weight=3.0, heatmap_weight=7.0, finetune=True)
    (part,) = hyponet_step(config, [people()])(HypoNetLosses(model), 3)
    model.eval()
    total = 3 * terms["shape"] + 7 * terms["heatmap"] + terms["joints"] + terms["twists"]
    torch.testing.assert_close(part.loss(), total.mean(), rtol=1e-3, atol=1e-2)
    assert set(part.figures) == {"shape", "heatmap", "joints", "twists"}


def test_what_is_no_label_does_not_count():
    full, flat = people(), people(depths=False, twists=False, shapes=False)
    one, two = (hyponet_batch([p], CONFIG, 0, torch.device("cpu")) for p in (full, flat))
    assert two.labelled[:, 2:87:3].sum() == 0 and two.labelled[:, 87:].sum() == 0 and two.has_shape.sum() == 0
    assert torch.equal(one.labelled[:, 0:87:3], two.labelled[:, 0:87:3]) and one.labelled[:, 87:].all()
    terms = HypoNetLosses(tiny_paper(TINY))(two)
    assert terms["twists"].sum() == 0 and terms["shape"].sum() == 0 and terms["joints"].sum() > 0


def test_data_sets_are_mixed_by_weight_and_times_are_antithetic():
    config = replace(
        CONFIG, batch_size=400, data=(MixedData("a", "f", "s", weight=3.0), MixedData("b", "f", "s", weight=1.0))
    )
    sources = [people(), people(twists=False)]
    small = [replace(s, crop=s.crop[:, :, :4, :4]) for s in sources]
    batch = hyponet_batch(small, replace(config, model=replace(TINY, image_size=32)), 0, torch.device("cpu"))
    assert (batch.labelled[:, 90] == 1).float().mean() == pytest.approx(0.75, abs=0.08)
    assert torch.equal(batch.t[201:], 999 - batch.t[:199]) and len(batch.t.unique()) > 100
    with pytest.raises(InputError, match="weight is 0"):
        MixedData("a", "f", "s", weight=0.0)


def test_rates_and_eps_are_those_of_the_recipe():
    config = PaperTrainingConfig(model=TINY)
    losses = HypoNetLosses(starting_hyponet(config, BODY))
    made = _loop(config, losses.model, 100, 5000, "cpu")
    rates = [made.rate(100 * epoch, 0.0) for epoch in (0, 19, 20, 30, 40)]
    assert rates == pytest.approx([5e-4, 5e-4, 2.5e-4, 1.25e-4, 6.25e-5])
    assert _loop(replace(config, finetune=True), losses.model, 100, 10, "cpu").rate(0, 0.0) == pytest.approx(2.5e-4)
    late = replace(config, first_epoch=29.0, halve_at=(35,))
    assert _loop(late, losses.model, 100, 10, "cpu").rate(599, 0.0) == pytest.approx(5e-4)
    assert _loop(late, losses.model, 100, 10, "cpu").rate(600, 0.0) == pytest.approx(2.5e-4)
    groups = Loop(losses, hyponet_step(config, [people()]), made).optimizer.param_groups
    encoder = losses.model.encoder
    of = {id(p): (g["rate_share"] * 5e-4, g["eps"]) for g in groups for p in g["params"]}
    assert of[id(encoder.conv1.weight)] == (pytest.approx(2e-4), 1e-8)
    assert of[id(encoder.incre_modules[0][0].conv1.weight)] == (pytest.approx(2e-4), 1e-8)
    assert of[id(encoder.hmap_layer.weight)] == (pytest.approx(1e-3), 1e-8)
    assert of[id(losses.model.denoiser.temb_dense[0].weight)] == (pytest.approx(5e-4), 1e-24)


def test_it_learns_eight_persons_by_heart(tmp_path):
    import json

    model = train_hyponet(replace(CONFIG, log_every=1), [people()], BODY, tmp_path, steps=24)
    rows = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    first, last = (sum(row["loss"] for row in some) / 4 for some in (rows[:4], rows[-4:]))
    assert last < 0.8 * first and rows[-1]["shape"] < rows[0]["shape"]
    assert isinstance(model, PaperModel) and not any(p.requires_grad for p in model.parameters())


class Killed(Exception):
    pass


def test_a_killed_run_is_continued_as_it_began(tmp_path, monkeypatch):
    config = replace(CONFIG, model=replace(TINY_PAPER, dropout=0.1), augmentation=replace(NO_AUGMENTATION, colour=0.2))
    straight = train_hyponet(config, [people()], BODY, tmp_path / "a", steps=5)
    taken = Loop._take_step

    def dying(self):
        if self.progress.step == 3:
            raise Killed
        return taken(self)

    monkeypatch.setattr(Loop, "_take_step", dying)
    with pytest.raises(Killed):
        train_hyponet(config, [people()], BODY, tmp_path / "b", steps=5)
    monkeypatch.setattr(Loop, "_take_step", taken)
    resumed = train_hyponet(config, [people()], BODY, tmp_path / "b", steps=5)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert (tmp_path / "a/curve.jsonl").read_text().count("\n") == (tmp_path / "b/curve.jsonl").read_text().count("\n")


def test_accumulated_parts_are_one_batch_and_bf16_is_near(tmp_path):
    start = HypoNetPolicy(tiny_paper(TINY), BODY).save(tmp_path / "start.safetensors", ())
    config = replace(CONFIG, finetune=True, start_from=str(start))
    whole, parts, half = (
        train_hyponet(replace(config, **change), [people()], BODY, tmp_path / str(n), steps=1)
        for n, change in enumerate(({}, {"accumulate": 4}, {"bf16": True}))
    )
    for name, value in whole.state_dict().items():
        if value.is_floating_point():
            assert (value - parts.state_dict()[name]).abs().mean() < 2e-4, name
            assert torch.isfinite(half.state_dict()[name]).all()
    # Norms keep their statistics where a model is fine-tuned.
    began = tiny_paper(TINY).encoder.bn1.running_mean
    assert torch.equal(whole.encoder.bn1.running_mean, began)


def test_presets_quote_the_recipe():
    assert preset_names("paper") == ("hmr-scorer", "hyponet-3dpw", "hyponet-h36m", "hyponet-wild", "scorenet", "sft")
    h36m, pw3d, wild, sft = (
        read_config(PaperTrainingConfig, preset_path("paper", name))
        for name in ("hyponet-h36m", "hyponet-3dpw", "hyponet-wild", "sft")
    )
    assert h36m == PaperTrainingConfig()
    assert (pw3d.heatmap_weight, wild.heatmap_weight, pw3d.first_epoch) == (40.0, 20.0, 29.0)
    assert sft.finetune and sft.batch_size == 40 and sft.clip_norm == 1.0 and sft.seed == 0
    mixed = from_mapping(
        PaperTrainingConfig, {"data": [{"dataset": "a", "folder": "b", "split": "c", "weight": 0.35}]}, "x.yaml"
    )
    assert mixed.data == (MixedData("a", "b", "c", 0.35),)
    with pytest.raises(InputError, match=r"x.yaml: data\[0\]: unknown key 'wight'"):
        from_mapping(PaperTrainingConfig, {"data": [{"wight": 1.0}]}, "x.yaml")
    for wrong in (
        {"epochs": 0.0},
        {"denoiser_eps": 0.0},
        {"shape_weight": -1.0},
        {"ema_decay": 1.0},
        {"accumulate": 200},
    ):
        with pytest.raises(InputError, match="training of HypoNet"):
            PaperTrainingConfig(**wrong)


OPENER = """
from hmralign.data.dataset import DatasetFacts

def open_mine(folder, split):
    from support.tiny_paper import seen_persons

    class Mine:
        facts = DatasetFacts(f"mine/{split}", "a test", "CC0", "cam, metres")

        def examples(self):
            yield seen_persons(8, known=1.0)

    return Mine()
"""

SIZES = """
epochs: 2
batch_size: 8
model:
  {width: 64, heads: 4, feedforward: 64, hops: [1], score_width: 128, image_size: 64, encoder: {stem: 8, stem_blocks: 1,
  channels: [8, 8, 8, 8], modules: [1, 1, 1], blocks: 1, head_channels: [8, 8, 8, 8], shape_width: 16}}
"""


def test_the_command_trains_a_policy(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(OPENER)
    (tmp_path / "c.yaml").write_text(SIZES)
    command = ["train", "paper", "--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run")]
    assert main(command) == 2 and "no data is named" in capsys.readouterr().err
    data = ["--data", str(tmp_path), "--dataset", f"{tmp_path / 'mine.py'}:open_mine", "--split", "train"]
    assert main([*command, *data]) == 0
    opened = open_policy(tmp_path / "run/hyponet.safetensors", BODY)
    assert opened.trained_on == ("mine/train",) and isinstance(opened.policy, HypoNetPolicy)
    assert main(["train", "base", "--preset", "lite", "--out", str(tmp_path / "b"), "--data", str(tmp_path)]) == 2
    assert "--data is for `train paper` and `regressor`" in capsys.readouterr().err
