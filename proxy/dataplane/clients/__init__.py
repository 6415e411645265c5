"""The client's side: who comes in, and the heads of their requests."""
