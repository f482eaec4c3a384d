"""`hmralign refine`: an earlier answer made better by keypoints and by words."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from hmralign.cli.critic_judge_options import SpendingOptions, ending_early, opened_asker
from hmralign.cli.exit_codes import DONE
from hmralign.cli.photo_folders import require_writable
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

if TYPE_CHECKING:
    from hmralign.body.model import BodyModel
    from hmralign.models.language.text_space import TextSpace
    from hmralign.systems.language_refinement.describing import ShownPerson
    from hmralign.systems.language_refinement.latent_words import LatentWords
    from hmralign.systems.language_refinement.starts import InitialPeople
    from hmralign.systems.language_refinement.wishes import Wish
    from hmralign.vlm.asker import Asker


@dataclass(frozen=True)
class RefineOptions(SpendingOptions):
    """Refine the people of a recovered photo or clip, or of another system's prediction file, by keypoints and words.

    Words come from you (--text), or with --describe from a vision-language model that looks at the photo (--base-url
    with --model, or --local), or from our captioner on the initial body, which is a control that can teach nothing.

    OUT gets report.html with a slider over the steps, meshes before and after, overlays and arrays.
    """

    start: tyro.conf.Positional[Path | None] = None
    """Folder of one photo or clip that `hmralign recover` wrote, or a file of predictions: an .npz archive of ours,
    tracks of 4D-Humans, SAM 3D Body, NLF, SMPLer-X (docs/prediction_files.md)."""
    out: Path = Path("runs/refine")
    """Folder for the result, new."""
    text: str | None = None
    """What the pose is, in English, such as "left hand on the right knee"; left and right are the person's own."""
    describe: Literal["none", "caption", "vlm"] = "none"
    """Who else says what the pose is: nobody, our captioner (a control), or a vision-language model."""
    person: tuple[str, ...] = ()
    """Whom to refine, by number or name; everybody unless said. --text needs one person."""
    photo: Path | None = None
    """The photo, for overlays and for --describe vlm; it must be the one that was recovered."""
    video: Path | None = None
    """The clip, where START is that of one: the file or the folder of frames that was recovered. A model describes the
    30th of every 60 frames (--describe vlm)."""
    keypoints: Path | None = None
    """JSON file of COCO, OpenPose or AlphaPose whose keypoints replace those of the answer; needs --photo."""
    keypoint_weight: float | None = None
    """How much the keypoints count; 0 leaves them out, so that words win that contradict them."""
    text_weight: float | None = None
    """How much the words count; 0 leaves them out."""
    text_space: str | None = None
    """Let a text space pull as well: "pose-text", which comes with the package, or the path of `train text`'s. A text
    that is longer than it reads is rewritten by the model of --describe vlm, or cut, and that is said."""
    encoder_folder: Path | None = None
    """Folder of the text encoder of --text-space, where it is not that of the extra [language]."""
    refiner: str | None = None
    """Weights that move the body besides: "refiner", which come with the package, or the path of `train refiner`'s.
    Without them only the keypoints and the words do."""
    steps: int | None = None
    """Steps of the diffusion."""
    samples: int | None = None
    """Answers of --describe vlm about each part of the body, 3 unless said; two more are of the mirrored picture."""
    part_words: int | None = None
    """Words of such an answer at most, 40 unless said."""
    trust: Path | None = None
    """What `hmralign critic describe` found of this model: how much its statements on each part count."""
    body: Path | None = None
    """Your SMPL, SMPL-H or SMPL-X file, where the answer was made with one."""
    seed: int = 0
    """Seed of everything that is drawn."""
    overwrite: bool = False
    """Replace an earlier result."""
    quiet: bool = False
    """Say nothing but errors."""
    json: Annotated[bool, tyro.conf.arg(help="Print one JSON document about the result, and nothing else.")] = False
    config: Path | None = None
    """YAML file of options; arguments replace its values."""


