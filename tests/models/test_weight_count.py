"""A forged header asks for a network that is never built."""

import json
import time
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from hmralign.models.checkpoint import load_checkpoint
from hmralign.models.lite import LiteConfig, LiteModel
from hmralign.models.scorer import Scorer, ScorerConfig
from hmralign.models.scorer_checkpoint import load_scorer
from hmralign.models.weight_count import asked_for, count_of
from hmralign.structures import InputError
from support.limits import most_memory

SECONDS, MEMORY = 5, 300 * 2**20
DEPTHS = ("depth", "context_depth")
DEPTH = st.integers(1, 5)


@given(DEPTH, DEPTH, st.sampled_from(["mlp", "transformer"]))
@settings(deadline=None, max_examples=10)
def test_the_count_is_that_of_the_network(depth, context_depth, architecture):
    config = LiteConfig(
        width=64, hidden=64, depth=depth, context_width=32, context_depth=context_depth, architecture=architecture
    )
    with torch.device("meta"):
        assert asked_for(LiteModel, config, DEPTHS) == count_of(LiteModel(config).state_dict())


@given(DEPTH, DEPTH, st.sampled_from(["mlp", "attention"]), st.sampled_from(["full", "group"]))
@settings(deadline=None, max_examples=10)
def test_the_count_is_that_of_the_scorer(depth, context_depth, architecture, inputs):
    config = ScorerConfig(
        width=64, depth=depth, context_width=32, context_depth=context_depth, architecture=architecture, inputs=inputs
    )
    with torch.device("meta"):
        assert asked_for(Scorer, config, DEPTHS) == count_of(Scorer(config).state_dict())


def forged(path, kind, config):
    """A file of one number whose header asks for anything."""
    header = {"format_version": "1", "kind": kind, "skeleton_hash": "ab", "config": config}
    path.write_bytes(save({"a": torch.zeros(1)}, header))
    return path


@given(
    st.sampled_from(["lite", "scorer"]), st.integers(1_000, 4_096), st.integers(1_000, 4_096),
    st.sampled_from([64, 4_096]),
)  # fmt: skip
@settings(deadline=None, max_examples=8)
def test_a_header_that_asks_for_thousands_of_blocks_is_refused_at_once(tmp_path_factory, kind, depth, context, width):
    config = replace(
        LiteConfig() if kind == "lite" else ScorerConfig(), depth=depth, context_depth=context, width=width
    )
    path = forged(tmp_path_factory.mktemp("forged") / "f.safetensors", kind, json.dumps(asdict(config)))
    begun = time.process_time()
    with most_memory(MEMORY), pytest.raises(InputError, match="weights do not fit the model: its configuration asks"):
        (load_checkpoint if kind == "lite" else load_scorer)(path, "ab")
    assert time.process_time() - begun < SECONDS


@given(
    st.sampled_from(["lite", "scorer"]), st.sampled_from(["config", "trained_on"]),
    st.sampled_from(["[", '{"a":', "[{"]), st.integers(33, 200_000),
)  # fmt: skip
@settings(deadline=None, max_examples=8)
def test_brackets_in_a_header_are_refused_at_once(tmp_path_factory, kind, field, opening, depth):
    path = tmp_path_factory.mktemp("forged") / "f.safetensors"
    header = {"format_version": "1", "kind": kind, "skeleton_hash": "ab", field: opening * depth}
    path.write_bytes(save({"a": torch.zeros(1)}, header))
    begun = time.process_time()
    with most_memory(MEMORY), pytest.raises(InputError, match=r"(not JSON|no mapping)"):
        (load_checkpoint if kind == "lite" else load_scorer)(path, "ab")
    assert time.process_time() - begun < SECONDS
