"""A rollback restores limits, and leaves clients, keys and permissions as they are."""

from typing import Any

import pytest

from berth.operations.rollback_keys import describe_kept_keys, keep_credentials
from berth.operations.update import Update


def _update(config: dict[str, Any]) -> Update:
    return Update(
        number=3,
        kind="update",
        succeeded=True,
        config=config,
        secrets=frozenset(),
        commit=None,
        has_uncommitted_changes=False,
        ended="",
        changes={},
    )


def _keep(current: dict[str, Any] | None, target: dict[str, Any] | None) -> dict[str, Any]:
    """Return the gateway section after a rollback from one to the other."""
    models: dict[str, Any] = {"berth:models": {"digits": {}}}

    def build(gateway: dict[str, Any] | None) -> dict[str, Any]:
        return models if gateway is None else {**models, "berth:gateway": gateway}

    kept = keep_credentials(build(current), _update(build(target)))
    assert kept["berth:models"] == {"digits": {}}
    gateway: dict[str, Any] = kept.get("berth:gateway", {})
    return gateway


def _lines(current: dict[str, Any], target: dict[str, Any]) -> str:
    return "\n".join(
        describe_kept_keys({"berth:gateway": current}, _update({"berth:gateway": target}))
    )


def test_limits_are_restored_and_replaced_key_is_not() -> None:
    current = {"clients": {"a": {"key": "new", "burst": 2}}}
    target = {"clients": {"a": {"key": "old", "burst": 1, "quota": {"requests": 5}}}}
    kept = {"clients": {"a": {"key": "new", "burst": 1, "quota": {"requests": 5}}}}
    assert _keep(current, target) == kept
    lines = _lines(current, target)
    assert "Key 'default' of client 'a' was replaced or removed after update 3" in lines
    assert "new" not in lines.replace("newest", "")
    assert "old" not in lines


@pytest.mark.parametrize(
    ("current", "target", "kept"),
    [
        pytest.param({"key": "k"}, {}, {"key": "k"}, id="own key instead of generated"),
        pytest.param({}, {"key": "k"}, {}, id="generated key instead of own"),
        pytest.param(
            {"keys": {"b": {}}}, {"keys": {"a": {}, "b": {}}}, {"keys": {"b": {}}}, id="removed key"
        ),
        pytest.param({"keys": {"b": {}}}, {"key": "k"}, {"keys": {"b": {}}}, id="other form"),
        pytest.param(
            {"keys": {"a": {"expires": "2027-01-01"}}},
            {"keys": {"a": {}}},
            {"keys": {"a": {"expires": "2027-01-01"}}},
            id="expiry",
        ),
        pytest.param({"models": ["digits"]}, {}, {"models": ["digits"]}, id="permission"),
        pytest.param(
            {"models": ["digits", "added"]}, {}, {"models": ["digits"]}, id="model that is removed"
        ),
        pytest.param({}, {"jwt_subjects": ["x"]}, {}, id="subject"),
    ],
)
def test_credentials_stay(
    current: dict[str, Any], target: dict[str, Any], kept: dict[str, Any]
) -> None:
    assert _keep({"clients": {"a": current}}, {"clients": {"a": target}}) == {
        "clients": {"a": kept}
    }


def test_removed_client_stays_removed_and_added_client_stays() -> None:
    current = {"clients": {"default": {}, "added": {"key": "x"}}}
    target = {"clients": {"default": {}, "removed": {"key": "y"}}}
    assert _keep(current, target) == current
    lines = _lines(current, target)
    assert "Client 'removed' stays removed" in lines
    assert "Client 'added' stays. It was added after update 3" in lines


def test_client_of_the_default_stays_removed() -> None:
    """Without `clients` there is a client named default."""
    current: dict[str, Any] = {"clients": {"own": {}}}
    assert _keep(current, None) == current
    assert "Client 'default' stays removed" in _lines(current, {})


def test_clients_that_update_added_to_the_default_stay_removed() -> None:
    assert _keep(None, {"clients": {"default": {"burst": 1}, "b": {"key": "k"}}}) == {
        "clients": {"default": {"burst": 1}}
    }
    assert _keep({"timeout_seconds": 1}, {"timeout_seconds": 2}) == {"timeout_seconds": 2}
    assert _keep(None, None) == {}


def test_token_issuer_stays() -> None:
    issuer = {"issuer": "now"}
    assert _keep({"jwt": issuer}, {"jwt": {"issuer": "then"}})["jwt"] == issuer
    assert "jwt" not in _keep(None, {"jwt": {"issuer": "then"}})
    assert _keep({"jwt": issuer}, None)["jwt"] == issuer
    assert "The token issuer" in _lines({"jwt": issuer}, {})


def test_client_without_settings_is_kept() -> None:
    """YAML has `default:` without a value as null."""
    assert _keep({"clients": {"a": None}}, {"clients": {"a": None}}) == {"clients": {"a": {}}}
