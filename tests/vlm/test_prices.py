import pytest

from hmralign.structures import InputError
from hmralign.vlm.chat import Usage
from hmralign.vlm.prices import Price, PriceTable


def test_the_cost_of_a_call_by_hand():
    price = Price(input=0.3, output=2.0, cached_input=0.06)
    assert price.cost(Usage(1_000_000, 100_000, 400_000)) == pytest.approx(0.6 * 0.3 + 0.4 * 0.06 + 0.1 * 2.0)
    assert Price(0.3, 2.0).cost(Usage(1_000_000, 0, 400_000)) == pytest.approx(0.3)
    assert price.cost(Usage()) == 0.0
    assert price.cost(Usage(10, 0, 99)) == pytest.approx(10 * 0.06e-6), "no server has more cached than it read"


def test_a_table_is_read(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text(
        "currency: CNY\nmodels:\n  qwen: {input: 1, output: 10, cached_input: 0.2}\n  free: {input: 0, output: 0}\n"
    )
    table = PriceTable.load(path)
    assert table.currency == "CNY" and table.of("qwen") == Price(1.0, 10.0, 0.2)
    assert table.of("free") == Price(0.0, 0.0) and table.of("other") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [1]", "another form"), ("prices: {}", "another form"), ("", "another form"),
        (": :", "not a readable price table"), ("models: {qwen: {input: 1}}", "qwen: expected input"),
        ("models: {qwen: {input: -1, output: 1}}", "qwen: input"),
        ("models: {qwen: {input: .nan, output: 1}}", "qwen: input"),
        ("models: {qwen: {input: true, output: 1}}", "qwen: input"),
        ("models: {qwen: {input: 1, output: 1, per: 3}}", "qwen: expected"),
    ],
)  # fmt: skip
def test_another_table_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"prices\.yaml.*{message}"):
        PriceTable.load(path)


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml"):
        PriceTable.load(tmp_path / "none.yaml")
