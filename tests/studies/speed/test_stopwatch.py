"""Timings are of the work, operations and bytes are counted, and the roofline bounds what can be reached."""

import time

import pytest
import torch

from hmralign.studies.speed.stopwatch import (
    Amount,
    Roofline,
    counted_work,
    measured_roofline,
    peak_megabytes,
    timed,
)

ROOF = Roofline(flops_per_second=100.0, bytes_per_second=10.0)


def test_sleep_is_wall_time_and_no_cpu_time_and_the_first_call_does_not_count():
    calls = []

    def work():
        calls.append(None)
        time.sleep(0.3 if len(calls) == 1 else 0.02)

    took = timed(work, 3)
    assert len(calls) == 4 and 0.02 <= took.wall < 0.3 and took.cpu < 0.01 and took.repeats == 3


def test_a_product_has_its_operations_and_bytes_and_a_view_moves_nothing():
    a, b = torch.ones(8, 16), torch.ones(16, 4)
    assert counted_work(lambda: a @ b) == Amount(2 * 8 * 16 * 4, 4 * (8 * 16 + 16 * 4 + 8 * 4))
    assert counted_work(lambda: a.view(16, 8).T) == Amount(0, 0)
    assert counted_work(lambda: torch.cat([a, a])).bytes == 4 * 4 * 8 * 16


@pytest.mark.parametrize(
    ("amount", "cpu", "share", "by"),
    [
        (Amount(100, 1), 2.0, 0.5, "arithmetic"),
        (Amount(10, 10), 2.0, 0.5, "memory"),
        (Amount(10, 10), 50.0, 0.02, "overhead"),
        (Amount(0, 0), 1.0, 0.0, "not counted"),
    ],
)
def test_what_bounds_the_work(amount, cpu, share, by):
    note = amount.note(cpu, ROOF)
    assert note["share_of_roofline"] == pytest.approx(share) and note["bound_by"] == by
    assert note["gflops"] == pytest.approx(amount.flops / cpu / 1e9)


def test_this_machine_multiplies_and_copies():
    roof = measured_roofline(1)
    assert roof.flops_per_second > 1e8 and roof.bytes_per_second > 1e8 and peak_megabytes() > 50
    assert set(roof.record()) == {"gflops", "gigabytes_per_second"}
