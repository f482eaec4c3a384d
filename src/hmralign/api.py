"""What a user imports: photos in, ranked human meshes out.

from hmralign import Recoverer

with Recoverer.load("lite") as recoverer:
    people = recoverer("photo.jpg")
people[0].fused         # the answer: the mean of all hypotheses
people[0].best          # one of the group: the hypothesis that the critics like best
people[0].spread        # disagreement of the hypotheses per joint, metres
people.save("out")      # report.html, meshes, arrays, pictures
"""

from __future__ import annotations

import html
import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from hmralign.body.body_file import load_body
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.critics.by_rule import Agreement
from hmralign.data.images import ImageSource, LoadedImage, load_image
from hmralign.data.video.clip import Clip, Frame, VideoBudget
from hmralign.detection.catalogue import DetectorSetting, make_detector
from hmralign.detection.detection import Detection, Detector
from hmralign.detection.find_people import NobodyFound, find_people
from hmralign.detection.names import wrong_folder
from hmralign.detection.observe import camera_of, photo_title
from hmralign.detection.process_lock import ProcessLock
from hmralign.detection.sides import Part
from hmralign.export.rotvec_params import rotvec_params
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.hypotheses.sides import SideMode, Sides, SidesConfig
from hmralign.models.after_fork import make_torch_ready
from hmralign.models.scorer_checkpoint import load_scorer
from hmralign.policies.catalogue import Runtime, open_policy, policy_skeleton
from hmralign.policies.onnx_lite import OnnxLitePolicy
from hmralign.policies.policy import BodyProposer, SamplerConfig
from hmralign.structures import BodyParams, Camera, Hypotheses, InputError
from hmralign.structures.counted import counted
from hmralign.structures.device import chosen_device
from hmralign.structures.extensions import extension_code
from hmralign.structures.shown_name import shown_name
from hmralign.systems.recover.doubtful_sides import tell_of_doubtful_sides
from hmralign.systems.recover.expected_error import expected_error
from hmralign.systems.recover.exports import EXPORT_FORMATS, ExportedPerson, write_exports
from hmralign.systems.recover.many_photos import each_answer, photo_sources
from hmralign.systems.recover.outputs import Keep, Wanted, is_finished, require_replaceable, write_person, write_photo
from hmralign.systems.recover.people import RecoverConfig, RecoveredPerson, RecoveredPhoto, measured, recover_people
from hmralign.systems.recover.pictures import photo_overlay, plain_photo
from hmralign.systems.recover.provenance import BodyIdentity, Provenance, digest
from hmralign.systems.recover.report import agreement_words
from hmralign.systems.recover.retarget_photo import retarget_photo
from hmralign.systems.recover.summary import person_folder
from hmralign.systems.video.answer_frames import FrameAnswers
from hmralign.systems.video.clip_answers import Track, Video
from hmralign.systems.video.outputs import read_clip_record, require_replaceable_clip
from hmralign.systems.video.people import recover_clip, retarget_clip
from hmralign.systems.video.ways_in import GivenPeople, Keypoints, clip_camera, keypoints_digest, open_clip
from hmralign.tracking.video_config import VideoConfig

if TYPE_CHECKING:
    from hmralign.systems.language_refinement.answer import Refined

__all__ = ["NobodyFound", "People", "Person", "Recoverer", "Track", "Video", "VideoBudget", "VideoConfig"]

Which = Literal["fused", "best"] | int
"""A body of a person: the fused one, the best hypothesis, or a hypothesis by its index."""


