"""The recorder of behaviour: equal results hash equally wherever they lie, any other number is found and told."""

import importlib.util
import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from safetensors.numpy import save_file

_PATH = Path(__file__).parents[2] / "tools" / "behaviour.py"
_SPEC = importlib.util.spec_from_file_location("behaviour", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
behaviour = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(behaviour)

NAMES = st.sampled_from(["mpjpe", "scores", "groups", "a"])
DOCUMENTS = st.recursive(
    st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
PASSING = st.sampled_from(["seconds", "versions", "wall_time", "when"])
ORIGINS = st.sampled_from(["sha256", "content_sha256", "mesh_hash", "made_by", "fingerprint"])


@given(arrays(np.float32, array_shapes(max_dims=3, max_side=4)), st.data())
def test_an_arrays_hash_is_of_every_number_and_of_shape_and_type(array, data):
    same = np.asfortranarray(array.copy())
    assert behaviour.hash_of(same) == behaviour.hash_of(array)
    other = array.copy()
    at = data.draw(st.integers(0, array.size - 1))
    value = other.flat[at]
    other.flat[at] = 1.0 if value == 0 or np.isnan(value) else np.nextafter(value, np.float32(0))
    variants = (other, array[None], array.view(np.int32))
    assert behaviour.hash_of(array) not in [behaviour.hash_of(v) for v in variants]


@given(st.dictionaries(NAMES, DOCUMENTS, min_size=1), PASSING, ORIGINS, st.text(min_size=1), st.text(min_size=1))
def test_what_passes_is_left_out_and_origins_stand_apart(document, passing, origin, first, second):
    def told(time, source):
        return behaviour.parted({"inner": {**document, passing: time, origin: source}})

    assert told(1.0, first) == told(2.0, first) == ({"inner": document}, {"inner": {origin: first}})
    numbers, origins = told(1.0, second)
    assert numbers == {"inner": document} and (origins == {"inner": {origin: first}}) == (first == second)


@given(DOCUMENTS, DOCUMENTS)
def test_documents_hash_equally_where_no_leaf_differs(first, second):
    leaves = [pair for pair in behaviour._leaves(first, second, "") if behaviour._differ(*pair[1:])]
    assert (behaviour.hash_of([first]) == behaviour.hash_of([second])) == (not leaves)


def written(work: Path, scores: np.ndarray, mean: float = 0.5, port: int = 1234, seconds: float = 1.0) -> Path:
    """A work folder as a step leaves one, with its record."""
    folder = work / "audit"
    folder.mkdir(parents=True)
    (work / "inputs").mkdir()
    save_file({"scores": scores}, folder / "scores.safetensors", metadata={"config": json.dumps({"width": 3})})
    document = {"mean": mean, "store": f"{work}/groups", "seconds": seconds, "sha256": "0" * 64}
    (folder / "audit.json").write_text(json.dumps(document))
    (folder / "lines.jsonl").write_text('{"id": "a"}\n{"id": "b"}\n')
    table = f"| mean | CPU s |\n| ---: | ---: |\n| {mean} | {seconds} |\n"
    (folder / "audit.md").write_text(f"Judged by http://127.0.0.1:{port}/v1 in {work}.\n\n{table}\nTook {seconds} s\n")
    np.savez(folder / "errors.npz", errors=scores, names=np.array(["hip", "knee"]))
    (folder / "run.yaml").write_text(f"options: {{out: {work}/audit}}\n")
    Image.fromarray(np.full((2, 3), 7, np.uint8)).save(folder / "view.png")
    (folder / "mesh.obj").write_text("v 0 0 1\nv 0 1 0\nf 1//1 2//2\n")
    record = {
        "work": str(work), "steps": ["audit"], "seed": 0, "machine": "m", "libraries": {},
        "hashes": behaviour.Results(work).hashes(["audit"]),
    }  # fmt: skip
    (work / "hashes.json").write_text(json.dumps(record))
    return work


def compared(before: Path, after: Path, *left_out: str) -> list[str]:
    record = json.loads((after / "hashes.json").read_text())
    return behaviour.compare(before / "hashes.json", after, record, list(left_out))


SCORES = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_place_port_and_time_change_nothing(tmp_path, capsys):
    before = written(tmp_path / "before", SCORES)
    after = written(tmp_path / "elsewhere" / "after", SCORES, port=4321, seconds=2.0)
    assert compared(before, after) == []
    assert "12 entries" in capsys.readouterr().out
    assert set(behaviour.Results(before).hashes(["audit"])) == {
        "audit/scores.safetensors#scores", "made_by/audit/scores.safetensors", "audit/audit.json",
        "made_by/audit/audit.json", "audit/lines.jsonl", "audit/audit.md", "audit/errors.npz#errors",
        "audit/errors.npz#names", "made_by/audit/run.yaml", "audit/view.png", "audit/mesh.obj#v", "audit/mesh.obj#f",
    }  # fmt: skip


def test_another_number_is_named_with_its_size(tmp_path, capsys):
    before = written(tmp_path / "before", SCORES)
    other = SCORES.copy()
    other[1, 2] += 0.25
    after = written(tmp_path / "after", other, mean=0.625)
    changed = ["audit/scores.safetensors#scores", "audit/audit.json", "audit/audit.md", "audit/errors.npz#errors"]
    assert sorted(compared(before, after)) == sorted(changed)
    out = capsys.readouterr().out
    assert "scores.safetensors#scores: largest difference 0.25, 16.7% of the numbers" in out
    assert "audit.json: 1 values, largest difference 0.125: /mean: 0.5 became 0.625" in out
    assert compared(before, after, "*.md", "*.npz#*", "*#scores") == ["audit/audit.json"]


def test_what_is_gone_or_new_is_named(tmp_path, capsys):
    before, after = written(tmp_path / "before", SCORES), written(tmp_path / "after", SCORES)
    record = json.loads((after / "hashes.json").read_text())
    record["hashes"]["audit/more.json"] = record["hashes"].pop("audit/audit.json")
    assert behaviour.compare(before / "hashes.json", after, record, []) == ["audit/audit.json", "audit/more.json"]
    assert "gone     audit/audit.json" in capsys.readouterr().out


def test_a_record_that_lies_beside_its_folder_finds_the_values(tmp_path, capsys):
    before = written(tmp_path / "before", SCORES)
    (before / "hashes.json").rename(tmp_path / "before.json")
    after = written(tmp_path / "after", SCORES + 1)
    record = json.loads((after / "hashes.json").read_text())
    assert behaviour.compare(tmp_path / "before.json", after, record, [])
    assert "largest difference 1, 100.0% of the numbers" in capsys.readouterr().out


def request(picture: bytes) -> dict:
    entry = {
        "type": "object",
        "properties": {
            "score": {"type": "integer", "minimum": 0, "maximum": 100},
            "comment": {"type": "string", "pattern": "^[ !#-Z]{0,12}$"},
        },
    }
    schema = {"type": "object", "properties": {"B": entry, "A": entry}}
    pictures = [b"photo", picture, b"other"]
    urls = [f"data:image/jpeg;base64,{behaviour.base64.b64encode(p).decode()}" for p in pictures]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Judge."}, *parts]}],
        "response_format": {"json_schema": {"schema": schema}},
    }


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_a_score_follows_from_its_own_picture(first, second):
    judge = behaviour.Judge()
    judge.server_close()
    one, two = (json.loads(judge.completion(request(p))["choices"][0]["message"]["content"]) for p in (first, second))
    assert list(one) == ["B", "A"] and one["A"] == two["A"]
    assert all(0 <= entry["score"] <= 100 and len(entry["comment"]) <= 12 for entry in one.values())
    assert (one["B"] == two["B"]) >= (first == second)


def test_different_pictures_get_different_scores():
    judge = behaviour.Judge()
    judge.server_close()
    answers = [judge.completion(request(bytes([n])))["choices"][0]["message"]["content"] for n in range(50)]
    assert len({json.loads(text)["B"]["score"] for text in answers}) > 20


def test_the_judge_answers_on_its_address_and_tells_what_it_was_asked():
    with behaviour.judging() as judge:
        for picture in (b"x", b"y"):
            data = json.dumps(request(picture)).encode()
            with urllib.request.urlopen(f"{judge.address}/chat/completions", data, timeout=30) as reply:
                assert set(json.loads(json.load(reply)["choices"][0]["message"]["content"])) == {"A", "B"}
        told = judge.told()
    assert [line["words"] for line in told] == [["Judge."], ["Judge."]] and told[0]["pictures"] != told[1]["pictures"]


@pytest.mark.parametrize("words", [["--work", "w"], ["--work", "w", "--against", "none.json"]])
def test_wrong_input_is_refused_before_anything_runs(words, tmp_path, monkeypatch, capsys):
    (tmp_path / "w").mkdir()
    (tmp_path / "w/file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["behaviour.py", *words, "--no-shared"])
    with pytest.raises(SystemExit) as refused:
        behaviour.main()
    assert refused.value.code == 2
    assert ("none.json is no file" if "--against" in words else "w is not empty") in capsys.readouterr().err


def test_equal_weights_are_one_whatever_the_order_of_their_words(tmp_path):
    def saved(name, words):
        """As the library writes them, whose order of words is left to chance: written here by hand."""
        folder = tmp_path / name
        (folder / "align").mkdir(parents=True)
        header = json.dumps({"__metadata__": words, "w": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}})
        data = len(header).to_bytes(8, "little") + header.encode() + SCORES.tobytes()
        (folder / "align/model.safetensors").write_bytes(data)
        sha256 = behaviour._sha256(data)
        (folder / "align/summary.json").write_text(json.dumps({"sha256": sha256, "loss": 0.5}))
        return sha256, behaviour.Results(folder).hashes(["align"])

    first, second = saved("one", {"a": "1", "b": "2"}), saved("two", {"b": "2", "a": "1"})
    assert first[0] != second[0] and first[1] == second[1]
    other = saved("three", {"a": "1", "b": "3"})[1]
    changed = {name for name in other if other[name] != first[1][name]}
    assert changed == {"made_by/align/model.safetensors", "made_by/align/summary.json"}
