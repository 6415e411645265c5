"""Pure decisions: bytes, values and `now` go in, values come out.

No socket, clock, randomness, logging or asyncio in here. Both planes import this package; it imports `proxy.errors`.
"""