class Recoverer:
    """Recovers the people of photos; make one with `load` and call it once per photo.

    The same photo, settings and seed give the same answer, whatever was recovered before. Use it as a context manager,
    or call `close`, to end the detector's process early; it ends with Python otherwise.

    Any number of threads may call one recoverer: the detector, also one of yours, sees one photo at a time, everything
    else runs side by side. A process that is forked, or that is handed a copy, has a recoverer of its own with a
    detector process of its own; in a forked one torch computes with one thread, as its others do not survive the fork.
    On a GPU start processes by "spawn": CUDA does not survive a fork either.
    """

    def __init__(
        self,
        policy: BodyProposer,
        body: BodyModel,
        detector: Literal["mediapipe"] | Detector | None,
        config: RecoverConfig,
        provenance: Provenance,
        estimated_on: BodyModel | None = None,
    ):
        self.body, self.config = body, config
        self._estimated_on = estimated_on or body
        self._policy, self._detector, self._provenance = policy, detector, provenance
        self._detecting = ProcessLock()

    @staticmethod
    def load(
        checkpoint: str | Path | BodyProposer = "lite",
        *,
        body: BodyModel | str | Path | None = None,
        detector: str | Detector | None = "mediapipe",
        detector_folder: str | Path | None = None,
        device: str | torch.device = "cpu",
        runtime: Runtime = "torch",
        num_hypotheses: int = 100,
        refine: bool = True,
        weighed_by: str | None = None,
        sides: Sides = "both",
        seed: int = 0,
    ) -> Recoverer:
        """Load weights and body.

        Args:
            checkpoint: "lite", the weights that come with the package; the path of a checkpoint, or of a folder that
                `hmralign export onnx` wrote; or a policy of your
                own (`hmralign.policies.policy.BodyProposer`), as an object or as "FILE.py:FUNCTION", whose code is run.
            body: The body to pose, or the path of a file of SMPL, SMPL-H or SMPL-X; None is the free body. Weights are
                bound to a skeleton: with those of the free body and a body of another skeleton, people are estimated on
                the free body and carried over, and such results are marked `retargeted`.
            detector: "mediapipe" (made by `hmralign setup-detector`), "vitpose" (RT-DETR and ViTPose from
                `detector_folder`), your own, as an object or as "FILE.py:FUNCTION", whose code is run, or None where
                keypoints are given, or boxes are all that is known.
            detector_folder: Folder with the models of "vitpose", person/ and pose/ (`docs/detectors.md`).
            device: Where the model runs, for example "cuda".
            runtime: "onnx" lets ONNX Runtime compute the networks of a checkpoint of kind `lite` on the CPU, sooner and
                equal but for rounding; needs `pip install 'hmralign[onnx]'`. "bfloat16" samples such a checkpoint with
                products in bfloat16, on processors that are faster at it (`docs/export.md`).
            num_hypotheses: Bodies sampled per person (M); the answers at M = 20 are close to those at 100.
            refine: Whether hypotheses are moved onto the keypoints, weighted by the detector's measured noise.
            weighed_by: Learned scorer ("scorer", "scorer-lab" or a path) that weighs the hypotheses in the fused
                answer; None counts all alike, which is as good for "lite" (`docs/results/fusion.md`).
            sides: "both" gives hypotheses of both readings where left and right, or front and back, may have been read
                the wrong way round (`Person.modes`); "as-read" believes the detector.
            seed: Of all random numbers.

        Raises InputError for M < 1, an unknown detector or device, a body file that is none, and a checkpoint that is
        missing, damaged, or made for a skeleton that is neither the body's nor the free body's.
        """
        if num_hypotheses < 1:
            raise InputError(f"number of hypotheses is {num_hypotheses}; expected at least 1")
        place = chosen_device(device)
        skeleton = policy_skeleton(checkpoint)  # mistyped? say so before a body is read
        free = load_free_body("7k")
        body = load_body(body) if isinstance(body, str | Path) else body or free
        estimated_on = free if skeleton in (free.skeleton_hash, None) else body
        if estimated_on.skeleton_hash == body.skeleton_hash:
            estimated_on = body
        opened = open_policy(checkpoint, estimated_on.to(place), runtime=runtime)
        sampler = SamplerConfig(num_hypotheses=num_hypotheses)
        config = RecoverConfig(sampler=sampler, weighed_by=weighed_by, sides=SidesConfig(mode=sides), seed=seed)
        if weighed_by is not None:
            load_scorer(weighed_by, estimated_on.skeleton_hash)  # missing or of another body? say so before any photo
        if not refine:
            config = replace(config, refinement=RefinementConfig(method="none"))
        chosen = _chosen_detector(detector, detector_folder, place)
        provenance = Provenance(
            checkpoint=opened.name,
            checkpoint_hash=opened.sha256,
            body=BodyIdentity.of(body),
            estimated_on=BodyIdentity.of(estimated_on),
            detector=_detector_name(chosen, detector),
            config=config,
            device=str(place),
            runtime="onnx" if isinstance(opened.policy, OnnxLitePolicy) else runtime,
            detector_versions={} if isinstance(chosen, str) else getattr(chosen, "versions", {}),
        )
        return Recoverer(opened.policy, body, chosen, config, provenance, estimated_on)

    def __call__(
        self,
        image: ImageSource,
        *,
        boxes: str | Path | np.ndarray | Sequence[Sequence[float]] | None = None,
        keypoints: str | Path | np.ndarray | Sequence[Any] | None = None,
        K: np.ndarray | None = None,
        focal_px: float | None = None,
    ) -> People:
        """The people of one photo.

        Args:
            image: A path, a binary file, a Pillow image, or a uint8 RGB array.
            boxes: Whom to recover, (people, 4) as x0, y0, x1, y1 in pixels, or a JSON file. The detector reads each
                box; whom it does not find there is recovered from the box alone (`Person.box_only`). A box may reach
                beyond the photo, and must show 8 pixels of it in both directions. Without boxes and keypoints
                everybody whom the detector finds is recovered.
            keypoints: The people's keypoints, lists or an array (people, n, 3) as x, y, confidence in the order of
                `body.skeleton.KEYPOINT_NAMES` (its first 17, which are COCO's, its first 23, or all 27), or a JSON file
                of COCO, OpenPose or AlphaPose. No detector is used.
            K: Intrinsics of the photo in pixels, (3, 3); `focal_px` says the same of a camera that looks through the
                middle of the photo. Otherwise EXIF is used, or the focal length is guessed.

        Raises:
            NobodyFound: the detector finds no person in the photo, and there are no boxes.
            InputError: the photo, a file or an array is wrong.
        """
        make_torch_ready()
        of_boxes = _as_array(boxes, "boxes", "(people, 4): x0, y0, x1, y1 in pixels")
        of_keypoints = _as_array(keypoints, "keypoints", "(people, n, 3): x, y, confidence, of 17, 23 or 27 keypoints")
        seconds: dict[str, float] = {}
        with measured(seconds, "load"):
            photo = load_image(image)
            camera = camera_of(photo, K, focal_px)
        with measured(seconds, "detect"):
            found = self._find_people(photo, of_boxes, of_keypoints)
        recovered = recover_people(self._policy, photo, camera, found, self.config, seconds)
        tell_of_doubtful_sides(photo.name, recovered.persons)
        if self.provenance.retargeted:
            recovered = retarget_photo(recovered, self._estimated_on, self.body)
        return People(recovered, self.body, self.provenance, _inputs(photo, of_boxes, of_keypoints, K, focal_px))

    def many(
        self, photos: str | Path | Iterable[ImageSource], *, skip_bad: bool = True, progress: bool | None = None,
        **given: Any,
    ) -> Iterator[People]:  # fmt: skip
        """The people of many photos, photo by photo: `for people in recoverer.many("photos/")`.

        Args:
            photos: A folder, a pattern such as "photos/*.jpg", or a list of what a call takes.
            skip_bad: Whether a photo that cannot be read, or in which nobody is found, is left out with a warning that
                names it; otherwise its error is raised.
            progress: Whether a bar is shown on stderr; None shows it where that is a terminal.
            given: What else a call takes, for every photo: a keypoint or box file of all of them, `K`, `focal_px`.

        `people.photo.name` says which photo it is. Raises InputError at once where there is no photo.
        """
        return each_answer(photo_sources(photos), lambda one: self(one, **given), skip_bad=skip_bad, progress=progress)

    def video(
        self,
        clip: str | Path,
        *,
        keypoints: Keypoints | None = None,
        K: np.ndarray | None = None,
        focal_px: float | None = None,
        fps: float | None = None,
        budget: VideoBudget | None = None,
        config: VideoConfig | None = None,
        work: str | Path | None = None,
    ) -> Video:
        """The people of one clip: every frame is answered as a photo is, then they are followed, linked and smoothed.

        Args:
            clip: A video file (needs PyAV, `pip install 'hmralign[video]'`), or a folder of frames.
            keypoints: Instead of the detector: a file of AlphaPose or COCO for all frames, a folder of OpenPose's, or
                arrays by frame, each (people, n, 3) as for photos, of no people where there is nobody.
            K: Intrinsics of all frames in pixels; `focal_px` as for photos. Otherwise the focal length is guessed.
            fps: Frames per second of a folder of frames, 30 unless said; a video file has its own time.
            budget: How much is decoded at most.
            config: How people are followed, linked and smoothed.
            work: Folder for answered frames, with which an interrupted call goes on when it is made again.

        50 hypotheses are enough here, and faster (`load(num_hypotheses=50)`). Nobody found is no error: the answer has
        no tracks, and its `notes` say so. Raises InputError for a clip that cannot be read, and as for photos.
        """
        make_torch_ready()
        opened, video = open_clip(clip, fps, budget), config or VideoConfig()
        given = None if keypoints is None else GivenPeople(keypoints, opened)
        if given is None and self.detector is None:
            raise InputError("no detector is in use; expected keypoints, or a detector that finds people")
        if self.config.weighed_by is not None:
            raise InputError("a learned scorer weighs hypotheses of photos only; expected none for a clip")
        fingerprint = self._clip_fingerprint(opened, keypoints, K, focal_px, budget, video)
        answers = FrameAnswers(
            policy=self._policy,
            find=given or self._find_in_frame,
            camera=clip_camera(K, focal_px),
            recover=self.config,
            video=video,
            on_frame=given.tell if given else lambda _: None,
        )
        plan = {"format_version": 2, "fingerprint": fingerprint}
        found = recover_clip(
            opened, answers, None if work is None else Path(work), plan, given.notes if given else lambda: []
        )
        if self.provenance.retargeted:
            found = retarget_clip(found, self._estimated_on, self.body)
        return Video(found, self.body, self.provenance, fingerprint)

    def video_already_saved(
        self,
        folder: str | Path,
        clip: str | Path,
        *,
        keypoints: Keypoints | None = None,
        K: np.ndarray | None = None,
        focal_px: float | None = None,
        fps: float | None = None,
        budget: VideoBudget | None = None,
        config: VideoConfig | None = None,
    ) -> bool:
        """Whether `folder` holds the finished result of this clip with these inputs and settings.

        Raises InputError when something else stands there, so that a long run fails before it works, not after.
        """
        opened = open_clip(clip, fps, budget)
        wanted = self._clip_fingerprint(opened, keypoints, K, focal_px, budget, config or VideoConfig())
        if (read_clip_record(Path(folder)) or {}).get("fingerprint") == wanted:
            return True
        require_replaceable_clip(Path(folder), overwrite=False)
        return False

    def _clip_fingerprint(
        self,
        clip: Clip,
        keypoints: Keypoints | None,
        K: np.ndarray | None,
        focal_px: float | None,
        budget: VideoBudget | None,
        config: VideoConfig,
    ) -> str:
        settings = json.dumps([asdict(budget or VideoBudget()), asdict(config)], sort_keys=True)
        return self.provenance.fingerprint(
            clip.sha256, keypoints_digest(keypoints), digest(K), digest(focal_px), settings
        )

    def _find_in_frame(self, frame: Frame) -> list[Detection]:
        """Whom the detector finds in a frame, asked by one thread at a time."""
        assert frame.rgb is not None
        with self._detecting.held():
            detector = self.detector
            assert detector is not None
            return detector(frame.rgb)

    def _find_people(
        self, photo: LoadedImage, boxes: str | Path | np.ndarray | None, keypoints: str | Path | np.ndarray | None
    ) -> list[Detection]:
        """Whom the detector finds, asked by one thread at a time, or who is given."""
        if keypoints is not None:
            return find_people(photo, None, boxes, keypoints)
        with self._detecting.held():
            return find_people(photo, self.detector, boxes, keypoints)

    def already_saved(
        self,
        folder: str | Path,
        image: str | Path,
        *,
        boxes: str | Path | None = None,
        keypoints: str | Path | None = None,
        K: np.ndarray | None = None,
        focal_px: float | None = None,
        keep: Keep = 1,
        pictures: bool = True,
        report: bool = True,
    ) -> bool:
        """Whether `folder` holds the finished result of this photo with these inputs and settings.

        Raises InputError when something else stands there, so that a long run fails before it works, not after.
        """
        name = digest(Path(image)) if Path(image).is_file() else None
        inputs = (name or "none", *(digest(v) for v in (boxes, keypoints, K, focal_px)))
        if is_finished(Path(folder), self.provenance.fingerprint(*inputs, Wanted(keep, pictures, report).word)):
            return True
        require_replaceable(Path(folder), overwrite=False)
        return False

    @property
    def detector(self) -> Detector | None:
        """The detector, started when it is first needed. Raises InputError when it is not installed."""
        with self._detecting.held():
            if self._detector == "mediapipe":
                from hmralign.detection.mediapipe_detector import MediapipeDetector

                started = MediapipeDetector()
                self._provenance = replace(self._provenance, detector_versions=started.versions)
                self._detector = started
            assert not isinstance(self._detector, str)
            return self._detector

    @property
    def provenance(self) -> Provenance:
        """Versions, hashes and settings behind every answer."""
        return self._provenance

    def close(self) -> None:
        """End the detector's process, if one runs; the recoverer starts another when it is used again."""
        from hmralign.detection.mediapipe_detector import MediapipeDetector

        with self._detecting.held():
            if isinstance(self._detector, MediapipeDetector):
                self._detector.close()

    def __enter__(self) -> Recoverer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        made = self._provenance
        return (
            f"Recoverer({made.checkpoint!r}, body={made.body.name!r}, retargeted={made.retargeted}, "
            f"detector={made.detector!r}, device={made.device!r}, "
            f"num_hypotheses={self.config.sampler.num_hypotheses}, refinement={self.config.refinement.method!r}, "
            f"seed={self.config.seed})"
        )


