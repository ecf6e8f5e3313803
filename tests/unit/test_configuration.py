"""A configuration file taken back: values of then, everything else as it is."""

from typing import Any

from ruamel.yaml import YAML

from berth.operations.configuration import restored

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
NOW: dict[str, Any] = {
    "berth:platform": "local",
    "berth:models": {"digits": {"versions": {"1": {}, "2": {}}, "traffic": {"1": 90, "2": 10}}},
    "berth:gateway": {"clients": {"own": {"burst": 5, "key": "in clear"}}},
}
SECRET_KEYS = frozenset({"berth:gateway"})


def _then(**changes: Any) -> dict[str, Any]:
    return NOW | changes


def test_same_values_leave_the_file_as_it_is() -> None:
    result = restored(FILE, NOW, NOW, SECRET_KEYS)
    assert result.text == FILE
    assert result.secrets == {}


def test_only_what_differs_is_edited() -> None:
    models = {"digits": {"versions": {"1": {}, "2": {}}, "traffic": {"1": 100, "2": 0}}}
    result = restored(FILE, NOW, _then(**{"berth:models": models}), SECRET_KEYS)
    assert result.text == FILE.replace('{"1": 90, "2": 10}', '{"1": 100, "2": 0}')


def test_keys_of_now_that_were_not_there_then_go() -> None:
    then = {key: value for key, value in NOW.items() if key != "berth:gateway"}
    result = restored(FILE, NOW, then, frozenset())
    assert "gateway" not in result.text
    assert "cipher" not in result.text


def test_keys_of_then_that_are_gone_come_back() -> None:
    then = _then(**{"berth:local": {"gateway_port": 8080}})
    config = YAML().load(restored(FILE, NOW, then, SECRET_KEYS).text)["config"]
    assert config["berth:local"] == {"gateway_port": 8080}


def test_a_changed_secret_is_handed_over_and_never_written() -> None:
    then = _then(**{"berth:gateway": {"clients": {"own": {"burst": 5, "key": "of then"}}}})
    result = restored(FILE, NOW, then, SECRET_KEYS)
    assert result.secrets == {("berth:gateway", "clients", "own", "key"): "of then"}
    assert "of then" not in result.text


def test_an_unchanged_secret_keeps_its_ciphertext() -> None:
    then = _then(**{"berth:gateway": {"clients": {"own": {"burst": 9, "key": "in clear"}}}})
    result = restored(FILE, NOW, then, SECRET_KEYS)
    assert result.text == FILE.replace("burst: 5", "burst: 9")
    assert result.secrets == {}


def test_a_secret_of_a_client_that_is_gone_comes_back_as_a_secret() -> None:
    clients = {"own": {"burst": 5, "key": "in clear"}, "old": {"burst": 1, "key": "of the old"}}
    result = restored(FILE, NOW, _then(**{"berth:gateway": {"clients": clients}}), SECRET_KEYS)
    assert result.secrets == {("berth:gateway", "clients", "old", "key"): "of the old"}
    assert "of the old" not in result.text


def test_top_level_scalars_are_compared_as_pulumi_tells_them() -> None:
    text = "config:\n  berth:flag: true\n  berth:count: 3\n"
    values = {"berth:flag": "true", "berth:count": "3"}
    assert restored(text, values, values, frozenset()).text == text
