"""The fast form gives what the plain form gives."""

import pytest
import torch

from hmralign.diffusion import ddim
from hmralign.models.paper.config import HYPONET
from hmralign.models.paper.fast_hyponet import FastHypoNet
from hmralign.models.paper.hyponet import HypoNet
from hmralign.models.paper.image_encoder import PaperContext
from support.synthetic_persons import seeded
from support.tiny_paper import own_config, tiny_paper


def context(width: int, cells: int, persons: int = 2) -> PaperContext:
    return PaperContext(
        torch.randn(persons, cells, width, generator=seeded(0)),
        torch.randn(persons, 52, width // 2, generator=seeded(1)),
        torch.zeros(persons, 10),
    )


def samples(net, seen, fast, steps=(999, 666, 333, 0)):
    x_T = torch.randn(2, 3, 133, generator=seeded(2))
    if fast is None:
        model = lambda x_t, t: net(x_t, t, seen)  # noqa: E731
    else:
        prepared = fast.prepare(seen)
        model = lambda x_t, t: fast.step(x_t, t, prepared)  # noqa: E731
    return ddim.sample(model, x_T, net.schedule, num_steps=steps)


@pytest.mark.parametrize("config", [None, own_config()], ids=["quirks", "own"])
def test_a_step_and_a_sample_are_those_of_the_plain_form(config):
    net = (tiny_paper() if config is None else tiny_paper(config)).denoiser
    seen, fast = context(64, 4), FastHypoNet(net)
    x, t = 20 * torch.randn(2, 3, 133, generator=seeded(3)), torch.tensor([[0, 5, 900], [1, 2, 3]])
    largest = (fast.step(x, t, fast.prepare(seen)) - net(x, t, seen)).abs().max()
    assert largest < 5e-5, float(largest)
    torch.testing.assert_close(samples(net, seen, fast), samples(net, seen, None), atol=2e-3, rtol=1e-4)


def test_bfloat16_is_near():
    net, seen = tiny_paper().denoiser, context(64, 4)
    exact, near = samples(net, seen, None), samples(net, seen, FastHypoNet(net, torch.bfloat16))
    scale = exact.abs().mean()
    assert 0 < (near - exact).abs().mean() < 0.05 * scale


def test_a_prepared_person_is_indexed_like_any_record():
    net, seen = tiny_paper().denoiser, context(64, 4)
    fast = FastHypoNet(net)
    x, t = torch.randn(1, 3, 133, generator=seeded(3)), torch.tensor(500)
    one, of_both = fast.prepare(seen[1:]), fast.prepare(seen)[1:]
    torch.testing.assert_close(fast.step(x, t, one), fast.step(x, t, of_both))
    assert one.keys.shape == (1, 2, 4, 4, 16) == one.values.shape


def test_at_full_size():
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        net = HypoNet(HYPONET).eval()
        seen, fast = context(512, 64), FastHypoNet(net)
        x, t = 20 * torch.randn(2, 2, 133, generator=seeded(3)), torch.tensor(333)
        plain = net(x, t, seen)
        largest = (fast.step(x, t, fast.prepare(seen)) - plain).abs().max()
    assert plain.shape == (2, 2, 133) and (plain - x).abs().mean() > 0.05
    assert largest < 2e-5, float(largest)  # 4e-6 when it was written
