"""Restored configuration files: earlier values, everything else unchanged."""

from typing import Any

from ruamel.yaml import YAML

from berth.operations.configuration import restore_config

FILE = """\
# The laptop.
encryptionsalt: v1:abc
config:
  berth:platform: local  # this machine
  berth:models:
    digits:
      versions:
        "1": {}
        "2": {}
      # Canary since May.
      traffic: {"1": 90, "2": 10}
  berth:gateway:
    clients:
      own:
        burst: 5
        key:
          secure: v1:cipher
"""
CURRENT: dict[str, Any] = {
    "berth:platform": "local",
    "berth:models": {"digits": {"versions": {"1": {}, "2": {}}, "traffic": {"1": 90, "2": 10}}},
    "berth:gateway": {"clients": {"own": {"burst": 5, "key": "plaintext"}}},
}
SECRET_KEYS = frozenset({"berth:gateway"})


def _target(**changes: Any) -> dict[str, Any]:
    return CURRENT | changes


def test_equal_values_leave_file_unchanged() -> None:
    result = restore_config(FILE, CURRENT, CURRENT, SECRET_KEYS)
    assert result.text == FILE
    assert result.secrets == {}


def test_only_different_values_are_edited() -> None:
    models = {"digits": {"versions": {"1": {}, "2": {}}, "traffic": {"1": 100, "2": 0}}}
    result = restore_config(FILE, CURRENT, _target(**{"berth:models": models}), SECRET_KEYS)
    assert result.text == FILE.replace('{"1": 90, "2": 10}', '{"1": 100, "2": 0}')


def test_keys_without_target_value_are_removed() -> None:
    target = {key: value for key, value in CURRENT.items() if key != "berth:gateway"}
    result = restore_config(FILE, CURRENT, target, frozenset())
    assert "gateway" not in result.text
    assert "cipher" not in result.text


def test_missing_keys_are_added() -> None:
    target = _target(**{"berth:local": {"gateway_port": 8080}})
    config = YAML().load(restore_config(FILE, CURRENT, target, SECRET_KEYS).text)["config"]
    assert config["berth:local"] == {"gateway_port": 8080}


def test_changed_secret_is_returned_and_never_written() -> None:
    target = _target(**{"berth:gateway": {"clients": {"own": {"burst": 5, "key": "earlier"}}}})
    result = restore_config(FILE, CURRENT, target, SECRET_KEYS)
    assert result.secrets == {("berth:gateway", "clients", "own", "key"): "earlier"}
    assert "earlier" not in result.text


def test_unchanged_secret_keeps_its_ciphertext() -> None:
    target = _target(**{"berth:gateway": {"clients": {"own": {"burst": 9, "key": "plaintext"}}}})
    result = restore_config(FILE, CURRENT, target, SECRET_KEYS)
    assert result.text == FILE.replace("burst: 5", "burst: 9")
    assert result.secrets == {}


def test_secret_of_removed_client_is_returned_as_secret() -> None:
    clients = {"own": {"burst": 5, "key": "plaintext"}, "old": {"burst": 1, "key": "old plaintext"}}
    result = restore_config(
        FILE, CURRENT, _target(**{"berth:gateway": {"clients": clients}}), SECRET_KEYS
    )
    assert result.secrets == {("berth:gateway", "clients", "old", "key"): "old plaintext"}
    assert "old plaintext" not in result.text


def test_secret_of_current_file_is_never_written_although_update_had_none() -> None:
    target = _target(**{"berth:gateway": {"clients": {"own": {"burst": 9, "key": "plaintext"}}}})
    result = restore_config(FILE, CURRENT, target, frozenset())
    assert result.text == FILE.replace("burst: 5", "burst: 9")


def test_new_text_next_to_secret_is_not_encrypted() -> None:
    clients = {"own": {"burst": 5, "key": "plaintext", "quota": {"requests": 1, "period": "hour"}}}
    target = _target(**{"berth:gateway": {"clients": clients}})
    result = restore_config(FILE, CURRENT, target, SECRET_KEYS)
    assert result.secrets == {}
    assert "period: hour" in result.text


def test_top_level_scalars_are_compared_as_strings() -> None:
    text = "config:\n  berth:flag: true\n  berth:count: 3\n"
    values = {"berth:flag": "true", "berth:count": "3"}
    assert restore_config(text, values, values, frozenset()).text == text
