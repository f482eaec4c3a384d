import threading
import time

import pytest

from hmralign.systems.group_preference.asked_groups import made_ahead


@pytest.mark.parametrize("ahead", [0, 1, 5, 50])
def test_it_is_a_map_in_order(ahead):
    assert list(made_ahead(lambda n: n * n, range(20), ahead)) == [n * n for n in range(20)]
    assert list(made_ahead(str, [], ahead)) == []


def test_the_next_ones_are_made_meanwhile_and_no_more_than_said():
    made, threads = [], set()

    def make(n):
        threads.add(threading.get_ident())
        made.append(n)
        return n

    stream = made_ahead(make, range(100), 3)
    for n in range(5):
        assert next(stream) == n
        deadline = time.monotonic() + 5
        while len(made) < n + 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.005)
        assert made == list(range(n + 4))
    stream.close()
    assert len(made) == 8 and len(threads) == 1 and threading.get_ident() not in threads


def test_items_are_taken_in_the_thread_of_the_caller():
    threads = []
    items = (threads.append(threading.get_ident()) or n for n in range(4))
    assert list(made_ahead(lambda n: n, items, 2)) == [0, 1, 2, 3]
    assert set(threads) == {threading.get_ident()}


def test_a_fault_is_raised_where_its_result_would_have_been():
    stream = made_ahead(lambda n: 1 // n, [1, 1, 0, 1], 2)
    assert [next(stream), next(stream)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(stream)
