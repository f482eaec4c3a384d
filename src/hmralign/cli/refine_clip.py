"""`hmralign refine` of a recovered clip: a model describes a frame of every two seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hmralign.cli.critic_judge_options import opened_asker
from hmralign.cli.exit_codes import DONE
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

if TYPE_CHECKING:
    from hmralign.body.model import BodyModel
    from hmralign.cli.refine import RefineOptions
    from hmralign.models.language.refiner import Refiner
    from hmralign.models.language.text_space import TextSpace
    from hmralign.systems.language_refinement.clip import ClipPictures
    from hmralign.systems.language_refinement.latent_words import LatentWords
    from hmralign.systems.language_refinement.wishes import Wish


def run_refine_clip(
    options: RefineOptions, terminal: Terminal, body: BodyModel, refiner: Refiner | None, space: TextSpace | None
) -> int:
    """Refine everybody in a clip, write, and say where to look."""
    from hmralign.cli.refine import refine_config
    from hmralign.structures.counted import counted
    from hmralign.systems.language_refinement.clip import clip_pictures, refine_clip, stretches_of
    from hmralign.systems.language_refinement.clip_outputs import write_refined_clip
    from hmralign.systems.video.outputs import require_replaceable_clip
    from hmralign.systems.video.stored import read_clip_folder
    from hmralign.systems.video.ways_in import open_clip

    _check(options)
    assert options.start is not None and options.video is not None
    require_replaceable_clip(options.out, options.overwrite)
    stored = read_clip_folder(options.start, body)
    clip = open_clip(options.video, stored.fps if options.video.is_dir() else None, None)
    stretches = stretches_of(stored, stored.numbers(options.person))
    pictures = clip_pictures(clip, stored, stretches)
    wishes, latent = _described(options, pictures, space)
    refined = refine_clip(
        stored, stretches, wishes, pictures, body, refine_config(options, wishes), refiner=refiner, latent=latent,
        seed=options.seed,
    )  # fmt: skip
    made_by = {"command": "refine", "describe": options.describe, "model": options.model}
    write_refined_clip(options.out, refined, clip, pictures, body, made_by, overwrite=options.overwrite)
    if not options.quiet:
        for note in refined.notes:
            terminal.note(note)
    terminal.answer(_document(options, len(stored.tracks), len(stretches), refined.notes))
    tracks = counted(len(stored.tracks), "track")
    terminal.say(f"{tracks}, {counted(len(stretches), 'described frame')}: see {options.out / 'report.html'}")
    return DONE


def _check(options: RefineOptions) -> None:
    """Raises UsageError for what is of photos, and for what a clip needs."""
    if options.describe != "vlm":
        raise UsageError(f"'{options.start}' is a clip; expected --describe vlm, since what is typed is of one moment")
    if options.video is None:
        raise UsageError("--describe vlm of a clip needs --video, the clip that was recovered")
    if options.photo is not None or options.keypoints is not None:
        raise UsageError(f"--photo and --keypoints are of a photo, and '{options.start}' is a clip; expected --video")


def _described(
    options: RefineOptions, pictures: ClipPictures, space: TextSpace | None
) -> tuple[list[Wish], LatentWords | None]:
    """One wish for each stretch; nothing is wanted where the frame cannot be read."""
    from hmralign.cli.refine import described_wishes
    from hmralign.systems.language_refinement.latent_words import latent_words, shortened_by
    from hmralign.systems.language_refinement.wishes import NOTHING_WANTED

    there = [person for person in pictures.shown if person is not None]
    with opened_asker(options, options.out.with_name("refine_journal.sqlite")) as asker:
        found = iter(described_wishes(options, asker, there))
        wishes = [NOTHING_WANTED if person is None else next(found) for person in pictures.shown]
        if space is None:
            return wishes, None
        latent, wishes = latent_words(space, wishes, shortened_by(asker, options.seed))
    return wishes, latent


def _document(options: RefineOptions, tracks: int, described: int, notes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "format_version": 1, "out": str(options.out), "report": str(options.out / "report.html"), "tracks": tracks,
        "described_frames": described, "notes": list(notes),
    }  # fmt: skip
