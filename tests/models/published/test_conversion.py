"""Published snapshots become checkpoints tensor by tensor, or are refused in one sentence that says what differs."""

import json

import pytest
import torch

from hmralign.models.checkpoint import checkpoint_kind, checkpoint_skeleton
from hmralign.models.published.conversion import convert_snapshot
from hmralign.models.published.layouts import KINDS
from hmralign.structures import InputError
from support.published_snapshots import read_tensors, snapshot_content, tiny_layout, write_snapshot


def converted(path, out, kind, **options):
    return convert_snapshot(path, out, kind, skeleton_hash="a" * 64, layout=tiny_layout(kind), **options)


def refusal(path, out, kind, **options):
    with pytest.raises(InputError) as error:
        converted(path, out, kind, **options)
    said = str(error.value)
    assert str(path) in said and "\n" not in said and len(said) < 1200
    assert not out.exists() and not out.with_suffix(".json").exists()
    return said


def expected(content, kind, weights):
    """What a checkpoint is to hold, put together by a loop over the state dicts in their own order."""
    wanted = {}
    for part in tiny_layout(kind).parts:
        shapes = iter(content[part.ema]["shadow_params"])
        for name, tensor in content[part.key].items():
            plain = name.removeprefix("module.")
            is_buffer = plain.rsplit(".", 1)[-1] in ("running_mean", "running_var", "num_batches_tracked", "init_shape")
            has_average = not is_buffer and (kind != "hmr-scorer" or plain.startswith("score_net."))
            average = next(shapes) if has_average else None
            wanted[part.ours + plain] = average.detach() if weights == "ema" and average is not None else tensor
    return wanted


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("weights", ["ema", "raw"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_is_where_it_belongs(tmp_path, kind, weights, legacy):
    content = write_snapshot(tmp_path / "a.pth", kind, legacy=legacy)
    report = converted(tmp_path / "a.pth", tmp_path / "a.safetensors", kind, weights=weights)
    found, wanted = read_tensors(tmp_path / "a.safetensors"), expected(content, kind, weights)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype, name
    assert set(report.renamed.values()) == found.keys()
    assert bool(report.averaged) == (weights == "ema")
    assert checkpoint_kind(tmp_path / "a.safetensors") == kind
    assert checkpoint_skeleton(tmp_path / "a.safetensors") == "a" * 64
    assert json.loads((tmp_path / "a.json").read_text()) == json.loads(json.dumps(report.record()))


def test_averages_are_the_default_of_what_is_evaluated_with_them(tmp_path):
    for kind, weights in (("hyponet", "ema"), ("scorenet", "ema"), ("hmr-scorer", "raw")):
        write_snapshot(tmp_path / "a.pth", kind)
        assert converted(tmp_path / "a.pth", tmp_path / "a.safetensors", kind).weights == weights


def test_the_report_names_every_entry(tmp_path):
    content = write_snapshot(tmp_path / "a.pth", "hyponet", comment="from a mail")
    report = converted(tmp_path / "a.pth", tmp_path / "a.safetensors", "hyponet")
    named = {*report.renamed, *report.unused}
    for entry, value in content.items():
        if entry in ("model", "model_cond"):
            assert {f"{entry}.{name}" for name in value} <= named
        elif entry.startswith("ema"):
            assert {f"{entry}.decay", f"{entry}.num_updates", f"{entry}.shadow_params[0]"} <= named
        else:
            assert entry in report.unused
    assert not set(report.renamed) & set(report.unused)
    assert report.unused["comment"] == "not known" and report.unused["optimizer"] == "optimiser"
    lines = report.lines()
    assert all(len(line) < 700 for line in lines) and any("not known: 'comment'" in line for line in lines)


def test_names_of_several_devices_lose_their_prefix(tmp_path):
    torch.save(snapshot_content(tiny_layout("hyponet"), prefix="module."), tmp_path / "many.pth")
    torch.save(snapshot_content(tiny_layout("hyponet")), tmp_path / "one.pth")
    report = converted(tmp_path / "many.pth", tmp_path / "many.safetensors", "hyponet", weights="raw")
    converted(tmp_path / "one.pth", tmp_path / "one.safetensors", "hyponet", weights="raw")
    many, one = read_tensors(tmp_path / "many.safetensors"), read_tensors(tmp_path / "one.safetensors")
    assert many.keys() == one.keys() and all(torch.equal(many[name], one[name]) for name in one)
    assert report.renamed["model.module.linear_start_j.weight"] == "denoiser.linear_start_j.weight"


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_the_checkpoint_of_another_model_is_refused_by_name(tmp_path):
    for kind in KINDS:
        write_snapshot(tmp_path / "a.pth", kind)
        for other in KINDS:
            if other != kind:
                said = refusal(tmp_path / "a.pth", tmp_path / "a.safetensors", other)
                assert f"holds a {kind}, expected a {other} (`hmralign convert {kind}`)" in said
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "a.pth")
    assert "lacks 'model' of a hyponet; it holds 'state_dict', 'epoch'" in refusal(
        tmp_path / "a.pth", tmp_path / "a.safetensors", "hyponet"
    )


def test_what_differs_is_said(tmp_path):
    content = snapshot_content(tiny_layout("hyponet"))
    for number in range(7):
        content["model"][f"lora_{number}"] = torch.ones(2)
    del content["model_cond"]["conv1.weight"]
    content["model_cond"]["conv2.weight"] = torch.ones(3, 3)
    content["model_cond"]["bn1.weight"] = content["model_cond"]["bn1.weight"].double()
    content["model_cond"]["bn1.bias"] = 3
    torch.save(content, tmp_path / "a.pth")
    said = refusal(tmp_path / "a.pth", tmp_path / "a.safetensors", "hyponet", weights="raw")
    assert "'model' has besides 'lora_0', 'lora_1', 'lora_2', 'lora_3', 'lora_4' and 2 more" in said
    assert "'model_cond' lacks 'conv1.weight'" in said
    assert "'conv2.weight' (float32 of shape (3, 3), expected float32 of shape (8, 8, 3, 3))" in said
    assert "'bn1.weight' (float64 of shape (8,), expected float32 of shape (8,))" in said
    assert "'bn1.bias' (a int, expected a tensor)" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda ema: ema["shadow_params"].pop(), "has 31 running averages, expected 32"),
        (lambda ema: ema["shadow_params"].reverse(), "has otherwise number 0, 'linear_start_j.weight'"),
        (lambda ema: ema.pop("shadow_params"), "has no list 'shadow_params' of running averages (--weights raw"),
        (lambda ema: ema.update(shadow_params={"a": 1}), "has no list 'shadow_params'"),
    ],
)
def test_averages_that_do_not_fit_the_names_are_refused(tmp_path, change, said):
    content = snapshot_content(tiny_layout("hyponet"))
    count = len(content["ema"]["shadow_params"])
    change(content["ema"])
    torch.save(content, tmp_path / "a.pth")
    found = refusal(tmp_path / "a.pth", tmp_path / "a.safetensors", "hyponet")
    assert said.replace("31", str(count - 1)).replace("32", str(count)) in found
    converted(tmp_path / "a.pth", tmp_path / "a.safetensors", "hyponet", weights="raw")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value):
    content = snapshot_content(tiny_layout("scorenet"))
    content["model_score_cond"]["bn1.running_var"][1] = value
    content["ema_score"]["shadow_params"][0].data[0, 0] = value
    torch.save(content, tmp_path / "a.pth")
    out = tmp_path / "a.safetensors"
    assert "'ema_score.shadow_params[0]' holds values that are not finite" in refusal(
        tmp_path / "a.pth", out, "scorenet"
    )
    assert "'model_score_cond.bn1.running_var' holds" in refusal(tmp_path / "a.pth", out, "scorenet", weights="raw")


def test_an_output_of_another_kind_is_refused(tmp_path):
    write_snapshot(tmp_path / "a.pth", "hyponet")
    with pytest.raises(InputError, match=r"ends in \.safetensors"):
        converted(tmp_path / "a.pth", tmp_path / "b.pth", "hyponet")
