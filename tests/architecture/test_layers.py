"""Imports point only towards the foundations, and a few things that must not happen anywhere in the package."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"

FOUNDATIONS = (
    "structures", "storage", "engines", "geometry", "body", "language", "diffusion", "models", "data", "detection",
    "adapters", "rendering", "vlm", "metrics", "fitting", "policies",
)  # fmt: skip
STAGES = (
    "hypotheses", "tracking", "overlays", "reports", "export", "critics", "refinement", "preferences",
    "training", "alignment", "cleaning", "evaluation",
)  # fmt: skip
"""In the order of the package's sentence: each may import earlier ones. `tracking` joins the hypotheses of neighbouring
frames before anything is drawn of them, so it stands behind them and before overlays."""
ORDER = (*FOUNDATIONS, *STAGES, "systems", "studies", "api", "cli", "__main__")
RANK = {layer: rank for rank, layer in enumerate(ORDER)}
PACKAGE = "hmralign"
FORBIDDEN = {"torchvision", "timm", "mmcv", "pytorch3d", "chumpy", "cv2"}
OTHER_ENVIRONMENT = {"hmralign.detection.mediapipe_worker"}
"""Scripts run by another Python environment in a process of its own; they and the package never import each other."""
HEAVY = {"torch", "warp", "roma", "scipy", "matplotlib", "trimesh", "accelerate", "transformers", "pygltflib"}


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str:
    """`hmralign.body.lbs` -> `body`; the package itself -> ``."""
    return [*module.split("."), ""][1]


def is_type_checking(node: ast.If) -> bool:
    return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def run_on_import(nodes: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the module is imported: not inside functions, not for type checkers only."""
    for node in nodes:
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        skip_body = isinstance(node, ast.If) and is_type_checking(node)
        for name in ("body", "orelse", "finalbody"):
            if not (name == "body" and skip_body):
                yield from run_on_import(getattr(node, name, []))
        for handler in getattr(node, "handlers", []):
            yield from run_on_import(handler.body)