class Person:
    """One recovered person. Bodies are in the `cam` frame (x right, y down, z forward), metres."""

    def __init__(self, photo: RecoveredPhoto, number: int, body: BodyModel, provenance: Provenance):
        self.number, self.body = number, body
        self._photo, self._provenance = photo, provenance

    @property
    def hypotheses(self) -> Hypotheses:
        """All hypotheses, axis `(hyp,)`, in the order in which they were sampled; `ranking` orders them."""
        return self._person.hypotheses

    @property
    def scores(self) -> Float[Tensor, " hyp"]:
        """The critics' score of each hypothesis, higher is better; `critic_scores` has each critic's own."""
        return self._person.scores

    @property
    def critic_scores(self) -> dict[str, Float[Tensor, " hyp"]]:
        """Scores by critic."""
        return self._person.critic_scores

    @property
    def ranking(self) -> list[int]:
        """Indices of the hypotheses, best first."""
        return self._person.ranking.tolist()

    @property
    def best_index(self) -> int:
        """Index of the hypothesis that the critics like best."""
        return self._person.selected

    @property
    def best(self) -> BodyParams:
        """The hypothesis that the critics like best: one of the group, further from the truth than `fused`."""
        return self.hypotheses.body[self.best_index]

    @property
    def fused(self) -> BodyParams:
        """The answer: the mean of all hypotheses on the rotation manifold, refined on the keypoints."""
        return self._person.fused

    @property
    def fused_joints(self) -> Float[Tensor, "29 3"]:
        """The 29 joints of the fused body."""
        return self._person.fused_joints

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the 29 joints, in the order of `fused_joints` and `spread`; `expected_error` is by these names."""
        return JOINT_NAMES

    @property
    def spread(self) -> Float[Tensor, " 29"]:
        """Disagreement of the hypotheses by `joint_names`: RMS distance from their mean, pelvis-relative metres.

        It says where the photo leaves room; `expected_error` says how far off the answer is likely to be.
        """
        return self._person.spread

    @property
    def expected_error(self) -> dict[str, float] | None:
        """Expected RMS error (metres) of each joint of the fused body but the pelvis, pelvis-relative, by its name.

        The spread, recalibrated on synthetic validation persons. None for weights that were not calibrated.
        """
        return expected_error(self._person, self._provenance)

    @property
    def best_agreement(self) -> Agreement:
        """How well the best hypothesis fits the keypoints and the mask; None for what was not observed."""
        return self._person.best_agreement

    @property
    def fused_agreement(self) -> Agreement:
        """How well the fused body fits the keypoints and the mask; None for what was not observed."""
        return self._person.fused_agreement

    @property
    def keypoints(self) -> Float[Tensor, "27 3"]:
        """Observed x, y (pixels of the photo as loaded) and confidence, order of `body.skeleton.KEYPOINT_NAMES`."""
        observation = self._person.observation
        return torch.cat([observation.keypoints, observation.confidence[:, None]], dim=-1)

    @property
    def box(self) -> Float[Tensor, " 4"]:
        """Box of the confident keypoints, x0, y0, x1, y1; the given box where nothing else is known."""
        return self._person.observation.box

    @property
    def sides_disagree(self) -> tuple[Part, ...]:
        """What two networks read the other way round, left and right: "body" (or front and back), "legs", "arms"."""
        other = self._person.detection.alternative
        return () if other is None else other.exchanged

    @property
    def modes(self) -> tuple[SideMode, ...]:
        """The readings of the person's sides that the hypotheses follow, the one of `fused` first; mostly one.

        Two where left and right, or front and back, may have been read the wrong way round: each has its probability,
        its members among the hypotheses and its own fused answer.
        """
        return self._person.modes

    @property
    def box_only(self) -> bool:
        """Whether the person is known only by a box: the pose is a guess from its shape, look at the spread."""
        return self._person.box_only

    @property
    def detection(self) -> Detection:
        """What the detector said."""
        return self._person.detection

    @property
    def camera(self) -> Camera:
        """The photo's camera."""
        return self._photo.camera

    def params(self, which: Which = "fused") -> BodyParams:
        """Parameters of one body. Raises InputError for a hypothesis that does not exist."""
        if which == "fused":
            return self.fused
        if which == "best":
            return self.best
        count = self.hypotheses.num_hypotheses
        if isinstance(which, bool) or not isinstance(which, int) or not -count <= which < count:
            raise InputError(f"body {which!r} does not exist; expected 'fused', 'best' or 0 to {count - 1}")
        return self.hypotheses.body[which]

    def to_rotvec(self, which: Which = "fused") -> dict[str, Float[Tensor, " values"]]:
        """SMPL-style parameters of one body: `global_orient` (3,), `body_pose` (69,), `betas`, `transl` (3,).

        Rotations are axis-angle in radians, `transl` metres, in the `cam` frame: keyword arguments of body models of
        SMPL's convention. The betas are those of `person.body`, which is SMPL only where you gave one.
        """
        return rotvec_params(self.params(which))

    def vertices(self, which: Which = "fused") -> Float[Tensor, "vert 3"]:
        """Mesh of one body, `cam` metres; `faces` are `person.body.faces`."""
        return vertices(self.body, self.params(which))

    def refine(
        self,
        text: str | None = None,
        *,
        describe: Literal["none", "caption"] = "none",
        keypoint_weight: float | None = None,
        text_weight: float | None = None,
        refiner: str | Path | None = None,
        seed: int = 0,
    ) -> Refined:
        """The fused body made better by the keypoints, and by words: `person.refine(text="left hand on right knee")`.

        Args:
            text: What the pose is, in English; left and right are the person's own. What is not understood is in
                `Refined.notes`.
            describe: "caption" lets our captioner describe the fused body itself: a control, which can teach nothing.
            keypoint_weight: How much the keypoints count; 0 leaves them out, so that words win that contradict them.
            text_weight: How much the words count.
            refiner: Weights that move the body besides: "refiner", which come with the package, or a path; None for
                keypoints and words alone.
            seed: Of what is drawn.

        Raises InputError for arguments of another kind, words that say nothing of a pose or contradict each other, and
        where there is nothing to refine by: neither keypoints nor words.
        """
        from hmralign.systems.language_refinement.answer import refine_recovered

        return refine_recovered(
            self._photo, self.number, self.body, text, describe, keypoint_weight, text_weight, refiner, seed
        )

    def save(self, folder: str | Path, keep: Keep = 1, *, pictures: bool = True, overwrite: bool = False) -> Path:
        """Write this person's outputs into a new folder, whole or not at all; `keep` best meshes, or "all".

        Without `pictures` only numbers are written, and no mesh. Saving the same once more changes nothing.
        """
        wanted = Wanted(keep, pictures)
        return write_person(
            Path(folder), self._photo, self.number, self.body, self._provenance, wanted=wanted, overwrite=overwrite
        )

    @property
    def _person(self) -> RecoveredPerson:
        return self._photo.persons[self.number]

    def __repr__(self) -> str:
        x, y, z = (float(v) for v in self.fused_joints[0])
        error = self.fused_agreement.reprojection_px
        fit = "no confident keypoints" if error is None else f"fused keypoints off by {error:.1f} px"
        return (
            f"Person({self.number} of {photo_title(self._photo.image)!r}: "
            f"{counted(self.hypotheses.num_hypotheses, 'hypothesis')}, "
            f"best is {self.best_index}, {'known only by its box' if self.box_only else fit}, "
            f"mean spread {100 * float(self.spread.mean()):.1f} cm, pelvis at ({x:.2f}, {y:.2f}, {z:.2f}) m)"
        )

    def _repr_html_(self) -> str:
        alone = replace(self._photo, persons=[self._person])
        return People(alone, self.body, self._provenance, (), first=self.number)._repr_html_()


