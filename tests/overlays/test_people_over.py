"""People over a film's frame: the same pixels as when the whole picture is drawn, computed only where they are."""

import numpy as np
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import vertices
from hmralign.overlays.people_over import bodies_window, people_over
from hmralign.rendering.zbuffer import render
from hmralign.systems.recover.demo_scene import demo_scene

BODY = load_free_body("3k5")
SCENE = demo_scene(BODY)
MESH = vertices(BODY, SCENE.truth)
K = torch.from_numpy(SCENE.K)
BLACK = np.zeros((800, 640, 3), np.uint8)


def drawn(meshes, colors, K=K):
    return people_over(BLACK, torch.stack(meshes), BODY.faces, K, torch.tensor(colors), alpha=1.0)


def test_it_covers_what_the_whole_rendering_covers():
    picture = drawn([MESH], [(1.0, 1.0, 1.0)])
    whole = render(MESH[None], BODY.faces, K, (800, 640), ("silhouette",)).silhouette[0].numpy()
    assert ((picture.sum(-1) > 0) == whole).mean() > 0.9999 and whole.any()


def test_the_nearer_hides_the_farther_whatever_their_order():
    near, far = MESH, MESH + torch.tensor([0.15, 0.0, 1.0])
    red, blue = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)
    one, other = drawn([near, far], [red, blue]), drawn([far, near], [blue, red])
    assert np.array_equal(one, other)
    alone = drawn([near], [red])
    assert np.array_equal(one[alone.sum(-1) > 0], alone[alone.sum(-1) > 0])
    assert (one[..., 2] > one[..., 0]).any()


def test_nobody_in_sight_leaves_the_picture_alone():
    away = MESH + torch.tensor([50.0, 0.0, 0.0])
    behind = MESH - torch.tensor([0.0, 0.0, 20.0])
    assert drawn([away], [(1.0, 1.0, 1.0)]) is BLACK and drawn([behind], [(1.0, 1.0, 1.0)]) is BLACK
    assert bodies_window(behind[None], K, (640, 800)) is None


def test_somebody_half_outside_is_cut_off_at_the_border():
    aside = MESH + torch.tensor([1.0, 0.0, 0.0])
    left, _, right, _ = bodies_window(aside[None], K, (640, 800))
    assert right == 640 and left > 300
    assert drawn([aside], [(1.0, 1.0, 1.0)]).any()
