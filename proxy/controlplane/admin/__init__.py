"""The admin endpoint: what is known, over HTTP, and orders to the supervisor."""