class People(Sequence[Person]):
    """The people of one photo, a sequence of `Person`."""

    def __init__(
        self, photo: RecoveredPhoto, body: BodyModel, provenance: Provenance, inputs: tuple[str, ...], *, first: int = 0
    ):
        self._photo, self._body, self._provenance, self._inputs = photo, body, provenance, inputs
        self._first = first
        self._persons = [Person(photo, number, body, provenance) for number in range(len(photo.persons))]

    @property
    def photo(self) -> LoadedImage:
        """The photo as loaded: upright, RGB."""
        return self._photo.image

    @property
    def camera(self) -> Camera:
        """The photo's camera; `source` says whether it was given, read from EXIF or guessed."""
        return self._photo.camera

    @property
    def seconds(self) -> dict[str, float]:
        """Wall-clock time per stage."""
        return dict(self._photo.seconds)

    def overlay(self) -> Image.Image:
        """The fused bodies over the photo."""
        meshes = [person.vertices("fused") for person in self]
        return Image.fromarray(photo_overlay(self._photo, plain_photo(self._photo), meshes, self._body))

    def save(
        self, folder: str | Path, *, keep: Keep = 1, pictures: bool = True, report: bool = True,
        overwrite: bool = False, index: str | Path | None = None, on_person: Callable[[], None] = lambda: None,
    ) -> Path:  # fmt: skip
        """Write everything about this photo into a new folder, whole or not at all, and return the folder.

        `report.html` shows it all, with a link back to the page `index` where one is named; `keep` is how many of the
        best hypotheses are written as meshes, or "all". Drawing takes most of the time: without `pictures` numbers
        alone are written, no mesh and no report. Saving the same once more changes nothing; another result is replaced
        only with `overwrite`. `on_person` is called after each person. Raises InputError when the folder cannot be
        written.
        """
        wanted = Wanted(keep, pictures, report)
        fingerprint = self._provenance.fingerprint(*self._inputs, wanted.word)
        return write_photo(
            Path(folder), self._photo, self._body, self._provenance, fingerprint,
            wanted=wanted, overwrite=overwrite, index=None if index is None else Path(index), on_person=on_person,
        )  # fmt: skip

    def export(self, folder: str | Path, formats: Sequence[str] = EXPORT_FORMATS) -> list[Path]:
        """Write the fused bodies for other programs into a folder, and return the files; files there are replaced.

        "glb": all people in one scene, skinned, plain and coloured by uncertainty; "bvh" and "npz" (in AMASS' layout):
        one file each person. Axes and units: `docs/export.md`.
        """
        people = [ExportedPerson(person.fused, person.hypotheses.body) for person in self]
        names = [person_folder(self._first + number) for number in range(len(people))]
        return write_exports(Path(folder), names, people, self._body, formats)

    @overload
    def __getitem__(self, index: int) -> Person: ...

    @overload
    def __getitem__(self, index: slice) -> list[Person]: ...

    def __getitem__(self, index: int | slice) -> Person | list[Person]:
        return self._persons[index]

    def __len__(self) -> int:
        return len(self._persons)

    def __repr__(self) -> str:
        lines = "".join(f"\n  {person!r}" for person in self)
        return f"People(photo={photo_title(self.photo)!r}, camera={self.camera.source!r}, {len(self)} found:{lines}\n)"

    def _repr_html_(self) -> str:
        picture = self.overlay()
        picture.thumbnail((512, 512), Image.Resampling.LANCZOS)
        file = BytesIO()
        picture.save(file, "PNG")
        source = b64encode(file.getvalue()).decode("ascii")
        title = html.escape(shown_name(photo_title(self.photo)))
        rows = "".join(_html_row(person, self._first + number) for number, person in enumerate(self))
        return (
            f'<div><img alt="Bodies drawn over {title}" src="data:image/png;base64,{source}"><table>'
            f"<caption>{title}: camera {self.camera.source}</caption><thead><tr><th>Person</th><th>Hypotheses</th>"
            "<th>Fused body (the answer)</th><th>One of the group (the critics' choice)</th>"
            f"<th>Mean spread</th></tr></thead><tbody>{rows}</tbody></table></div>"
        )


