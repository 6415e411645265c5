"""Work on a disk, beside the loop: in a thread that does not keep the program from its end, as a disk may hang.

Used by all that keeps files in `state_dir`; what happens when it fails is theirs to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path


async def aside(call: Callable[[], None]) -> None:
    """Call it in a thread of its own, and wait. Passes on what it raises; OSError where there can be no thread."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def tell(error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        # Those are the loop's: nobody may catch them while a program is replaced.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        failure: Exception | None = None
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            failure = error
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, failure)

    try:
        threading.Thread(target=run, name="aside", daemon=True).start()
    except RuntimeError as error:
        # A limit on processes, or no memory: as with a disk that fails, it is tried again.
        raise OSError(errno.EAGAIN, str(error)) from error
    await done


def replace_file(path: Path, text: str) -> None:
    """Whole or not at all: a reader, or a crash, never sees half a file. Raises OSError; to be called `aside`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    with beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