def imported(node: ast.AST, module: str, is_package: bool) -> list[str]:
    """Absolute names that an import statement may refer to; `from a import b` gives `a.b`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        parts = module.split(".")
        parents = parts[: len(parts) - node.level + is_package]
        base = ".".join([*parents, *filter(None, [node.module])])
    return [f"{base}.{alias.name}" for alias in node.names]


def layer_breaches(source: str, module: str, is_package: bool = False) -> list[str]:
    tree, breaches = ast.parse(source), []
    own = layer_of(module)
    if own and own not in RANK:
        return [f"{module}: '{own}' is no layer"]
    eager = set(map(id, run_on_import(tree.body)))
    for node in ast.walk(tree):
        for name in imported(node, module, is_package):
            if name.split(".")[0] != PACKAGE:
                continue
            other = layer_of(name)
            if not own:
                allowed = other == own or (other == "api" and id(node) not in eager)
            elif other not in RANK:
                allowed = not other or other.startswith("__")  # hmralign.__version__
            else:
                allowed = other == own or RANK[other] < RANK[own]
            if not allowed:
                breaches.append(f"{module}:{node.lineno} imports {name}")  # type: ignore[attr-defined]
    return breaches


def foreign_breaches(source: str, module: str) -> list[str]:
    """Packages that break an installation, and heavy ones where the command line must start at once."""
    tree, breaches = ast.parse(source), []
    for node in ast.walk(tree):
        for name in imported(node, module, False):
            if name.split(".")[0] in FORBIDDEN and module not in OTHER_ENVIRONMENT:
                breaches.append(f"{module}: imports {name}")
            if name.startswith(PACKAGE) and module in OTHER_ENVIRONMENT:
                breaches.append(f"{module}: imports {name}, which its environment does not have")
            if any(name == script or name.startswith(f"{script}.") for script in OTHER_ENVIRONMENT):
                breaches.append(f"{module}: imports {name}, which belongs to another environment")
    if layer_of(module) == "cli":
        for node in run_on_import(tree.body):
            names = imported(node, module, False)
            breaches += [f"{module}: imports {n} at module level" for n in names if n.split(".")[0] in HEAVY]
    return breaches


def keyword(call: ast.Call, name: str) -> object:
    value = next((k.value for k in call.keywords if k.arg == name), None)
    return value.value if isinstance(value, ast.Constant) else None


def unsafe_calls(source: str, module: str) -> list[str]:
    breaches = []
    for node in ast.walk(ast.parse(source)):
        where = f"{module}:{getattr(node, 'lineno', 0)}"
        names = imported(node, module, False)
        if any(n.split(".")[0] in ("pickle", "dill", "joblib", "cloudpickle") for n in names) and not (
            isinstance(node, ast.Import) and layer_of(module) == "body" and set(names) == {"pickle"}
        ):
            breaches.append(f"{where} imports {', '.join(names)}")
        if {"torch.load", "numpy.load"} & set(names):
            breaches.append(f"{where} imports a bare load")
        # Body files are pickles: `body` may subclass an unpickler to restrict it, and nothing else.
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            if node.attr not in ("Unpickler", "_Unpickler", "UnpicklingError"):
                breaches.append(f"{where} uses pickle.{node.attr}")
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("pickle.Unpickler", "pickle._Unpickler"):
                breaches.append(f"{where} unpickles without restriction")
            if called == "print" and layer_of(module) != "cli":
                breaches.append(f"{where} prints")
            if called in ("np.load", "numpy.load") and keyword(node, "allow_pickle") is not False:
                breaches.append(f"{where} calls {called} without allow_pickle=False")
            if called == "torch.load" and keyword(node, "weights_only") is not True:
                breaches.append(f"{where} calls torch.load without weights_only=True")
    return breaches


FILES = sorted((SOURCE / PACKAGE).rglob("*.py"))


def test_there_is_something_to_check():
    assert len(FILES) > 20 and SOURCE / PACKAGE / "__init__.py" in FILES


def test_imports_point_towards_the_foundations():
    breaches = [b for f in FILES for b in layer_breaches(f.read_text(), module_of(f), f.name == "__init__.py")]
    assert not breaches, "\n".join(breaches)


def test_every_folder_is_a_layer():
    folders = {p.name for p in (SOURCE / PACKAGE).iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders <= set(RANK), f"no layer: {sorted(folders - set(RANK))}"


def test_no_package_that_breaks_an_installation_and_a_light_command_line():
    breaches = [b for f in FILES for b in foreign_breaches(f.read_text(), module_of(f))]
    for folder in ("tests", "tools", "benchmarks"):
        breaches += [b for f in (ROOT / folder).rglob("*.py") for b in foreign_breaches(f.read_text(), f"{folder}.x")]
    assert not breaches, "\n".join(breaches)


def test_nothing_unsafe_and_nothing_printed():
    breaches = [b for f in FILES for b in unsafe_calls(f.read_text(), module_of(f))]
    assert not breaches, "\n".join(breaches)


@pytest.mark.parametrize("module", ["hmralign", "hmralign.cli", "hmralign.cli.main"])
def test_starting_the_command_line_loads_nothing_heavy(module):
    if not any(module_of(f) == module for f in FILES):
        pytest.skip(f"{module} does not exist")
    code = f"import {module}, sys; print(*sorted({set(HEAVY)!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not loaded


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from hmralign.body import lbs", "hmralign.geometry.frames"),
        ("import hmralign.geometry.frames", "hmralign.structures.camera"),
        ("from hmralign import critics", "hmralign.hypotheses.estimate"),
        ("from hmralign.alignment import items", "hmralign.preferences.build"),
        ("from hmralign.studies import table", "hmralign.systems.clean.clean"),
        ("from ..critics import oracle", "hmralign.hypotheses.estimate"),
        ("def f():\n    from hmralign.preferences import store", "hmralign.critics.vlm"),
        ("from hmralign.cli import main", "hmralign.api"),
        ("from hmralign.api import Recoverer", "hmralign"),
        ("from hmralign.utils import x", "hmralign.body.lbs"),
        ("import hmralign.structures", "hmralign.helpers.x"),
    ],
)
def test_a_breach_of_the_layers_would_be_seen(source, module):
    assert layer_breaches(source, module)


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from hmralign.structures import Camera", "hmralign.geometry.cameras"),
        ("from . import lbs", "hmralign.body.skeleton"),
        ("from hmralign.critics import oracle", "hmralign.systems.recover.run"),
        ("from hmralign.hypotheses import fusion", "hmralign.critics.weighing"),
        ("def __getattr__(name):\n    from hmralign import api", "hmralign"),
        ("from hmralign import __version__", "hmralign.cli.main"),
    ],
)
def test_what_is_allowed_is_not_reported(source, module):
    assert not layer_breaches(source, module)


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import pickle", "hmralign.data.x"),
        ("from pickle import load", "hmralign.body.x"),
        ("import pickle\npickle.loads(b'')", "hmralign.body.x"),
        ("import pickle\npickle.Unpickler(f).load()", "hmralign.body.x"),
        ("import pickle\npickle._Unpickler(f).load()", "hmralign.body.x"),
        ("print(1)", "hmralign.body.x"),
        ("np.load(p)", "hmralign.body.x"),
        ("np.load(p, allow_pickle=True)", "hmralign.body.x"),
        ("torch.load(p)", "hmralign.body.x"),
        ("torch.load(p, weights_only=False)", "hmralign.body.x"),
        ("from torch import load", "hmralign.body.x"),
    ],
)
def test_an_unsafe_call_would_be_seen(source, module):
    assert unsafe_calls(source, module)


def test_safe_calls_are_not_reported():
    assert not unsafe_calls("import pickle\nclass R(pickle.Unpickler): pass", "hmralign.body.load")
    assert not unsafe_calls("np.load(p, allow_pickle=False)\ntorch.load(p, weights_only=True)", "hmralign.data.x")
    assert not unsafe_calls("print(1)", "hmralign.cli.main")


def test_a_heavy_import_would_be_seen():
    assert foreign_breaches("import cv2", "hmralign.data.x")
    assert foreign_breaches("from hmralign.structures import Camera", "hmralign.detection.mediapipe_worker")
    assert foreign_breaches("from hmralign.detection import mediapipe_worker", "hmralign.detection.client")
    assert foreign_breaches("def f():\n    from timm.models import vit", "hmralign.models.x")
    assert foreign_breaches("try:\n    import torch\nexcept ImportError: pass", "hmralign.cli.main")
    assert not foreign_breaches("def f():\n    import torch", "hmralign.cli.main")
    assert not foreign_breaches("if TYPE_CHECKING:\n    import torch", "hmralign.cli.main")
