"""Weights of a file go into a model only when they are all of the model's weights, and finite."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import safe_open, save_file
from torch import nn

from hmralign.models.fitted_weights import fitted, read_fitted
from hmralign.structures import InputError


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def state() -> dict[str, torch.Tensor]:
    model = build()
    with torch.no_grad():
        for number, value in enumerate(model.parameters()):
            value.fill_(number + 0.5)
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_the_weights_are_those_given_and_nothing_is_trained(tmp_path):
    given = state()
    path = tmp_path / "a.safetensors"
    save_file({k: v.half() if v.is_floating_point() else v for k, v in given.items()}, path)
    with safe_open(path, framework="pt") as handle:
        read = read_fitted(path, handle, build)
    for model in (read, fitted(path, build, given)):
        assert not model.training and not any(p.requires_grad for p in model.parameters())
        assert {k: v.tolist() for k, v in model.state_dict().items()} == {k: v.tolist() for k, v in given.items()}
        assert model.state_dict()["1.num_batches_tracked"].dtype == torch.int64  # whole numbers stay whole
        assert model.state_dict()["0.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("1.running_var"), "1 of them differ, such as '1.running_var'"),
        (lambda t: t.update(more=torch.ones(1)), "1 of them differ, such as 'more'"),
        (lambda t: t.update({"0.bias": torch.ones(3)}), "such as '0.bias'"),
        (lambda t: t["0.weight"].fill_(float("nan")), "'0.weight' holds values that are not finite"),
    ],
)
def test_other_weights_are_refused_by_name(tmp_path, change, said):
    tensors = state()
    change(tensors)
    path = tmp_path / "b.safetensors"
    save_file(tensors, path)
    with pytest.raises(InputError, match=said) as error, safe_open(path, framework="pt") as handle:
        read_fitted(path, handle, build)
    assert str(error.value).startswith(str(path))
    with pytest.raises(InputError, match=said):
        fitted(Path("b"), build, tensors)


def test_nothing_is_allocated_for_a_model_that_the_weights_do_not_fit(tmp_path):
    built = []

    def huge() -> nn.Module:
        built.append(torch.empty(0).device.type)
        return nn.Linear(1 << 20, 1 << 20)  # 4 TB

    with pytest.raises(InputError, match="do not fit"):
        fitted(tmp_path / "c", huge, state())
    assert built == ["meta"]
