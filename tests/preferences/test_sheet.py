"""The sheet shows the right hypotheses of the right groups, each where its person is, whatever the picture's scale."""

from dataclasses import replace
from functools import lru_cache
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import vertices
from hmralign.overlays.overlay import PAPER, cut_photo, draw_overlays, person_window
from hmralign.preferences.sheet import (
    SKY_BLUE,
    WORST_COLOR,
    drawn_groups,
    groups_sheet,
    person_ground,
    widest_groups,
)
from hmralign.preferences.store import CriticFacts, GroupStore, writing
from hmralign.preferences.stored_body import stored_body
from hmralign.rendering.zbuffer import render
from hmralign.structures import Camera, InputError, PreferenceGroups
from support.critic_examples import group_around, persons, sizes_of
from support.group_stores import store_facts
from support.synthetic_persons import BODY, seeded

SIDE = 64


@lru_cache(maxsize=1)
def scene():
    body, example = persons(3)
    return body, example, group_around(body, example.annotation.body, [0.0, 0.3, 0.6, 0.9])


def jpeg(rgb):
    file = BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=95)
    return file.getvalue()


def photo_of(number):
    """The true body, red on dark grey, on the full image."""
    body, example, _ = scene()
    width, height = sizes_of(example)[number]
    seen = render(
        vertices(body, example.annotation.body[number : number + 1]),
        body.faces,
        example.observation.K[number],
        (height, width),
        ("silhouette",),
    ).silhouette[0]
    return np.where(seen.numpy()[..., None], (230, 40, 40), (60, 60, 60)).astype(np.uint8)


def made(folder, *, photos, scores=None):
    body, example, hypotheses = scene()
    crops = windows = None
    if photos:
        places = [person_window(box) for box in example.observation.box]
        crops = tuple(jpeg(cut_photo(photo_of(i), places[i], max_side=100 + 90 * i)[0]) for i in range(3))
        windows = torch.tensor(places, dtype=torch.float32)
    groups = PreferenceGroups(("a", "b", "c"), None, hypotheses, replace(example, annotation=None), crops, windows)
    with writing(folder, store_facts(group_size=4, mesh_hash=body.mesh_hash)) as writer:
        for number in range(3):  # as photos do: a shard each
            part = PreferenceGroups(
                groups.ids[number : number + 1],
                None,
                hypotheses[number : number + 1],
                groups.example[number : number + 1],
                None if crops is None else crops[number : number + 1],
                None if windows is None else windows[number : number + 1],
            )
            writer.append(part)
        writer.declare_critic("one", CriticFacts("one", needs_truth=False))
        given = torch.tensor([[4.0, 3, 2, 1], [1, 2, 3, 9], [5, 1, 0, 3]]) if scores is None else scores
        for number in range(3):
            writer.write_scores("one", number, given[number : number + 1])
    return GroupStore.open(folder)


def is_painted(picture, color):
    """Pixels with the hue of a shaded body, which is lit without colour; its brightness varies."""
    rgb = np.asarray(picture).astype(float) + 1
    return np.abs(rgb / rgb.sum(-1, keepdims=True) - np.array(color) / sum(color)).max(-1) < 0.015


def test_groups_are_chosen_by_range_or_drawn():
    scores = torch.tensor([[0.0, 1.0], [5.0, 9.0], [2.0, 2.0], [0.0, 3.0]])
    assert widest_groups(scores, 3) == [1, 3, 0] and len(widest_groups(scores, 9)) == 4
    drawn = drawn_groups(100, 7, seeded(0))
    assert drawn == sorted(set(drawn)) == drawn_groups(100, 7, seeded(0)) != drawn_groups(100, 7, seeded(1))
    assert len(drawn) == 7 and len(drawn_groups(3, 7, seeded(0))) == 3


