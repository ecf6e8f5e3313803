"""What the gateway answers for a model as a whole, having asked its versions."""

import asyncio
import logging
from typing import Any

import aiohttp
import msgspec

from gateway_app.answer import send_json
from gateway_app.berths import Berths
from gateway_app.exchange import Exchange
from gateway_app.in_force import InForce
from gateway_app.table import Model
from gateway_app.upstream import UpstreamError

_LOG = logging.getLogger("gateway")


async def model_ready(berths: Berths, in_force: InForce, exchange: Exchange, model: Model) -> None:
    """200 when each version with traffic is ready, else 503."""

    async def is_ready(version: str) -> bool:
        try:
            async with await berths.ask(in_force, exchange, version, "/ready") as response:
                return response.status == 200
        except UpstreamError:
            return False

    asked = [version for version, percent in model.traffic.items() if percent]
    ready = all(await asyncio.gather(*map(is_ready, asked)))
    await send_json(exchange, 200 if ready else 503, {"name": exchange.model, "ready": ready})


async def model_metadata(
    berths: Berths, in_force: InForce, exchange: Exchange, model: Model
) -> None:
    """What the version with most traffic says of itself, with all exposed versions.

    When that version cannot be asked, name and versions are left, which the table knows.
    """
    version = max(model.traffic, key=model.traffic.__getitem__)
    content: dict[str, Any] = {}
    try:
        async with (
            asyncio.timeout(in_force.table.timeout_seconds),
            await berths.ask(in_force, exchange, version, "") as response,
        ):
            if response.status == 200:
                content = msgspec.json.decode(await response.read(), type=dict[str, Any])
    except (UpstreamError, TimeoutError, aiohttp.ClientError, msgspec.MsgspecError) as error:
        _LOG.warning("request %s: version %s: %s", exchange.request_id, version, error)
    content |= {"name": exchange.model, "versions": model.exposed}
    await send_json(exchange, 200, content)
