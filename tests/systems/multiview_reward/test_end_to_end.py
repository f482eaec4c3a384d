"""From nothing to a fine-tuned multi-view model and its figures, through the command line, at the smallest size."""

import json
from dataclasses import replace

import pytest

from hmralign.alignment.methods.direct_reward import DirectRewardConfig
from hmralign.alignment.multiview_reward import MultiViewRewardConfig, sampled_views
from hmralign.cli.main import main
from hmralign.models.multiview.judge import JudgeConfig
from hmralign.models.multiview.skeleton_network import SkeletonNetworkConfig
from hmralign.models.multiview.view_transformer import ViewTransformerConfig
from hmralign.policies.multiview import MultiViewPolicy
from hmralign.rendering.ring import RingCameras
from hmralign.storage.presets import preset_path
from hmralign.structures import InputError
from hmralign.systems.multiview_reward.align import MultiViewAlignConfig
from hmralign.systems.multiview_reward.evaluate import MultiViewEvaluateConfig
from hmralign.systems.multiview_reward.opened import PersonsConfig, ReadersConfig, opened_policy, persons_of_test
from hmralign.training.configuration import read_config, write_training_config
from hmralign.training.curve import curve_rows
from hmralign.training.multiview_base import MultiViewTrainingConfig, view_persons
from hmralign.training.multiview_readers import (
    JudgeTrainingConfig,
    SkeletonTrainingConfig,
    train_judge,
    train_skeleton,
)

