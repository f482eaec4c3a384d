"""`--device`: every command that computes has it, refuses what is not there in one sentence, and uses it throughout."""

import contextlib
import io
from dataclasses import MISSING, fields, replace
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
import tyro
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from hmralign.cli.commands import COMMANDS
from hmralign.cli.device_option import Device
from hmralign.cli.exit_codes import WRONG_INPUT
from hmralign.cli.main import main
from hmralign.models.scorer import ScorerConfig
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import SamplerConfig, state_hash
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import ShardSource
from hmralign.structures import device
from hmralign.studies.alignment.measure import MeasureConfig, Persons, measure_persons
from hmralign.studies.critic_audit.audit import AuditConfig, audit_store
from hmralign.systems.align.configuration import recommended
from hmralign.systems.align.run import align_policy
from hmralign.systems.clean.clean import CleanConfig, clean_labels
from hmralign.systems.clean.sources import ShardLabels
from hmralign.systems.evaluate.predict import PredictConfig, predict_in_batches
from hmralign.training.base import train_base
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.hypothesis_sets import PerturbConfig, hypothesis_set, perturbing, sampling
from hmralign.training.scorer import ScorerTrainingConfig, train_scorer
from support.pretended_device import NAME, PretendedDevice, is_there, with_kernels
from support.synthetic_persons import BODY, TINY, persons, tiny_model
from support.toy_policy import shard_folder, tiny_policy, tiny_store

DO_NOT_COMPUTE = {
    "bench": "its bytes are those of the frozen hashes, wherever it runs",
    "bench speed": "what it times and holds against the roofline is this machine's CPU",
    "setup-detector": "installs",
    "export": "writes what is there in other forms",
    "export onnx": "traces networks once, and what it writes runs on processors",
    "multiview poses": "chooses among poses by distances of joints, once",
    "multiview benchmark": "draws a few persons, whose hashes are those of the processor",
    "multiview images": "draws pictures, whose hashes are those of the processor",
    "multiview check": "reads headers and configurations",
    "data list": "reads names",
    "data check": "reads, measures and draws a few records",
    **dict.fromkeys(
        ("convert hyponet", "convert scorenet", "convert hmr-scorer", "convert twist", "convert pairs"),
        "writes what is there in other forms",
    ),
    "critic freeze": "copies a memory",
    "critic memory": "reads and copies memories",
    "critic import-batch": "reads answers",
}
COMPUTE = sorted(set(COMMANDS) - set(DO_NOT_COMPUTE))


def needed(options: type) -> list[str]:
    """Something for every option that has to be given."""
    words = []
    for field in fields(options):
        if field.default is MISSING and field.default_factory is MISSING:
            hint = get_type_hints(options, include_extras=True)[field.name]
            plain = get_type_hints(options)[field.name]
            value = get_args(plain)[0] if get_origin(plain) is Literal else "nothing"
            flag = f"--{field.name.replace('_', '-')}"
            words += [value] if tyro.conf.Positional in getattr(hint, "__metadata__", ()) else [flag, value]
    return words


def test_every_command_computes_or_is_named_as_one_that_does_not():
    assert set(DO_NOT_COMPUTE) < set(COMMANDS)
    for name, command in COMMANDS.items():
        hint = get_type_hints(command.options, include_extras=True).get("device")
        assert (hint == Device) == (name in COMPUTE), name


@given(
    st.sampled_from(COMPUTE),
    st.one_of(
        st.sampled_from(["meta", "mps", "cuda:99", "cuda:-1", "cuda:", "CPU", "cpu:0", "xla", "gpu"]),
        st.text("abcdefgpu:0123", min_size=1, max_size=8).filter(lambda w: w not in device.available_devices()),
    ),
)
def test_a_device_that_is_not_there_is_refused_in_one_sentence_before_anything_else(name, word):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main([*name.split(), *needed(COMMANDS[name].options), "--device", word])
    there = ", ".join(device.available_devices())
    assert code == WRONG_INPUT
    assert said.getvalue() == f"hmralign: there is no device '{word}' here; expected one of {there}\n"


@pytest.fixture
def elsewhere(monkeypatch):
    """A second device of this machine, entered."""
    monkeypatch.setattr(device, "available_devices", lambda: ("cpu", NAME))
    with_kernels(monkeypatch)
    with PretendedDevice() as mode:
        yield mode


def there_policy() -> LitePolicy:
    return LitePolicy(tiny_model(), BODY.to(NAME), num_steps=2).to(NAME)


def test_the_pretended_device_refuses_what_a_gpu_would(elsewhere):
    a = torch.ones(3).to(NAME)
    assert is_there(a + 1) and not is_there(a.cpu()) and a[torch.tensor([0])].device.type == NAME
    for wrong in (lambda: a + torch.ones(3), lambda: torch.cat([a, torch.ones(3)]), a.numpy):
        with pytest.raises((RuntimeError, TypeError)):
            wrong()


