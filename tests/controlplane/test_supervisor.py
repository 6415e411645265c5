from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from proxy.controlplane.signals import heed_signals
from proxy.controlplane.supervisor import Supervisor
from proxy.core.messages import (
    AdminState,
    BackendState,
    BreakerNews,
    Drain,
    LastCall,
    PoolNews,
    Snapshot,
    Started,
)
from proxy.core.pools.breaker import BreakerState
from proxy.core.settings import Address, ListenerSettings
from tests.controlplane.conftest import Make, Stage


async def test_a_worker_is_first_told_the_whole_state(stage: Stage, make: Make) -> None:
    settings = make.settings()
    await stage.supervise(settings)

    worker = await stage.worker()

    states = {("app", "b0"): BackendState(), ("app", "b1"): BackendState()}
    assert Snapshot(1, 1, settings, states) == await worker.hear()


async def test_a_worker_gets_each_listener_by_name(stage: Stage, make: Make) -> None:
    listeners = (ListenerSettings("web", Address("127.0.0.1", 0)), ListenerSettings("api", Address("127.0.0.1", 0)))
    await stage.supervise(make.settings(listeners=listeners))

    assert ["web", "api"] == (await stage.worker()).listeners


async def test_every_worker_serves_on_the_one_port_of_a_listener(stage: Stage, make: Make) -> None:
    """With port 0 too, the sockets of all workers share one port."""
    supervisor, _ = await stage.serve(make.settings(workers=3))
    address = supervisor.listeners[0].address
    seen = set()
    while len(seen) < 3:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        seen.add(int((await reader.readline()).split()[0]))
        writer.close()

    assert {0, 1, 2} == seen


async def test_it_is_ready_when_every_worker_has_started(stage: Stage, make: Make) -> None:
    supervisor = await stage.supervise(make.settings(workers=2))
    first, second = await stage.worker(), await stage.worker()
    await first.start()
    first.say(make.opened(first.number, until=5.0))
    await second.hear_a(BreakerNews)  # so what `first` said before was heard, too

    assert (503, "starting") == await readiness(stage, supervisor)
    second.say(Started(second.number, second.pid, 1))
    await supervisor.ready.wait()
    assert (200, "ready\n") == await stage.ask(supervisor, "/readyz")


# What workers are told


async def test_settings_travel_once(stage: Stage, make: Make) -> None:
    """A later Snapshot does not repeat settings that the worker has."""
    supervisor, [worker] = await stage.serve(make.settings())

    await stage.ask(supervisor, "/v1/pools/app/backends/b0", "PATCH", json={"state": "drain"})

    states = {("app", "b0"): BackendState(admin=AdminState.DRAIN), ("app", "b1"): BackendState()}
    assert Snapshot(2, 1, None, states) == await worker.hear()


async def test_changes_of_one_moment_are_one_snapshot(stage: Stage, make: Make) -> None:
    supervisor, [worker] = await stage.serve(make.settings())

    for record in supervisor.registry.records():
        supervisor.set_admin(record, AdminState.MAINT)
    supervisor.set_weight(record, 5)

    snapshot = await worker.hear()
    assert 4 == snapshot.version
    assert BackendState(admin=AdminState.MAINT, weight=5) == snapshot.backends["app", "b1"]


async def test_a_breakers_opening_reaches_the_other_workers(stage: Stage, make: Make) -> None:
    _, [first, second, third] = await stage.serve(make.settings(workers=3))
    news = make.opened(first.number, until=5.0)

    first.say(news)

    assert [news, news] == [await second.hear(), await third.hear()]


async def test_the_answer_to_a_relayed_opening_is_not_relayed(stage: Stage, make: Make) -> None:
    """Two workers that tell each other of their openings would lengthen them for ever."""
    _, [first, second] = await stage.serve(make.settings(workers=2))
    first.say(make.opened(first.number, until=5.0))
    await second.hear()

    second.say(make.opened(second.number, until=5.3))
    second.say(make.opened(second.number, until=9.0, backend="b1"))

    assert "b1" == (await first.hear()).backend


async def test_an_opening_after_a_failed_trial_is_relayed(stage: Stage, make: Make) -> None:
    _, [first, second] = await stage.serve(make.settings(workers=2))
    first.say(make.opened(first.number, until=5.0))
    await second.hear()
    second.say(make.opened(second.number, until=5.0))
    longer = make.opened(first.number, until=15.0)

    first.say(replace(longer, state=BreakerState.HALF_OPEN, reason="open_for is over"))
    first.say(longer)

    assert longer == await second.hear()


