"""The multi-view policy: its vector, its noise, its samples, its checkpoint, and what it refuses."""

from dataclasses import replace

import pytest
import torch

from hmralign.diffusion.schedule import ScheduleConfig
from hmralign.models.multiview.view_transformer import ViewTransformer, ViewTransformerConfig, attention, front_in_views
from hmralign.policies.multiview import MultiViewPolicy
from hmralign.policies.policy import Denoiser, NoisePredictor, SavedPolicy
from hmralign.structures import InputError
from support.synthetic_persons import seeded

TINY = ViewTransformerConfig(
    views=2, size=8, patch=4, width=16, depth=2, heads=2, head_channels=4, schedule=ScheduleConfig(num_steps=50)
)


def policy(config=TINY):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MultiViewPolicy(ViewTransformer(config), num_steps=3).eval()


def front(n=3):
    return torch.rand(n, 4, 8, 8, generator=seeded(0))


def noise(n=3, hyps=2):
    return torch.randn(n, hyps, TINY.dims, generator=seeded(1))


def test_it_has_the_denoising_half_of_the_protocol():
    p = policy()
    assert isinstance(p, Denoiser) and isinstance(p, NoisePredictor) and isinstance(p, SavedPolicy)
    views = torch.rand(3, 2, 4, 8, 8, generator=seeded(2))
    torch.testing.assert_close(p.to_views(p.from_views(views)), views)


def test_its_noise_is_what_is_left_of_x_t_without_x_0():
    p, t = policy(), torch.tensor([[5, 49], [0, 20], [30, 30]])
    x_t, context = noise(), policy().context(front())
    alpha_bar = p.schedule.at(t)[..., None]
    again = alpha_bar.sqrt() * p.predict_x_0(x_t, t, context) + (1 - alpha_bar).sqrt() * p.predict_noise(
        x_t, t, context
    )
    torch.testing.assert_close(again, x_t, atol=1e-5, rtol=1e-5)


def test_a_person_hangs_on_nobody_else_and_every_view_on_the_front():
    p, t = policy(), torch.full((3, 2), 20)
    whole = p.predict_x_0(noise(), t, front())
    torch.testing.assert_close(p.predict_x_0(noise()[1:2], t[1:2], front()[1:2]), whole[1:2], atol=1e-5, rtol=1e-4)
    other = front()
    other[0] = 0
    changed = (p.predict_x_0(noise(), t, other) - whole).abs().amax(-1)
    assert (changed[0] > 0).all() and changed[1:].max() == 0
    views = p.to_views(p.predict_x_0(noise(), t, other) - whole)
    assert (views[0].abs().amax((-1, -2, -3)) > 0).all()


def test_all_views_attend_to_one_another():
    p, t = policy(), torch.full((1, 1), 20)
    x_t = noise(1, 1)
    moved = x_t.clone()
    moved.view(2, -1)[1] += 1.0
    change = p.to_views(p.predict_x_0(moved, t, front(1)) - p.predict_x_0(x_t, t, front(1)))
    assert change[0, 0, 0].abs().max() > 0


def test_samples_are_those_of_the_generator():
    p = policy()
    first, again, other = (p.sample(front(), 2, seeded(s)) for s in (0, 0, 1))
    assert first.shape == (3, 2, TINY.dims) and torch.equal(first, again) and not torch.equal(first, other)


def test_a_checkpoint_gives_the_same_model_and_others_are_refused(tmp_path):
    path = policy().save(tmp_path / "m.safetensors", ("prior:train",))
    loaded = MultiViewPolicy.load(path, num_steps=3)
    t = torch.full((3, 2), 20)
    torch.testing.assert_close(
        loaded.predict_x_0(noise(), t, front()), policy().predict_x_0(noise(), t, front()), atol=2e-2, rtol=2e-2
    )
    with pytest.raises(InputError, match="no such"):
        MultiViewPolicy.load(tmp_path / "none.safetensors")
    wrong = policy()
    wrong.network.config = replace(TINY, width=32)
    with pytest.raises(InputError):
        MultiViewPolicy.load(wrong.save(tmp_path / "wrong.safetensors", ()))


