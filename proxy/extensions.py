"""Loads a user's own code by its dotted path, `module:name`, and puts it where what is built in stands.

`config` loads it to see whether it is there and fits; each worker, and the supervisor for probes, loads it to use it. A
module is looked for where Python looks (PYTHONPATH), and last in the folder of the config file. It runs with all the
rights of the proxy: whoever may write the config may run code.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from proxy.core.extending import WRONG, Complain, OwnBalancer, own_condition, own_key
from proxy.core.pools import balancer
from proxy.core.pools.balancer import LeastRequests
from proxy.core.requests import retry
from proxy.core.settings import PoolSettings, Settings

BALANCER, CONDITION, KEY, PROBE = "balancer", "retry condition", "stick key", "probe"
SHAPES = {
    BALANCER: "pick(request, candidates)",
    CONDITION: "(ended)",
    KEY: "(request)",
    PROBE: "(target)",
}
"""How each is called."""


class ExtensionError(Exception):
    """Own code can't be used; the text says why."""


class Named(NamedTuple):
    """Own code that settings name."""

    kind: str
    path: str


def is_own(word: str) -> bool:
    """Whether a word names own code and nothing that is built in."""
    return ":" in word


def named_by(pool: PoolSettings) -> Iterator[Named]:
    """All own code that a Pool's settings name."""
    if is_own(pool.balance):
        yield Named(BALANCER, pool.balance)
    if pool.hash_on.source == balancer.OWN:
        yield Named(KEY, pool.hash_on.name)
    yield from (Named(CONDITION, word) for word in pool.retries.on if is_own(word))
    if pool.health.check is not None:
        yield Named(PROBE, pool.health.check)


def load(named: Named, folder: str) -> Any:
    """The object itself, checked. Raises ExtensionError."""
    module_name, _, name = named.path.partition(":")
    if folder not in sys.path:
        # Last: nothing in there takes the place of a module that others import.
        sys.path.append(folder)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except WRONG as error:
        raise ExtensionError(f"module '{module_name}' can't be loaded: {described(error)}") from error
    if not hasattr(module, name):
        raise ExtensionError(f"module '{module_name}' has no '{name}'")
    found = getattr(module, name)
    _check(named.kind, found)
    return found


def offers(path: str) -> list[str]:
    """What else the module of a dotted path has, if the name is not there; nothing otherwise."""
    module, _, name = path.partition(":")
    found = vars(sys.modules[module]) if module in sys.modules else {}
    return [] if name in found else [one for one in found if not one.startswith("_")]


def described(error: BaseException) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _check(kind: str, found: Any) -> None:
    """See whether it can be called as it will be."""
    call = found
    if inspect.isclass(found) and kind != BALANCER:
        raise ExtensionError(f"is no {kind}: it is a class; name a function, or an object that can be called")
    if kind == BALANCER:
        if inspect.isclass(found):
            _check_call(found, (), "a class that is made without arguments")
        call = getattr(found, "pick", None)
        if call is None:
            raise ExtensionError(f"is no {kind}: it has no {SHAPES[kind]}")
    wanted = (None,) * (SHAPES[kind].count(",") + 1 + (kind == BALANCER and inspect.isclass(found)))
    _check_call(call, wanted, SHAPES[kind])
    is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)
    if is_async is not (kind == PROBE):
        raise ExtensionError(f"is no {kind}: it must {'' if kind == PROBE else 'not '}be async")


def _check_call(call: Any, arguments: tuple[None, ...], shape: str) -> None:
    if not callable(call):
        raise ExtensionError(f"can't be called: expected {shape}")
    try:
        inspect.signature(call).bind(*arguments)
    except TypeError as error:
        raise ExtensionError(f"can't be called as {shape}: {error}") from None
    except ValueError:
        # Written in C: nothing is known of it.
        return


def install(settings: Settings, complain: Complain) -> None:
    """Put all that these settings name into the tables, before a Pool looks there. Never raises."""
    for pool in settings.pools:
        for named in named_by(pool):
            if named.kind != PROBE:
                _put(named, _loaded(named, settings.own_code, complain), complain)


def _loaded(named: Named, folder: str, complain: Complain) -> Any:
    """What was checked when the config was read may be gone by now: then what is built in stands there."""
    try:
        return load(named, folder)
    except ExtensionError as error:
        complain(named.path, error)
        return None


def _put(named: Named, found: Any, complain: Complain) -> None:
    name = named.path
    if named.kind == BALANCER:
        balancer.ALGORITHMS[name] = (
            LeastRequests if found is None else partial(OwnBalancer, name, _maker(found), complain)
        )
    elif named.kind == CONDITION:
        retry.CONDITIONS[name] = own_condition(name, found or (lambda _: False), complain)
    else:
        balancer.KEYS[name] = own_key(name, found or (lambda _: None), complain)


def _maker(found: Any) -> Callable[[], Any]:
    return found if inspect.isclass(found) else lambda: found