async def test_a_breakers_closing_is_relayed(stage: Stage, make: Make) -> None:
    _, [first, second] = await stage.serve(make.settings(workers=2))
    first.say(make.opened(first.number, until=5.0))
    await second.hear()
    closing = replace(make.opened(first.number, until=0.0), state=BreakerState.CLOSED)

    first.say(closing)

    assert closing == await second.hear()


async def test_news_of_an_unknown_backend_harm_nothing(stage: Stage, make: Make) -> None:
    _, [first, second] = await stage.serve(make.settings(workers=2))

    first.say(make.opened(first.number, until=5.0, backend="gone"))
    first.say(PoolNews(first.number, "gone", panic=True, at=0.0))
    first.say(
        make.report(first.number, backends={("gone", "b0"): make.backend_counts()}, pools={"gone": make.pool_counts()})
    )
    first.say(make.opened(first.number, until=5.0))

    assert "b0" == (await second.hear()).backend


async def test_panic_in_any_worker_shows(stage: Stage, make: Make) -> None:
    supervisor, [first, second] = await stage.serve(make.settings(workers=2))

    first.say(PoolNews(first.number, "app", panic=True, at=0.0))
    first.say(make.opened(first.number, until=5.0))
    await second.hear()

    _, pool = await stage.ask(supervisor, "/v1/pools/app")
    assert pool["panic"] is True


# Workers that die


async def test_a_killed_worker_is_replaced_with_the_last_snapshot(stage: Stage, make: Make) -> None:
    supervisor, [worker] = await stage.serve(make.settings())
    await stage.ask(supervisor, "/v1/pools/app/backends/b0", "PATCH", json={"weight": 7})

    os.kill(worker.pid, signal.SIGKILL)

    successor = await stage.worker()
    snapshot = await successor.start()
    assert (0, 2, 7) == (successor.number, snapshot.version, snapshot.backends["app", "b0"].weight)
    assert snapshot.settings is not None
    assert 1 == supervisor.restarts()


async def test_the_listening_socket_outlives_its_worker(stage: Stage, make: Make) -> None:
    """A connection that comes while the worker is dead waits for its successor."""
    supervisor, [worker] = await stage.serve(make.settings())
    address = supervisor.listeners[0].address
    os.kill(worker.pid, signal.SIGKILL)

    reader, writer = await asyncio.open_connection(address.host, address.port)

    successor = await stage.worker()
    assert f"0 {successor.pid}\n" == (await reader.readline()).decode()
    writer.close()


async def test_a_successor_learns_of_open_breakers(stage: Stage, make: Make) -> None:
    _, [first, second] = await stage.serve(make.settings(workers=2))
    news = make.opened(first.number, until=5.0)
    first.say(news)
    await second.hear()

    os.kill(second.pid, signal.SIGKILL)

    successor = await stage.worker()
    await successor.start()
    assert news == await successor.hear()


async def test_it_stays_ready_while_one_of_its_workers_is_replaced(stage: Stage, make: Make) -> None:
    supervisor, [first, _] = await stage.serve(make.settings(workers=2))

    os.kill(first.pid, signal.SIGKILL)
    await stage.worker()

    assert (200, "ready\n") == await stage.ask(supervisor, "/readyz")


async def test_it_is_not_ready_while_no_worker_serves(stage: Stage, make: Make) -> None:
    supervisor, [worker] = await stage.serve(make.settings())

    os.kill(worker.pid, signal.SIGKILL)
    await stage.worker()

    assert (503, "no worker serves") == await readiness(stage, supervisor)


async def test_a_worker_that_babbles_is_replaced(stage: Stage, make: Make) -> None:
    _, [worker] = await stage.serve(make.settings())

    worker.babble(b"\0\0\0\4oops")

    assert worker.pid != (await stage.worker()).pid


async def test_counters_never_go_back_when_a_worker_dies(stage: Stage, make: Make) -> None:
    supervisor, [worker, other] = await stage.serve(make.settings(workers=2))
    requests = {("all", "app", "GET", 200): 5}
    worker.say(make.report(0, worker.pid, requests=requests))
    worker.say(make.opened(0, until=5.0))
    await other.hear()
    os.kill(worker.pid, signal.SIGKILL)
    successor = await stage.worker()
    await successor.start()

    successor.say(make.report(0, successor.pid, requests=requests))
    successor.say(make.report(0, successor.pid, requests={("all", "app", "GET", 200): 7}, final=True))
    successor.end()
    await stage.worker()

    assert 'failover_requests_total{route="all",pool="app",method="GET",code="200"} 12\n' in await metrics(
        stage, supervisor
    )


