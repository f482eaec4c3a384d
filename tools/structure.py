"""How the package stands: each folder's share of the lines, and which room imports which.

    python tools/structure.py [--source src]

Rooms are the folders of `systems/`; they compose and should know little of each other. `tests/architecture` holds the
package to the bounds that are printed here.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter
from pathlib import Path

LARGEST_SHARE = 0.15
"""No folder holds more of the package's lines."""
MOST_ARROWS = 6
"""At most so many ordered pairs of rooms import each other."""
PACKAGE = "hmralign"


def shares(source: Path) -> dict[str, float]:
    """Share of the lines of Python by top folder, largest first."""
    lines: Counter[str] = Counter()
    for path in (source / PACKAGE).rglob("*.py"):
        parts = path.relative_to(source / PACKAGE).parts
        lines[parts[0] if len(parts) > 1 else "(top)"] += len(path.read_text().splitlines())
    total = sum(lines.values())
    return {name: count / total for name, count in lines.most_common()}


def room_arrows(source: Path) -> set[tuple[str, str]]:
    """Ordered pairs of rooms of which the first imports the second."""
    arrows = set()
    for path in (source / PACKAGE / "systems").rglob("*.py"):
        room = path.relative_to(source / PACKAGE / "systems").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}.systems."):
                other = (node.module or "").split(".")[2]
                arrows |= {(room, other)} - {(room, room)}
    return arrows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path(__file__).parents[1] / "src")
    source = parser.parse_args().source
    for name, share in shares(source).items():
        print(f"{100 * share:5.1f} %  {name}")
    arrows = sorted(room_arrows(source))
    print(f"{len(arrows)} arrows among rooms: {', '.join(f'{a} -> {b}' for a, b in arrows)}")


if __name__ == "__main__":
    main()
