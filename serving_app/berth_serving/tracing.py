"""OpenTelemetry traces. The libraries are loaded only if the environment enables tracing.

The variables are OpenTelemetry's own, such as OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_SERVICE_NAME.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from berth_protocol.headers import REQUEST_ID
from berth_protocol.model_card import ModelCard

Trace = Callable[[Mapping[str, str]], AbstractContextManager[Callable[[int], None]]]
"""Request headers -> a span around the request, and a function that records the status."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def create_trace(environment: Mapping[str, str], card: ModelCard) -> Trace | None:
    """Return a function that traces one request, or None if tracing is disabled."""
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if is_disabled or not any(environment.get(name) for name in _ENDPOINTS):
        return None
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.propagate import extract
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = environment.get("OTEL_SERVICE_NAME", f"berth-{card.name}-{card.version}")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("berth")

    @contextmanager
    def trace_request(headers: Mapping[str, str]) -> Iterator[Callable[[int], None]]:
        with tracer.start_as_current_span(
            "infer",
            context=extract(headers),
            kind=trace.SpanKind.SERVER,
            attributes={
                "berth.model": card.name,
                "berth.version": card.version,
                f"http.request.header.{REQUEST_ID}": headers.get(REQUEST_ID, ""),
            },
        ) as span:
            yield lambda status: span.set_attribute("http.response.status_code", status)

    return trace_request
