"""Names, order, shapes and kinds of all tensors are those of published weights."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch

from hmralign.models.paper.config import HYPONET, HYPONET_CLEAN
from hmralign.models.paper.hmr_scorer import HmrScorer, HmrScorerConfig
from hmralign.models.paper.hyponet import HypoNet
from hmralign.models.paper.image_encoder import ImageEncoder
from hmralign.models.paper.scorenet import ScoreNet

PARTS = {
    ("hyponet", "model"): lambda: HypoNet(HYPONET),
    ("hyponet", "model_cond"): lambda: ImageEncoder(HYPONET),
    ("scorenet", "model_score"): lambda: ScoreNet(HYPONET),
    ("scorenet", "model_score_cond"): lambda: ImageEncoder(HYPONET, shape_head=False),
    ("hmrscorer", "network"): lambda: HmrScorer(HmrScorerConfig()),
}

# Entries, parameters among them, numbers in these, and the hash of what `lines` gives.
TABLE = {
    ("hyponet", "model"): (124, 124, 28_343_173, "9c6f53466cdb1a78"),
    ("hyponet", "model_cond"): (1963, 987, 75_986_151, "bb2de1604683fc9b"),
    ("scorenet", "model_score"): (122, 122, 53_447_937, "66fb410bbcd3e1d4"),
    ("scorenet", "model_score_cond"): (1960, 985, 75_965_661, "a8bc1be5841e28a2"),
    ("hmrscorer", "network"): (282, 279, 130_721_025, "8753799f7d5cb165"),
}


def made(part):
    with torch.device("meta"):
        return PARTS[part]()


def lines(rows):
    """One line for each tensor, in order: name, shape, kind of number, parameter or buffer."""
    return [f"{name} {list(shape)} {dtype} {kind}" for name, shape, dtype, kind in rows]


def digest(rows):
    return hashlib.sha256("\n".join(lines(rows)).encode()).hexdigest()[:16]


def rows_of(model):
    parameters = dict(model.named_parameters())
    return [
        (
            name,
            tuple(value.shape),
            str(value.dtype).removeprefix("torch."),
            "parameter" if name in parameters else "buffer",
        )
        for name, value in model.state_dict().items()
    ]


def published(part):
    override = os.environ.get("HMRALIGN_LAYOUTS")
    folder = Path(override) if override else Path(__file__).parents[4] / "shared" / "facts" / "layouts"
    path = folder / f"layout_{part[0]}_file.json"
    if not path.is_file():
        pytest.skip(f"optional layout of published weights '{path.name}' is not here (set HMRALIGN_LAYOUTS)")
    return json.loads(path.read_text())["parts"][part[1]]


@pytest.mark.parametrize("part", PARTS, ids=".".join)
def test_the_tensors_are_those_of_the_table(part):
    model = made(part)
    rows = rows_of(model)
    counts = (len(rows), len(list(model.parameters())), sum(p.numel() for p in model.parameters()))
    assert (*counts, digest(rows)) == TABLE[part]


@pytest.mark.parametrize("part", PARTS, ids=".".join)
def test_the_tensors_are_those_of_the_published_layout(part):
    rows = [(name.removeprefix("module."), tuple(shape), *kinds) for name, shape, *kinds, _ in published(part)]
    assert lines(rows_of(made(part))) == lines(rows)
    assert digest(rows) == TABLE[part][-1]


@pytest.mark.parametrize("part", list(PARTS)[:4], ids=".".join)
def test_parameters_come_in_the_order_in_which_averages_without_names_list_them(part):
    listed = sorted((index, name) for name, *_, index in published(part) if index is not None)
    assert [name for _, name in listed] == [name for name, _ in made(part).named_parameters()]


def test_a_changed_tensor_would_be_seen():
    rows = rows_of(made(("hyponet", "model")))
    other = [(rows[0][0], (1, 2), *rows[0][2:]), *rows[1:]]
    assert digest(rows) != digest(other) != digest([*rows[1:], rows[0]])


def test_the_clean_preset_has_the_same_tensors():
    with torch.device("meta"):
        clean = HypoNet(HYPONET_CLEAN)
    assert digest(rows_of(clean)) == TABLE["hyponet", "model"][-1]
