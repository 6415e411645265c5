"""`GET /v1/explain`: what would become of a request, or why a Backend is out and what brings it back.

`core.explanation` finds it out, in a thread, as there may be thousands of Routes and Backends; here the question is
read and the answer put into words.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from proxy.controlplane.admin.documents import (
    ChoiceDocument,
    ExplainedBackend,
    ExplanationDocument,
    RefusalDocument,
    WhyDocument,
)
from proxy.controlplane.admin.operations import Answer, Control, Operation, Parameter, problem
from proxy.controlplane.admin.pools import backend_of, pool_of
from proxy.controlplane.admin.problems import Problem
from proxy.controlplane.admin.redaction import shown
from proxy.controlplane.admin.view import View
from proxy.controlplane.pools.registry import Registry
from proxy.controlplane.pools.sentences import pool_sentence, state_of
from proxy.core.requests.decisions import OVERLOADED, Attempt, Refuse, Wait
from proxy.core.requests.explanation import LEARNING, Choice, Explanation, Known, World
from proxy.core.requests.retry import IDEMPOTENT
from proxy.core.requests.routing import Router
from proxy.core.settings import PoolSettings, Redirect, RouteSettings, StatusOfWrites

NAMES_SHOWN = 4
"""Backends that a sentence names."""
BREAKS = frozenset("\r\n\0")
"""What would end a line, or a name in C: no request can have it in one."""

_TEXT = {"type": "string"}
ASKED = (
    Parameter("method", "Of the request; `GET` if not said.", _TEXT),
    Parameter("url", "Of the request, or its path; `/` if not said.", _TEXT),
    Parameter(
        "header", "A field of its head, `Name: value`.", {"type": "string", "pattern": "^[^:]+:"}, is_repeatable=True
    ),
    Parameter("client", "The address that it comes from, where a hash of it decides.", _TEXT),
    Parameter("backend", "Instead of a request: `POOL/BACKEND`, why is it out?", _TEXT),
)


class Explain:
    """Answers what somebody wants to have explained."""

    def __init__(self, control: Control, view: View) -> None:
        self._control = control
        self._view = view
        self._router: tuple[tuple[RouteSettings, ...], Router] = ((), Router(()))
        self._turn = asyncio.Lock()

    def operations(self) -> list[Operation]:
        """What it answers."""
        found = Answer("What would become of it, or why it is out.", ExplanationDocument | WhyDocument)
        wrong = problem("A parameter says something that can't be.")
        return [
            Operation(
                "GET",
                "/v1/explain",
                self._get,
                "What would become of a request: asked of the code that serves, dry. Or why a backend is out.",
                {200: found, 400: wrong, 404: problem("No pool or backend has this name.")},
                ASKED,
                hint="?method=GET&url=…&header=X:y what would become of it; ?backend=POOL/BACKEND why is it out",
            )
        ]

    async def _get(self, request: web.Request) -> web.Response:
        asked = request.query
        unknown = sorted(asked.keys() - {one.name for one in ASKED})
        if unknown:
            raise Problem(400, f"there is no parameter {unknown[0]}; there are {', '.join(one.name for one in ASKED)}")
        if "backend" in asked:
            return _sent(self._why(asked["backend"]))
        method, url = asked.get("method", "GET"), asked.get("url", "/")
        head = request_head(method, url, asked.getall("header", []))
        document = await self._explain(head, asked.get("client", ""))
        document["request"] = f"{method} {url}"
        document["sentence"] = f"{method} {url} {document['sentence']}"
        return _sent(document)

    def _why(self, name: str) -> WhyDocument:
        pool_name, _, backend = name.partition("/")
        record = backend_of(pool_of(self._control, pool_name), backend)
        return {"sentence": self._view.sentence(record), "backend": self._view.backend(record)}

    async def _explain(self, head: bytes, client: str) -> ExplanationDocument:
        registry = self._control.registry
        settings, known, now = registry.settings, known_to(registry), self._view.dates.now()
        async with self._turn:
            if self._router[0] is not settings.routes:
                self._router = (settings.routes, await asyncio.to_thread(Router, settings.routes))
            rng = random.Random()  # noqa: S311 - as the Balancers draw
            cuts = registry.splits.told()
            world = World(settings, self._router[1], known, now, rng, time.time(), cuts)
            found = await asyncio.to_thread(world.explain, head, client)
        return self._document(found, head.partition(b" ")[0])

    # In words

    def _document(self, found: Explanation, method: bytes) -> ExplanationDocument:
        route, refusal = found.route, found.refusal
        choices = [self._choice(one, method) for one in found.choices]
        return {
            "request": "",
            "sentence": _sentence(found, choices),
            "refused": None if refusal is None else {"status": refusal.status, "detail": refusal.detail},
            "route": None if route is None else route.name,
            "settings": None if route is None else shown(route.settings),
            "earlier": [{"route": name, "why_not": why} for name, why in found.earlier],
            "earlier_left_out": found.left_out,
            "choices": choices,
        }

    def _choice(self, choice: Choice, method: bytes) -> ChoiceDocument:
        settings, decision = choice.pool.settings, choice.decision
        record = self._control.registry.pools.get(settings.name)
        picked = decision.backend.name if isinstance(decision, Attempt) else None
        return {
            "pool": settings.name,
            "share": round(choice.share, 6),
            "state": None if record is None else state_of(record),
            "pool_sentence": None if record is None else pool_sentence(record, self._control.registry.tally),
            "sentence": _fate(choice),
            "picked": picked,
            "kept": choice.is_kept,
            "trial": isinstance(decision, Attempt) and decision.ticket.is_trial,
            "refused": _refusal(decision) if isinstance(decision, Refuse) else None,
            "panic": choice.pool.panic,
            "balance": settings.balance,
            "backends": self._backends(choice),
            "timeouts": shown(settings.timeouts),
            "retries": shown(settings.retries),
            "repeats": _repeats(settings, method),
        }

    def _backends(self, choice: Choice) -> list[ExplainedBackend]:
        pool = self._control.registry.pools.get(choice.pool.name)
        found: list[ExplainedBackend] = []
        for backend in choice.pool.backends:
            record = None if pool is None else pool.backends.get(backend.name)
            reasons = choice.reasons[backend.name]
            found.append(
                {
                    "name": backend.name,
                    "available": not reasons,
                    # A worker needs one reason; people want all of them.
                    "reasons": list(record.vetoes if reasons and record is not None and record.vetoes else reasons),
                    "sentence": "" if record is None else self._view.sentence(record),
                    "tier": backend.settings.tier,
                    "region": backend.settings.region,
                    "weight": round(backend.weight, 6),
                    "in_flight": backend.in_flight,
                    "chance": choice.chances.get(backend.name, 0.0),
                }
            )
        return found


def known_to(registry: Registry) -> dict[tuple[str, str], Known]:
    """What the registry knows of each Backend, for a thread to work on."""
    found = {}
    for record in registry.records():
        breaker, in_flight = record.breaker(), registry.tally.in_flight(record.key)
        verdict = (breaker.state, breaker.until, breaker.reason, breaker.outlier)
        found[record.key] = Known(record.state, *verdict, in_flight, record.since)
    return found


def request_head(method: str, url: str, fields: Iterable[str]) -> bytes:
    """The request as a client would send it; whether it can be read is for the reader to say. Raises Problem."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Problem(400, "url is not a URL") from None
    target = url if not parts.scheme else (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [one.partition(":") for one in fields]
    if not all(name and colon for name, colon, _ in lines):
        raise Problem(400, "a header is Name: value")
    if not any(name.strip().lower() == "host" for name, _, _ in lines):
        lines.insert(0, ("Host", ":", parts.netloc or "localhost"))
    head = [f"{method} {target.partition('#')[0]} HTTP/1.1", *(f"{name}: {value.strip()}" for name, _, value in lines)]
    if any(BREAKS.intersection(line) for line in head):
        raise Problem(400, "there is a line break where none can be")
    return "\r\n".join([*head, "", ""]).encode("utf-8", "surrogateescape")


def _sent(document: ExplanationDocument | WhyDocument) -> web.Response:
    return web.Response(body=json.dumps(document).encode(), content_type="application/json", charset="utf-8")


def _refusal(refuse: Refuse) -> RefusalDocument:
    return {"status": refuse.status, "detail": refuse.detail or "nobody serves"}


def _sentence(found: Explanation, choices: list[ChoiceDocument]) -> str:
    if found.refusal is not None:
        return f"is refused with {found.refusal.status}: {found.refusal.detail}"
    assert found.route is not None
    name, own = found.route.name, found.route.settings.answer
    if own is not None:
        what = "is told what became of a write" if isinstance(own, StatusOfWrites) else f"is answered {own.status}"
        return f"takes route {name} and {what}" + (f", to {own.to}" if isinstance(own, Redirect) else "")
    instead = "" if found.route.fallback is None else "; if nobody can serve, the route's fallback stands in"
    taken = [one for one in choices if one["share"]]
    if len(taken) == 1:
        return f"takes route {name} to pool {taken[0]['pool']}: {taken[0]['sentence']}{instead}"
    fates = "; ".join(f"{one['share']:.4g} to {one['pool']}: {one['sentence']}" for one in taken)
    return f"takes route {name}, which splits: {fates}{instead}"


def _fate(choice: Choice) -> str:
    """What this Pool does with it."""
    pool, decision = choice.pool, choice.decision
    if isinstance(decision, Attempt):
        panic = ", in panic" if pool.panic else ""
        if decision.ticket.is_trial:
            return f"it goes to {decision.backend.name} as a trial, and elsewhere if that fails{panic}"
        if choice.is_kept:
            return f"it goes to {decision.backend.name}, where its cookie says that it belongs{panic}"
        if len(choice.chances) == 1:
            return f"it goes to {decision.backend.name}{panic}"
        shown_ones = list(choice.chances.items())[:NAMES_SHOWN]
        listed = ", ".join(f"{name} {chance:.0%}" for name, chance in shown_ones)
        more = f" and {len(choice.chances) - NAMES_SHOWN} more" if len(choice.chances) > NAMES_SHOWN else ""
        guess = ", by what each worker has learnt" if pool.settings.balance in LEARNING else ""
        return f"it goes to one of {listed}{more}, by {pool.settings.balance}{guess}{panic}"
    if isinstance(decision, Refuse) and decision.name == OVERLOADED:
        return f"all backends are full: it is refused with {decision.status}"
    if isinstance(decision, Wait) and decision.waiter is not None:
        most = pool.settings.waiting.max_wait
        return f"all backends are full: it waits for up to {most:g} s, and is then refused with 503"
    if isinstance(decision, Refuse):
        return f"nobody serves: it is refused with {decision.status}"
    return f"nobody serves: it waits for up to {pool.settings.hold.duration:g} s, and is then refused with 503"


def _repeats(settings: PoolSettings, method: bytes) -> str:
    """Whether it may be tried again, in a sentence."""
    name, attempts, policy = method.decode("latin-1"), settings.retries.attempts, settings.idempotency
    if method in IDEMPOTENT:
        return f"{name} may be repeated: up to {attempts} attempts in all"
    if policy is None:
        return f"{name} may not be repeated: tried again only where nothing was sent"
    needs = f" {name} without it is refused." if name in policy.require_for else ""
    return f"{name} with {policy.header} is executed once; tried again only as that allows.{needs}"
