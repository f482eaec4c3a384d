"""ONNX graphs of the lite networks compute what torch computes, and files that anybody may have made are looked at."""

import json
import pickle
from dataclasses import replace

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.models.checkpoint import load_checkpoint
from hmralign.models.lite import LiteConfig, LiteModel
from hmralign.models.onnx import opened
from hmralign.models.onnx.graphs import lite_graphs
from hmralign.models.onnx.lite import DENOISER, ENCODER, MANIFEST, OnnxLite, onnx_skeleton, read_onnx, write_onnx
from hmralign.models.onnx.opened import OnnxGraph
from hmralign.models.person_frame import person_frame
from hmralign.policies.lite_sampling import both_contexts, sample_vectors
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import InputError
from support import forked
from support.synthetic_persons import persons, seeded

onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")

OBSERVED = persons(5).observation
SKELETON = load_free_body("3k5").skeleton_hash


def model_of(**choice):
    """Weights of which none is zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = LiteConfig(width=32, hidden=64, depth=2, context_width=32, context_depth=1)
        model = LiteModel(replace(small, **choice)).eval().requires_grad_(False)
        for parameter in model.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        model.codec.fit(torch.randn(64, 130))
    return model


def sampled(model, observed, hypotheses, seed=3):
    contexts = both_contexts(model, observed, person_frame(observed))
    return sample_vectors(model, *contexts, SamplerConfig(num_hypotheses=hypotheses), seeded(seed))


@pytest.mark.parametrize("prediction", ["v", "eps", "x_0"])
@pytest.mark.parametrize("architecture", ["mlp", "transformer"])
def test_both_graphs_are_the_networks_for_any_number_of_persons_and_hypotheses(architecture, prediction):
    model = model_of(architecture=architecture, prediction=prediction)
    other = OnnxLite.of(model, "tiny")
    for count, hypotheses in ((1, 1), (5, 3), (3, 8), (0, 2)):
        observed = OBSERVED[:count]
        features = model.features(observed, person_frame(observed))
        ours, theirs = model.context(features), other.context(features)
        torch.testing.assert_close(theirs.betas, ours.betas, atol=1e-5, rtol=1e-5)
        prepared = model.denoiser.prepare(ours).per_hypothesis()
        x_t = torch.randn(count, hypotheses, 130, generator=seeded(1))
        for t in (torch.tensor(999), torch.tensor(0)):
            eps = other.denoiser(x_t, t, other.denoiser.prepare(theirs).per_hypothesis())
            torch.testing.assert_close(eps, model.denoiser(x_t, t, prepared), atol=2e-4, rtol=1e-4)


def test_a_mask_counts_where_there_is_one():
    model = model_of()
    other = OnnxLite.of(model, "tiny")
    features = replace(model.features(OBSERVED, person_frame(OBSERVED)), has_mask=torch.tensor([1.0, 0, 1, 0, 0]))
    for seen in (features, replace(features, has_mask=torch.zeros(5))):
        torch.testing.assert_close(other.context(seen).betas, model.context(seen).betas, atol=1e-5, rtol=1e-5)
    assert (other.context(features).betas - other.context(seen).betas).abs().amax(-1).gt(1e-4).tolist() == [
        True, False, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["lite", "lite-lab"])
def test_the_shipped_weights_sample_the_same_from_the_same_seed(name):
    model = load_checkpoint(name, SKELETON)
    other = OnnxLite.of(model, name)
    ours, theirs = sampled(model, OBSERVED, 20), sampled(other, OBSERVED, 20)
    largest, mean = float((ours - theirs).abs().max()), float((ours - theirs).abs().mean())
    print(f"{name}: largest residual {largest:.1e}, mean {mean:.1e} standard deviations of a coordinate")
    assert largest < 2e-3 and mean < 3e-6
    assert torch.equal(theirs, sampled(other, OBSERVED, 20)) and not torch.equal(
        theirs, sampled(other, OBSERVED, 20, 4)
    )


def test_a_folder_comes_back_and_is_replaced_only_by_its_like(tmp_path):
    model = model_of()
    files = write_onnx(tmp_path / "a", model, SKELETON, weights_sha256="0" * 64, sources=("here/train",))
    assert [file.name for file in files] == [ENCODER, DENOISER, MANIFEST]
    found = read_onnx(tmp_path / "a", SKELETON)
    assert found.trained_on == ("here/train",) and onnx_skeleton(tmp_path / "a") == SKELETON
    assert found.model.config == model.config and torch.equal(found.model.codec.std, model.codec.std)
    assert torch.equal(sampled(found.model, OBSERVED, 4), sampled(OnnxLite.of(model, "a"), OBSERVED, 4))
    write_onnx(tmp_path / "a", model_of(depth=1), SKELETON, weights_sha256="0" * 64)
    assert (
        read_onnx(tmp_path / "a", SKELETON).model.config.depth == 1
        and found.sha256 != read_onnx(tmp_path / "a", SKELETON).sha256
    )
    (tmp_path / "a/mine.txt").touch()
    with pytest.raises(InputError, match="holds other files"):
        write_onnx(tmp_path / "a", model, SKELETON, weights_sha256="0" * 64)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "lite"}, "holds a model of kind 'lite', expected 'lite-onnx'"),
        ({"format_version": 2}, "format version 2, this program reads 1"),
        ({"skeleton_hash": "f" * 64}, "is bound to another skeleton"),
        ({"skeleton_hash": 3}, "skeleton_hash is 3, expected a text"),
        ({"config": {"width": 10**9}}, "configuration says width"),
        ({"config": [1]}, "its configuration is no mapping"),
        ({"pose_mean": [0.0] * 129}, "pose_mean is no list of 130 numbers"),
        ({"pose_std": [True] * 130}, "pose_std is no list of 130 numbers"),
        ({"pose_std": [0.0] * 130}, "pose_std has numbers that are not positive"),
        ({"trained_on": "here"}, "no list of names"),
        ({"sha256": {}}, f"{ENCODER}: is not the file that {MANIFEST} beside it was written with"),
    ],
)
def test_a_record_that_says_something_wrong(tmp_path, change, said):
    write_onnx(tmp_path, model_of(depth=1), SKELETON, weights_sha256="0" * 64)
    record = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**record, **change}))
    with pytest.raises(InputError, match=said) as raised:
        read_onnx(tmp_path, SKELETON)
    assert str(tmp_path) in str(raised.value)


def test_graphs_that_are_missing_changed_or_too_large(tmp_path, monkeypatch):
    write_onnx(tmp_path, model_of(depth=1), SKELETON, weights_sha256="0" * 64)
    whole = (tmp_path / DENOISER).read_bytes()
    (tmp_path / DENOISER).write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"denoiser\.onnx: is not the file"):
        read_onnx(tmp_path, SKELETON)
    (tmp_path / DENOISER).unlink()
    with pytest.raises(InputError, match=r"denoiser\.onnx: no such file"):
        read_onnx(tmp_path, SKELETON)
    monkeypatch.setattr(opened, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match=r"encoder\.onnx: has more than 1000 bytes"):
        read_onnx(tmp_path, SKELETON)


def adding(change):
    """A graph y = x + 1, changed."""
    make = onnx.helper
    one = onnx.numpy_helper.from_array(torch.ones(4).numpy(), "one")
    value = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in "xy"]
    graph = make.make_graph([make.make_node("Add", ["x", "one"], ["y"])], "g", value[:1], value[1:], [one])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    change(model)
    return model.SerializeToString()


def in_another_file(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")  # beside the graph: refused as well


def constant_in_another_file(model):
    node = model.graph.node.add(op_type="Constant", output=["c"])
    tensor = onnx.TensorProto(name="c", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    node.attribute.append(onnx.helper.make_attribute("value", tensor))


def with_loop(model):
    body = onnx.helper.make_graph([], "body", [], [])
    model.graph.node.append(onnx.helper.make_node("Loop", ["n", "c"], ["z"], body=body))


def with_function(model):
    model.functions.add(name="f", domain="")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_another_file, "has tensors in other files, which are not read"),
        (constant_in_another_file, "has tensors in other files, which are not read"),
        (with_loop, "has the operator 'Loop'"),
        (lambda model: setattr(model.graph.node[0], "domain", "com.mine"), "has the operator 'Add'"),
        (with_function, "brings operators of its own"),
        (lambda model: model.opset_import.add(domain="com.mine", version=1), "brings operators of its own"),
        (lambda model: setattr(model.graph.output[0], "name", "x"), "takes x and gives x; expected x and y"),
        (lambda model: setattr(model.graph.node[0], "op_type", "Nothing"), "is no ONNX model"),
        (lambda model: model.ClearField("graph"), "is no ONNX model"),
    ],
)
def test_a_graph_from_outside_is_refused_before_it_is_computed(change, said):
    with pytest.raises(InputError, match=said) as raised:
        OnnxGraph("g.onnx", adding(change), ["x"], ["y"])
    assert str(raised.value).startswith("g.onnx: ")


def test_what_is_no_graph_and_what_cannot_be_computed():
    for content in (b"", b"ORTM" + bytes(100), b"\x08" * 500, adding(lambda model: None)[:-9]):
        with pytest.raises(InputError, match=r"is no ONNX model|takes"):
            OnnxGraph("g", content, ["x"], ["y"])
    graph = OnnxGraph("g", adding(lambda model: None), ["x"], ["y"])
    assert graph(torch.zeros(4))[0].tolist() == [1, 1, 1, 1]
    for wrong in (torch.zeros(5), torch.zeros(4, dtype=torch.float64)):
        with pytest.raises(InputError, match="g: ONNX Runtime could not compute it"):
            graph(wrong)


def test_graphs_of_other_shapes_than_the_record_says():
    small, wide = model_of(), model_of(width=64)
    with pytest.raises(InputError, match="could not compute it"):
        mixed = replace(lite_graphs(small), denoiser=lite_graphs(wide).denoiser)
        sampled(OnnxLite(small.config, small.codec, mixed, "a"), OBSERVED, 2)
    eps = OnnxLite.of(small, "a").denoiser
    eps.graph = OnnxGraph("b", adding(lambda model: None), ["x"], ["y"])
    eps.graph.__class__ = type("Four", (OnnxGraph,), {"__call__": lambda self, *given: [torch.ones(4)]})
    with pytest.raises(InputError, match=r"eps has shape \(4,\), expected \(1, 2, 130\)"):
        eps(torch.zeros(1, 2, 130), torch.tensor(3), small.denoiser.prepare(model_context(small)).per_hypothesis())


def model_context(model):
    return model.context(model.features(OBSERVED[:1], person_frame(OBSERVED[:1])))


def test_a_copy_and_a_forked_process_have_sessions_of_their_own():
    graph = OnnxGraph("g", adding(lambda model: None), ["x"], ["y"])
    copy = pickle.loads(pickle.dumps(graph))
    assert copy(torch.zeros(4))[0].tolist() == [1, 1, 1, 1]
    assert forked.run(lambda: int(graph(torch.ones(4))[0].sum()) - 8) == 0


def test_without_the_packages(monkeypatch):
    monkeypatch.setattr("hmralign.models.onnx.graphs.find_spec", lambda name: None)
    for asked in (lambda: lite_graphs(model_of()), lambda: OnnxGraph("g", b"", [], [])):
        with pytest.raises(InputError, match=r"pip install 'hmralign\[onnx\]'"):
            asked()
