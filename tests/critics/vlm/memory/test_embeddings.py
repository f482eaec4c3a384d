import numpy as np
import pytest
import torch

from hmralign.critics.vlm.memory.embeddings import ClipEmbedder, Embedder, GroupView, MixEmbedder, PoseEmbedder, unit
from hmralign.critics.vlm.memory.records import EmbeddingSpace
from hmralign.structures import BodyParams, Hypotheses, InputError, Observation
from support.tiny_clip import save_clip


def hypotheses(joints):
    n = len(joints)
    eye = torch.eye(3)
    body = BodyParams(eye.expand(n, 3, 3), eye.expand(n, 23, 3, 3), torch.zeros(n, 10), torch.zeros(n, 3))
    return Hypotheses(body, joints)


def observation(keypoints, confidence=None):
    confidence = torch.ones(27) if confidence is None else confidence
    low, high = keypoints.amin(0), keypoints.amax(0)
    return Observation(
        keypoints, confidence, torch.cat([low, high]), torch.eye(3), torch.tensor(True), torch.zeros(48, 48),
        torch.tensor(False),
    )  # fmt: skip


def view(seed=0, noise=0.02, n=6):
    draw = torch.Generator().manual_seed(seed)
    pose, points = torch.randn(29, 3, generator=draw), 100 * torch.rand(27, 2, generator=draw)
    joints = pose + noise * torch.randn(n, 29, 3, generator=draw)
    return GroupView(hypotheses(joints), observation(points))


def test_vectors_have_length_one_and_the_size_of_their_space():
    embedder = PoseEmbedder()
    vector = embedder(view())
    assert vector.dtype == np.float32 and vector.shape == (embedder.space.dim,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    assert isinstance(embedder, Embedder)


def test_where_the_person_is_and_in_what_order_hypotheses_come_does_not_matter():
    group, embedder = view(), PoseEmbedder()
    moved = hypotheses(group.hypotheses.joints.flip(0) + torch.tensor([1.0, -2.0, 5.0]))
    points = group.observation.keypoints * 2 + 30
    np.testing.assert_allclose(embedder(GroupView(moved, observation(points))), embedder(group), atol=1e-5)


def test_like_poses_are_nearer_than_others():
    embedder = PoseEmbedder()
    vector, again, other = embedder(view(0)), embedder(view(0, noise=0.03)), embedder(view(1))
    assert vector @ again > 0.95 > vector @ other


def test_ambiguity_is_part_of_it():
    embedder = PoseEmbedder(pose=0.5, spread=0.5, keypoints=0.0)
    group = view(0)
    joints = group.hypotheses.joints.clone()
    joints[::2, 16:24, 2] += 0.5
    joints[1::2, 16:24, 2] -= 0.5
    assert embedder(group) @ embedder(GroupView(hypotheses(joints))) < 0.95


def test_unseen_keypoints_say_nothing():
    group, embedder = view(), PoseEmbedder(pose=0.0, spread=0.0, keypoints=1.0)
    confidence = torch.ones(27)
    confidence[5] = 0
    moved = group.observation.keypoints.clone()
    first = GroupView(observation=observation(group.observation.keypoints, confidence))
    moved[5] = moved.mean(0)
    vectors = [
        embedder(GroupView(group.hypotheses, Observation(
            points, confidence, first.observation.box, torch.eye(3), torch.tensor(True), torch.zeros(48, 48),
            torch.tensor(False),
        )))
        for points in (group.observation.keypoints, moved)
    ]  # fmt: skip
    np.testing.assert_array_equal(*vectors)


def test_settings_are_part_of_the_space():
    assert PoseEmbedder().space == PoseEmbedder().space
    assert PoseEmbedder().space != PoseEmbedder(pose=0.6, spread=0.2).space


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match="needs the hypotheses"):
        PoseEmbedder()(GroupView())
    with pytest.raises(InputError, match="needs the observation"):
        PoseEmbedder()(GroupView(view().hypotheses))
    with pytest.raises(InputError, match="29"):
        PoseEmbedder()(GroupView(hypotheses(torch.zeros(2, 24, 3))))
    with pytest.raises(InputError, match="sum to 1"):
        PoseEmbedder(pose=0.9)
    with pytest.raises(InputError, match="length 0"):
        unit(np.zeros(3))


