"""JSON Web Tokens: which ones identify a client, and how the issuer's keys are read."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from berth_gateway import json_web_tokens
from berth_gateway.config import ConfigError, Jwt
from berth_gateway.json_web_tokens import InvalidTokenError, TokenVerifier, parse_key_set
from berth_protocol.errors import RequestError
from tests.gateway.gateway_process import GatewayProcess, build_client, build_config

ISSUER = "https://issuer.example"
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()


def to_jwk(key: Any, algorithm: str, **fields: Any) -> dict[str, Any]:
    """Return the public key as an entry of a key set."""
    jwk = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
    return {**jwk, **fields}


KEY_SET = {
    "keys": [
        to_jwk(RSA, "RS256", kid="rsa"),
        to_jwk(RSA, "RS256", kid="only-rs256", alg="RS256"),
        to_jwk(P256, "ES256", kid="p256"),
        to_jwk(P384, "ES384", kid="p384"),
        to_jwk(ED25519, "EdDSA", kid="ed25519"),
    ]
}


def sign(key: Any = RSA, algorithm: str = "RS256", kid: str | None = "rsa", **claims: Any) -> bytes:
    """Return a token of client `service-7`; claims that are None are omitted."""
    content = {
        "iss": ISSUER,
        "aud": "berth",
        "sub": "service-7",
        "exp": time.time() + 300,
        **claims,
    }
    return jwt.encode(
        {name: value for name, value in content.items() if value is not None},
        key,
        algorithm,
        headers={"kid": kid} if kid else {},
    ).encode()


def build_issuer(**changes: Any) -> Jwt:
    return Jwt(
        **{
            "issuer": ISSUER,
            "audience": "berth",
            "client_claim": "sub",
            "jwks": KEY_SET,
            **changes,
        }
    )


def build_verifier(**changes: Any) -> TokenVerifier:
    return TokenVerifier(build_issuer(**changes), {"service-7": "partner"})


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [
        *((RSA, name, "rsa") for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        (P256, "ES256", "p256"),
        (P384, "ES384", "p384"),
        (ED25519, "EdDSA", "ed25519"),
    ],
)
async def test_token_identifies_client(key: Any, algorithm: str, kid: str) -> None:
    assert await build_verifier().find_client(sign(key, algorithm, kid)) == "partner"


def _unsigned() -> bytes:
    _, content, _ = sign().split(b".")
    head = base64.urlsafe_b64encode(b'{"alg":"none","kid":"rsa"}').rstrip(b"=")
    return b".".join((head, content, b""))


def _signed_with_public_key() -> bytes:
    """Return a token whose HMAC secret is the issuer's public key, as in CVE-2016-10555."""
    # PyJWT refuses to sign with a public key, so its parts are joined here.
    signed, _, _ = sign().rpartition(b".")
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"rsa"}').rstrip(b"=")
    text = head + b"." + signed.partition(b".")[2]
    secret = json.dumps(KEY_SET["keys"][0]).encode()
    signature = hmac.digest(secret, text, "sha256")
    return text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        pytest.param(lambda: b"", "Send a signed", id="empty"),
        pytest.param(lambda: b"a.b.c", "Send a signed", id="no token"),
        pytest.param(lambda: b"\xff\xfe.\xff.\xff", "Send a signed", id="no text"),
        pytest.param(lambda: b"a" * 20_000, "longer than", id="too long"),
        pytest.param(_unsigned, "use one of", id="unsigned"),
        pytest.param(_signed_with_public_key, "use one of", id="symmetric"),
        pytest.param(lambda: sign(OTHER_RSA), "Signature", id="other key"),
        pytest.param(lambda: sign()[:-20] + b"A" * 20, "Signature", id="other signature"),
        pytest.param(lambda: sign(kid="none"), "no key with its 'kid'", id="unknown key"),
        pytest.param(lambda: sign(kid=None), "no key with its 'kid'", id="ambiguous key"),
        pytest.param(lambda: sign(P256, "ES256", "rsa"), "not allowed", id="key of another type"),
        pytest.param(
            lambda: sign(RSA, "PS256", "only-rs256"), "not allowed", id="not the key's algorithm"
        ),
        pytest.param(lambda: sign(iss="https://other.example"), "issuer", id="issuer"),
        pytest.param(lambda: sign(iss=None), "iss", id="no issuer"),
        pytest.param(lambda: sign(aud="other"), "udience", id="audience"),
        pytest.param(lambda: sign(aud=None), "aud", id="no audience"),
        pytest.param(lambda: sign(exp=None), "exp", id="no expiry"),
        pytest.param(lambda: sign(nbf=time.time() + 300), "not yet valid", id="not yet valid"),
        pytest.param(lambda: sign(sub=None), "sub", id="no claim"),
        pytest.param(lambda: sign(sub="service-8"), "names no client", id="other client"),
        pytest.param(lambda: sign(sub="partner"), "names no client", id="client name"),
    ],
)
async def test_invalid_token_is_rejected(token: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(InvalidTokenError, match=reason) as error:
        await build_verifier().find_client(token())
    assert not error.value.is_expired


async def test_expired_token_is_distinguished_from_guess() -> None:
    with pytest.raises(InvalidTokenError, match="expired") as error:
        await build_verifier().find_client(sign(exp=time.time() - 60))
    assert error.value.is_expired


async def test_client_is_read_from_configured_claim() -> None:
    verifier = build_verifier(client_claim="azp")
    assert await verifier.find_client(sign(azp="service-7", sub="x")) == "partner"
    for value in (["service-7"], {"a": 1}, 7, True):
        with pytest.raises(InvalidTokenError):
            await verifier.find_client(sign(azp=value))


async def test_token_without_key_id_uses_only_key() -> None:
    verifier = build_verifier(jwks={"keys": [to_jwk(RSA, "RS256")]})
    assert await verifier.find_client(sign(kid=None)) == "partner"


@pytest.mark.parametrize(
    "entry",
    [
        to_jwk(rsa.generate_private_key(65537, 1024), "RS256", kid="weak"),
        to_jwk(RSA, "RS256", use="enc"),
        to_jwk(RSA, "RS256", alg="RSA-OAEP"),
        to_jwk(RSA, "RS256", d="AQAB"),
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "RSA", "n": 1, "e": []},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": ["P-256"]},
        "text",
    ],
)
def test_key_for_other_purposes_is_ignored(entry: Any) -> None:
    with pytest.raises(ValueError, match="no public RSA, EC or Ed25519 key"):
        parse_key_set(json.dumps({"keys": [entry]}).encode())
    assert len(parse_key_set(json.dumps({"keys": [entry, KEY_SET["keys"][0]]}).encode())) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b"[" * 100_000,
        b'{"keys":' + b"[" * 100_000,
        json.dumps({"keys": [KEY_SET["keys"][0]] * 101}).encode(),
        b" " * 300_000,
    ],
)
def test_invalid_key_set_is_rejected(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"key set|Key Set"):
        parse_key_set(text)