def test_groups_are_sampled_and_scored_there_and_are_the_same(tmp_path, elsewhere):
    critics = (
        "reprojection", "silhouette", "plausibility", "mix", "scorer", "scorer-lab", "consistency", "random", "oracle",
        "oracle-pve", "oracle-noisy", "landmarks3d",
    )  # fmt: skip
    source = ShardSource.open(shard_folder(tmp_path / "shards"))
    config = GroupStoreConfig(group_size=4, num_steps=2, with_truth=True, shard_size=5)

    def built(policy, body, name):
        return build_groups(policy, body, "tiny", (), source, tmp_path / name, config, critics[:-1])

    before = elsewhere.used
    here = built(tiny_policy(), BODY, "here")
    assert elsewhere.used == before
    there = built(there_policy(), BODY.to(NAME), "there")
    assert elsewhere.used > before
    assert here.content_hash() == there.content_hash()
    for critic in here.critics():
        assert torch.equal(here.scores(critic), there.scores(critic)), critic
    small = AuditConfig(("reprojection", "random"), planted=3, draws=10)
    assert audit_store(here, small) == audit_store(here, small, device=NAME)


@pytest.mark.parametrize("method", ["sft", "best-of-n", "dpo", "kto", "group", "direct-reward"])
def test_alignment_runs_there_and_gives_the_same_weights(method, tmp_path, elsewhere):
    store = tiny_store(tmp_path / "store", critics=("reprojection",), n=4)
    config = recommended(method, critic="reprojection")
    training = replace(config.training, steps=1, batch_size=8, check_every=1, save_every=1)
    config = replace(config, training=training, held_out_hypotheses=2, min_persons=1)
    here = align_policy(tiny_policy(), "tiny", BODY, store, config, tmp_path / "here").policy
    before = elsewhere.used
    there = align_policy(there_policy(), "tiny", BODY.to(NAME), store, config, tmp_path / "there").policy
    assert elsewhere.used > before and is_there(next(there.parameters()))
    assert state_hash(here) == state_hash(there)


def test_models_are_measured_there_with_the_same_figures(elsewhere):
    examples = persons(3)
    predict = PredictConfig(sampler=SamplerConfig(num_hypotheses=4, num_steps=2), batch=2)
    here, there = (
        [p for _, p in predict_in_batches(policy, examples.observation, predict)]
        for policy in (tiny_policy(), there_policy())
    )
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a.fused_vertices, b.fused_vertices) and torch.equal(a.selected, b.selected)
        assert not is_there(b.joints)
    columns = [
        measure_persons(policy, Persons.of_examples(examples, BODY), MeasureConfig(predict, min_of=(2,)))[0]
        for policy in (tiny_policy(), there_policy())
    ]
    for kind in columns[0]:
        for name, figures in columns[0][kind].items():
            np.testing.assert_array_equal(figures, columns[1][kind][name])


@pytest.mark.parametrize("critic", ["reprojection", "scorer"])
def test_labels_are_judged_there_with_the_same_scores(critic, tmp_path, elsewhere):
    """The learned scorer's rule holds a label against samples, which are drawn there too."""
    source = ShardLabels.open(shard_folder(tmp_path / "shards"), BODY, "unknown")
    config = CleanConfig(critic=critic, keep_share=0.7 if critic == "reprojection" else None, chunk_size=5)
    assert config.has_reference == (critic == "scorer")
    here, there = (
        clean_labels(source, BODY, tmp_path / name, config, device=name)["scores_sha256"] for name in ("cpu", NAME)
    )
    assert here == there and elsewhere.used


def test_scorers_and_base_models_are_trained_there_to_the_same_weights(tmp_path, elsewhere, monkeypatch):
    monkeypatch.setattr("hmralign.training.base_batches.CODEC_EXAMPLES", 300)
    proposers = [
        (perturbing(4, PerturbConfig(), 0),) * 2,
        (sampling(tiny_policy(), 4, 0), sampling(there_policy(), 4, 0)),
    ]
    for own, foreign in proposers:
        here, there = (
            hypothesis_set(BODY, persons(8), own, None),
            hypothesis_set(BODY.to(NAME), persons(8), foreign, None),
        )
        assert torch.equal(here.errors, there.errors) and torch.equal(here.input.uvd, there.input.uvd)
    tiny = ScorerConfig(width=32, depth=1, context_width=16, context_depth=1)
    config = ScorerTrainingConfig(model=tiny, batch_size=4, steps=3)
    base = BaseTrainingConfig(model=TINY, batch_size=8, draws=2, steps=2, measured_noise=None, decay="none")
    for train in (
        lambda name: train_scorer(here, config, tmp_path / f"scorer_{name}", name),
        lambda name: train_base(base, tmp_path / f"base_{name}", name),
    ):
        before = elsewhere.used
        models = [train(name) for name in ("cpu", NAME)]
        assert elsewhere.used > before and not is_there(next(models[1].parameters()))
        assert state_hash(models[0]) == state_hash(models[1])


@pytest.mark.parametrize("what", ["base", "judge", "skeleton"])
def test_models_of_views_are_trained_there_to_the_same_weights(what, tmp_path, elsewhere):
    (tmp_path / "tiny.yaml").write_text("persons: 6\nbatch_size: 4\nsteps: 2\n")
    words = ["multiview", "train", what, "--config", str(tmp_path / "tiny.yaml"), "--quiet", "--device"]
    for name in ("cpu", NAME):
        assert main([*words, name, "--out", str(tmp_path / name)]) == 0
    (weights,) = (path.name for path in (tmp_path / NAME).glob("*.safetensors"))
    here, there = (load_file(tmp_path / name / weights) for name in ("cpu", NAME))
    assert elsewhere.used and here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in here)