def crop(seed):
    return np.random.default_rng(seed).integers(0, 256, (50, 40, 3), dtype=np.uint8)


def test_clip_is_the_image_half_of_the_whole_model(tmp_path):
    from transformers import CLIPImageProcessorPil

    model = save_clip(tmp_path / "clip")
    embedder = ClipEmbedder.from_folder(tmp_path / "clip")
    pixels = CLIPImageProcessorPil.from_pretrained(tmp_path / "clip")(images=crop(0), return_tensors="pt")
    with torch.no_grad():
        pooled = model.vision_model(**pixels).pooler_output
        expected = model.visual_projection(pooled)[0]
    np.testing.assert_allclose(embedder(GroupView(crop=crop(0))), expected / expected.norm(), atol=1e-5)
    assert embedder.space.dim == 12 and isinstance(embedder, Embedder)
    with pytest.raises(InputError, match="needs the person's crop"):
        embedder(GroupView())


def test_a_space_knows_what_it_is_of(tmp_path):
    save_clip(tmp_path / "clip")
    clip, pose = ClipEmbedder.from_folder(tmp_path / "clip"), PoseEmbedder()
    mix = MixEmbedder(clip, pose, 0.3)
    assert (clip.space.kind, pose.space.kind, mix.space.kind) == ("clip", "pose", "mix")
    for embedder in (clip, pose, mix):
        assert EmbeddingSpace(**embedder.space.record) == embedder.space
    assert mix.space.share == 0.3 and "0.3 to 0.7" in str(mix.space) and "share" not in pose.space.record
    with pytest.raises(InputError, match="expected pose or clip"):
        _ = EmbeddingSpace("siglip 12", "0" * 64, 4).kind


def test_other_weights_are_another_space(tmp_path):
    for seed in (0, 1):
        save_clip(tmp_path / str(seed), seed)
    first, second = (ClipEmbedder.from_folder(tmp_path / name).space for name in "01")
    assert first != second and first.preprocessing == second.preprocessing


def test_a_folder_that_is_no_clip_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"lacks config\.json"):
        ClipEmbedder.from_folder(tmp_path)
    save_clip(tmp_path / "clip")
    (tmp_path / "clip" / "model.safetensors").write_bytes(b"x" * 64)
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        ClipEmbedder.from_folder(tmp_path / "clip")
    from safetensors.torch import save_file

    save_file({"text_model.x": torch.zeros(1)}, tmp_path / "clip" / "model.safetensors")
    with pytest.raises(InputError, match="lacks tensors such as"):
        ClipEmbedder.from_folder(tmp_path / "clip")


def test_a_mix_weighs_the_similarities(tmp_path):
    save_clip(tmp_path / "clip")
    clip, pose = ClipEmbedder.from_folder(tmp_path / "clip"), PoseEmbedder()
    mix = MixEmbedder(clip, pose, 0.3)
    groups = [GroupView(view(i).hypotheses, view(i).observation, crop(i)) for i in (0, 1)]
    (c0, c1), (p0, p1), (m0, m1) = ([embedder(g) for g in groups] for embedder in (clip, pose, mix))
    assert float(m0 @ m1) == pytest.approx(0.3 * float(c0 @ c1) + 0.7 * float(p0 @ p1), abs=1e-5)
    assert mix.space.dim == 12 + pose.space.dim and mix.space != MixEmbedder(clip, pose, 0.4).space
    with pytest.raises(InputError, match="share"):
        MixEmbedder(clip, pose, 1.0)