def test_configuration_with_invalid_key_set_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"jwt\.jwks"):
        build_verifier(jwks={"keys": []})


class _Source:
    """The issuer's key set, and the clock of the verifier."""

    def __init__(self) -> None:
        self.content: bytes | Exception = json.dumps(KEY_SET).encode()
        self.reads = 0
        self.now = 1000.0

    async def read(self) -> bytes:
        self.reads += 1
        await asyncio.sleep(0)
        if isinstance(self.content, Exception):
            raise self.content
        return self.content

    def build_verifier(self) -> TokenVerifier:
        return TokenVerifier(
            build_issuer(jwks=None, jwks_url="https://issuer.example/keys"),
            {"service-7": "partner"},
            self.read,
            lambda: self.now,
        )


async def test_keys_are_read_once_for_many_requests() -> None:
    source = _Source()
    verifier = source.build_verifier()
    clients = await asyncio.gather(*(verifier.find_client(sign()) for _ in range(20)))
    assert (clients, source.reads) == (["partner"] * 20, 1)


async def test_unknown_keys_do_not_cause_a_read_each() -> None:
    source = _Source()
    verifier = source.build_verifier()
    for number in range(50):
        with pytest.raises(InvalidTokenError):
            await verifier.find_client(sign(kid=f"unknown {number}"))
    assert source.reads == 1
    source.now += json_web_tokens.RETRY_SECONDS
    source.content = json.dumps({"keys": [to_jwk(RSA, "RS256", kid="new")]}).encode()
    assert await verifier.find_client(sign(kid="new")) == "partner"
    with pytest.raises(InvalidTokenError):  # The issuer withdrew this key.
        await verifier.find_client(sign(kid="rsa"))


