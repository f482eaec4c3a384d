"""Clips from end to end with the shipped weights: tracks, gaps, cuts, what is said, and what is written."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign import Recoverer
from hmralign.body.lbs import posed_joints, posed_keypoints
from hmralign.body.skeleton import MIRROR_JOINTS, MIRROR_KEYPOINTS
from hmralign.data.video.clip import VideoBudget
from hmralign.data.video.video_file import VideoFile
from hmralign.detection.detection import Detection, OtherReading
from hmralign.geometry.cameras import project
from hmralign.models.checkpoint import checkpoint_path
from hmralign.structures import InputError
from support.clips import alphapose_frames, moving_keypoints, person_pictures, plain_pictures, require_av, write_clip
from support.video_example import SMALL_CHUNKS, tiny_recoverer

require_av()


@pytest.fixture(scope="module")
def recoverer():
    if not checkpoint_path("lite").is_file():
        pytest.skip("the weights are not here")
    return Recoverer.load("lite", detector=None, num_hypotheses=6)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "walk.mp4", person_pictures(12))


@pytest.fixture(scope="module")
def walk(recoverer, clip):
    return recoverer.video(clip, keypoints=moving_keypoints(12), config=SMALL_CHUNKS)


def test_one_person_is_one_track_with_one_shape(walk):
    (track,) = walk
    assert len(track) == 12 and track.frames.tolist() == list(range(12)) and walk.fps == pytest.approx(30, rel=0.01)
    params = track.params
    assert (params.betas == params.betas[0]).all() and not track.interpolated.any() and not track.exchanged.any()
    assert np.allclose(posed_joints(track.body, params).numpy(), track.joints, atol=1e-4)
    assert track.vertices(3).shape == (len(track.body.v_template), 3)
    assert torch.equal(track[3].transl, params.transl[3]) and torch.equal(track[-1].transl, params.transl[11])
    assert (track.spread > 0)[:, 1:].all()
    with pytest.raises(IndexError):
        track[12]


def test_bodies_stand_where_their_keypoints_are(walk):
    (track,) = walk
    seen = project(posed_keypoints(track.body, track.params), torch.from_numpy(track.K))
    assert (seen - torch.from_numpy(track.keypoints[..., :2])).norm(dim=-1).mean() < 4  # of a body of 180 pixels
    assert (np.diff(track.joints[:, 0, 0]) > 0).all()


def test_frames_do_not_depend_on_how_they_are_committed(recoverer, clip, walk):
    whole = recoverer.video(clip, keypoints=moving_keypoints(12))
    assert np.allclose(whole[0].joints, walk[0].joints, atol=1e-4)


def test_a_short_gap_is_filled_and_marked_and_a_long_one_ends_the_track(recoverer, tmp_path):
    clip = write_clip(tmp_path / "gaps.mp4", person_pictures(36))
    people = moving_keypoints(36)
    for frame in (5, 6, *range(14, 26)):
        people[frame] = np.zeros((0, 27, 3))
    video = recoverer.video(clip, keypoints=people)
    assert [track.frames.tolist() for track in video] == [list(range(14)), list(range(26, 36))]
    first, second = video
    assert np.flatnonzero(first.interpolated).tolist() == [5, 6] and not second.interpolated.any()
    assert (first.keypoints[5:7] == 0).all()
    assert first.spread[5:7].mean() > first.spread[[4, 7]].mean()
    assert any("2 bodies are filled in" in note for note in video.notes)
    middle = first.joints[4:8, 0, 0]
    assert middle[0] < middle[1] < middle[2] < middle[3]


def test_a_cut_ends_every_track(recoverer, tmp_path):
    size = person_pictures(1)[0].shape[1::-1]
    other = np.full((size[1], size[0], 3), (20, 240, 60), np.uint8)
    pictures = [*plain_pictures(6, size), *[other] * 6]
    video = recoverer.video(write_clip(tmp_path / "cut.mp4", pictures), keypoints=moving_keypoints(12))
    assert video.cuts == [6] and [t.frames.tolist() for t in video] == [list(range(6)), list(range(6, 12))]
    assert any("1 cut, at 0.20 s" in note for note in video.notes)


def test_nobody_in_the_middle_and_nobody_at_all(recoverer, clip):
    people = moving_keypoints(12)
    video = recoverer.video(clip, keypoints=[np.zeros((0, 27, 3))] * 12)
    assert len(video) == 0 and "nobody was found in any frame" in video.notes
    assert recoverer.video(clip, keypoints=people[:4])[0].frames.tolist() == [0, 1, 2, 3]


def test_a_varying_rate_is_used_and_said(recoverer, tmp_path):
    times = [0.0, 0.03, 0.06, 0.09, 0.16, 0.19]
    clip = write_clip(tmp_path / "vfr.mp4", person_pictures(6), times)
    video = recoverer.video(clip, keypoints=moving_keypoints(6))
    assert video.varying_rate and np.allclose(video[0].times, times, atol=2e-3)
    assert any("frame rate varies" in note for note in video.notes)
    motion = np.load(video.save(tmp_path / "out", pictures=False) / "track_0" / "motion.npz", allow_pickle=False)
    assert float(motion["mocap_framerate"]) == pytest.approx(video.fps) and len(motion["poses"]) == 7


def test_a_still_image_is_one_frame(recoverer, tmp_path):
    Image.fromarray(person_pictures(1)[0]).save(tmp_path / "still.png")
    video = recoverer.video(tmp_path / "still.png", keypoints=moving_keypoints(1))
    assert len(video[0]) == 1 and any("one frame" in note for note in video.notes)


def test_sixty_people(recoverer, tmp_path):
    clip = write_clip(tmp_path / "crowd.mp4", plain_pictures(2, (1600, 900)), options={"preset": "ultrafast"})
    (one,) = moving_keypoints(1)
    crowd = []
    for frame in range(2):
        people = np.repeat(one, 60, axis=0)
        people[:, :, :2] *= 0.7
        people[:, :, 0] += 150 * (np.arange(60) % 10)[:, None] + frame
        people[:, :, 1] += 140 * (np.arange(60) // 10)[:, None]
        crowd.append(people)
    video = recoverer.video(clip, keypoints=crowd)
    assert len(video) == 60 and all(len(track) == 2 for track in video)


def test_frames_of_different_size_are_a_cut_and_each_has_its_camera(recoverer, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(8):
        picture = person_pictures(1)[0]
        Image.fromarray(picture if number < 4 else np.pad(picture, ((0, 40), (0, 0), (0, 0)))).save(
            folder / f"{number}.png"
        )
    video = recoverer.video(folder, keypoints=moving_keypoints(8), fps=25.0)
    assert video.cuts == [4] and [len(t) for t in video] == [4, 4]
    assert video[0].K[0, 0, 0] != video[1].K[0, 0, 0]
    saved = video.save(tmp_path / "out")
    assert [f.rgb.shape for f in VideoFile(saved / "overlay.mp4").frames()] == [(200, 160, 3)] * 8


def test_a_short_flip_of_the_detector_is_taken_back(recoverer, tmp_path):
    clip = write_clip(tmp_path / "flip.mp4", person_pictures(10))
    people = moving_keypoints(10, 0.5)
    people[5] = people[5][:, list(MIRROR_KEYPOINTS)]
    video = recoverer.video(clip, keypoints=people)
    (track,) = video
    assert np.flatnonzero(track.exchanged).tolist() == [5]
    assert any("in 1 body left and right" in note for note in video.notes)
    relative = track.joints - track.joints[:, :1]
    assert np.linalg.norm(np.diff(relative, axis=0), axis=-1).max() < 0.05


class TwoNetworks:
    """A detector whose heavy network has the sides wrong in one frame, where the full one has them right."""

    name = "mediapipe_heavy"

    def __init__(self, frames, wrong):
        self.frames, self.wrong, self.next = frames, wrong, 0

    def __call__(self, image):
        (points,) = self.frames[self.next]
        points, at, self.next = points.astype(np.float32), self.next, self.next + 1
        box = np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])
        right = OtherReading(points[:, :2] + 0.5, points[:, 2], None, "mediapipe-0.10.21", ("body",))
        read = points[list(MIRROR_KEYPOINTS)] if at == self.wrong else points
        return [
            Detection(
                read[:, :2], read[:, 2], box, 0.9, detector="mediapipe_heavy-0.10.21",
                alternative=right if at == self.wrong else None,
            )
        ]  # fmt: skip

    def detect_in_box(self, image, box):
        raise AssertionError


def test_a_frame_that_two_networks_read_differently_is_linked_by_its_neighbours_and_mirrored_with_the_clip(tmp_path):
    if not checkpoint_path("lite").is_file():
        pytest.skip("the weights are not here")
    clip = write_clip(tmp_path / "a.mp4", person_pictures(8))
    plain = moving_keypoints(8, 0.5)
    mirrored = [people[:, list(MIRROR_KEYPOINTS)] * [-1, 1, 1] + [159, 0, 0] for people in plain]
    (track,), (other,) = (
        Recoverer.load("lite", detector=TwoNetworks(frames, wrong=4), num_hypotheses=6).video(clip)
        for frames in (plain, mirrored)
    )
    assert np.flatnonzero(track.exchanged).tolist() == np.flatnonzero(other.exchanged).tolist() == [4]
    # what was linked lies half a pixel beside, and so is the second network's reading, not the first one's turned
    assert np.allclose(track.keypoints[4, :, :2], plain[4][0, :, :2] + 0.5, atol=1e-3)
    assert np.allclose(other.joints[:, list(MIRROR_JOINTS)] * [-1, 1, 1], track.joints, atol=0.02)


def test_a_frame_that_contradicts_its_neighbours_is_filled_in_counted_and_still_shown_as_it_was_read(tmp_path):
    if not checkpoint_path("lite").is_file():
        pytest.skip("the weights are not here")
    frames = moving_keypoints(9, 0.5)
    middle = frames[4][0, :, 1].mean()
    frames[4][0, :, 1] = 2 * middle - frames[4][0, :, 1]  # upside down for one frame
    clip = write_clip(tmp_path / "a.mp4", person_pictures(9))
    video = Recoverer.load("lite", detector=TwoNetworks(frames, wrong=None), num_hypotheses=6, sides="as-read").video(
        clip
    )
    (track,) = video
    assert np.flatnonzero(track.interpolated).tolist() == [4]
    assert np.allclose(track.keypoints[4, :, :2], frames[4][0, :, :2], atol=1e-3)
    assert "1 sighting that contradicted the frames around it" in " ".join(video.notes)
    assert np.abs(np.diff(track.joints - track.joints[:, :1], axis=0)).max() < 0.1  # nobody stands on the head


def test_with_sides_as_read_a_clip_is_linked_by_motion_alone(tmp_path):
    clip, frames = write_clip(tmp_path / "a.mp4", person_pictures(6)), moving_keypoints(6, 0.5)
    tiny_recoverer(tmp_path)
    recoverer = Recoverer.load(
        tmp_path / "tiny.safetensors", detector=TwoNetworks(frames, wrong=3), num_hypotheses=4, sides="as-read"
    )
    (track,) = recoverer.video(clip)
    for points, linked in zip(frames, track.keypoints, strict=True):  # the second network's is never among them
        assert np.allclose(np.sort(linked[:, 0]), np.sort(points[0, :, 0]), atol=1e-3)


def test_a_detector_is_asked_about_every_frame(tmp_path):
    frames = moving_keypoints(5)
    asked = []

    class Fake:
        name = "fake"

        def __call__(self, image):
            asked.append(image.shape)
            (points,) = frames[len(asked) - 1]
            box = np.concatenate([points[:, :2].min(0), points[:, :2].max(0)]).astype(np.float32)
            keypoints = points[:, :2].astype(np.float32)
            return [Detection(keypoints, points[:, 2].astype(np.float32), box, 0.9, detector="fake-1")]

        def detect_in_box(self, image, box):
            raise AssertionError

    clip = write_clip(tmp_path / "a.mp4", person_pictures(5))
    video = tiny_recoverer(tmp_path, Fake()).video(clip)
    assert len(asked) == 5 and len(video[0]) == 5


def test_people_with_too_few_keypoints_are_counted_and_left_out(recoverer, clip):
    people = moving_keypoints(12)
    for frame in range(12):
        ghost = people[frame].copy()
        ghost[:, 2:, 2] = 0
        people[frame] = np.concatenate([people[frame], ghost])
    video = recoverer.video(clip, keypoints=people)
    assert len(video) == 1 and "12 sightings with fewer than 3 keypoints are left out" in video.notes


def test_wrong_input_is_refused_in_one_sentence(recoverer, clip, tmp_path):
    with pytest.raises(InputError, match="no detector is in use"):
        recoverer.video(clip)
    with pytest.raises(InputError, match="time of its own"):
        recoverer.video(clip, keypoints=moving_keypoints(1), fps=30.0)
    with pytest.raises(InputError, match="frame 0 have shape"):
        recoverer.video(clip, keypoints=[np.zeros((27, 3))])
    with pytest.raises(InputError, match="does not exist"):
        recoverer.video(tmp_path / "none.mp4", keypoints=moving_keypoints(1))
    with pytest.raises(InputError, match="boxes, which speaks of one picture"):
        (tmp_path / "boxes.json").write_text('{"boxes": [[0, 0, 9, 9]]}')
        recoverer.video(clip, keypoints=tmp_path / "boxes.json")


def test_keypoints_beyond_the_clip_are_said(recoverer, clip, tmp_path):
    file = tmp_path / "k.json"
    file.write_text(json.dumps(alphapose_frames(moving_keypoints(15))))
    video = recoverer.video(clip, keypoints=file)
    assert len(video[0]) == 12
    assert any("3 frames that the clip does not have" in note for note in video.notes)
    few = recoverer.video(clip, keypoints=moving_keypoints(15), budget=VideoBudget(max_frames=5))
    assert any("10 frames" in note for note in few.notes) and any("first 5 frames" in note for note in few.notes)


def test_the_folder_holds_what_the_documents_say(walk, tmp_path):
    folder = walk.save(tmp_path / "out")
    assert sorted(p.name for p in folder.iterdir()) == ["overlay.mp4", "report.html", "track_0", "video.json"]
    record = json.loads((folder / "video.json").read_text())
    assert record["clip"]["frames"] == 12 and record["tracks"][0]["ends_with"] == "the clip ends"
    arrays = np.load(folder / "track_0" / "frames.npz", allow_pickle=False)
    assert np.allclose(arrays["joints"], walk[0].joints) and arrays["rotmats"].shape == (12, 24, 3, 3)
    film = list(VideoFile(folder / "overlay.mp4").frames())
    assert len(film) == 12 and np.allclose([f.time for f in film], walk.times, atol=2e-3)
    page = (folder / "report.html").read_text()
    assert "overlay.mp4" in page and "data-time" in page and page.count("<polyline") == 1
    with pytest.raises(InputError, match="other settings"):
        walk.save(folder)
    walk.save(folder, overwrite=True, pictures=False)
    assert sorted(p.name for p in folder.iterdir()) == ["track_0", "video.json"]


def test_motion_npz_poses_the_same_joints_in_amass_axes(walk, tmp_path):
    """Posed again from the file alone, and turned back by hand."""
    from hmralign.geometry.rotations import rotvec_to_rotmat
    from hmralign.structures import BodyParams

    motion = np.load(walk.save(tmp_path / "out", pictures=False) / "track_0" / "motion.npz", allow_pickle=False)
    assert motion["poses"].shape == (12, 156) and str(motion["gender"]) == "neutral"
    assert (motion["poses"][:, 66:] == 0).all()
    rotmats = rotvec_to_rotmat(torch.from_numpy(motion["smpl_poses"].reshape(-1, 24, 3)).float())
    betas = torch.from_numpy(motion["betas"]).float().expand(12, -1)
    posed = BodyParams(rotmats[:, 0], rotmats[:, 1:], betas, torch.from_numpy(motion["trans"]).float())
    joints = posed_joints(walk[0].body, posed).numpy()
    back = np.stack([joints[..., 0], -joints[..., 2], joints[..., 1]], -1)
    assert np.abs(back - walk[0].joints).max() < 1e-4
