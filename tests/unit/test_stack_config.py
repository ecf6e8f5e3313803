"""The configuration file that the engine reads: the tracked file, or a copy with a local salt."""

from pathlib import Path

import pytest

from berth.operations.stack_config import StackConfig, remove_unused_salt

_TEXT = "config:\n  berth:platform: local\n"
_SALT = "encryptionsalt: v1:abc:v1:def\n"
_SECRET = "config:\n  berth:key:\n    secure: v1:cipher\n"


@pytest.fixture
def config(tmp_path: Path) -> StackConfig:
    (tmp_path / "Pulumi.yaml").write_text("name: demo\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(_TEXT)
    return StackConfig(tmp_path, "dev")


def test_copy_keeps_the_local_salt_and_follows_the_tracked_file(config: StackConfig) -> None:
    copy = config.prepare()
    assert copy != config.tracked
    assert copy.read_text() == _TEXT
    copy.write_text(_TEXT + _SALT)  # as the engine writes it
    changed = _TEXT.replace("local", "kubernetes")
    config.tracked.write_text(changed)
    assert config.prepare().read_text() == changed + _SALT
    assert config.tracked.read_text() == changed


def test_tracked_salt_is_ignored_without_a_secret(config: StackConfig) -> None:
    config.tracked.write_text(_TEXT + "encryptionsalt: v1:other\n")
    assert config.prepare().read_text() == _TEXT
    config.prepare().write_text(_TEXT + _SALT)
    assert config.prepare().read_text() == _TEXT + _SALT
    assert "v1:other" in config.tracked.read_text()


@pytest.mark.parametrize(
    "text",
    [
        _SECRET + _SALT,
        f"secretsprovider: awskms://alias/x\nencryptedkey: a\n{_TEXT}",
        "config:\n  berth:key: {secure: v1:cipher}\n",
    ],
)
def test_file_with_its_own_encryption_is_used_directly(config: StackConfig, text: str) -> None:
    config.tracked.write_text(text)
    assert config.prepare() == config.tracked
    assert config.prepare_new() == config.root
    assert config.tracked.read_text() == text
    assert remove_unused_salt(text) == text


def test_new_stack_gets_a_new_salt(config: StackConfig) -> None:
    config.prepare().write_text(_TEXT + _SALT)
    directory = config.prepare_new()
    assert (directory / "Pulumi.dev.yaml").read_text() == _TEXT
    assert (directory / "Pulumi.yaml").read_text() == (config.root / "Pulumi.yaml").read_text()


def test_salt_on_several_lines_is_removed() -> None:
    assert remove_unused_salt(f"encryptionsalt: >-\n  v1:abc\n  def\n{_TEXT}") == _TEXT
