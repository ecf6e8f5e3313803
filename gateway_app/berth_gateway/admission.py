"""Admission: whether a request may go on, wherever it is asked about."""

from dataclasses import dataclass

from prometheus_client import Counter

from berth_gateway.exchange import Exchange, RawHeaders
from berth_gateway.in_force import InForce
from berth_gateway.keys import client_of
from berth_gateway.quota import Quotas
from berth_gateway.refusal import RefusalError
from berth_gateway.routes import Ask, Route, check_method, open_model
from berth_gateway.table import Client, Model
from berth_gateway.throttle import Throttle
from berth_gateway.verdict import Verdict, verdict_headers


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """A request that may be answered: who asks, and for what.

    `model` is None where the server itself is asked about.
    """

    client: Client
    route: Route
    model: Model | None


class Admission:
    """Keys, limits, and what is exposed: one judgement for all doors of this process.

    `refused` counts requests beyond a limit, by client and reason.
    """

    def __init__(self, throttle: Throttle, quotas: Quotas, refused: Counter) -> None:
        self._throttle = throttle
        self._quotas = quotas
        self._refused = refused

    def admit(self, in_force: InForce, exchange: Exchange, route: Route | None) -> Admitted:
        """Judge by key, throttle, path, method, and what is exposed, in this order.

        The exchange learns client, model and what of the throttle is left.

        Raises:
            RefusalError: 401, 404, 405 or 429.
        """
        client = _known_client(in_force, exchange.headers)
        exchange.client = client.name
        self._obey(exchange, "throttle", self._throttle.take(client))
        if route is None:
            raise RefusalError(404, "there is nothing here; POST /v2/models/<model>/infer infers")
        check_method(route, exchange.method)
        if route.ask is Ask.SERVER:
            return Admitted(client=client, route=route, model=None)
        model = open_model(in_force.table, route)
        exchange.model = route.model
        return Admitted(client=client, route=route, model=model)

    def spend(self, exchange: Exchange, client: Client) -> None:
        """Count one inference request that goes to a berth against the quota.

        Raises:
            RefusalError: 429, the quota is used up.
        """
        if client.quota is not None:
            verdict = self._quotas.take(client.name, client.quota)
            if not verdict.allowed:
                self._obey(exchange, "quota", verdict)

    def _obey(self, exchange: Exchange, reason: str, verdict: Verdict) -> None:
        """Tell the client of a limit; refuse its request when the limit does."""
        exchange.answer_headers |= verdict_headers(verdict)
        if not verdict.allowed:
            self._refused.labels(exchange.client, reason).inc()
            raise RefusalError(
                429,
                f"client {exchange.client!r} is beyond its {reason}; "
                f"come again in {verdict.retry_after_seconds} s",
            )


def _known_client(in_force: InForce, headers: RawHeaders) -> Client:
    keys = [value for name, value in headers if name == b"x-api-key"]
    client = client_of(keys[0], in_force.owners) if len(keys) == 1 else None
    if client is None:
        text = "this API key is not known" if keys else "an API key is needed"
        raise RefusalError(
            401,
            f"{text}; send one in the header x-api-key",
            {"www-authenticate": 'ApiKey realm="berth"'},
        )
    return client
