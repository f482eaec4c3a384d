import asyncio

from hmralign.vlm.pacing import Concurrency, Pace


def test_places_are_halved_once_per_window_and_won_back_one_by_one():
    async def run():
        places = Concurrency(16)
        windows = [await places.enter() for _ in range(16)]
        for window in windows:
            await places.leave(window, overrun=True)
        assert places.limit == 8 and places.in_use == 0, "sixteen failures of one moment are one sign"
        for _ in range(5):
            await places.leave(await places.enter(), overrun=True)
        assert places.limit == 1, "never nothing"
        limits = []
        for _ in range(40):
            await places.leave(await places.enter(), success=True)
            limits.append(places.limit)
        steps = [b - a for a, b in zip([1, *limits], limits, strict=False)]
        assert set(steps) <= {0, 1} and limits[0] == 2 and limits[2] == 3 and limits[5] == 4
        for _ in range(200):
            await places.leave(await places.enter(), success=True)
        assert places.limit == 16, "never more than allowed"

    asyncio.run(run())


def test_a_place_that_is_not_free_is_waited_for():
    async def run():
        places, inside = Concurrency(2), []

        async def work(i):
            window = await places.enter()
            inside.append(places.in_use)
            await asyncio.sleep(0.001)
            await places.leave(window)

        await asyncio.gather(*[work(i) for i in range(20)])
        assert len(inside) == 20 and max(inside) == 2 and places.in_use == 0

    asyncio.run(run())


def test_a_pause_holds_everyone_and_one_who_leaves_meanwhile_keeps_no_place():
    async def run():
        loop, places = asyncio.get_running_loop(), Concurrency(3)
        places.pause(0.05)
        begun = loop.time()
        waiting = asyncio.create_task(places.enter())
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert places.in_use == 0
        await places.enter()
        assert loop.time() - begun >= 0.045

    asyncio.run(run())


def test_a_pace_keeps_the_rate_whatever_the_amounts():
    now = [100.0]
    pace = Pace(600.0, clock=lambda: now[0])  # ten each second
    assert [pace.wait_for(5.0) for _ in range(3)] == [0.0, 0.5, 1.0]
    pace.correct(-5.0)
    assert pace.wait_for(1.0) == 1.0
    now[0] = 200.0
    assert pace.wait_for(1.0) == 0.0, "what was not used is not saved up"
    assert Pace(None).wait_for(1e9) == 0.0