RING = RingCameras(size=16, supersampling=1)
BASE = MultiViewTrainingConfig(
    model=ViewTransformerConfig(size=16, width=16, depth=1, heads=2, head_channels=4), ring=RING,
    persons=8, batch_size=4, steps=3, save_every=3,
)  # fmt: skip
PERSONS = PersonsConfig(drawn_as=BASE, fine_tuning=6, base=8, held_out=3, test=3)
ROLLOUT = DirectRewardConfig(4, "drtune", last_steps=2, stop_within=2, hypotheses=1, kappa=0.01, clamp=2.0)
TRAINING = MultiViewRewardConfig(rollout=ROLLOUT, persons=2, base_persons=2, steps=4, seconds=None, check_every=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Networks, configurations and one fine-tuning."""
    folder = tmp_path_factory.mktemp("multiview")
    readers = {"ring": RING, "persons": 4, "steps": 2, "batch_size": 8}
    judge = train_judge(JudgeTrainingConfig(model=JudgeConfig(4, 1), **readers), folder / "judge")
    small = SkeletonNetworkConfig(8, 8)
    skeleton = train_skeleton(SkeletonTrainingConfig(model=small, **readers), folder / "skeleton")
    readers = ReadersConfig(str(judge), str(skeleton), perceptual_weight=0.2)
    write_training_config(folder / "base.yaml", BASE)
    align = MultiViewAlignConfig(training=TRAINING, readers=readers, persons=PERSONS, shown=2)
    write_training_config(folder / "align.yaml", align)
    write_training_config(folder / "evaluate.yaml", MultiViewEvaluateConfig(readers=readers, persons=PERSONS, seed=2))
    assert main(["multiview", "train", "--config", str(folder / "base.yaml"), "--out", str(folder / "base")]) == 0
    return folder


def aligned(made, name, *more):
    base = str(made / "base/multiview.safetensors")
    config = ["--config", str(made / "align.yaml")]
    return main(["multiview", "align", "--base", base, "--out", str(made / name), *config, *more])


@pytest.fixture(scope="module")
def tuned(made):
    assert aligned(made, "tuned", "--quiet") == 0
    return made / "tuned"


def test_a_run_leaves_weights_curves_a_page_and_its_configuration(made, tuned):
    names = {"config.yaml", "curve.jsonl", "state.pt", "multiview.safetensors", "summary.json", "report.html"}
    assert names <= {path.name for path in tuned.iterdir()}
    assert read_config(MultiViewAlignConfig, tuned / "config.yaml").training == TRAINING
    rows = curve_rows(tuned / "curve.jsonl")
    assert [row["step"] for row in rows] == [0, 2, 4] and "held_out_mpjpe" in rows[0] and "reward" in rows[-1]
    page = (tuned / "report.html").read_text()
    assert page.count("<h2>person") == 2 and "PoseScore of the same samples" in page and "http://" not in page
    summary = json.loads((tuned / "summary.json").read_text())
    assert summary["steps"] == 4 and summary["kept"]["held_out_mpjpe"] > 0
    assert isinstance(MultiViewPolicy.load(tuned / "multiview.safetensors"), MultiViewPolicy)


def test_models_are_measured_beside_controls_and_true_views(made, tuned, capsys):
    models = [str(made / "base/multiview.safetensors"), str(tuned / "multiview.safetensors")]
    out = made / "measured"
    assert main(["multiview", "evaluate", "--models", *models, "--config", str(made / "evaluate.yaml"), "--out",
                 str(out), "--json"]) == 0  # fmt: skip
    document = json.loads(capsys.readouterr().out)
    assert document["persons"] == {"ordinary": 3, "hard": 3, "all": 6} and document["base"] == models[0]
    names = [row["views"] for row in document["rows"]]
    assert names[:5] == [
        "true views", "random body", "most central body", "retrieval by image", "one call of the base",
    ]  # fmt: skip
    base = document["rows"][names.index(models[0])]
    assert base["all"]["against_base"] == [0.0, 0.0, 0.0]
    true = document["rows"][0]["all"]
    assert true["soft_iou"] == pytest.approx(1.0) and true["psnr"] is None
    assert "ordinary poses, 3 persons" in (out / "multiview.md").read_text()


def test_a_run_that_is_done_is_continued_by_nothing(made, tuned):
    before = (tuned / "curve.jsonl").read_bytes()
    assert aligned(made, "tuned", "--quiet") == 0
    assert (tuned / "curve.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--judge", "none.safetensors"], "none.safetensors: no such"),
        (["--pose-file", "none.npz"], "none.npz: no such pose file"),
        (["--threads", "0"], "--threads is 0"),
        (["--preset", "drtune"], "--preset and --config are both given"),
        (["--seconds", "-1"], "seconds must be positive"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(made, tmp_path, capsys, more, says):
    assert aligned(made, "wrong", *more) != 0
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_a_base_of_another_ring_is_refused(made):
    other = replace(PERSONS, drawn_as=MultiViewTrainingConfig())
    with pytest.raises(InputError, match="makes 4 views of 16 pixels; the ring has 4 of 32"):
        opened_policy(str(made / "base/multiview.safetensors"), other)
    with pytest.raises(InputError, match="at least 1"):
        replace(PERSONS, held_out=0)


def test_test_persons_are_ordinary_and_hard_in_equal_numbers():
    persons, hard = persons_of_test(PERSONS)
    assert hard.tolist() == [False] * 3 + [True] * 3 and len(persons.joints) == 6


def test_presets_are_configurations():
    config = read_config(MultiViewAlignConfig, preset_path("multiview-align", "drtune"))
    assert config.training.rollout.variant == "drtune" and config.training.guarded and not config.renders
    assert config.persons.drawn_as.kind == "ordinary"  # as the base that it is meant for
    assert read_config(SkeletonTrainingConfig, preset_path("multiview", "skeleton-ordinary")).kind == "ordinary"
    assert read_config(MultiViewTrainingConfig, preset_path("multiview", "multiview")).kind == "ordinary"


def test_the_shipped_base_is_found_by_its_name_and_says_something_of_a_front():
    """Its side views are nearer to the true ones than those of another person."""
    policy = opened_policy("multiview-base", PersonsConfig())
    assert policy.network.config.shows_front == 1
    persons = view_persons(MultiViewTrainingConfig(), 12, "test", "test", "ordinary")
    true = persons.pixels.float()[:, 1:]
    made, other = sampled_views(policy, persons, 1)[:, 1:], true.roll(1, 0)
    gaps = [(views - true).square().mean((1, 2, 3, 4)) for views in (made, other)]
    assert (gaps[0] < gaps[1]).float().mean() > 0.8
