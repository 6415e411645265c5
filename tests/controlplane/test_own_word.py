"""A Backend's own word: obeyed where the pool says so, and only the Backend takes it back."""

from __future__ import annotations

from dataclasses import replace

from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.memory import _document
from proxy.controlplane.pools.registry import Registry
from proxy.core.messages import AdminState, HealthState
from proxy.core.pools.health import HealthPolicy, Probe
from proxy.core.pools.model import Unavailable
from proxy.core.pools.word import BackendWord
from tests.controlplane.conftest import Make

KEY = ("app", "b0")
DRAIN, MAINT, READY = BackendWord("drain"), BackendWord("maint"), BackendWord()


def make_registry(make: Make, *, obey: bool = True) -> Registry:
    settings = make.settings(health=HealthPolicy(path="/healthz", fall=1, rise=1))
    return Registry(replace(settings, pools=(replace(settings.pools[0], obey_backend=obey),)), 0.0)


def hear(registry: Registry, word: BackendWord | None, at: float, *, ok: bool = True) -> list[Change]:
    return registry.take_probe(KEY, Probe(at, ok=ok, duration=0.001, detail="", word=word))


def reasons(registry: Registry) -> tuple[Unavailable, ...]:
    return registry.pools["app"].backends["b0"].reasons


def test_it_drains_itself_and_is_back_when_it_says_so(make: Make) -> None:
    registry = make_registry(make)

    changes = hear(registry, DRAIN, 1.0)
    assert [Change("word", *KEY, "ready", "drain")] == changes
    assert (Unavailable.DRAIN,) == reasons(registry)
    assert AdminState.DRAIN is registry.snapshot().backends[KEY].word

    hear(registry, READY, 2.0)
    assert () == reasons(registry)
    assert 2.0 == registry.snapshot().backends[KEY].readmitted_at


def test_it_may_ask_for_less_weight(make: Make) -> None:
    registry = make_registry(make)

    hear(registry, BackendWord("ready", 0.5), 1.0)

    assert 0.5 == registry.snapshot().backends[KEY].share
    assert () == reasons(registry)


def test_its_word_stands_while_it_says_nothing(make: Make) -> None:
    registry = make_registry(make)
    hear(registry, MAINT, 1.0)

    hear(registry, None, 2.0, ok=False)

    assert (Unavailable.MAINT, Unavailable.FAILED_PROBES) == reasons(registry)


def test_a_pool_that_does_not_obey_hears_nothing(make: Make) -> None:
    registry = make_registry(make, obey=False)

    assert [] == hear(registry, DRAIN, 1.0)
    assert () == reasons(registry)


def test_it_does_not_bring_itself_back_when_probes_or_an_administrator_keep_it_out(make: Make) -> None:
    registry = make_registry(make)
    registry.set_admin(registry.pools["app"].backends["b0"], AdminState.MAINT, 0.5)
    hear(registry, DRAIN, 1.0, ok=False)

    hear(registry, READY, 2.0, ok=False)

    assert (Unavailable.MAINT, Unavailable.FAILED_PROBES) == reasons(registry)


def test_what_it_says_is_not_taken_for_an_administrators_word_after_a_restart(make: Make) -> None:
    registry = make_registry(make)
    hear(registry, DRAIN, 1.0)

    state = registry.snapshot().backends[KEY]

    assert (AdminState.READY, HealthState.UP) == (state.admin, state.health)
    assert "drain" not in _document({KEY: state}, {})


def test_a_reload_that_stops_obeying_forgets_its_word(make: Make) -> None:
    registry = make_registry(make)
    hear(registry, DRAIN, 1.0)
    settings = registry.settings

    registry.obey(replace(settings, pools=(replace(settings.pools[0], obey_backend=False),)), 2.0)

    assert () == reasons(registry)
