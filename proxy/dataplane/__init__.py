"""One worker process: it moves bytes between clients and Backends. All decisions are `proxy.core`'s."""
