"""`hmralign groups` from arguments to a store, its statistics, exports and pictures; wrong input in one sentence."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from hmralign.cli.main import main
from hmralign.critics.names import CRITICS
from hmralign.detection.find_people import people_from_array
from hmralign.preferences.sheet import SIDE
from hmralign.preferences.store import CriticFacts, GroupStore, writing
from support.group_stores import files_of, shard_folder
from support.prediction_files import HYP, free_arrays, write
from support.recover_example import example_photo

PERSONS = 5


class Tiny:
    """A shard folder, a tiny checkpoint, and a way to run `hmralign groups` with 4 hypotheses in shards of 2."""

    def __init__(self, folder, checkpoint):
        self.folder, self.checkpoint = folder, checkpoint
        self.shards = shard_folder(folder / "shards", PERSONS)
        self.out = folder / "out"

    def sample(self, *arguments, source=None, out=None, group_size=4):
        chosen = {"out": out or self.out, "checkpoint": self.checkpoint, "group-size": group_size, "num-steps": 2,
                  "shard-size": 2}  # fmt: skip
        flags = [word for name, value in chosen.items()
                 if f"--{name}" not in arguments for word in (f"--{name}", str(value))]  # fmt: skip
        return main(["groups", str(source or self.shards), *flags, *arguments])

    def look(self, *arguments):
        return main(["groups", str(self.out), *arguments])


@pytest.fixture
def tiny(tmp_path, checkpoint):
    return Tiny(tmp_path, checkpoint)


def refused(capsys, code, *words):
    """One sentence on stderr, nothing on stdout, exit code 2."""
    out, err = capsys.readouterr()
    assert code == 2 and out == "", (code, out, err)
    assert err.startswith("hmralign: ") and err.count("\n") == 1 and "Traceback" not in err, err
    for word in words:
        assert word in err, (word, err)


def test_the_help_names_every_critic(capsys):
    assert main(["groups", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    assert f"{', '.join(CRITICS)}, vlm, the .safetensors file" in shown.replace("- ", "-")  # a line may end at a hyphen


def test_every_critic_counts_however_they_are_named(tiny, capsys):
    assert tiny.sample("--critic", "random", "--critic", "plausibility", "--quiet") == 0
    assert GroupStore.open(tiny.out).critics() == ("plausibility", "random")
    refused(capsys, tiny.look("--critic", "mix", "--critic=mix"), "'mix' twice")


def test_shards_become_a_scored_store(tiny, capsys):
    assert tiny.sample("--critic", "reprojection", "oracle", "--with-truth") == 0
    out, err = capsys.readouterr()
    assert out == f"5 groups of 4 from shards:train, scored by reprojection, oracle: see {tiny.out}\n"
    assert "5 groups" in err and "oracle: 3 of 3 shards" in err
    store = GroupStore.open(tiny.out)
    assert len(store) == PERSONS and store.num_shards == 3 and store.critics() == ("oracle", "reprojection")
    assert store.scores("oracle").shape == (PERSONS, 4) and store.facts.with_truth
    run = yaml.safe_load((tiny.out / "run.yaml").read_text())
    assert run["command"] == "groups" and run["options"]["group_size"] == 4
    assert run["made_by"]["checkpoint"]["sha256"] == store.facts.checkpoint_sha256
    assert run["made_by"]["content_sha256"] == store.content_hash() and run["made_by"]["versions"]["torch"]


def test_the_run_file_repeats_the_run_and_a_second_run_adds_nothing(tiny, tmp_path):
    assert tiny.sample("--seed", "3") == 0
    again = tmp_path / "again"
    assert main(["groups", "--config", str(tiny.out / "run.yaml"), "--out", str(again)]) == 0
    assert GroupStore.open(again).content_hash() == GroupStore.open(tiny.out).content_hash()
    before = files_of(tiny.out)
    assert tiny.sample("--seed", "3") == 0
    assert files_of(tiny.out) == before


def test_more_persons_continue_a_store(tiny, tmp_path, capsys):
    assert tiny.sample("--persons", "4") == 0 and tiny.sample() == 0
    whole = tmp_path / "whole"
    assert tiny.sample(out=whole) == 0
    assert GroupStore.open(tiny.out).content_hash() == GroupStore.open(whole).content_hash()
    assert tiny.sample("--persons", "3", out=tmp_path / "cut") == 0
    capsys.readouterr()
    refused(capsys, tiny.sample(out=tmp_path / "cut"), "another number of persons")


def test_a_store_is_scored_without_being_sampled_again(tiny, capsys):
    assert tiny.sample("--quiet", "--seed", "2") == 0
    assert capsys.readouterr() == ("", "")
    before = files_of(tiny.out)
    assert tiny.look("--critic", "plausibility", "random") == 0
    after = files_of(tiny.out)
    assert before.items() <= after.items() and {p.split("/")[1] for p in after.keys() - before.keys()} == {
        "plausibility", "random",
    }  # fmt: skip
    store = GroupStore.open(tiny.out)
    assert store.critics() == ("plausibility", "random", "scorer")
    assert store.critic_facts("random")["settings"]["seed"] == 2  # the store's own
    assert "scored by plausibility, random: see" in capsys.readouterr().out


def test_looking_writes_nothing_into_the_store(tiny, tmp_path, capsys):
    assert tiny.sample("--quiet", "--critic", "random", "reprojection") == 0
    before, lock = files_of(tiny.out), (tiny.out / ".lock").stat().st_mtime_ns
    sheet = tmp_path / "views" / "sheet.png"
    assert tiny.look("--critic", "random", "--stats", "--sheet", str(sheet), "--sheet-groups", "2") == 0
    out = capsys.readouterr().out
    assert "# 5 groups of 4" in out and "| random |" in out and "| reprojection |" in out
    assert out.endswith(f"see {tiny.out}, {sheet}\n")
    assert files_of(tiny.out) == before and (tiny.out / ".lock").stat().st_mtime_ns == lock
    assert Image.open(sheet).width > 5 * SIDE
    assert tiny.look("--sheet", str(sheet), "--sheet-choice", "random", "--seed", "1") == 0
    assert "scored by random, reprojection" in capsys.readouterr().out


def test_json_is_the_only_thing_on_stdout(tiny, capsys):
    assert tiny.sample("--json", "--stats", "--critic", "random", "plausibility") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["groups"], document["group_size"], document["skipped"]) == (PERSONS, 4, {})
    assert document["critics"] == ["plausibility", "random"]
    assert document["statistics"]["critics"]["random"]["silent_share"] == 0
    assert document["content_sha256"] == GroupStore.open(tiny.out).content_hash()


def test_export(tiny, tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: extra [export]")
    pairs, groups = tmp_path / "pairs.parquet", tmp_path / "groups.parquet"
    assert tiny.sample("--critic", "random", "--export", str(pairs), "--pairs", "2") == 0
    assert parquet.read_table(pairs).num_rows == 2 * PERSONS
    capsys.readouterr()
    assert tiny.look("--export", str(groups), "--export-layout", "groups", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["export"] == {"file": str(groups), "layout": "groups", "rows": PERSONS}
    assert parquet.read_table(groups)["id"].to_pylist() == list(GroupStore.open(tiny.out).ids)


def test_scores_of_a_critic_of_the_users_own_can_be_looked_at(tiny, tmp_path, capsys):
    assert tiny.sample("--quiet") == 0
    with writing(tiny.out) as store:
        store.declare_critic("mine", CriticFacts("mine", needs_truth=False))
        for shard in range(2):
            store.write_scores("mine", shard, torch.rand(2, 4))
    refused(capsys, tiny.look("--critic", "mine"), "mine", "not scored all groups")
    with writing(tiny.out) as store:
        store.write_scores("mine", 2, torch.rand(1, 4))
    assert tiny.look("--critic", "mine", "--sheet", str(tmp_path / "a.png")) == 0
    assert tiny.look("--critic", "mine", "random") == 0


def test_a_critic_that_sees_no_difference_is_named(tiny, capsys):
    assert tiny.sample("--critic", "landmarks3d", "--stats") == 0  # shards have no 3D landmarks
    out, err = capsys.readouterr()
    assert "warning: landmarks3d sees no difference" in err and "| landmarks3d | 0 | 0 | 100.0% |" in out


class Reader:
    """Finds the example's person in photos with colours, and nobody in grey ones."""

    name = "mediapipe_heavy"
    versions = {"fake": "1"}  # noqa: RUF012

    def __init__(self, config=None):
        assert config is None, "photos may show several people"

    def __call__(self, image):
        grey = (image[..., 0] == image[..., 2]).all()
        return [] if grey else people_from_array(example_photo()[1])

    def detect_in_box(self, image, box):
        return None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setattr("hmralign.detection.mediapipe_detector.MediapipeDetector", Reader)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(example_photo()[0]).save(folder / name)
    Image.fromarray(np.full((60, 50, 3), 128, np.uint8)).save(folder / "grey.png")
    (folder / "notes.jpg").write_text("no image")
    return folder