@ending_early
def run_refine(options: RefineOptions, terminal: Terminal) -> int:
    """Refine, write, and say where to look."""
    _check(options)
    from hmralign.body.body_file import load_body_and_family
    from hmralign.body.free_body import load_free_body
    from hmralign.cli.refine_clip import run_refine_clip
    from hmralign.models.language.refiner_checkpoint import load_refiner
    from hmralign.systems.language_refinement.outputs import write_refined
    from hmralign.systems.language_refinement.refined import refine_people
    from hmralign.systems.language_refinement.starts import read_start
    from hmralign.systems.recover.outputs import require_replaceable
    from hmralign.systems.video.stored import is_clip_folder

    assert options.start is not None
    require_writable(options.out.parent)
    is_clip = is_clip_folder(options.start)
    if not is_clip:
        require_replaceable(options.out, options.overwrite)
    body, family = (load_free_body("7k"), "free") if options.body is None else load_body_and_family(options.body)
    refiner = None if options.refiner is None else load_refiner(options.refiner, body.skeleton_hash)
    space = _text_space(options, body)
    if is_clip:
        return run_refine_clip(options, terminal, body, refiner, space)
    people = read_start(options.start, body, options.photo, options.keypoints, family)
    if options.person:
        people = people.chosen(options.person)
    wishes, latent = wishes_of(options, people, body, space)
    config = refine_config(options, wishes)
    refined = refine_people(people, wishes, body, config, refiner=refiner, latent=latent, seed=options.seed)
    made_by = {"command": "refine", "text": options.text, "describe": options.describe, "model": options.model}
    write_refined(options.out, refined, body, made_by, overwrite=options.overwrite)
    notes = [*refined.notes, *(note for person in refined.persons for note in person.notes)]
    if not options.quiet:
        for note in notes:
            terminal.note(note)
    terminal.answer(_document(options, refined, notes))
    count = len(refined.persons)
    terminal.say(f"{count} {'person' if count == 1 else 'people'} refined: see {options.out / 'report.html'}")
    return DONE


def _check(options: RefineOptions) -> None:
    """Raises UsageError for options that do not go together."""
    from hmralign.data.photo_formats import image_suffixes

    if options.start is None:
        raise UsageError("START is missing; expected a folder of `hmralign recover`, or a prediction file")
    if not options.start.exists():
        raise UsageError(
            f"'{options.start}' does not exist; expected a folder of `hmralign recover`, or a file of predictions"
        )
    if options.start.is_file() and options.start.suffix.lower() in image_suffixes():
        raise UsageError(f"'{options.start}' is a photo; expected the folder that `hmralign recover` writes of it")
    if options.text is not None and options.describe != "none":
        raise UsageError("--text and --describe are both given; expected one of them")
    if options.describe == "vlm" and options.photo is None and options.video is None:
        raise UsageError("--describe vlm needs --photo, which the model looks at, or --video where START is a clip")
    of_model = (options.base_url, options.local, options.trust, options.samples, options.part_words)
    if options.describe != "vlm" and any(given is not None for given in of_model):
        raise UsageError("--base-url, --local, --trust, --samples and --part-words are for --describe vlm")
    if options.encoder_folder is not None and options.text_space is None:
        raise UsageError("--encoder-folder is for --text-space")
    for flag, value in (("--keypoint-weight", options.keypoint_weight), ("--text-weight", options.text_weight)):
        if value is not None and not value >= 0:
            raise UsageError(f"{flag} is {value}; expected 0 or more")
    if options.steps is not None and options.steps < 1:
        raise UsageError(f"--steps is {options.steps}; expected at least 1")


def _text_space(options: RefineOptions, body: BodyModel) -> TextSpace | None:
    from hmralign.models.language.checkpoint import load_text_space

    if options.text_space is None:
        return None
    return load_text_space(options.text_space, body.skeleton_hash, options.encoder_folder)


