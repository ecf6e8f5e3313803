"""Limits of clients: rate limits and quotas, for one gateway or for several that share them.

The other modules of the gateway use only `limiter` and `limit_decision`. Gateways that share limits
do so through `peers`, `sharing` and `peer_app`.
"""
