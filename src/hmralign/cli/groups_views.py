"""`hmralign groups ... --stats --export --sheet`: statistics, export and pictures of a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmralign.cli.groups_options import GroupsOptions
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

if TYPE_CHECKING:
    from hmralign.preferences.store import GroupStore


def views(
    store: GroupStore, critics: tuple[str, ...], options: GroupsOptions, document: dict[str, Any], terminal: Terminal
) -> list[Path]:
    """Statistics, export and sheet, as asked for; returns the files."""
    if (options.export or options.sheet) and not critics:
        raise UsageError(f"no critic has scored the groups of {store.folder}; name one with --critic")
    if options.stats:
        from hmralign.preferences.statistics import statistics_markdown, store_statistics

        statistics = store_statistics(store)
        document["statistics"] = statistics.record()
        terminal.say(statistics_markdown(statistics))
    files = []
    if options.export is not None:
        from hmralign.preferences.parquet import export_parquet

        rows = export_parquet(store, options.export, critics, options.export_layout, options.pairs)
        document["export"] = {"file": str(options.export), "layout": options.export_layout, "rows": rows}
        files.append(options.export)
    if options.sheet is not None:
        _draw(store, critics[0], options, options.sheet)
        document["sheet"] = str(options.sheet)
        files.append(options.sheet)
    return files


def _draw(store: GroupStore, critic: str, options: GroupsOptions, path: Path) -> None:
    from io import BytesIO

    from hmralign.preferences.sheet import drawn_groups, groups_sheet, widest_groups
    from hmralign.preferences.stored_body import stored_body
    from hmralign.storage.seeds import seeded
    from hmralign.storage.whole_file import write_whole

    if options.sheet_choice == "random":
        seed = store.facts.seed if options.seed is None else options.seed
        numbers = drawn_groups(len(store), options.sheet_groups, seeded(seed, "sheet"))
    else:
        numbers = widest_groups(store.scores(critic), options.sheet_groups)
    picture = BytesIO()
    groups_sheet(store, critic, stored_body(store.facts), numbers).save(picture, "PNG")
    write_whole(path, picture.getvalue())
