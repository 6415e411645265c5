"""USR2: the program that runs is replaced by a new one, in the same process and with the same listening sockets.

First a rehearsal: a child starts the new program as far as a worker that is ready to serve. If that fails, nothing has
changed. Then this process becomes the new program (execve), which keeps its id: whoever watches us needs not be told.
The workers notice that their supervisor has gone, serve on, and are taken over (`takeover`). What is known goes along
in a file without a name (`legacy`). The supervisor owns one Handover; `cli.serving` reads what was handed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Protocol

from proxy.controlplane.listeners.inheritance import Heirloom, Inheritance
from proxy.controlplane.replacement.legacy import Legacy
from proxy.core.portable import dump, load
from proxy.logs import say

log = logging.getLogger(__name__)

VARIABLE = "FAILOVER_PROXY_HANDOVER"
"""Tells the next program the descriptor of the file."""
REHEARSAL_LIMIT = 30.0
"""Seconds for a rehearsal."""
LOOK_AROUND = 3
"""Turns of the loop in which a signal that the process has caught reaches its handler."""
DEFERRED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that wait from the end of one program until the next one heeds them."""


class Owner(Protocol):
    """What a Handover asks of the supervisor."""

    def not_replaceable(self) -> str:
        """Why the program can't be replaced now; empty if it can."""

    def bequeath(self) -> Legacy:
        """What the next program must know."""

    def not_replaced(self, reason: str) -> None:
        """Nothing comes of it, for this reason."""

    async def retreat(self) -> None:
        """Finish what would be cut off by the end of this program, but for the workers."""

    async def resume(self) -> None:
        """There is no next program after all."""


def command() -> list[str]:
    """How this program was started; the interpreter may be a newer one at the same place."""
    return [sys.executable, *sys.orig_argv[1:]]


class Handover:
    """Carries out one replacement at a time."""

    def __init__(self, owner: Owner, command: Sequence[str]) -> None:
        self._owner = owner
        self._command = list(command)
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Replace the program, or say why not."""
        reason = "a replacement is under way" if self._is_running else self._owner.not_replaceable()
        if reason:
            say(log, logging.WARNING, "not replaced", reason=reason)
            self._owner.not_replaced(reason)
            return
        say(log, logging.INFO, "replacing the program", command=" ".join(self._command))
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def _is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    async def close(self) -> None:
        """End a rehearsal that is under way."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        try:
            failure = await self._rehearse() or self._owner.not_replaceable()
            if not failure:
                failure = await self._give_way()
        except Exception as error:
            log.exception("a replacement failed by our own mistake")
            failure = str(error)
        say(log, logging.ERROR, "not replaced: the program that runs goes on", reason=failure)
        self._owner.not_replaced(failure)

    async def _give_way(self) -> str:
        """Become the new program, unless we are told to end meanwhile; returns only if nothing comes of it."""
        try:
            await self._owner.retreat()
            with _deferred():
                # What has come before is with the loop by now: a TERM must not be lost with this program.
                for _ in range(LOOK_AROUND):
                    await asyncio.sleep(0)
                return self._owner.not_replaceable() or self._become()
        finally:
            await self._owner.resume()

    async def _rehearse(self) -> str:
        """Have a child try; what it failed of, or nothing."""
        legacy = replace(self._owner.bequeath(), is_rehearsal=True)
        with _written(legacy) as fd:
            try:
                child = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[fd, *(one.fd for one in legacy.sockets)],
                    start_new_session=True,
                    env=os.environ | {VARIABLE: str(fd)},
                )
            except OSError as error:
                return f"the new program can't be started: {error}"
        return await _outcome(child)

    def _become(self) -> str:
        """Turn into the new program; returns only if that fails."""
        legacy = self._owner.bequeath()
        with _written(legacy) as fd, _kept_open([fd, *(one.fd for one in legacy.sockets)]):
            sys.stdout.flush()
            sys.stderr.flush()
            try:
                os.execve(self._command[0], self._command, os.environ | {VARIABLE: str(fd)})  # noqa: S606
            except OSError as error:
                return f"the new program can't be started: {error}"


async def _outcome(child: asyncio.subprocess.Process) -> str:
    try:
        async with asyncio.timeout(REHEARSAL_LIMIT):
            status = await child.wait()
    except TimeoutError:
        return f"the new program was not ready within {REHEARSAL_LIMIT:g} seconds"
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return f"the new program ended with status {status}" if status else ""


@contextlib.contextmanager
def _written(legacy: Legacy) -> Iterator[int]:
    """The legacy in a file that has no name, so that nobody else finds it and nothing is left of it."""
    fd = os.memfd_create("handover")
    try:
        with os.fdopen(os.dup(fd), "w") as file:
            json.dump(dump(legacy), file)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _deferred() -> Iterator[None]:
    """Signals that come now wait, if need be for the next program."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEFERRED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _kept_open(descriptors: Sequence[int]) -> Iterator[None]:
    """These are open in the next program, too."""
    for fd in descriptors:
        os.set_inheritable(fd, True)
    try:
        yield
    finally:
        for fd in descriptors:
            os.set_inheritable(fd, False)


def receive(environment: MutableMapping[str, str]) -> Legacy | None:
    """What the program before us has left; None if there was none. Raises ValueError if it can't be understood."""
    number = environment.pop(VARIABLE, "")
    if not number:
        return None
    with os.fdopen(int(number)) as file:
        return load(Legacy, json.load(file))


def sockets_of(legacy: Legacy) -> Inheritance:
    """Its sockets, to be claimed."""
    inheritance = Inheritance()
    for one in legacy.sockets:
        os.set_inheritable(one.fd, False)
        inheritance.add(Heirloom(socket.socket(fileno=one.fd), one.owner, one.configured, one.is_foreign))
    return inheritance


def spare_threads() -> None:
    """Have signals come to the thread of the loop alone. Another that caught one while they wait would lose it."""
    block = partial(signal.pthread_sigmask, signal.SIG_BLOCK, DEFERRED)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(initializer=block))


def heed_deferred() -> None:
    """Signals that came between the two programs are heeded from now on."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, DEFERRED)
