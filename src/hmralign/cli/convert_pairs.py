"""`hmralign convert pairs`: pools of pairs and groups of published codes become files of ours, and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hmralign.cli.terminal import Terminal


@dataclass(frozen=True)
class ConvertPairsOptions:
    """Read a pool of pairs (.json) or of groups (.npz with grpo_pair_list) of published code, or write one.

    A published FILE becomes a file of ours, OUT.npz, without pickles; nothing in it is run. A FILE of ours becomes a
    published one: pairs OUT.json, groups OUT.npz. Joints stay in pixels of the crop and millimetres.
    """

    file: Annotated[Path, tyro.conf.Positional]
    """A published pool, or one of ours."""
    out: Path
    """Where the other one is to be."""
    quiet: bool = False
    """Say nothing but errors."""
    json: Annotated[bool, tyro.conf.arg(help="Print one JSON document about the pool, and nothing else.")] = False


def run_convert_pairs(options: ConvertPairsOptions, terminal: Terminal) -> int:
    """Convert in the direction that the file asks for."""
    from hmralign.preferences.published_pool import read_pool, write_pool
    from hmralign.preferences.published_pool_files import is_published, read_published, write_published
    from hmralign.structures.counted import counted

    not_carried: tuple[str, ...] = ()
    if is_published(options.file):
        found = read_published(options.file)
        pool, not_carried = found.pool, found.not_carried
        write_pool(options.out, pool)
    else:
        pool = read_pool(options.file)
        write_published(options.out, pool)
    document = {
        "format_version": 1,
        "out": str(options.out),
        "kind": pool.kind,
        "records": len(pool),
        "members": pool.members,
        "measures": sorted(pool.measures),
        "others": sorted(pool.others),
        "not_carried": list(not_carried),
    }
    terminal.answer(document)
    if not_carried:
        terminal.say(f"not carried: {', '.join(not_carried)}")
    what = counted(len(pool), pool.kind.removesuffix("s"))
    terminal.say(
        f"{what} of {pool.members}, measured by {', '.join(sorted(pool.measures)) or 'nothing'}: {options.out}"
    )
    return 0