def _html_row(person: Person, number: int) -> str:
    name = f"{number}, known only by its box" if person.box_only else str(number)
    return (
        f"<tr><td>{name}</td><td>{person.hypotheses.num_hypotheses}</td>"
        f"<td>{html.escape(agreement_words(person.fused_agreement))}</td>"
        f"<td>no. {person.best_index}: {html.escape(agreement_words(person.best_agreement))}</td>"
        f"<td>{100 * float(person.spread.mean()):.1f} cm</td></tr>"
    )


def _chosen_detector(
    detector: str | Detector | None, folder: str | Path | None, device: torch.device
) -> Literal["mediapipe"] | Detector | None:
    """The detector itself; "mediapipe" stays a name until it is needed, as it starts a process."""
    asked = detector if isinstance(detector, str) else "none"
    if (wrong := wrong_folder(asked, folder)) is not None:
        raise InputError(wrong)
    if asked == "none":
        return None if isinstance(detector, str) else detector
    if asked == "mediapipe":
        return "mediapipe"
    return make_detector(asked, DetectorSetting(None if folder is None else Path(folder), device))


def _detector_name(detector: str | Detector | None, asked: object) -> str:
    """Its name, where it has one: those of the shipped ones tell their weights, so results of others are not reused.

    So does the hash of the file where the detector is code that was `asked` for by its name.
    """
    if detector is None:
        return "none"
    if isinstance(detector, str):  # mediapipe, not started yet
        from hmralign.detection.environment import detector_environment
        from hmralign.detection.heavy_network import detector_name, heavy_state

        environment = detector_environment()
        return detector_name(environment is not None and heavy_state(environment).ready)
    name = str(getattr(detector, "name", type(detector).__name__))
    code = extension_code(asked) if isinstance(asked, str) else None
    return name if code is None else f"{name}-{code[:12]}"


def _inputs(photo: LoadedImage, *given: str | Path | np.ndarray | float | None) -> tuple[str, ...]:
    """Hashes of the photo and of what was given with it."""
    return photo.sha256 or digest(photo.rgb), *(digest(value) for value in given)


def _as_array(given: Any, what: str, expected: str) -> Any:
    """Lists of numbers as an array; files, arrays and nothing as they are."""
    if given is None or isinstance(given, str | Path | np.ndarray):
        return given
    try:
        return np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} are {given!s:.80}; expected {expected}") from error
