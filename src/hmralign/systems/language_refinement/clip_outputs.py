"""The files of a refined clip, written beside their place and renamed when complete.

<out>/
  report.html            the described frames before and after, with what was said of them
  overlay.mp4            everybody's refined body over every frame
  video.json             what the folder holds; written last. Another refinement can start from it.
  track_0/
    motion.npz/.bvh/.glb the refined motion in the forms of `recover`
    frames.npz           as `recover` writes it, with refined rotations, places and joints
    summary.json         what was said in which frames, and how true it is before and after
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.body.npz_file import write_npz
from hmralign.data.video.clip import Clip
from hmralign.export.track_animation import write_track_animation
from hmralign.reports.refinement_report import RefinedPersonPage, RefinementReport, write_refinement_report
from hmralign.storage.whole_file import write_json
from hmralign.storage.whole_folder import finished_folder
from hmralign.structures.counted import counted
from hmralign.structures.shown_name import shown_name
from hmralign.systems.language_refinement.clip import MOST_SHOWN, ClipPictures, RefinedClip, RefinedStretch
from hmralign.systems.language_refinement.outputs import person_record
from hmralign.systems.language_refinement.pictures import refined_pictures
from hmralign.systems.language_refinement.refined import RefinedPeople
from hmralign.systems.language_refinement.report import CAVEATS, UNAUDITED, person_page
from hmralign.systems.language_refinement.starts import InitialPeople
from hmralign.systems.recover.provenance import BodyIdentity, library_versions
from hmralign.systems.video.drawing import draw_clip
from hmralign.systems.video.outputs import CLIP_RECORD, require_replaceable_clip
from hmralign.systems.video.people import RecoveredClip
from hmralign.systems.video.report import light_body
from hmralign.tracking.person_track import PersonTrack

FORMAT_VERSION = 1


def write_refined_clip(
    folder: Path,
    refined: RefinedClip,
    clip: Clip,
    pictures: ClipPictures,
    body: BodyModel,
    made_by: dict[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write everything, whole or not at all; returns the folder. `made_by` says what was asked for.

    Raises InputError when the folder exists and may not be replaced, or cannot be written.
    """
    require_replaceable_clip(folder, overwrite)
    with finished_folder(folder) as draft:
        _write_film(draft / "overlay.mp4", refined, clip, pictures, body)
        pages = [page for s in refined.stretches[:MOST_SHOWN] if (page := _page(s, refined, body)) is not None]
        if pages:
            write_refinement_report(draft / "report.html", _report(pages, refined, clip))
        for number, track in enumerate(refined.tracks):
            stored = refined.stored.tracks[number]
            into = draft / stored.name
            into.mkdir()
            write_track_animation(into, track, body, refined.stored.fps, stored.name)
            write_npz(into / "frames.npz", {**stored.arrays, **_new_arrays(track)})
            write_json(into / "summary.json", track_record(refined, number, body))
        write_json(draft / CLIP_RECORD, clip_record(refined, body, made_by))
    return folder


def _new_arrays(track: PersonTrack) -> dict[str, np.ndarray]:
    return {"rotmats": track.rotmats, "transl": track.transl, "joints": track.joints}


def _write_film(path: Path, refined: RefinedClip, clip: Clip, pictures: ClipPictures, body: BodyModel) -> None:
    stored = refined.stored
    found = RecoveredClip(
        clip, pictures.frames, list(refined.tracks), stored.fps, False, [], stored.detector, None, {}
    )  # fmt: skip
    with torch.no_grad():
        draw_clip(found, light_body(body), path)


def _page(stretch: RefinedStretch, refined: RefinedClip, body: BodyModel) -> RefinedPersonPage | None:
    """The described frame of a stretch; None where it could not be refined."""
    person = stretch.person
    if person is None:
        return None
    people = InitialPeople((person.start,), str(refined.stored.folder), stretch.photo)
    alone = RefinedPeople(people, (person,), refined.config)
    mesh = vertices(body, person.refinement.steps)  # (S, V, 3)
    return person_page(person, mesh, refined_pictures(alone, person, mesh[0], mesh[-1], body), body)


def _report(pages: list[RefinedPersonPage], refined: RefinedClip, clip: Clip) -> RefinementReport:
    described = counted(len(refined.stretches), "described frame")
    shown = f", the first {len(pages)} are shown" if len(pages) < len(refined.stretches) else ""
    facts = {
        "Started from": shown_name(str(refined.stored.folder)),
        "Weights": f"keypoints {refined.config.pull.keypoint_weight:g}, words {refined.config.pull.text_weight:g}",
    }
    return RefinementReport(
        f"Refined bodies in {shown_name(Path(clip.name).name)}",
        f"{counted(len(refined.tracks), 'track')}, {described}{shown}; each stands for the frames around it",
        pages, facts, (*refined.notes, UNAUDITED, *CAVEATS),
    )  # fmt: skip


def track_record(refined: RefinedClip, number: int, body: BodyModel) -> dict[str, Any]:
    """What `summary.json` of a track holds."""
    first = refined.stored.tracks[number].track.first
    mine = [s for s in refined.stretches if s.stretch.track == number]
    return {
        "format_version": FORMAT_VERSION,
        "track": number,
        "refined": bool(mine),
        "descriptions": [
            {
                "frame": first + s.stretch.described,
                "first_frame": first + s.stretch.first,
                "last_frame": first + s.stretch.last,
                **_said(s, body),
            }
            for s in mine
        ],
    }


def _said(stretch: RefinedStretch, body: BodyModel) -> dict[str, Any]:
    if stretch.person is None:
        return {"text": None, "statements": [], "notes": list(stretch.wish.notes)}
    record = person_record(stretch.person, body)
    return {name: record[name] for name in ("text", "statements", "keypoint_loss", "text_loss", "moved_m", "notes")}


def clip_record(refined: RefinedClip, body: BodyModel, made_by: dict[str, Any]) -> dict[str, Any]:
    """What `video.json` holds: that of the stored clip, and how it was refined."""
    record = refined.stored.record
    return {
        "format_version": FORMAT_VERSION,
        "refined": True,
        "source": str(refined.stored.folder),
        **{name: record.get(name) for name in ("clip", "detector", "tracks", "retargeted")},
        "notes": list(refined.notes),
        "made_by": {
            **made_by, "config": asdict(refined.config), "body": asdict(BodyIdentity.of(body)),
            "versions": library_versions(),
        },
    }  # fmt: skip