def test_photos_become_groups_with_crops(tiny, photos, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert tiny.sample("--sheet", str(sheet), source=photos) == 0
    out, err = capsys.readouterr()
    assert out.startswith("2 groups of 4 from photos, 2 gave none (index.jsonl says why), scored by scorer: see")
    assert "grey.png" in err and "notes.jpg" in err
    store = GroupStore.open(tiny.out)
    assert store.ids == ("a.png#0", "b.png#0") and set(store.skipped) == {"grey.png", "notes.jpg"}
    assert store.crop(0) is not None and Image.open(sheet).width > 6 * SIDE
    made_by = yaml.safe_load((tiny.out / "run.yaml").read_text())["made_by"]
    assert made_by["detector"] == {"name": "mediapipe_heavy", "versions": {"fake": "1"}}


def test_photos_of_nobody(tiny, photos, capsys):
    assert tiny.sample("--quiet", source=photos / "grey.png") == 2
    out, err = capsys.readouterr()
    assert out == "" and "holds no groups, 1 were skipped; the first, 'grey.png': nobody was found" in err


def test_a_missing_source_and_one_that_is_none(tiny, tmp_path, capsys):
    refused(capsys, tiny.sample(source=tmp_path / "nowhere"), "nowhere", "does not exist")
    (tmp_path / "empty").mkdir()
    refused(capsys, tiny.sample(source=tmp_path / "empty"), "empty", "neither a store", "nor photos")
    refused(capsys, main(["groups"]), "no source")
    refused(capsys, main(["groups", str(tiny.shards)]), "--out is missing")
    (tiny.shards / "index.json").unlink()
    refused(capsys, tiny.sample(), "not a finished shard folder")
    assert not tiny.out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--critic", "reprojektion"], ["no critic 'reprojektion'", "landmarks3d"]),
        (["--critic", "mix", "mix"], ["'mix' twice"]),
        (["--critic", "random", "oracle"], ["oracle", "needs truth"]),
        (["--correlation", "1.5"], ["--correlation is 1.5"]),
        (["--persons", "6"], ["has 5 persons", "6 were asked for"]),
        (["--shard-size", "0"], ["shard size"]),
        (["--sheet-groups", "0"], ["--sheet-groups is 0"]),
        (["--sheet", "a.jpg"], ["a.jpg", ".png"]),
        (["--export", "a.csv"], ["a.csv", ".parquet"]),
        (["--pairs", "3"], ["--pairs is 3", "1 to 2"]),
        (["--pairs", "1", "--export-layout", "groups"], ["--pairs is for"]),
        (["--detector", "vitpose"], ["--detector-folder"]),
        (["--detector", "vitpose", "--detector-folder", "models"], ["is for photos"]),
        (["--checkpoint", "nowhere.safetensors"], ["nowhere.safetensors"]),
    ],
)
def test_options_that_are_wrong(tiny, capsys, arguments, words):
    refused(capsys, tiny.sample(*arguments), *words)
    assert not tiny.out.exists()


