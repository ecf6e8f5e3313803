"""HTTP headers that Berth's programs send or read. Names are in lower case, as ASGI has them."""

API_KEY = "x-api-key"
"""The client's API key."""

AUTHORIZATION = "authorization"
"""The client's JSON Web Token, after `Bearer`. Berth's programs do not forward this header."""

REQUEST_ID = "x-request-id"
"""Identifies a request in every log. Chosen by the client; otherwise by the first server."""

BERTH_PREFIX = "x-berth-"
"""Prefix of all headers between Berth's programs. The gateway drops them from client requests."""

TOKEN = "x-berth-token"  # noqa: S105 - the name of a header
"""The gateway's token. A berth that has a token rejects inference requests without it."""

VERSION = "x-berth-version"
"""The model version that responded."""

SHADOW = "x-berth-shadow"
"""`1` on a mirrored request, whose response is discarded."""

CLIENT = "x-berth-client"
"""The name of the client that the API key belongs to."""

TRAFFIC = "x-berth-traffic"
"""The weights of a model's route, such as `1=90,2=10`, on a request that an ingress controller
sends to the gateway instead of a berth."""

UNKNOWN_LENGTH = "x-berth-unknown-length"
"""`1` on a request without `Content-Length` that an ingress controller sends to the gateway. The
ingress controller replaces a 500 by a 400, because its own 500 means that it could not read the
body."""

RATE_LIMIT = "ratelimit-limit"
RATE_LIMIT_REMAINING = "ratelimit-remaining"
RATE_LIMIT_RESET = "ratelimit-reset"
RETRY_AFTER = "retry-after"

INFERENCE_HEADER_LENGTH = "inference-header-content-length"
"""Binary tensor data extension: length of the JSON header at the start of the body, in bytes."""

RETURN_PREFIX = "x-berth-return-"
RETURNED_HEADERS = {
    RETURN_PREFIX + name: name
    for name in (RATE_LIMIT, RATE_LIMIT_REMAINING, RATE_LIMIT_RESET, REQUEST_ID)
}
"""Request header -> the response header in which a berth returns its value.

An ingress controller can add headers to a request but not to its response.
"""

# The ingress controller sends these when the gateway authorizes a request for it.
FORWARDED_METHOD = "x-forwarded-method"
FORWARDED_URI = "x-forwarded-uri"
FORWARDED_FOR = "x-forwarded-for"
