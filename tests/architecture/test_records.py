"""Tensors of a structure are indexed, moved and joined in one place, `structures.tensor_record`."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOME = ROOT / "src/hmralign/structures/tensor_record.py"
FILES = [p for p in sorted((ROOT / "src").rglob("*.py")) if p != HOME]
JOINS = {"torch.cat", "torch.stack"}
OPERATIONS = {"__getitem__", "to", "stack", "cat"}


def calls(node: ast.AST) -> set[str]:
    return {ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}


def joined_by_hand(source: str) -> list[int]:
    """Lines where a field named by a variable is joined over several objects."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in JOINS
        and any("getattr" in calls(a) for a in node.args)
    ]


def is_tensor(annotation: str, records: set[str]) -> bool:
    kinds = [part.strip() for part in annotation.split(" | ")]
    return all(k == "None" or k == "Tensor" or k in records or "[Tensor, " in k for k in kinds)


def structures(sources: list[str]) -> list[tuple[ast.ClassDef, set[str]]]:
    """Dataclasses, and the names of their fields' types."""
    found = []
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(d) for d in node.decorator_list):
                found.append((node, {ast.unparse(n.annotation) for n in node.body if isinstance(n, ast.AnnAssign)}))
    return found


def operations_by_hand(sources: list[str]) -> list[str]:
    """Structures of tensors alone that are no records and write an operation of records themselves."""
    classes = structures(sources)
    records = {node.name for node, _ in classes if "TensorRecord" in map(ast.unparse, node.bases)}
    return [
        f"{node.name}.{method.name}"
        for node, types in classes
        if types and all(is_tensor(t, records | {node.name}) for t in types)
        for method in node.body
        if isinstance(method, ast.FunctionDef) and method.name in OPERATIONS
    ]


def test_no_field_is_joined_by_hand():
    assert len(FILES) > 300
    found = [f"{path.relative_to(ROOT)}:{line}" for path in FILES for line in joined_by_hand(path.read_text())]
    assert not found, found


def test_no_structure_of_tensors_writes_what_records_have():
    assert not operations_by_hand([path.read_text() for path in FILES])


@pytest.mark.parametrize(
    "source",
    [
        "Body(*(torch.cat([getattr(b, n) for b in bodies]) for n in vars(bodies[0])))",
        "Seen(**{f.name: torch.stack([getattr(i, f.name) for i in items], 1) for f in fields(Seen)})",
    ],
)
def test_a_join_by_hand_would_be_seen(source):
    assert joined_by_hand(source) == [1]


def test_an_operation_by_hand_would_be_seen():
    code = (
        "@dataclass(frozen=True)\nclass Seen:\n    a: Float[Tensor, '*batch 3']\n    b: Tensor | None = None\n"
        "    def to(self, device): ...\n"
    )
    assert operations_by_hand([code]) == ["Seen.to"]
    assert not operations_by_hand([code.replace("def to(", "def moved(")])
    assert not operations_by_hand([code.replace("b: Tensor", "b: str")])
