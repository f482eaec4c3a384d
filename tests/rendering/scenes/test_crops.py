"""Pictures of synthetic persons show the person that was observed, and are the same every time."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import interpolate

from hmralign.data.synthetic.synthwild import world_generator
from hmralign.geometry.cameras import apply_affine, crop_affine, project
from hmralign.rendering.scenes.appearance import AppearanceMix, draw_appearance
from hmralign.rendering.scenes.background import blocks, cut_from, draw_walls, procedural
from hmralign.rendering.scenes.camera_effects import EffectMix
from hmralign.rendering.scenes.crops import AT_ONCE, SceneMix, inside_photo, rendered_crops
from hmralign.rendering.scenes.lighting import draw_light, lit
from hmralign.rendering.scenes.surface import albedo, stand_off
from hmralign.storage.seeds import seeded
from hmralign.structures import InputError

PLAIN = SceneMix(
    effects=EffectMix(blur=0.0, noise=(0.0, 0.0), gamma=(1.0, 1.0), grey=0.0, jpeg=0.0),
    shadow=0.0, beside=0.0, cover_hidden=0.0, thing_in_front=0.0, pixelated_face=0.0,
)  # fmt: skip
SIZE = 64


@pytest.fixture(scope="module")
def persons():
    source = world_generator("lab", "train")
    example, seen = source.sample_seen(24, seeded(3, "pictures"))
    return source.model, example, seen


def _draw(persons, mix=PLAIN, seed=0, **more):
    body, example, seen = persons
    return rendered_crops(body, example, seen, SIZE, mix, seeded(seed, "draw"), **more)


def test_the_same_draw_gives_the_same_pictures_and_another_others(persons):
    assert torch.equal(_draw(persons, SceneMix()), _draw(persons, SceneMix()))
    assert not torch.equal(_draw(persons, SceneMix()), _draw(persons, SceneMix(), seed=1))


def test_a_person_is_drawn_where_the_keypoints_are(persons):
    """A black person before a white wall: the shoulders and hips are dark, the far corners are white."""
    example = persons[1]
    dark = torch.zeros(3, 8, 8, dtype=torch.uint8)
    white = torch.full_like(dark, 255)
    on_white = _draw(persons, replace(PLAIN, own_backgrounds=1.0), backgrounds=[white])
    on_black = _draw(persons, replace(PLAIN, own_backgrounds=1.0), backgrounds=[dark])
    person = (on_white.int() - on_black.int()).abs().sum(1) == 0  # what the background does not change
    A, _ = crop_affine(example.observation.box, SIZE)
    middle = apply_affine(A, example.observation.keypoints[:, [5, 6, 11, 12]]).mean(1).round().long()
    hit = 0
    for picture, (x, y) in zip(person, middle.tolist(), strict=True):
        hit += bool(picture[min(max(y, 0), SIZE - 1), min(max(x, 0), SIZE - 1)])
    assert hit >= 22
    assert person.float().mean() < 0.6


def test_what_lies_outside_the_photo_is_black(persons):
    body, example, seen = persons
    near_border = replace(example, observation=replace(example.observation, box=example.observation.box - 600))
    outside = ~inside_photo(near_border, SIZE)
    assert outside.any()
    crops = rendered_crops(body, near_border, seen, SIZE, PLAIN, seeded(0, "draw"))
    assert (crops.permute(0, 2, 3, 1)[outside] == 0).all()


def test_hidden_keypoints_are_covered(persons):
    body, example, seen = persons
    confidence = example.observation.confidence.clone()
    confidence[:, [13, 15]] = 0  # left knee and ankle
    hidden = replace(example, observation=replace(example.observation, confidence=confidence))
    shown, covered = (
        rendered_crops(body, e, seen, SIZE, replace(PLAIN, cover_hidden=1.0), seeded(0, "draw"))
        for e in (example, hidden)
    )
    A, _ = crop_affine(example.observation.box, SIZE)
    knee = apply_affine(A, project(seen.joints[:, [4]], example.observation.K))[:, 0].round().long().clamp(0, SIZE - 1)
    changed = (shown.int() - covered.int()).abs().sum(1) > 0
    assert sum(bool(c[y, x]) for c, (x, y) in zip(changed, knee.tolist(), strict=True)) >= 20


def test_each_disturber_changes_pictures_and_none_changes_all(persons):
    plain = _draw(persons)
    for name in ("shadow", "beside", "thing_in_front", "pixelated_face"):
        changed = _draw(persons, replace(PLAIN, **{name: 1.0}))
        assert (changed.int() - plain.int()).abs().flatten(1).amax(1).gt(8).float().mean() > 0.3, name
    in_front = _draw(persons, replace(PLAIN, beside=1.0, in_front=1.0))
    behind = _draw(persons, replace(PLAIN, beside=1.0, in_front=0.0))
    assert not torch.equal(in_front, behind)


@pytest.mark.parametrize(
    "change",
    [{"blur": 1.0}, {"blur": 1.0, "blur_sd": (0.02, 0.03)}, {"noise": (0.1, 0.1)}, {"gamma": (2.0, 2.0)}, {"grey": 1.0},
     {"jpeg": 1.0}, {"jpeg": 1.0, "jpeg_quality": (5, 6)}],
)  # fmt: skip
def test_each_camera_effect_changes_pictures(persons, change):
    mix = replace(PLAIN, effects=replace(PLAIN.effects, **change))
    pictures = _draw(persons, mix)
    assert not torch.equal(pictures, _draw(persons))
    if change == {"grey": 1.0}:
        assert (pictures.float().std(1) <= 1).all()


def test_stronger_compression_loses_more(persons):
    def lost(quality):
        mix = replace(PLAIN, effects=replace(PLAIN.effects, jpeg=1.0, jpeg_quality=quality))
        return (_draw(persons, mix).float() - _draw(persons).float()).abs().mean()

    assert lost((5, 6)) > 1.5 * lost((90, 91))


def test_pictures_need_truth(persons):
    body, example, seen = persons
    with pytest.raises(InputError, match="no annotation"):
        rendered_crops(body, replace(example, annotation=None), seen, SIZE, PLAIN, seeded(0, "draw"))


def test_blocks_are_drawn_one_after_another(persons):
    """The first pictures do not depend on how many blocks follow, so a part of a split has the split's pictures."""
    source = world_generator("lab", "train")
    example, seen = source.sample_seen(AT_ONCE + 3, seeded(5, "pictures"))
    whole = rendered_crops(source.model, example, seen, 32, PLAIN, seeded(0, "draw"))
    first = rendered_crops(source.model, example[:AT_ONCE], seen[:AT_ONCE], 32, PLAIN, seeded(0, "draw"))
    assert torch.equal(whole[:AT_ONCE], first)


