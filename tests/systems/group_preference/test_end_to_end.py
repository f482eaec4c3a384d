"""A true Qwen3-VL class behind the true protocol learns, is frozen, and scores what a checkpoint is aligned with.

Its weights are random, so what it says is nonsense in the right form; everything around it is as it would be.
"""

import json

import yaml

from hmralign.cli.main import main
from hmralign.critics.vlm.memory.store import Memory
from hmralign.preferences.store import GroupStore
from hmralign.systems.group_preference.verdict_files import read_verdicts
from support.group_stores import shard_folder
from support.recover_example import tiny_checkpoint

PERSONS, HYPOTHESES = 3, 3
JUDGE = {
    # A random judge is all noise: without its test its groups would give no preference.
    "judge": {"style": {"side": 64, "strip": 32, "views": "overlay"}, "merge": {"alpha": 1.0, "min_reliability": 0.0},
              "options": {"comment_length": 4, "temperature": 20.0}},  # its favourite answer is always the same
    "retrieval": {"prototypes": 1},
}  # fmt: skip


def groups(folder, checkpoint, seed):
    shards = shard_folder(folder / f"shards{seed}", PERSONS, seed=seed)
    out = folder / f"groups{seed}"
    flags = ["--group-size", str(HYPOTHESES), "--num-steps", "2", "--critic", "plausibility", "--with-truth", "--quiet"]
    assert main(["groups", str(shards), "--out", str(out), "--checkpoint", str(checkpoint), *flags]) == 0
    return out


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def test_explore_freeze_score_align(tmp_path, tiny_server, tiny_folder, capsys):
    checkpoint = tiny_checkpoint(tmp_path / "tiny.safetensors")
    learnt, scored = groups(tmp_path, checkpoint, 5), groups(tmp_path, checkpoint, 9)
    for name, more in (("explore", {"round_size": 1, "groups": 2}), ("score", {})):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**JUDGE, **more}))
    server = ["--base-url", tiny_server, "--model", tiny_folder, "--journal", tmp_path / "journal.sqlite", "--json"]
    memory, frozen = tmp_path / "memory.sqlite", tmp_path / "frozen.sqlite"

    explored = run(
        capsys, "critic", "explore", learnt, "--memory", memory, "--config", tmp_path / "explore.yaml", *server
    )
    assert explored["episodes"] == 2 and explored["memory_cases"] > 0 and not explored["unjudged"]
    sha256 = run(capsys, "critic", "freeze", memory, "--out", frozen, "--json")["sha256"]
    score = ["critic", "score", scored, "--memory", frozen, "--config", tmp_path / "score.yaml", *server]
    report = run(capsys, *score)
    assert report["judged"] == PERSONS and report["calls"] >= 2 * PERSONS

    store = GroupStore.open(scored)
    lines = read_verdicts(store, "vlm")
    assert {line["memory_sha256"] for line in lines} == {sha256} and all(line["prototypes"] for line in lines)
    with Memory.open(frozen) as copy:
        assert copy.content_hash() == sha256
    again = run(capsys, *score)
    assert again["calls"] == 0 and again["spent"] == report["spent"]

    (tmp_path / "align.yaml").write_text(
        "{critic: vlm, min_persons: 1, held_out_share: 0.0,"
        " training: {steps: 2, batch_size: 2, check_every: 2, save_every: 2}}"
    )
    aligned = run(
        capsys, "align", "best-of-n", "--groups", scored, "--checkpoint", checkpoint,
        "--config", tmp_path / "align.yaml", "--out", tmp_path / "aligned", "--json",
    )  # fmt: skip
    assert aligned["groups"] == PERSONS and (tmp_path / "aligned" / "model.safetensors").is_file()
