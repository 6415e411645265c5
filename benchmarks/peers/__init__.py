"""The proxies that are measured beside each other: one file each, with its config and the command that starts it."""

from __future__ import annotations

from benchmarks.peers import aiohttp_pair, caddy, compiled, envoy, haproxy, logging, nginx, proxy, relay
from benchmarks.peers.contract import Peer

PEERS: dict[str, Peer] = {
    "proxy": proxy,
    "compiled": compiled,
    "haproxy": haproxy,
    "nginx": nginx,
    "envoy": envoy,
    "caddy": caddy,
    "aiohttp": aiohttp_pair,
    "relay": relay,
    "logging": logging,
}
"""All of them, in the order in which tables show them."""

OURS = ("proxy", "compiled")
"""Which of them are this proxy."""
