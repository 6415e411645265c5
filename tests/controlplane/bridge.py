"""A worker process without a mind of its own: it carries bytes between its control socket and a test.

What the test says goes to the supervisor, what the supervisor says goes to the test, so the test plays the worker.
Its listeners answer each connection with the worker's number and process id.
"""

import argparse
import os
import selectors
import socket


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tap")
    parser.add_argument("--id")
    parser.add_argument("--control", type=int)
    parser.add_argument("--counts")
    parser.add_argument("--doors", type=int)
    parser.add_argument("--listener", action="append", default=[])
    options = parser.parse_args()

    control = socket.socket(fileno=options.control)
    tap = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    tap.connect(options.tap)
    tap.sendall(f"{options.id} {os.getpid()} {','.join(options.listener)}\n".encode())

    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ, tap)
    selector.register(tap, selectors.EVENT_READ, control)
    doors = socket.socket(fileno=options.doors)
    selector.register(doors, selectors.EVENT_READ, "doors")
    listeners = [socket.socket(fileno=int(one.split("=")[1])) for one in options.listener]
    for listener in listeners:
        selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                try:
                    client, _ = key.fileobj.accept()
                except BlockingIOError:
                    continue
                client.sendall(f"{options.id} {os.getpid()}\n".encode())
                client.close()
                continue
            if key.data == "doors":
                # What it had before it may keep: nobody here accepts twice.
                for fd in socket.recv_fds(doors, 65536, 253)[1]:
                    selector.register(socket.socket(fileno=fd), selectors.EVENT_READ)
                continue
            data = key.fileobj.recv(65536)
            if not data:
                return
            key.data.sendall(data)


main()