def wishes_of(
    options: RefineOptions, people: InitialPeople, body: BodyModel, space: TextSpace | None
) -> tuple[list[Wish], LatentWords | None]:
    """What is wanted of each person, and what a text space reads of it.

    Raises UsageError for words on more than one, and as the sources of words do.
    """
    from hmralign.systems.language_refinement.latent_words import latent_words
    from hmralign.systems.language_refinement.wishes import NOTHING_WANTED, captioned, typed

    persons = people.persons
    if options.describe == "vlm":
        return _described(options, people, space)
    wishes = [NOTHING_WANTED for _ in persons]
    if options.text is not None:
        if len(persons) != 1:
            raise UsageError(
                f"--text is about one person, and there are {len(persons)} in '{options.start}'; expected --person"
            )
        wishes = [typed(options.text)]
    elif options.describe == "caption":
        wishes = [captioned(person, body, options.seed) for person in persons]
    if space is None:
        return wishes, None
    latent, wishes = latent_words(space, wishes)
    return wishes, latent


def _described(
    options: RefineOptions, people: InitialPeople, space: TextSpace | None
) -> tuple[list[Wish], LatentWords | None]:
    from hmralign.systems.language_refinement.describing import ShownPerson
    from hmralign.systems.language_refinement.latent_words import latent_words, shortened_by

    if people.photo is None:
        raise UsageError(f"--video is of a clip, and '{options.start}' is none; expected --photo")
    rgb, name = people.photo.rgb, people.photo.sha256 or people.photo.name
    shown = [ShownPerson.of(f"{name}#{p.name}", rgb, p.observation) for p in people.persons]
    with opened_asker(options, options.out.with_name("refine_journal.sqlite")) as asker:
        wishes = described_wishes(options, asker, shown)
        if space is None:
            return wishes, None
        latent, wishes = latent_words(space, wishes, shortened_by(asker, options.seed))
    return wishes, latent


def described_wishes(options: RefineOptions, asker: Asker, shown: list[ShownPerson]) -> list[Wish]:
    """What a model says of persons, as far as it is believed, in their order."""
    from hmralign.evaluation.description_audit import read_trust
    from hmralign.refinement.description.believed import BeliefOptions, believed
    from hmralign.refinement.description.prompts import DescribeOptions
    from hmralign.systems.language_refinement.describing import describe_people
    from hmralign.systems.language_refinement.wishes import heard_from_model

    given: dict[str, Any] = {"samples": options.samples, "part_words": options.part_words}
    asked = DescribeOptions(seed=options.seed, **{name: value for name, value in given.items() if value is not None})
    belief = BeliefOptions(trust={} if options.trust is None else read_trust(options.trust))
    return [heard_from_model(believed(p, belief), p.failures) for p in describe_people(asker, shown, asked)]


def refine_config(options: RefineOptions, wishes: list[Wish]) -> Any:
    """The settings: those of the kind of words, and what is said otherwise."""
    from hmralign.systems.language_refinement.wishes import config_of

    config = config_of(wishes)
    config = config if options.steps is None else dataclasses.replace(config, num_steps=options.steps)
    given = {"keypoint_weight": options.keypoint_weight, "text_weight": options.text_weight}
    pull = dataclasses.replace(config.pull, **{name: value for name, value in given.items() if value is not None})
    return dataclasses.replace(config, pull=pull)


def _document(options: RefineOptions, refined: Any, notes: list[str]) -> dict[str, Any]:
    from hmralign.systems.recover.outputs import read_record

    record = read_record(options.out) or {}
    return {
        "format_version": 1, "out": str(options.out), "report": str(options.out / "report.html"),
        "people": record.get("people"), "notes": notes,
        "keypoint_loss": [[float(p.refinement.keypoint_loss[i]) for i in (0, -1)] for p in refined.persons],
        "text_loss": [[float(p.refinement.text_loss[i]) for i in (0, -1)] for p in refined.persons],
    }  # fmt: skip
