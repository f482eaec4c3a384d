"""An ONNX graph that anybody may have made, opened for the processor.

    bytes, at most so many -> read by `onnx` -> one graph, plain operators, own numbers, names as expected -> session

ONNX Runtime is handed the bytes that were looked at, never a path: it opens no further file. Tensors that lie in other
files are refused wherever those are, since the graphs of this package are small and hold their own. So are operators of
other domains, functions, and operators with graphs inside (loops). What remains is read by two libraries in C++ and
computed: bounded in size, not proven harmless.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hmralign.models.onnx.graphs import require_onnx
from hmralign.storage.limited_file import read_limited
from hmralign.structures import InputError
from hmralign.structures.errors import shown

MAX_BYTES = 512 * 2**20
"""No graph is larger: fifty times the shipped weights."""


def read_graph(path: Path) -> bytes:
    """Bytes of a graph's file. Raises InputError where it is missing, no file, or larger than MAX_BYTES."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a graph that `hmralign export onnx` wrote")
    return read_limited(path, MAX_BYTES)


class OnnxGraph:
    """A graph that takes tensors and gives tensors.

    Sessions are made where they are used: a process that is forked, or handed a copy, has one of its own. Any number of
    threads may call. It computes with as many threads as torch had when it was made.
    """

    def __init__(self, name: str, content: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """`name` is what errors say. Raises InputError as `require_plain`, and where ONNX Runtime refuses the graph."""
        self.name, self.inputs, self.outputs = name, tuple(inputs), tuple(outputs)
        require_plain(name, content, self.inputs, self.outputs)
        self._content, self._made = content, (os.getpid(), _session(name, content))

    def __call__(self, *given: Tensor) -> list[Tensor]:
        """Outputs for inputs in their order. Raises InputError where ONNX Runtime cannot compute them."""
        arrays = {name: np.ascontiguousarray(x.numpy()) for name, x in zip(self.inputs, given, strict=True)}
        session = self._session()
        with _named(f"{self.name}: ONNX Runtime could not compute it"):
            found = session.run(self.outputs, arrays)
        return [torch.from_numpy(array) for array in found]

    def _session(self) -> Any:
        process, session = self._made
        if process != os.getpid() or session is None:
            self._made = (os.getpid(), session := _session(self.name, self._content))
        return session

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_made": (0, None)}


def require_plain(name: str, content: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Raise InputError for bytes that are no ONNX model of one plain graph with these inputs and outputs."""
    require_onnx()
    import onnx

    with _named(f"{name}: is no ONNX model"):
        model = onnx.load_model_from_string(content)
    _require_one_graph(name, model)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model.graph)):
        raise InputError(f"{name}: has tensors in other files, which are not read")
    with _named(f"{name}: is no ONNX model"):
        onnx.checker.check_model(model)
    found = [[value.name for value in values] for values in (model.graph.input, model.graph.output)]
    if found != [list(inputs), list(outputs)]:
        raise InputError(
            f"{name}: takes {shown(', '.join(found[0]))} and gives {shown(', '.join(found[1]))}; expected "
            f"{', '.join(inputs)} and {', '.join(outputs)}"
        )


def _require_one_graph(name: str, model: Any) -> None:
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or any(a.HasField("g") or a.graphs for a in node.attribute):
            raise InputError(f"{name}: has the operator '{shown(node.op_type)}', which no graph of this package has")
    if model.functions or any(opset.domain not in ("", "ai.onnx") for opset in model.opset_import):
        raise InputError(f"{name}: brings operators of its own, which are not used")


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor of a graph; of graphs inside of operators none, as those are refused."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _session(name: str, content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # between steps others have the processor
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    with _named(f"{name}: ONNX Runtime refuses it"):
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@contextmanager
def _named(sentence: str) -> Iterator[None]:
    """Errors of protobuf, the checker and ONNX Runtime, which have no common class, as InputError."""
    try:
        yield
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{sentence} ({shown(words, 160)})") from error