def test_groups_of_one(tiny, capsys):
    refused(capsys, tiny.sample(group_size=1), "group size is 1", "at least 2")


def test_truth_of_photos(tiny, photos, capsys):
    refused(capsys, tiny.sample("--with-truth", source=photos), "has no truth")
    refused(capsys, tiny.sample("--persons", "1", source=photos), "--persons is for shards")


def test_a_folder_that_is_in_use(tiny, capsys):
    assert tiny.sample("--quiet") == 0
    before = files_of(tiny.out)
    refused(capsys, tiny.sample(group_size=6), str(tiny.out), "group_size = 4, not 6")
    shutil.rmtree(tiny.out / "scores")
    with writing(tiny.out):
        refused(capsys, tiny.sample(), "another process")
        refused(capsys, tiny.look("--critic", "random"), "another process")
    diary = tiny.folder / "diary"
    diary.mkdir()
    (diary / "today.txt").write_text("mine")
    refused(capsys, tiny.sample(out=diary), "not empty")
    assert {k: v for k, v in before.items() if "scores" not in k} == files_of(tiny.out)


def test_what_a_store_cannot_do(tiny, capsys):
    assert tiny.sample("--quiet", "--critic", "random") == 0
    refused(capsys, tiny.look("--critic", "oracle"), "needs truth")
    refused(capsys, tiny.look("--group-size", "8"), "--group-size", "sampled already")
    refused(capsys, tiny.look("--out", str(tiny.folder / "other")), "--out")
    assert tiny.look("--out", str(tiny.out), "--quiet") == 0
    refused(capsys, tiny.look("--critic", "random", "--seed", "9"), "other settings")
    shutil.rmtree(tiny.out / "scores")
    refused(capsys, tiny.look("--sheet", str(tiny.folder / "a.png")), "no critic has scored")
    assert tiny.look() == 0 and "not scored yet" in capsys.readouterr().out
    facts = json.loads((tiny.out / "store.json").read_text())
    (tiny.out / "store.json").write_text(json.dumps({**facts, "mesh_hash": "f" * 64}))
    refused(capsys, tiny.look("--critic", "random"), "ffffffffffff", "none of this program's")


