"""Monitoring systems from which a rollout reads the values of queries."""

import json
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from berth.errors import OperationError
from berth.operations.rollout.query import Query
from pulumi_berth.proxies import is_loopback

URL_VARIABLE = "BERTH_PROMETHEUS_URL"
TOKEN_VARIABLE = "BERTH_PROMETHEUS_TOKEN"  # noqa: S105 - the name of a variable
_QUERY_PATH = "/api/v1/query"
_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 1 << 20
# CloudWatch stores the metrics of most services once per minute.
_PERIOD_SECONDS = 60
_WINDOW = timedelta(minutes=15)
Source = Callable[[Query, float], float | None]


def open_sources(environment: Mapping[str, str] = os.environ) -> Source:
    """Return a function that reads a query from the system that it names."""
    readers: dict[str, Source] = {}

    def read(query: Query, since: float) -> float | None:
        if query.source not in readers:
            prometheus = query.source == "prometheus"
            readers[query.source] = (
                Prometheus.open(environment).read if prometheus else CloudWatch().read
            )
        return readers[query.source](query, since)

    return read


@dataclass(frozen=True)
class Prometheus:
    """A server with the HTTP API of Prometheus, such as Prometheus, Thanos, Mimir or
    VictoriaMetrics.

    Attributes:
        url: Base URL of the API.
        token: Bearer token, or None without authentication.
    """

    url: str
    token: str | None = None

    @classmethod
    def open(cls, environment: Mapping[str, str]) -> "Prometheus":
        """Return the server that the environment names.

        Raises:
            OperationError: If it names none, or one to which the token must not be sent.
        """
        url, token = environment.get(URL_VARIABLE, ""), environment.get(TOKEN_VARIABLE)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise OperationError(
                f"{URL_VARIABLE} is not the base URL of a Prometheus server. Set it to a URL such "
                f"as https://prometheus.example.com, and a token in {TOKEN_VARIABLE}."
            )
        if token and parts.scheme == "http" and not is_loopback(parts.netloc):
            raise OperationError(
                f"{TOKEN_VARIABLE} would be sent to {parts.hostname} without TLS. Use https in "
                f"{URL_VARIABLE}."
            )
        return cls(url.rstrip("/"), token)

    def read(self, query: Query, _since: float) -> float | None:
        """Return the current value of a query, or None if it selects nothing.

        Raises:
            OperationError: If the server does not respond, or the query has no single value.
        """
        import requests

        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            with requests.post(
                f"{self.url}{_QUERY_PATH}",
                data={"query": query.text, "timeout": f"{_TIMEOUT_SECONDS:g}s"},
                headers=headers,
                timeout=_TIMEOUT_SECONDS,
                allow_redirects=False,
                stream=True,
            ) as response:
                text = response.raw.read(_MAX_BYTES + 1, decode_content=True)
        except (requests.RequestException, OSError) as error:
            host = urlsplit(self.url).hostname
            raise OperationError(
                f"Prometheus at {host} did not respond: {type(error).__name__}. Check "
                f"{URL_VARIABLE}."
            ) from error
        return parse_answer(query, response.status_code, text)


def parse_answer(query: Query, status: int, text: bytes) -> float | None:
    """Return the value in the answer to an instant query, or None if it selected nothing.

    https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries

    Raises:
        OperationError: If the server rejected the query, or the answer has no single value.
    """
    try:
        if len(text) > _MAX_BYTES:
            raise ValueError("more than 1 MiB")
        answer = json.loads(text)
        if answer["status"] != "success":
            raise OperationError(
                f"Prometheus rejected the query '{query.text}': {str(answer.get('error'))[:300]}"
            )
        kind, result = answer["data"]["resultType"], answer["data"]["result"]
        if kind == "scalar":
            return float(result[1])
        if kind != "vector":
            raise OperationError(
                f"The query '{query.text}' returns a {kind}. Use one that returns one number."
            )
        if len(result) > 1:
            raise OperationError(
                f"The query '{query.text}' returns {len(result)} series. Use one that returns one "
                "number, such as with sum(…)."
            )
        return float(result[0]["value"][1]) if result else None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise OperationError(
            f"Prometheus did not answer the query '{query.text}' as its API describes: status "
            f"{status}. Check {URL_VARIABLE}."
        ) from error


class CloudWatch:
    """Amazon CloudWatch in the account and Region of AWS's own configuration."""

    def __init__(self, client: Any = None) -> None:
        self._client = client

    def read(self, query: Query, since: float) -> float | None:
        """Return the newest value of a metric whose minute began after `since`, or None.

        Raises:
            OperationError: If AWS rejects the request or does not respond.
        """
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        metric = parse_metric(query.text)
        now = datetime.now(UTC)
        config = Config(
            connect_timeout=_TIMEOUT_SECONDS,
            read_timeout=_TIMEOUT_SECONDS,
            retries={"total_max_attempts": 2},
        )
        try:
            self._client = self._client or boto3.client("cloudwatch", config=config)
            answer = self._client.get_metric_data(
                MetricDataQueries=[{"Id": "guard", "MetricStat": metric}],
                StartTime=now - _WINDOW,
                EndTime=now,
                ScanBy="TimestampDescending",
            )
        except (BotoCoreError, ClientError) as error:
            raise OperationError(
                f"CloudWatch did not return '{query.text}': {' '.join(str(error).split())[:300]}"
            ) from error
        [result] = answer["MetricDataResults"]
        values = zip(result["Timestamps"], result["Values"], strict=True)
        recent = [(at, value) for at, value in values if at.timestamp() >= since]
        return float(max(recent)[1]) if recent else None


def parse_metric(text: str) -> dict[str, Any]:
    """Return the metric that a text such as `AWS/ApiGateway Latency p99 ApiName=prod` names.

    It has the namespace, the metric, the statistic and the dimensions, with quotes around spaces.

    Raises:
        OperationError: If it is incomplete.
    """
    try:
        namespace, name, statistic, *dimensions = shlex.split(text)
        pairs = [dimension.split("=", 1) for dimension in dimensions]
        named = [{"Name": key, "Value": value} for key, value in pairs]
    except ValueError as error:
        raise OperationError(
            f"--cloudwatch '{text}': state namespace, metric, statistic and dimensions, such as "
            "'AWS/ApiGateway Latency p99 ApiName=prod'."
        ) from error
    return {
        "Metric": {"Namespace": namespace, "MetricName": name, "Dimensions": named},
        "Period": _PERIOD_SECONDS,
        "Stat": statistic,
    }
