"""Fields of configurations that no test names: what could be without effect and nobody would notice.

    python tools/unnamed_fields.py

A configuration is a frozen dataclass whose name ends in Config, Options, Settings, Mix, Limits or Noise. A flag names
its field too: `--dry-run` is `dry_run`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIGURATION = re.compile(r"(Config|Options|Settings|Mix|Limits|Noise)$")


def config_fields(source: str) -> Iterator[tuple[str, str]]:
    """(class, field) of the configurations in a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and CONFIGURATION.search(node.name) and _is_frozen(node):
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    if "ClassVar" not in ast.unparse(line.annotation):
                        yield node.name, line.target.id


def _is_frozen(node: ast.ClassDef) -> bool:
    return any("frozen=True" in ast.unparse(decorator) for decorator in node.decorator_list)


def unnamed(sources: Path, tests: Path) -> list[str]:
    """`path: Class.field` of each field that no test names."""
    named: set[str] = set()
    for path in tests.rglob("*.py"):
        named |= {word.replace("-", "_") for word in re.findall(r"[A-Za-z_][\w-]*", path.read_text())}
        named |= set(re.findall(r"\w+", path.read_text()))
    return [
        f"{path.relative_to(sources)}: {kind}.{field}"
        for path in sorted(sources.rglob("*.py"))
        for kind, field in config_fields(path.read_text())
        if field not in named
    ]


if __name__ == "__main__":
    print("\n".join(unnamed(ROOT / "src/hmralign", ROOT / "tests")))