@pytest.mark.parametrize("photos", [False, True])
def test_a_row_per_group_in_the_given_order(tmp_path, photos, monkeypatch):
    rows = []

    def laid_out(tiles, **_):
        rows.extend(tiles)
        return Image.new("RGB", (1, 1))

    monkeypatch.setattr("hmralign.preferences.sheet.contact_sheet", laid_out)
    store = made(tmp_path / "s", photos=photos)
    groups_sheet(store, "one", scene()[0], [1, 0, 2], side=SIDE)
    assert [t.label for t in rows] == ["b", "a", "c"]
    assert [t.note for t in rows] == [
        "best 9.000 (hyp 3), worst 1.000 (hyp 0)",
        "best 4.000 (hyp 0), worst 1.000 (hyp 3)",
        "best 5.000 (hyp 0), worst 0.000 (hyp 2)",
    ]
    assert all(len(t.pictures) == 5 + photos and all(p.shape == (SIDE, SIDE, 3) for p in t.pictures) for t in rows)
    for tile in rows:
        *_, best, best_side, worst, worst_side = tile.pictures
        pictures = [(best_side, SKY_BLUE, WORST_COLOR), (worst_side, WORST_COLOR, SKY_BLUE)]
        if not photos:  # they shine through
            pictures += [(best, SKY_BLUE, WORST_COLOR), (worst, WORST_COLOR, SKY_BLUE)]
        for picture, own, other in pictures:
            assert is_painted(picture, own).sum() > 4 * is_painted(picture, other).sum()


@pytest.mark.parametrize("number", range(3))
def test_a_body_covers_its_person_at_any_scale_of_the_picture(tmp_path, number):
    store = made(tmp_path / "s", photos=True)
    body, example, hypotheses = scene()
    groups = store.read(number)
    ground = person_ground(store.crop(number), groups.crop_windows[0], example.observation[number], 128)  # type: ignore[index]
    assert ground.is_photo
    person = ground.picture[..., 0].astype(int) - ground.picture[..., 1] > 90
    there = covered(ground, vertices(body, hypotheses.body[number, :1]), body)
    assert iou(person, there & in_image(ground, number)) > 0.85


@pytest.mark.parametrize("number", range(3))
def test_the_mask_on_paper_lies_under_the_true_body(number):
    body, example, hypotheses = scene()
    ground = person_ground(None, None, example.observation[number], 128)
    assert not ground.is_photo
    masked = np.abs(ground.picture.astype(int) - PAPER).max(-1) > 24
    there = covered(ground, vertices(body, hypotheses.body[number, :1]), body)
    inside = in_image(ground, number)
    edge = round(128 * (1 - 1.25 / 1.3) / 2) + 1  # the mask's crop is a little smaller than the window
    inside[:edge] = inside[-edge:] = inside[:, :edge] = inside[:, -edge:] = False
    assert iou(masked & inside, there & inside) > 0.8


def in_image(ground, number):
    """Pixels of a picture that show the photo, not what lies beyond its border."""
    size, (left, top, right, bottom) = len(ground.picture), ground.window
    x = left + (np.arange(size) + 0.5) * (right - left) / size
    y = top + (np.arange(size) + 0.5) * (bottom - top) / size
    width, height = sizes_of(scene()[1])[number]
    return ((y > 0) & (y < height))[:, None] & ((x > 0) & (x < width))


def covered(ground, mesh, body):
    """Pixels that a body changes."""
    plain = np.full_like(ground.picture, 255)
    drawn = draw_overlays(plain, mesh, body.faces, ground.camera, alpha=1.0)[0]
    return (drawn != 255).any(-1)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_without_mask_and_with_a_guessed_camera():
    seen = scene()[1].observation[0]
    seen = replace(seen, has_mask=torch.tensor(False), knows_camera=torch.tensor(False))
    ground = person_ground(None, None, seen, SIDE)
    assert (ground.picture == PAPER).all()
    assert isinstance(ground.camera, Camera) and ground.camera.source == "estimated"


def test_the_sheet_is_drawn_and_the_store_untouched(tmp_path):
    store = made(tmp_path / "s", photos=True)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "s").rglob("*")}
    sheet = groups_sheet(store, "one", scene()[0], [2, 0], side=SIDE)
    assert sheet.width > 6 * SIDE and 2 * SIDE < sheet.height < 4 * SIDE
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "s").rglob("*")}


@pytest.mark.parametrize(
    ("critic", "numbers", "said"), [("two", [0], "no scores"), ("one", [3], "0 to 2"), ("one", [], "none")]
)
def test_what_cannot_be_drawn(tmp_path, critic, numbers, said):
    store = made(tmp_path / "s", photos=False)
    with pytest.raises(InputError, match=said):
        groups_sheet(store, critic, BODY, numbers)


def test_the_body_of_a_store():
    for size in ("3k5", "7k"):
        assert (
            stored_body(store_facts(mesh_hash=load_free_body(size).mesh_hash)).mesh_hash
            == load_free_body(size).mesh_hash
        )
    with pytest.raises(InputError, match="aaaaaaaaaaaa"):
        stored_body(store_facts(mesh_hash="a" * 64))
