"""Traffic between the versions of a model: the weighted split, and shadow traffic."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Self

import aiohttp

from berth_gateway.answers import MAX_COMPARED_BYTES, Answer, compare_answers, read_json_length
from berth_gateway.upstream import UpstreamError, UpstreamPool, UpstreamRequest

_MAX_SHADOW_REQUESTS = 64
_MAX_SHADOW_BYTES = 64 << 20
"""Memory limit of shadow requests in flight. Above it they are dropped, because a slow shadow
version must not use up the gateway's memory."""
_MAX_PARTS = 64
"""Combinations of healthy versions that a split remembers."""


class TrafficSplit:
    """A smooth weighted round robin over the versions of a model.

    Any sequence of as many selections as the sum of the weights contains each version exactly as
    often as its weight, and spreads its selections evenly.
    """

    def __init__(self, weights: Mapping[str, int]) -> None:
        """Start a split.

        Args:
            weights: Version -> weight. At least one weight is above 0.
        """
        self.weights = dict(weights)
        self._total = sum(self.weights.values())
        self._credit = {version: 0 for version, weight in self.weights.items() if weight > 0}
        if not self._credit:
            raise ValueError(f"No version has a weight above 0: {self.weights}")
        self._parts: dict[tuple[str, ...], TrafficSplit] = {}

    @property
    def versions(self) -> list[str]:
        """The versions with a weight above 0."""
        return [*self._credit]

    def next_version(self) -> str:
        """Select the version of the next request."""
        for version in self._credit:
            self._credit[version] += self.weights[version]
        selected = max(self._credit, key=self._credit.__getitem__)
        self._credit[selected] -= self._total
        return selected

    def next_version_of(self, versions: Sequence[str]) -> str:
        """Select one of some versions for a request whose own version is unhealthy.

        These requests are split by the weights of `versions`. They do not change the split of the
        other requests, which is exact again once all versions are healthy.
        """
        key = tuple(versions)
        part = self._parts.get(key)
        if part is None:
            if len(self._parts) >= _MAX_PARTS:
                self._parts.clear()
            weights = {name: self.weights.get(name) or 1 for name in versions}
            part = self._parts[key] = TrafficSplit(weights)
        return part.next_version()


class RouteSplits:
    """Splits whose weights the ingress controller's route states in each request.

    The gateway's configuration does not contain these weights, so that new weights do not restart
    it.
    """

    def __init__(self) -> None:
        self._splits: dict[str, TrafficSplit] = {}

    def find(self, model: str, value: str, versions: Sequence[str]) -> TrafficSplit | None:
        """Return the split of a model, which continues while its weights are the same.

        Args:
            value: Value of the header, `version=percent,...`.
            versions: Versions that may receive traffic.

        Returns:
            The split, or None if the value is invalid: only the controller's own is trusted, and
            it always is valid.
        """
        weights = _parse_weights(value, versions)
        if weights is None:
            return None
        split = self._splits.get(model)
        if split is None or split.weights != weights:
            split = self._splits[model] = TrafficSplit(weights)
        return split


def _parse_weights(value: str, versions: Sequence[str]) -> dict[str, int] | None:
    weights: dict[str, int] = {}
    for item in value.split(","):
        version, _, percent = item.partition("=")
        if version not in versions or not re.fullmatch("[0-9]{1,3}", percent):
            return None
        weights[version] = int(percent)
    return weights if any(weights.values()) else None


class ShadowTraffic:
    """Duplicates of requests, sent to shadow versions in the background.

    Attributes:
        counts: (model, version, outcome) -> number of shadow requests. The outcome is `succeeded`,
            `failed` (no response, or a 4xx or 5xx status) or `dropped`.
        compared: (model, version, outcome) -> number of successful shadow requests whose answer was
            compared with the client's. The outcome is `equal`, `different` or `skipped`.
    """

    def __init__(self, pool: UpstreamPool) -> None:
        self._pool = pool
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self.counts: dict[tuple[str, str, str], int] = {}
        self.compared: dict[tuple[str, str, str], int] = {}

    def send(
        self,
        model: str,
        version: str,
        request: UpstreamRequest,
        url: str,
        answer: Answer | None,
    ) -> None:
        """Send a request in the background, and return immediately.

        Args:
            answer: The client's answer to compare with, or None if it is not known.
        """
        size = len(request.body or b"")
        if len(self._tasks) >= _MAX_SHADOW_REQUESTS or self._bytes + size > _MAX_SHADOW_BYTES:
            self._count(model, version, "dropped")
            return
        self._bytes += size
        task = asyncio.create_task(self._send(model, version, request, url, answer))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._remove(task, size))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancel the shadow requests in flight."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(
        self,
        model: str,
        version: str,
        request: UpstreamRequest,
        url: str,
        answer: Answer | None,
    ) -> None:
        outcome = "failed"
        try:
            async with (
                asyncio.timeout(request.timeout_seconds),
                await self._pool.send(request, lambda: url) as response,
            ):
                body = bytearray()
                async for part in response.content.iter_any():
                    if answer is not None and len(body) <= MAX_COMPARED_BYTES:
                        body += part
                if response.status < 400:
                    outcome = "succeeded"
                if response.status == HTTPStatus.OK and answer is not None:
                    own = Answer(bytes(body), read_json_length(response.headers))
                    key = (model, version, compare_answers(answer, own))
                    self.compared[key] = self.compared.get(key, 0) + 1
        except (UpstreamError, TimeoutError, aiohttp.ClientError):
            pass
        finally:
            self._count(model, version, outcome)

    def _remove(self, task: asyncio.Task[None], size: int) -> None:
        self._tasks.discard(task)
        self._bytes -= size

    def _count(self, model: str, version: str, outcome: str) -> None:
        key = (model, version, outcome)
        self.counts[key] = self.counts.get(key, 0) + 1
