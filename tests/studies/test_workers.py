"""Jobs that several workers share: each is done once, a lock is no obstacle to other work, a deadline is kept."""

import threading
import time

import pytest

from hmralign.studies.workers import BusyError, held, work_off


class WrittenJob:
    """Writes a file; `log` gets a line for every time that it is begun."""

    def __init__(self, folder, name, log, seconds=0.0, needs=None):
        self.folder, self.name, self.log, self.seconds, self.needs = folder, name, log, seconds, needs

    def is_done(self) -> bool:
        return (self.folder / self.name).exists()

    def do(self) -> None:
        if self.needs is not None and not (self.folder / self.needs).exists():
            raise BusyError(self.needs)
        self.log.append(self.name)
        time.sleep(self.seconds)
        (self.folder / self.name).touch()


def test_two_workers_do_every_job_once(tmp_path):
    log: list[str] = []
    jobs = [WrittenJob(tmp_path, f"job{n}", log, 0.01) for n in range(12)]
    left: list[list[str]] = []
    workers = [
        threading.Thread(target=lambda: left.append(work_off(jobs, tmp_path / "locks", pause=0.01))) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(log) == sorted(j.name for j in jobs) and left == [[], [], []]


def test_what_is_held_is_left_to_its_holder_and_done_when_it_gives_up(tmp_path):
    log: list[str] = []
    jobs = [WrittenJob(tmp_path, name, log) for name in ("a", "b")]
    with held(tmp_path / "locks", "a"):
        worker = threading.Thread(target=work_off, args=(jobs, tmp_path / "locks"), kwargs={"pause": 0.01})
        worker.start()
        time.sleep(0.1)
        assert log == ["b"] and worker.is_alive()
    worker.join(timeout=5)
    assert log == ["b", "a"]


def test_a_job_that_needs_another_waits_for_it(tmp_path):
    log: list[str] = []
    jobs = [WrittenJob(tmp_path, "child", log, needs="parent"), WrittenJob(tmp_path, "parent", log)]
    assert work_off(jobs, tmp_path / "locks", pause=0.01) == [] and log == ["parent", "child"]


def test_nothing_is_begun_after_the_deadline(tmp_path):
    log: list[str] = []
    jobs = [WrittenJob(tmp_path, name, log, 0.05) for name in ("a", "b", "c")]
    left = work_off(jobs, tmp_path / "locks", until=time.monotonic() + 0.02)
    assert log == ["a"] and left == ["b", "c"]


def test_a_job_without_a_result_is_a_defect(tmp_path):
    job = WrittenJob(tmp_path, "a", [])
    job.do = lambda: None
    with pytest.raises(RuntimeError, match="left no result"):
        work_off([job], tmp_path / "locks")
