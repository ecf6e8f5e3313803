"""OpenTelemetry traces, loaded only when the environment asks for them.

The variables are OpenTelemetry's own (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME …).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from berth_protocol.model_card import ModelCard

# A span around one request, given its headers; the value is told the answer's status.
Trace = Callable[[Mapping[str, str]], AbstractContextManager[Callable[[int], None]]]

_ASKED_BY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def tracer(environment: Mapping[str, str], card: ModelCard) -> Trace | None:
    """How requests are traced; None when they are not."""
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or not any(environment.get(name) for name in _ASKED_BY):
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
    spans = provider.get_tracer("berth")

    @contextmanager
    def traced(headers: Mapping[str, str]) -> Iterator[Callable[[int], None]]:
        with spans.start_as_current_span(
            "infer",
            context=extract(headers),
            kind=trace.SpanKind.SERVER,
            attributes={
                "berth.model": card.name,
                "berth.version": card.version,
                "http.request.header.x-request-id": headers.get("x-request-id", ""),
            },
        ) as span:
            yield lambda status: span.set_attribute("http.response.status_code", status)

    return traced