def test_fronts_of_another_size_or_with_holes_are_refused():
    with pytest.raises(InputError, match="the model sees"):
        policy().context(torch.zeros(1, 4, 16, 16))
    with pytest.raises(InputError, match="not finite"):
        policy().context(front() * float("nan"))
    for wrong in ({"views": 1}, {"patch": 3}, {"width": 15}):
        with pytest.raises(InputError, match="view transformer"):
            replace(TINY, **wrong)


def test_a_head_that_is_shown_the_front_changes_that_view_and_the_one_behind(tmp_path):
    """The front in the head reaches the front's own view and the outline of the opposite one, sides have nothing."""
    shown = front_in_views(front(), 4)
    assert torch.equal(shown[:, 0], front()) and shown[:, [1, 3]].abs().max() == 0
    assert torch.equal(shown[:, 2, 3], front()[:, 3].flip(-1)) and shown[:, 2, :3].abs().max() == 0
    assert front_in_views(front(), 3)[:, 1:].abs().max() == 0  # no camera stands opposite
    p = policy(replace(TINY, shows_front=1))
    t = torch.full((3, 2), 20)
    head = p.network.head[0]
    before = p.to_views(p.predict_x_0(noise(), t, front()))
    with torch.no_grad():
        head.weight[:, -4:] += 1.0
    moved = (p.to_views(p.predict_x_0(noise(), t, front())) - before).abs().amax((0, 1, 3, 4, 5))
    assert (moved > 0).all()
    again = MultiViewPolicy.load(p.save(tmp_path / "shown.safetensors", ()), num_steps=3)
    assert again.network.config.shows_front == 1
    with pytest.raises(InputError, match="0 or 1"):
        replace(TINY, shows_front=2)


def test_a_reader_of_the_front_speaks_to_every_view_and_is_kept(tmp_path):
    """What changes in the front changes every view of the answer at the noisiest time; the file holds the reader."""
    p = policy(replace(TINY, front_reader=12))
    t = torch.full((3, 2), 49)
    before, other = (p.predict_x_0(noise(), t, seen) for seen in (front(), front().flip(-1)))
    moved = p.to_views(other - before).abs().amax((0, 1, 3, 4, 5))
    assert (moved > 0).all()
    with torch.no_grad():
        p.network.front.weight.zero_()  # the reader alone, without the patches of the front
    before, other = (p.predict_x_0(noise(), t, seen) for seen in (front(), front().flip(-1)))
    assert (p.to_views(other - before).abs().amax((0, 1, 3, 4, 5)) > 0).all()
    again = MultiViewPolicy.load(p.save(tmp_path / "read.safetensors", ()), num_steps=3)
    assert again.network.config.front_reader == 12
    assert again.network.reader.joints(front()).shape == (3, 24, 3)
    with pytest.raises(InputError, match="front_reader is -1"):
        replace(TINY, front_reader=-1)
    with pytest.raises(InputError, match="power of two, not 3"):
        replace(TINY, front_reader=4, size=9, patch=3)


def test_attention_in_half_the_digits_is_the_one_of_the_library():
    q, k, v = torch.randn(3, 2, 3, 5, 4, generator=seeded(1)).bfloat16()
    whole = torch.nn.functional.scaled_dot_product_attention(q.float(), k.float(), v.float())
    assert torch.allclose(attention(q, k, v).float(), whole, atol=0.03)
    assert torch.equal(attention(q.float(), k.float(), v.float()), whole)


def test_a_base_with_a_reader_draws_other_sides_for_another_front():
    """A short training on two persons: the sides of each are nearer to their own than to the other's."""
    p = policy(replace(TINY, front_reader=16))
    x_0 = torch.zeros(2, 1, p.dims)
    views = p.to_views(x_0)
    views[0, :, :, 3, :8], views[1, :, :, 3, 8:] = 1.0, 1.0
    fronts = views[:, 0, 0].clone()
    optimiser = torch.optim.Adam(p.network.requires_grad_(True).parameters(), 3e-3)
    t = torch.full((2, 1), 49)
    for step in range(150):
        eps = torch.randn(2, 1, p.dims, generator=seeded(step))
        loss = p.view_loss(p.from_views(views[:, 0])[:, None], t, eps, p.context(fronts)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        made = p.to_views(p.predict_x_0(eps, t, p.context(fronts)))[:, 0, 1:]
    own, other = (made - views[:, 0, 1:]).square().mean(), (made - views.flip(0)[:, 0, 1:]).square().mean()
    assert own < 0.5 * other
