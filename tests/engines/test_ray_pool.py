"""Ray's actors: opened once each, numbers alone go through its store, dead ones are replaced; with Ray and without."""

import importlib.util
import os
import sys
from contextlib import contextmanager
from functools import partial

import pytest

from hmralign.engines import ray_pool
from hmralign.engines.ray_pool import ATTEMPTS, require_ray, run_ray_pool
from hmralign.structures import InputError
from support.numbered_units import NumberedUnits, log_of, opened, said
from support.stand_in_ray import Killed, StandInRay

SQUARES = [str(n**2) for n in range(6)]


@pytest.fixture
def ray(monkeypatch):
    """A stand-in, whose dead actors are those of units that raise `Killed`."""
    stand_in = StandInRay()
    monkeypatch.setattr(ray_pool, "require_ray", lambda: stand_in)
    monkeypatch.setattr("support.numbered_units.os.kill", lambda *_: (_ for _ in ()).throw(Killed))
    return stand_in


def test_numbers_alone_are_handed_out_and_units_are_opened_once_an_actor(ray, tmp_path):
    NumberedUnits(tmp_path).make(4)
    run_ray_pool(partial(opened, tmp_path), 2, gpus=1.0)
    assert said(tmp_path) == SQUARES and log_of(tmp_path).count("4") == 1
    assert ray.created == log_of(tmp_path).count("opened") == 2 and not ray.running
    assert all(isinstance(thing, int | str) for thing in flat(ray.passed))
    assert ray.options_given == {"num_cpus": 1.0, "num_gpus": 1.0, "max_restarts": 0, "max_task_retries": 0}


def test_a_dead_actor_is_replaced_and_its_unit_made_by_another(ray, tmp_path, caplog):
    run_ray_pool(partial(opened, tmp_path, kill=3), 2)
    assert said(tmp_path) == SQUARES and ray.created == 3 and log_of(tmp_path).count("3") == 2
    assert "unit 3: its actor died" in caplog.text


def test_more_actors_than_a_cluster_has_room_for(ray, tmp_path):
    ray.capacity = 1
    run_ray_pool(partial(opened, tmp_path), 4)
    assert said(tmp_path) == SQUARES and ray.created == 4


def test_a_unit_that_kills_every_actor_ends_the_run(ray, tmp_path):
    with pytest.raises(InputError, match=f"unit 3: its actors died {ATTEMPTS} times; .*died unexpectedly$"):
        run_ray_pool(partial(opened, tmp_path, kill=3, always=True), 1)
    assert ray.created == ATTEMPTS and not ray.running


def test_sentences_of_units_and_of_what_cannot_begin(ray, tmp_path):
    with pytest.raises(InputError, match=r"^unit 1 is wrong$"):
        run_ray_pool(partial(opened, tmp_path, wrong=1), 1)
    with pytest.raises(InputError, match=r"an actor could not begin: InputError: no such photos"):
        run_ray_pool(cannot_begin, 1)
    with pytest.raises(InputError, match="0 workers"):
        run_ray_pool(partial(opened, tmp_path), 0)


def test_a_cluster_that_is_joined_already_stays(ray, tmp_path):
    ray.running = True
    run_ray_pool(partial(opened, tmp_path, count=0), 3)
    assert ray.running and ray.created == 1


def test_without_the_library_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r'pip install "hmralign\[ray\]"'):
        require_ray()


needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed (extra [ray])")


@needs_ray
@pytest.mark.slow
def test_real_actors_are_killed_and_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    run_ray_pool(partial(opened, tmp_path, kill=3, count=8), 2)
    assert said(tmp_path) == [str(n**2) for n in range(8)]
    assert log_of(tmp_path).count("opened") == 3 and log_of(tmp_path).count("3") == 2
    (tmp_path / "many").mkdir()
    room = float(os.cpu_count() or 1)  # one actor has it, two wait
    run_ray_pool(partial(opened, tmp_path / "many", count=4), 3, cpus=room)
    assert said(tmp_path / "many") == SQUARES[:4]
    with pytest.raises(InputError, match=r"^unit 9 is wrong$"):
        run_ray_pool(partial(opened, tmp_path, wrong=9, count=10), 1)


@contextmanager
def cannot_begin():
    raise InputError("no such photos")
    yield


def flat(things):
    for thing in things:
        yield from flat(thing) if isinstance(thing, list | tuple) else [thing]
