"""What a network of a snapshot computes, it computes after the conversion too."""

import copy

import pytest
import torch

from hmralign.models.paper.hmr_scorer import HmrScorer
from hmralign.models.paper.image_encoder import ImageEncoder
from hmralign.models.paper.scorenet import ScoreNet
from hmralign.models.published.conversion import convert_snapshot
from hmralign.models.published.scorers import load_hmr_scorer, load_scorenet
from hmralign.policies.catalogue import open_policy
from hmralign.structures import InputError
from support.published_snapshots import TINY_SCORER, tiny_layout, write_snapshot
from support.synthetic_persons import BODY, seeded
from support.tiny_paper import TINY_PAPER, crops, seen_persons, speaking, tiny_paper


def averages(module):
    """A running average as it is saved, and a module that computes with it; statistics are those of the raw one."""
    averaged = copy.deepcopy(module)
    draw = seeded(9)
    with torch.no_grad():
        for parameter in averaged.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return {
        "decay": 0.9999,
        "num_updates": 3,
        "shadow_params": [p.detach().clone() for p in averaged.parameters()],
    }, averaged


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_hyponet_predicts_the_same_noise_when_it_is_opened_as_a_policy(tmp_path, weights):
    raw = copy.deepcopy(tiny_paper())
    denoiser, averaged_denoiser = averages(raw.denoiser)
    encoder, averaged_encoder = averages(raw.encoder)
    snapshot = {"model": raw.denoiser.state_dict(), "model_cond": raw.encoder.state_dict()}
    torch.save({**snapshot, "ema": denoiser, "ema_cond": encoder}, tmp_path / "a.pth")
    convert_snapshot(
        tmp_path / "a.pth", tmp_path / "a.safetensors", "hyponet", weights=weights,
        skeleton_hash=BODY.skeleton_hash, layout=tiny_layout("hyponet"),
    )  # fmt: skip
    before = open_policy(tmp_path / "a.safetensors", BODY).diffusion()
    if weights == "ema":
        raw.denoiser, raw.encoder = averaged_denoiser, averaged_encoder
    observation = seen_persons(2).observation
    x_t, t = torch.randn(2, 3, 133, generator=seeded(1)) * 50, torch.tensor([[0, 500, 999]] * 2)
    after_context = before.context(observation)
    found = before.predict_noise(x_t, t, after_context)
    before.model = raw.eval()
    expected = before.predict_noise(x_t, t, before.context(observation))
    assert torch.equal(found, expected) and found.std() > 0
    assert torch.equal(after_context.betas, before.context(observation).betas)


def test_scorenet_gives_the_same_scores(tmp_path):
    net, encoder = speaking(ScoreNet(TINY_PAPER)), speaking(ImageEncoder(TINY_PAPER, shape_head=False), 64, 64)
    ema, averaged = averages(net)
    ema_cond, averaged_encoder = averages(encoder)
    snapshot = {"model_score": net.state_dict(), "model_score_cond": encoder.state_dict()}
    torch.save({**snapshot, "ema_score": ema, "ema_score_cond": ema_cond}, tmp_path / "a.pth")
    convert_snapshot(
        tmp_path / "a.pth", tmp_path / "a.safetensors", "scorenet", skeleton_hash="", layout=tiny_layout("scorenet")
    )
    found = load_scorenet(tmp_path / "a.safetensors", "", TINY_PAPER)
    image = crops(2, side=TINY_PAPER.image_size) / 255
    hypotheses = torch.randn(2, 4, 133, generator=seeded(2))
    expected = averaged(hypotheses, averaged_encoder(image))
    assert torch.equal(found.score_net(hypotheses, found.encoder(image)), expected) and expected.std() > 0


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_hmr_scorer_gives_the_same_scores(tmp_path, weights):
    network = speaking(HmrScorer(TINY_SCORER))
    ema, averaged = averages(network.score_net)
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"network": state, "ema_score": ema, "epoch": 20}, tmp_path / "a.pth.tar")
    convert_snapshot(
        tmp_path / "a.pth.tar", tmp_path / "a.safetensors", "hmr-scorer", weights=weights,
        skeleton_hash="", layout=tiny_layout("hmr-scorer"),
    )  # fmt: skip
    canvas, joints = torch.rand(2, 3, 32, 32, generator=seeded(3)), torch.randn(2, 4, 29, 3, generator=seeded(4))
    found = load_hmr_scorer(tmp_path / "a.safetensors", "", TINY_SCORER)
    if weights == "ema":
        network.score_net = averaged
    expected = network(canvas, joints)
    assert torch.equal(found(canvas, joints), expected) and expected.std() > 0


def test_scorers_of_another_kind_skeleton_or_size_are_refused(tmp_path):
    paths = {}
    for kind in ("scorenet", "hmr-scorer"):
        write_snapshot(tmp_path / "a.pth", kind)
        paths[kind] = tmp_path / f"{kind}.safetensors"
        convert_snapshot(tmp_path / "a.pth", paths[kind], kind, skeleton_hash="a" * 64, layout=tiny_layout(kind))
    for load, path, size, other in (
        (load_scorenet, paths["scorenet"], TINY_PAPER, paths["hmr-scorer"]),
        (load_hmr_scorer, paths["hmr-scorer"], TINY_SCORER, paths["scorenet"]),
    ):
        for words, arguments in (
            ("of kind", (other, "a" * 64, size)),
            ("another skeleton", (path, "b" * 64, size)),
            ("another size", (path, "a" * 64)),
            ("no such checkpoint", (tmp_path / "nowhere.safetensors", "a" * 64, size)),
        ):
            with pytest.raises(InputError, match=words):
                load(*arguments)
    for load, path, size in (
        (load_scorenet, paths["scorenet"], TINY_PAPER),
        (load_hmr_scorer, paths["hmr-scorer"], TINY_SCORER),
    ):
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(InputError, match="not a whole safetensors file"):
            load(path, "a" * 64, size)
