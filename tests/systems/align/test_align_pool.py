"""`hmralign align --pairs`: images below a folder and samples of a published pool move a tiny HypoNet."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.alignment.methods.dpo import DpoConfig
from hmralign.alignment.pool_groups import LivePoolContexts, cached_pool_contexts, pool_items, pool_scores, with_truth
from hmralign.cli.main import main
from hmralign.detection.person_crop import crop_of
from hmralign.policies.catalogue import open_policy
from hmralign.preferences.pool_images import PoolImages
from hmralign.preferences.published_pool_files import read_published
from hmralign.structures import InputError
from support.published_pools import group_records, pair_records, write_groups, write_pairs
from support.synthetic_persons import BODY, seeded
from support.tiny_paper import tiny_hyponet

TRAINING = (
    "min_persons: 2\ntraining: {steps: 6, batch_size: 8, check_every: 3, save_every: 3, ema_decay: 0.5, "
    "max_loss_ratio: 1000.0, learning_rate: 1.0e-4}\n"
)


@pytest.fixture
def place(tmp_path):
    """A folder with a checkpoint, pairs, groups and their images."""
    tiny_hyponet().save(tmp_path / "h.safetensors", ("tiny",))
    pairs, groups = pair_records(6), group_records(6)
    write_pairs(tmp_path / "pairs.json", pairs)
    write_groups(tmp_path / "groups.npz", groups)
    for number, record in enumerate(pairs):
        file = tmp_path / "images" / record["img_path"]
        file.parent.mkdir(parents=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (120, 160, 3), np.uint8)).save(file)
    (tmp_path / "dpo.yaml").write_text(TRAINING)
    return tmp_path


def align(place, *options, pairs="pairs.json", out="run", code=0, config=("--config", "dpo.yaml")):
    config = [place / part if part.endswith("yaml") else part for part in config]
    arguments = ["align", "--pairs", place / pairs, "--checkpoint", place / "h.safetensors", "--images",
                 place / "images", "--out", place / out, *config, *options]  # fmt: skip
    assert main([str(a) for a in arguments]) == code
    return place / out


def rows(run):
    return [json.loads(line) for line in (run / "curve.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("method", "file", "critic"),
    [("dpo", "pairs.json", None), ("group", "groups.npz", "mpjpe"), ("sft", "groups.npz", "score")],
)
def test_a_pool_moves_the_denoiser(place, method, file, critic):
    run = align(place, method, *(() if critic is None else ("--critic", critic)), pairs=file)
    before = open_policy(place / "h.safetensors", BODY).policy.model
    after = open_policy(run / "model.safetensors", BODY)
    assert after.trained_on[0] == "tiny" and after.trained_on[1].startswith("pool:")
    weights = after.policy.model.state_dict()
    moved = {n for n, v in before.state_dict().items() if not torch.equal(v, weights[n])}
    assert moved and all(n.startswith("denoiser.") for n in moved)
    curve = rows(run)
    assert [row["step"] for row in curve] == [0, 3, 6]
    if method == "dpo":
        assert curve[-1]["probe_gap_better"] < curve[-1]["probe_gap_worse"]  # the better ones lose less
        assert align(place, method) == run  # done already
        assert (run / "curve.jsonl").read_text().count("\n") == 3


def test_what_is_seen_and_trained_on_is_what_the_pool_says(place):
    pool = read_published(place / "pairs.json").pool
    images, policy = PoolImages(pool, place / "images"), tiny_hyponet()
    assert images.is_upright and torch.equal(images.samples(), pool.samples())
    seen = images.observation(torch.tensor([4, 1]), 64)
    rgb = np.asarray(Image.open(place / "images" / pool.image_paths[4]))
    a = pool.A_image_crop[4].numpy()
    x0, y0 = a[:, :2] @ [-0.5, -0.5] + a[:, 2]  # the crop's corner, in the image
    x1, y1 = a[:, :2] @ [255.5, 255.5] + a[:, 2]
    middle, half = ((x0 + x1) / 2, (y0 + y1) / 2), (x1 - x0) / 2 / 1.25
    box = [middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half]
    assert (seen.crop[0].float() - crop_of(rgb, box, 64).float()).abs().mean() < 1.0
    kept, live = cached_pool_contexts(policy, images, 2), LivePoolContexts(images, 2)
    for variant in (0, 1):
        which = torch.tensor([3, 0])
        one, two = kept.of(policy, which, variant), live.of(policy, which, variant)
        torch.testing.assert_close(one.local, two.local, atol=1e-4, rtol=1e-4)
    scores = pool_scores(pool, None)
    made = pool_items(pool, images.samples(), scores, images.unseen(), DpoConfig(), seeded(0))
    for person, x_0 in zip(made.items.person.tolist(), made.items.x_0, strict=True):
        assert torch.equal(x_0, pool.samples()[person]) and made.items.weights[0].tolist() == [1.0, -1.0]


def test_a_turned_crop_is_seen_upright_and_its_samples_are_turned_back(place):
    from dataclasses import replace

    pool = read_published(place / "pairs.json").pool
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    crop = torch.cat([turn * 2, torch.tensor([[10.0], [-40.0]])], dim=1)
    inverse = torch.linalg.inv(torch.cat([crop, torch.tensor([[0.0, 0.0, 1.0]])]))[:2]
    turned = replace(pool, A_crop_image=crop.expand(6, 2, 3).clone(), A_image_crop=inverse.expand(6, 2, 3).clone())
    images = PoolImages(turned, place / "images")
    assert not images.is_upright
    uv = (images.samples()[0, 0, :87].view(29, 3)[:, :2] / 50 + 1) / 2 * 256
    x, y = (turned.joints[0, 0, 0, :2] @ inverse[:, :2].T + inverse[:, 2]).tolist()  # in the image
    x0, y0, x1, y1 = images.boxes[0].tolist()
    side = 1.25 * (x1 - x0)
    assert side == pytest.approx(128, rel=1e-4)  # the crop shows 128 pixels of the image, at zoom 2
    expected = [(x - (x0 + x1) / 2) / side * 256 + 127.5, (y - (y0 + y1) / 2) / side * 256 + 127.5]
    np.testing.assert_allclose(uv[0].numpy(), expected, atol=1e-2)
    mirrored = replace(pool, A_image_crop=pool.A_image_crop * torch.tensor([[-1.0, 1, 1], [1, 1, 1]]))
    with pytest.raises(InputError, match="mirrors"):
        PoolImages(mirrored, place / "images")


def test_scores_come_from_the_pool(place):
    pool = read_published(place / "groups.npz").pool
    m = pool.measures
    torch.testing.assert_close(pool_scores(pool, "pve"), -m["pve"] / 1000)
    torch.testing.assert_close(pool_scores(pool, None), m["score"])
    expected = -(1.2 * m["mpjpe"] + 2.0 * m["pampjpe"] + 0.7 * m["pve"]) / 1000
    torch.testing.assert_close(pool_scores(pool, "oracle-gpa"), expected)
    truth = with_truth(pool)
    assert torch.equal(truth.joints[:, 0], pool.truth_joints) and truth.members == 1
    with pytest.raises(InputError, match="the pool has no 'reprojection'; it measures"):
        pool_scores(pool, "reprojection")


OUTSIDE = ["../secret.png", "/etc/passwd", "a/../../secret.png", "..\\secret.png", "link/secret.png", "."]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_path_leaves_the_folder(place, name):
    from dataclasses import replace

    (place / "outside").mkdir()
    Image.new("RGB", (32, 32)).save(place / "outside" / "secret.png")
    Image.new("RGB", (32, 32)).save(place / "secret.png")
    (place / "images" / "link").symlink_to(place / "outside")
    pool = read_published(place / "pairs.json").pool
    with pytest.raises(InputError, match="which is not below"):
        PoolImages(replace(pool, image_paths=(name, *pool.image_paths[1:])), place / "images")


def test_wrong_use_is_one_sentence(place, capsys):
    def said(*options, **kinds):
        align(place, *options, code=2, out="never", **kinds)
        _, err = capsys.readouterr()
        assert err.startswith("hmralign: ") and err.count("\n") == 1 and not (place / "never").exists()
        return err

    capsys.readouterr()
    assert "pools are for dpo, group and sft, not for kto" in said("kto")
    assert "too few" in said("dpo", "--preset", "dpo", config=())
    assert "one of --groups STORE and --pairs POOL" in said("dpo", "--groups", place)
    assert "is for --groups" in said("dpo", "--other-model")
    (place / "images" / "imageFiles/walk_2/image_00002.jpg").unlink()
    assert "1 image of the pool cannot be found, such as 'imageFiles/walk_2" in said("dpo")
