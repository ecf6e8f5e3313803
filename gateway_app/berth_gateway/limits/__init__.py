"""Limits of clients: rate limits and quotas, of one gateway or of all gateways together.

The other modules of the gateway use only `limiter` and `limit_decision`. One gateway keeps its
limits in memory; several share them in Valkey (`valkey_limiter`).
"""
