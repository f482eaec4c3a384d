"""What is exported is what the store holds, column by column; what cannot be exported says why."""

import builtins
import json
from dataclasses import replace

import pytest
import torch

from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.preferences.pairs import matched_pairs
from hmralign.preferences.parquet import BODY_DIM, body_vectors, export_parquet, require_pyarrow
from hmralign.preferences.store import CriticFacts, GroupStore, writing
from hmralign.structures import InputError
from support.group_stores import some_groups, store_facts
from support.synthetic_persons import seeded

parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: extra [export]")

G = 4


def made(folder, *, samples=True, silent=False):
    with writing(folder, store_facts(group_size=G)) as writer:
        for ids, seed in (("abc", 0), ("de", 1)):
            groups = some_groups(ids, size=G, seed=seed)
            writer.append(groups if samples else replace(groups, x_0=None))
        for critic in ("one", "oracle"):
            writer.declare_critic(critic, CriticFacts(critic, needs_truth=critic == "oracle"))
            for shard in range(2):
                scores = torch.randn(len(writer.shard_ids(shard)), G, generator=seeded(shard))
                writer.write_scores(critic, shard, torch.zeros_like(scores) if silent else scores)
    return GroupStore.open(folder)


def tensor(table, column):
    return torch.tensor(table[column].to_pylist())


def test_body_vectors_give_the_bodies_back():
    body = some_groups("ab").hypotheses.body
    vectors = body_vectors(body)
    assert vectors.shape == (2, 3, BODY_DIM)
    rotmats = rotvec_to_rotmat(vectors[..., :72].unflatten(-1, (24, 3)))
    assert torch.allclose(rotmats, body.rotmats, atol=1e-5)
    assert torch.equal(vectors[..., 72:82], body.betas) and torch.equal(vectors[..., 82:], body.transl)


def test_a_row_per_pair(tmp_path):
    store, file = made(tmp_path / "s"), tmp_path / "new" / "pairs.parquet"
    assert export_parquet(store, file, ["one", "oracle"], k=2) == 5 * 2 * 2
    table = parquet.read_table(file)
    of_one = table.filter(table["critic"].to_numpy(zero_copy_only=False) == "one")
    scores, pairs = store.scores("one"), matched_pairs(store.scores("one"), 2)
    assert of_one["prompt"].to_pylist() == [store.ids[i] for i in pairs.group.tolist()]
    x_0 = torch.cat([store.read(s).x_0 for s in range(2)])  # type: ignore[arg-type]
    vectors = torch.cat([body_vectors(store.read(s).hypotheses.body) for s in range(2)])
    for side, index in (("chosen", pairs.chosen), ("rejected", pairs.rejected)):
        assert torch.equal(tensor(of_one, side), vectors[pairs.group, index])
        assert torch.equal(tensor(of_one, f"x_0_{side}"), x_0[pairs.group, index])
        assert torch.equal(tensor(of_one, f"score_{side}"), scores[pairs.group, index])
        assert tensor(of_one, f"index_{side}").tolist() == index.tolist()
    assert (tensor(table, "score_chosen") > tensor(table, "score_rejected")).all()


def test_a_row_per_group(tmp_path):
    store, file = made(tmp_path / "s"), tmp_path / "groups.parquet"
    assert export_parquet(store, file, ["one"], "groups") == 5
    table = parquet.read_table(file)
    assert table["id"].to_pylist() == list(store.ids)
    assert torch.equal(tensor(table, "scores"), store.scores("one"))
    assert tensor(table, "hypotheses").shape == (5, G, BODY_DIM)
    assert torch.equal(tensor(table, "x_0")[3:], store.read(1).x_0)


def test_every_row_says_where_it_comes_from(tmp_path):
    store, file = made(tmp_path / "s"), tmp_path / "pairs.parquet"
    export_parquet(store, file, ["one", "oracle"])
    table = parquet.read_table(file)
    by_id = {e.id: e for e in store.entries}
    for row in table.to_pylist():
        entry, facts = by_id[row["prompt"]], store.critic_facts(row["critic"])
        assert row["shard_sha256"] == entry.shard_sha256 and row["source"] == "wild/train"
        assert row["model_sha256"] == entry.model_sha256 and row["skeleton_hash"] == entry.skeleton_hash
        assert row["mesh_hash"] == store.facts.mesh_hash and row["critic_sha256"] == facts["sha256"]
        assert row["critic_needs_truth"] == (row["critic"] == "oracle")
    about = json.loads(table.schema.metadata[b"hmralign"])
    assert about["content_sha256"] == store.content_hash() and about["critics"] == ["one", "oracle"]
    assert about["store"]["group_size"] == G and about["format_version"] == 1


def test_predictions_of_other_systems_have_no_samples(tmp_path):
    store, file = made(tmp_path / "s", samples=False), tmp_path / "pairs.parquet"
    export_parquet(store, file, ["one"])
    assert not [name for name in parquet.read_schema(file).names if "x_0" in name]


def test_groups_without_an_order_give_no_pairs(tmp_path):
    store, file = made(tmp_path / "s", silent=True), tmp_path / "pairs.parquet"
    assert export_parquet(store, file, ["one"]) == 0
    assert parquet.read_table(file).num_rows == 0 and export_parquet(store, file, ["one"], "groups") == 5


@pytest.mark.parametrize(
    ("name", "critics", "k", "said"),
    [
        ("a.csv", ["one"], None, "ends in .parquet"),
        ("a.parquet", [], None, "no critic is named"),
        ("a.parquet", ["two"], None, "no scores by 'two'"),
        ("a.parquet", ["one"], 3, "overlap"),
    ],
)
def test_what_cannot_be_exported(tmp_path, name, critics, k, said):
    with pytest.raises(InputError, match=said):
        export_parquet(made(tmp_path / "s"), tmp_path / name, critics, k=k)
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_an_export_that_fails_leaves_the_earlier_one(tmp_path):
    store, file = made(tmp_path / "s"), tmp_path / "pairs.parquet"
    export_parquet(store, file, ["one"])
    before = file.read_bytes()
    shard = tmp_path / "s" / "groups_00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(InputError, match="groups_00001"):
        export_parquet(store, file, ["one"])
    assert file.read_bytes() == before and {p.name for p in tmp_path.iterdir()} == {"s", "pairs.parquet"}


def test_without_pyarrow_one_reads_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments):
        if name.startswith("pyarrow"):
            raise ImportError(f"No module named '{name}'")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r'pip install "hmralign\[export\]"'):
        require_pyarrow()
