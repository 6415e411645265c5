"""Listening sockets: bound, inherited, kept, and given back."""