@pytest.mark.parametrize(
    "change, field",
    [({"bare_torso": 1.0}, "sleeve"), ({"bare_feet": 1.0}, "shoe_top"), ({"bald": 1.0}, "hairline"),
     ({"cap": 1.0}, "cap"), ({"plain": 1.0}, "shirt"), ({"blank_face": 1.0}, "face"), ({"dull": 1.0}, "shoes"),
     ({"loose": (0.0, 0.0)}, "loose")],
)  # fmt: skip
def test_looks_follow_their_shares(change, field):
    looks = draw_appearance(200, replace(AppearanceMix(), **change), seeded(0, "looks"))
    value = getattr(looks, field)
    expected = {
        "sleeve": lambda: (value == 0).all(),
        "shoe_top": lambda: (value < -1).all(),
        "hairline": lambda: (value[:, 0] > 1).all(),
        "cap": lambda: (value[:, 0] < 1).all(),
        "shirt": lambda: (value.pattern == 0).all(),
        "face": lambda: (value == 0).all(),
        "shoes": lambda: value.std(1).mean() < 0.1,
        "loose": lambda: (value == 0).all(),
    }
    assert expected[field]()


def test_clothes_cover_what_they_say_and_stand_off_the_body(persons):
    body = persons[0]
    mix = replace(AppearanceMix(), plain=1.0, bare_torso=0.0, bare_feet=0.0, loose=(0.02, 0.02))
    looks = draw_appearance(1, mix, seeded(0, "looks"))
    points = torch.tensor([[0.0, 0.3, 0.1], [0.13, -0.1, 0.05], [0.15, -0.9, 0.1], [0.75, 0.44, 0.0]])
    colors = albedo(points, torch.zeros(4, dtype=torch.long), looks)
    expected = [looks.shirt.colors[0, 0], looks.trousers.colors[0, 0], looks.shoes[0], looks.skin[0]]
    assert torch.allclose(colors, torch.stack(expected))
    off = stand_off(body.v_template, body.weights, looks)[0]
    chest = (body.v_template[:, 1] - 0.3).abs().lt(0.03) & body.v_template[:, 0].abs().lt(0.1)
    hands = body.v_template[:, 0].abs() > 0.75
    assert off[chest].min() > 0.003 and off.max() <= 0.0201 and (off[hands] == 0).all()


def test_light_from_the_camera_shows_what_faces_it():
    light = replace(draw_light(1, seeded(0, "light")), key=torch.tensor([[0.0, 0.0, -1.0]]))
    white, person = torch.ones(2, 3), torch.zeros(2, dtype=torch.long)
    facing, aside = lit(white * 0.5, torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]), person, light)
    assert (facing > aside).all()


def test_backgrounds_are_pictures_and_differ():
    made = procedural(6, 33, seeded(0, "wall"))
    assert made.shape == (6, 3, 33, 33) and 0 <= made.min() and made.max() <= 1
    assert (made[0] - made[1]).abs().mean() > 0.01
    walls, some = draw_walls(6, seeded(0, "wall")), torch.tensor([4, 1])
    assert torch.equal(walls.pictures(33), made) and torch.equal(walls.some(some).pictures(33), made[some])
    own = [torch.full((3, 7, 90), 10, dtype=torch.uint8), torch.full((3, 50, 5), 250, dtype=torch.uint8)]
    cut = cut_from(own, 20, 16, seeded(0, "cut"))
    means = cut.mean((1, 2, 3)) * 255
    assert set(means.round().int().tolist()) == {10, 250}


def test_blocks_of_noise_are_what_the_nearest_cell_says():
    for cells, size in ((4, 64), (20, 64), (4, 17), (20, 17), (20, 80), (4, 8)):
        grid = torch.rand(2, 3, cells, cells, generator=seeded(0, "grid"))
        assert torch.equal(blocks(grid, size), interpolate(grid, size=(size, size), mode="nearest")), (cells, size)