def test_predictions_of_another_system(tiny, tmp_path, capsys):
    file = write(tmp_path / "theirs.npz", skeleton="smpl")
    words = ["groups", str(file), "--out", str(tiny.out)]
    refused(capsys, main(words), "--predicted-by is missing")
    named = [*words, "--predicted-by", "4D-Humans", "--critic", "reprojection", "plausibility"]
    for flag in ("--checkpoint=lite-lab", "--group-size=4", "--num-steps=2", "--persons=2", "--with-truth",
                 "--detector=vitpose"):  # fmt: skip
        refused(capsys, main([*named, flag]), flag.split("=")[0], "nothing is sampled")
    refused(capsys, main([*named, "--pairs", "2"]), "--pairs is 2", "1 to 1")
    assert not tiny.out.exists()
    assert main([*named, "--stats", "--shard-size", "2"]) == 0
    out, err = capsys.readouterr()
    assert "Predicted by 4D-Humans (mapped joints only, retargeted)." in out and "3 of 3 shards" in err
    assert out.splitlines()[-1].startswith(
        "5 groups of 3 from predictions:theirs, predicted by 4D-Humans (mapped joints only, retargeted), scored by"
    )
    made_by = yaml.safe_load((tiny.out / "run.yaml").read_text())["made_by"]
    assert made_by["predicted_by"] == "4D-Humans" and made_by["checkpoint"] == {"name": "", "sha256": ""}
    before = files_of(tiny.out)
    assert main([*named, "--shard-size", "2", "--quiet"]) == 0
    assert {k: v for k, v in files_of(tiny.out).items() if k != "run.yaml"} == {
        k: v for k, v in before.items() if k != "run.yaml"
    }
    assert main(["groups", str(tiny.out), "--critic", "random", "--sheet", str(tmp_path / "a.png"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["retargeted"] and document["predicted_by"] == "4D-Humans" and document["group_size"] == HYP
    refused(capsys, main(["groups", str(tiny.out), "--predicted-by", "x"]), "--predicted-by", "sampled already")
    refused(capsys, tiny.sample("--predicted-by", "x", out=tmp_path / "b"), "--predicted-by is for")
    write(file, transl=free_arrays()["transl"] * np.nan)
    refused(capsys, main(named), "theirs.npz", "'transl' of person 'photo_0.jpg#0' is not finite")