# The end


async def test_stopping_drains(stage: Stage, make: Make) -> None:
    """First readyz fails, then workers are told to drain, then it ends when they have ended."""
    supervisor, workers = await stage.serve(make.settings(workers=2, drain_timeout=20.0))
    supervisor.stop()

    assert [LastCall()] * 2 == [await worker.hear_a(LastCall) for worker in workers]
    assert [Drain(20.0, closes_idle=False)] * 2 == [await worker.hear_a(Drain) for worker in workers]
    assert (503, "draining") == await readiness(stage, supervisor)
    for worker in workers:
        worker.end()
    await stage.ended(supervisor)


async def test_workers_serve_on_during_the_drain_delay(stage: Stage, make: Make) -> None:
    supervisor, [worker] = await stage.serve(make.settings(drain_delay=3600.0))
    address = supervisor.listeners[0].address

    supervisor.stop()

    assert (503, "draining") == await readiness(stage, supervisor)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    assert f"0 {worker.pid}\n" == (await reader.readline()).decode()
    writer.close()


async def test_the_supervisor_lets_go_of_the_sockets_before_workers_drain(stage: Stage, make: Make) -> None:
    """Else the kernel would go on accepting connections that nobody serves."""
    supervisor, [worker] = await stage.serve(make.settings())
    supervisor.stop()
    await worker.hear_a(Drain)

    assert [-1] == [one.fileno() for one in supervisor.listeners[0].sockets]


async def test_a_second_signal_ends_at_once(stage: Stage, make: Make) -> None:
    """A worker that would take an hour is not waited for."""
    supervisor, [worker] = await stage.serve(make.settings(drain_timeout=3600.0))
    supervisor.stop()
    await worker.hear_a(Drain)

    supervisor.stop()

    await stage.ended(supervisor)


async def test_a_second_signal_cuts_the_drain_delay_short(stage: Stage, make: Make) -> None:
    supervisor, _ = await stage.serve(make.settings(drain_delay=3600.0))
    supervisor.stop()
    await readiness(stage, supervisor)

    supervisor.stop()

    await stage.ended(supervisor)


async def test_workers_that_do_not_drain_in_time_are_killed(
    stage: Stage, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.controlplane.workers.fleet.GRACE", 0.05)
    supervisor, [worker] = await stage.serve(make.settings(drain_timeout=0.05))

    supervisor.stop()

    await stage.ended(supervisor)
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


async def test_ctrl_c_drains_quickly(stage: Stage, make: Make) -> None:
    supervisor, [worker] = await stage.serve(make.settings(drain_delay=3600.0, drain_timeout=3600.0))

    supervisor.stop(quick=True)

    assert Drain(3.0) == await worker.hear_a(Drain)


async def test_a_worker_that_dies_while_draining_is_not_replaced(stage: Stage, make: Make) -> None:
    supervisor, [first, second] = await stage.serve(make.settings(workers=2))
    supervisor.stop()
    await first.hear_a(Drain)
    os.kill(first.pid, signal.SIGKILL)
    second.end()

    await stage.ended(supervisor)

    assert 0 == supervisor.restarts()


async def test_signals_stop_it(stage: Stage, make: Make) -> None:
    supervisor, [worker] = await stage.serve(make.settings(drain_timeout=20.0))
    heed_signals(supervisor)

    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)

    assert Drain(20.0, closes_idle=False) == await worker.hear_a(Drain)


async def test_idle_connections_are_closed_after_a_last_moment(
    stage: Stage, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.controlplane.supervisor.LAST_MOMENT", 0.25)
    supervisor, [worker] = await stage.serve(make.settings(drain_timeout=20.0))

    supervisor.stop()

    assert Drain(20.0, closes_idle=False) == await worker.hear_a(Drain)
    assert Drain(19.75, closes_idle=True) == await worker.hear_a(Drain)


async def test_the_final_counts_of_a_worker_are_taken(stage: Stage, make: Make) -> None:
    supervisor, [worker] = await stage.serve(make.settings())
    supervisor.stop()
    await worker.hear_a(Drain)
    worker.say(make.report(0, worker.pid, client_aborts=3, final=True))
    worker.end()

    await stage.ended(supervisor)

    assert 3 == supervisor.registry.tally.totals().client_aborts


async def metrics(stage: Stage, supervisor: Supervisor) -> str:
    _, text = await stage.ask(supervisor, "/metrics")
    return text


async def readiness(stage: Stage, supervisor: Supervisor) -> tuple[int, str]:
    status, document = await stage.ask(supervisor, "/readyz")
    return status, document["detail"]