@pytest.mark.parametrize("kid", [None, "same"])
@pytest.mark.parametrize(("new", "algorithm"), [(OTHER_RSA, "RS256"), (P256, "ES256")])
async def test_key_that_is_replaced_under_the_same_name_or_none_is_read_again(
    new: Any, algorithm: str, kid: str | None
) -> None:
    """oidc-provider-mock 0.3.4, for example, omits `kid` in its tokens."""
    source = _Source()
    source.content = json.dumps({"keys": [to_jwk(RSA, "RS256", kid="same")]}).encode()
    verifier = source.build_verifier()
    assert await verifier.find_client(sign(kid=kid)) == "partner"
    source.content = json.dumps({"keys": [to_jwk(new, algorithm, kid="same")]}).encode()
    for _ in range(5):
        with pytest.raises(InvalidTokenError):
            await verifier.find_client(sign(new, algorithm, kid=kid))
    assert source.reads == 1
    source.now += json_web_tokens.RETRY_SECONDS
    assert await verifier.find_client(sign(new, algorithm, kid=kid)) == "partner"
    with pytest.raises(InvalidTokenError):
        await verifier.find_client(sign(kid=kid))
    assert source.reads == 2


async def test_keys_stay_valid_while_issuer_does_not_respond_and_end_when_stale() -> None:
    source = _Source()
    verifier = source.build_verifier()
    assert await verifier.find_client(sign()) == "partner"
    source.content = OSError("refused")
    source.now += json_web_tokens.STALE_SECONDS - 1
    assert await verifier.find_client(sign()) == "partner"
    source.now += 31
    with pytest.raises(RequestError) as error:
        await verifier.find_client(sign())
    assert error.value.status == 503


async def test_token_gets_503_while_keys_were_never_read() -> None:
    source = _Source()
    source.content = TimeoutError()
    with pytest.raises(RequestError) as error:
        await source.build_verifier().find_client(sign())
    assert error.value.status == 503


def test_gateway_accepts_tokens_and_keys(gateway: GatewayProcess) -> None:
    issuer = {"issuer": ISSUER, "audience": "berth", "client_claim": "sub", "jwks": KEY_SET}
    clients = [build_client(), build_client("tokens", keys=[], subjects=["service-7"])]
    gateway.start(build_config(clients=clients, jwt=issuer))
    token = sign().decode()
    with gateway.client(None) as http:
        accepted = http.get("/v2", headers={"authorization": f"Bearer {token}"})
        rejected = [
            http.get("/v2", headers=headers)
            for headers in (
                {"authorization": f"Bearer {sign(OTHER_RSA).decode()}"},
                {"authorization": f"Basic {token}"},
                {"authorization": "Bearer"},
                {"authorization": f"Bearer {token}", "x-api-key": "key of default"},
                {},
            )
        ]
    assert accepted.status_code == 200
    assert [response.status_code for response in rejected] == [401] * 5
    assert all("Bearer" in response.headers["www-authenticate"] for response in rejected)
    assert gateway.read_access_log()[0]["client"] == "tokens"
    assert token not in gateway.read_log()
    with gateway.client() as http:
        assert http.get("/v2").status_code == 200


def test_token_does_not_reach_berth(gateway: GatewayProcess, berth_1: Any) -> None:
    issuer = {"issuer": ISSUER, "audience": "berth", "client_claim": "sub", "jwks": KEY_SET}
    model = {
        "versions": {"1": berth_1.url},
        "exposed": ["1"],
        "traffic": {"1": 100},
        "shadow": None,
    }
    clients = [build_client("tokens", keys=[], subjects=["service-7"])]
    gateway.start(build_config(clients=clients, jwt=issuer, models={"digits": model}))
    with gateway.client(None) as http:
        headers = {"authorization": f"Bearer {sign().decode()}"}
        response = http.post("/v2/models/digits/infer", json={}, headers=headers)
    assert response.status_code == 200
    assert "authorization" not in berth_1.requests[0].headers
