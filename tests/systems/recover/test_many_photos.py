"""Photos worked on side by side: in order, a few at once, each on its own."""

import threading
from contextlib import closing

import pytest
import torch

from hmralign.systems.recover.many_photos import side_by_side, threads_that_pay


class Works:
    """Work that counts how much of it goes on at once, and holds whoever is told to wait."""

    def __init__(self):
        self.counting, self.begun, self.now, self.most = threading.Lock(), [], 0, 0
        self.free = threading.Event()

    def __call__(self, item):
        with self.counting:
            self.begun.append(item)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            if item == "slow":
                assert self.free.wait(60)
            if item == "last":
                self.free.set()
            if item == "bad":
                raise ValueError("bad")
            return f"{item} done"
        finally:
            with self.counting:
                self.now -= 1


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_answers_come_in_order_and_errors_stay_with_their_item(threads):
    items = [str(i) for i in range(9)]
    items[4] = "bad"
    answers = list(side_by_side(work := Works(), items, threads))
    assert isinstance(answers.pop(4).exception(), ValueError)
    assert [a.result() for a in answers] == [f"{i} done" for i in items if i != "bad"]
    assert 1 <= work.most <= threads


def test_a_slow_item_holds_up_neither_the_others_nor_more_memory_than_was_said():
    """The one that frees it is the last that may wait with it: two threads have four items under way."""
    answers = side_by_side(work := Works(), ["slow", "1", "2", "last", "later", *"abc"], 2)
    assert next(answers).result() == "slow done" and len(work.begun) in (4, 5) and "later" not in work.begun[:4]
    assert [a.result() for a in answers] == [f"{i} done" for i in ("1", "2", "last", "later", *"abc")]


def test_when_it_is_closed_nothing_more_is_begun_and_nothing_goes_on():
    threads = torch.get_num_threads()
    answers = side_by_side(work := Works(), [str(i) for i in range(100)], 3)
    with pytest.raises(KeyboardInterrupt), closing(answers):
        next(answers)
        raise KeyboardInterrupt
    assert len(work.begun) <= 7 and work.now == 0 and torch.get_num_threads() == threads
    assert not [t for t in threading.enumerate() if t.name.startswith("photo")]


def test_one_thread_is_the_callers_own_and_begins_nothing_unasked():
    work = Works()
    answers = side_by_side(work, ["1", "2"], 1)
    assert work.begun == [] and next(answers).result() == "1 done" and work.begun == ["1"]

    def stopped(item):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(side_by_side(stopped, ["1"], 1))


def test_another_thread_than_cores_waits_for_the_detector():
    assert 2 <= threads_that_pay() <= 3
