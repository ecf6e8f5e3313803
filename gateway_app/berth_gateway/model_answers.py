"""What the gateway answers for a model as a whole, having asked its versions."""

import asyncio
import logging
from typing import Any

import aiohttp
import msgspec

from berth_gateway.answer import send_json
from berth_gateway.berths import Berths
from berth_gateway.exchange import Exchange
from berth_gateway.in_force import InForce
from berth_gateway.table import Model
from berth_gateway.upstream import UpstreamError

_LOG = logging.getLogger("gateway")


async def model_ready(berths: Berths, in_force: InForce, exchange: Exchange, model: Model) -> None:
    """200 when each exposed version is ready, else 503.

    Not only those with traffic: any of them may be asked by name, and in a cluster the weights
    are the controller's, which this process does not see.
    """

    async def is_ready(version: str) -> bool:
        try:
            async with await berths.ask(in_force, exchange, version, "/ready") as response:
                return response.status == 200
        except UpstreamError:
            return False

    ready = all(await asyncio.gather(*map(is_ready, model.exposed)))
    await send_json(exchange, 200 if ready else 503, {"name": exchange.model, "ready": ready})


async def model_metadata(
    berths: Berths, in_force: InForce, exchange: Exchange, model: Model
) -> None:
    """What the first exposed version that answers says of itself, with all exposed versions.

    When none can be asked, name and versions are left, which the table knows.
    """
    content: dict[str, Any] | None = None
    for version in model.exposed:
        content = await _metadata(berths, in_force, exchange, version)
        if content is not None:
            break
    about = {"name": exchange.model, "versions": model.exposed}
    await send_json(exchange, 200, (content or {}) | about)


async def _metadata(
    berths: Berths, in_force: InForce, exchange: Exchange, version: str
) -> dict[str, Any] | None:
    """What `version` says of itself; None, and a line in the log, when it says nothing usable."""
    try:
        async with (
            asyncio.timeout(in_force.table.timeout_seconds),
            await berths.ask(in_force, exchange, version, "") as response,
        ):
            if response.status == 200:
                return msgspec.json.decode(await response.read(), type=dict[str, Any])
            reason = f"status {response.status}"
    except (UpstreamError, TimeoutError, aiohttp.ClientError, msgspec.MsgspecError) as error:
        reason = str(error) or type(error).__name__
    _LOG.warning("request %s: version %s: %s", exchange.request_id, version, reason)
    return None
