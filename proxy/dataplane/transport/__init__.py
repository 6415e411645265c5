"""What lies below a connection: TLS, what goes out together, and how a coroutine waits."""
