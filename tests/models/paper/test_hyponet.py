"""The denoiser against its equations, one sample at a time, and what its masks do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hmralign.models.paper.config import HYPONET, HYPONET_CLEAN, HrnetConfig, PaperConfig, Quirks
from hmralign.models.paper.decoder_block import DecoderBlock
from hmralign.models.paper.hyponet import HypoNet
from hmralign.models.paper.image_encoder import PaperContext
from hmralign.models.paper.joint_graph import token_adjacency, within
from hmralign.structures import InputError
from support.hyponet_oracle import eps
from support.synthetic_persons import seeded
from support.tiny_paper import TINY_PAPER, own_config, speaking, tiny_paper

NET = tiny_paper().denoiser
CONTEXT = PaperContext(
    torch.randn(2, 4, 64, generator=seeded(0)),
    torch.randn(2, 52, 32, generator=seeded(1)),
    torch.zeros(2, 10),
)
X = 20 * torch.randn(2, 3, 133, generator=seeded(2))
T = torch.tensor([[0, 333, 999], [500, 1, 700]])


def test_eps_is_what_the_equations_say():
    found = NET(X, T, CONTEXT)
    for person in range(2):
        seen = CONTEXT.global_tokens[person].double().numpy(), CONTEXT.local[person].double().numpy()
        for hyp in range(3):
            expected = eps(NET, X[person, hyp].double().numpy(), int(T[person, hyp]), *seen)
            np.testing.assert_allclose(found[person, hyp].numpy(), expected, atol=2e-4)
    assert (found - X).abs().mean() > 0.1, "the network says something"


def test_what_is_predicted_does_not_depend_on_the_others():
    together = NET(X, T, CONTEXT)
    alone = NET(X[1:, 2:], T[1:, 2:], CONTEXT[1:])
    torch.testing.assert_close(alone[0, 0], together[1, 2], atol=1e-4, rtol=1e-5)


def test_one_time_stands_for_all():
    torch.testing.assert_close(NET(X, torch.tensor(7), CONTEXT), NET(X, torch.full((2, 3), 7), CONTEXT))


def test_the_last_blocks_hidden_tokens_do_not_reach_a_token():
    """One block: what changes at a token is seen only by the tokens that may look at it."""
    block = speaking(DecoderBlock(64, 4, 64, 0.1, norms_last=False))
    hidden = ~within(token_adjacency(), 1)
    x = torch.randn(1, 1, 52, 64, generator=seeded(3))
    changed = x.clone()
    changed[0, 0, 30] = changed[0, 0, 30].flip(0)
    cells, places = CONTEXT.global_tokens[:1], NET.token_positions
    moved = block(x, cells, cells, places, hidden) - block(changed, cells, cells, places, hidden)
    assert torch.equal(moved[0, 0].abs().amax(-1) > 1e-5, token_adjacency()[30])


def test_dropout_is_there_in_training_alone():
    net = HypoNet(TINY_PAPER)
    speaking(net)
    assert torch.equal(net(X, T, CONTEXT), net(X, T, CONTEXT))
    torch.manual_seed(0)
    net.train()
    assert (net(X, T, CONTEXT) - net(X, T, CONTEXT)).abs().max() > 0.1
    shares = sorted({module.p for module in net.modules() if isinstance(module, torch.nn.Dropout)})
    assert shares == [TINY_PAPER.dropout, TINY_PAPER.start_dropout] == [0.1, 0.25]


def test_the_quirk_of_masks_changes_gradients_and_no_value():
    own = HypoNet(own_config())
    own.load_state_dict(NET.state_dict())
    torch.testing.assert_close(own.eval()(X, T, CONTEXT), NET(X, T, CONTEXT))
    for net, expected in ((own, False), (HypoNet(TINY_PAPER), True)):
        net(X, T, CONTEXT).square().sum().backward()
        layer = net.linear_final_j
        assert bool((layer.weight.grad * (1 - layer.mask)).any()) == expected


def test_presets():
    assert HYPONET == PaperConfig() and HYPONET.encoder == HrnetConfig()
    assert all(vars(HYPONET.quirks).values()), "published weights were made with all quirks"
    on = [name for name, value in vars(HYPONET_CLEAN.quirks).items() if value]
    assert on == ["zero_noise_first"] and replace(HYPONET_CLEAN, quirks=Quirks()) == HYPONET
    assert (HYPONET.time_channels, HYPONET.feedforward, HYPONET.score_width) == (128, 2048, 1024)
    assert HYPONET.schedule.kind == "linear" and HYPONET.context_side == 8 and HYPONET.local_width == 256


@pytest.mark.parametrize("wrong", [{"width": 80}, {"heads": 3}, {"score_width": 33}, {"image_size": 100}, {"hops": ()}])
def test_sizes_that_do_not_fit_are_refused(wrong):
    with pytest.raises(InputError, match="multiple"):
        replace(HYPONET, **wrong)
