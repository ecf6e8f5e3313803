"""URLs of Valkey servers."""

import pytest

from berth_gateway.limits.valkey_address import ValkeyAddress, parse_valkey_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("valkey://limits", ValkeyAddress(host="limits")),
        (
            "valkeys://berth:p%40ss@cache.example.com:6380/2",
            ValkeyAddress(
                host="cache.example.com",
                port=6380,
                uses_tls=True,
                user="berth",
                password="p@ss",
                database=2,
            ),
        ),
        ("valkey://:secret@[::1]", ValkeyAddress(host="::1", password="secret")),
    ],
)
def test_url_is_parsed(text: str, expected: ValkeyAddress) -> None:
    address = parse_valkey_url(text)
    assert address == expected
    assert "secret" not in f"{address} {address!r}"


@pytest.mark.parametrize(
    "text",
    [
        "", "limits:6379", "redis://limits", "https://limits", "valkey://", "valkey://limits:0x1",
        "valkey://limits:99999", "valkey://limits/one", "valkey://limits/-1",
        # Options of the library could disable the check of the certificate.
        "valkeys://:secret@limits?ssl_cert_reqs=none", "valkey://:secret@limits#x",
    ],
)  # fmt: skip
def test_invalid_url_is_rejected_without_its_password(text: str) -> None:
    with pytest.raises(ValueError, match="must be valkey://") as caught:
        parse_valkey_url(text)
    assert "secret" not in str(caught.value)
