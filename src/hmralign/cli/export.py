"""`hmralign export`: what `recover` found, in the forms that animation tools read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hmralign.cli.terminal import Terminal


@dataclass(frozen=True)
class ExportOptions:
    """Write the fused bodies of finished photos for other programs, beside what `recover` wrote.

    Each photo gets scene.glb and scene_uncertainty.glb (all people, skinned), each person fused.bvh and
    fused_amass.npz. Files of an earlier export are replaced. Axes and units: docs/export.md.
    """

    out: Annotated[Path, tyro.conf.Positional]
    """Output folder of `recover`, or that of one photo in it."""
    format: tuple[str, ...] = ("glb", "bvh", "npz")
    """Which forms: glb, bvh, npz."""
    body: Path | None = None
    """The SMPL, SMPL-H or SMPL-X file that was given to `recover`, if one was."""
    config: Path | None = None
    """YAML file of options."""
    quiet: bool = False
    """Say nothing but errors."""
    json: Annotated[bool, tyro.conf.arg(help="Print one JSON document about the files, and nothing else.")] = False


def run_export(options: ExportOptions, terminal: Terminal) -> int:
    """Export every finished photo of the folder."""
    from hmralign.body.body_file import load_body
    from hmralign.body.free_body import load_free_body
    from hmralign.structures.counted import counted
    from hmralign.systems.recover.exports import export_photo, finished_photos, require_formats

    require_formats(options.format)
    body = load_free_body() if options.body is None else load_body(options.body)
    photos = finished_photos(options.out)
    files = []
    for photo in terminal.progress(photos, "exporting"):
        files += export_photo(photo, body, options.format)
    terminal.answer({"format_version": 1, "out": str(options.out), "files": [str(file) for file in files]})
    terminal.say(f"{counted(len(files), 'file')} for {counted(len(photos), 'photo')}: the first is {files[0]}")
    return 0
