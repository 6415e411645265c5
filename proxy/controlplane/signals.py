"""What signals to the supervisor's process mean. `cli.serving` has it heed them, once its sockets are bound."""

from __future__ import annotations

import asyncio
import signal

from proxy.controlplane.supervisor import Supervisor


def heed_signals(supervisor: Supervisor) -> None:
    """TERM drains, INT (Ctrl-C) drains quickly; either of them a second time ends at once.

    HUP reloads, USR2 replaces us, USR1 opens the access log anew.
    """
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, supervisor.stop)
    loop.add_signal_handler(signal.SIGINT, lambda: supervisor.stop(quick=True))
    loop.add_signal_handler(signal.SIGHUP, supervisor.reloader.begin)
    loop.add_signal_handler(signal.SIGUSR2, supervisor.handover.begin)
    loop.add_signal_handler(signal.SIGUSR1, supervisor.reopen_logs)
