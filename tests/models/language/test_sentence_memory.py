"""A memory knows what paraphrases share, and what it would not know without a wording."""

import copy

import pytest
import torch

from hmralign.models.language.sentence_memory import KnownSentence, SentenceMemory
from hmralign.models.language.text_encoder import TextEncoder
from hmralign.structures import InputError

STATEMENTS, WORDINGS, DIMS = 6, 4, 12


class Drawn:
    """Vectors whose first half says the statement, and whose second half, ten times as large, the wording."""

    name, dims, sha256 = "sentence", DIMS, "0"

    def __call__(self, texts):
        return torch.stack([self._vector(text) for text in texts])

    def _vector(self, text):
        statement, wording = (int(part) for part in text.split())
        draw = torch.Generator().manual_seed(100 * statement + wording)
        what = torch.nn.functional.one_hot(torch.tensor(statement), 6).float()
        how = 10 * torch.randn(6, generator=torch.Generator().manual_seed(wording))
        return torch.cat([what, how]) + 0.05 * torch.randn(DIMS, generator=draw)


def known():
    return [KnownSentence(f"{s} {w}", s, w) for s in range(STATEMENTS) for w in range(WORDINGS)]


def memory():
    one = SentenceMemory(Drawn(), STATEMENTS)
    one.learn(one.encoder([k.text for k in known()]), torch.tensor([k.statement for k in known()]))
    return one


def right(vectors, sentences):
    return float((vectors.argmax(1) == torch.tensor([k.statement for k in sentences])).float().mean())


def test_known_sentences_are_known_and_others_by_what_paraphrases_share():
    one = memory()
    assert isinstance(one, TextEncoder) and (one.name, one.dims) == ("sentence", STATEMENTS)
    vectors = one([k.text for k in known()])
    torch.testing.assert_close(vectors.sum(1), torch.ones(len(vectors)))
    assert right(vectors, known()) == 1.0
    others = [KnownSentence(f"{s} {w}", s, w) for s in range(STATEMENTS) for w in range(50, 60)]
    found = right(one([k.text for k in others]), others)
    known_vectors, labels = one.encoder([k.text for k in known()]), torch.tensor([k.statement for k in known()])
    cosine = torch.nn.functional.cosine_similarity
    alone = cosine(one.encoder([k.text for k in others])[:, None], known_vectors[None], dim=-1).argmax(1)
    plain = float((labels[alone] == torch.tensor([k.statement for k in others])).float().mean())
    assert found > 0.75 and found > plain + 0.15, (found, plain)  # the encoder alone goes by the wording


def test_wordings_are_left_out_in_turn():
    one = memory()
    unknown = one.unknown_wordings(known())
    assert set(unknown) == {k.text for k in known()}
    kept = [k for k in known() if k.wording != 2]
    other = SentenceMemory(Drawn(), STATEMENTS)
    other.learn(one.encoder([k.text for k in kept]), torch.tensor([k.statement for k in kept]))
    torch.testing.assert_close(unknown["3 2"], other(["3 2"])[0])
    assert right(torch.stack([unknown[k.text] for k in known()]), known()) > 0.8


def test_what_is_looked_up_stands_for_the_sentence():
    one = memory()
    before, stand_in = one(["1 1", "2 2"]), torch.full((STATEMENTS,), 1 / STATEMENTS)
    one.looked_up = {"1 1": stand_in}
    found = one(["1 1", "2 2"])
    assert torch.equal(found[0], stand_in) and torch.allclose(found[1], before[1])


def test_a_memory_is_its_buffers():
    one, empty = memory(), SentenceMemory(Drawn(), STATEMENTS)
    empty.load_state_dict(one.state_dict())
    assert torch.equal(empty(["4 9"]), one(["4 9"])) and torch.equal(copy.deepcopy(one)(["4 9"]), one(["4 9"]))


def test_a_statement_without_a_sentence_is_refused():
    one = memory()
    some = [k for k in known() if k.statement != 3]
    with pytest.raises(InputError, match="statement 3 has no sentence"):
        one.learn(one.encoder([k.text for k in some]), torch.tensor([k.statement for k in some]))
    with pytest.raises(InputError, match="two of each"):
        one.unknown_wordings([k for k in known() if k.statement != 3 or k.wording == 0])
