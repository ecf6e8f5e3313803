"""Watched files: a changed configuration becomes active without a signal."""

import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.gateway_process import GatewayProcess, build_client, build_config, wait_until


@pytest.fixture
def watching(gateway: GatewayProcess) -> GatewayProcess:
    gateway.environment["GATEWAY_WATCH_SECONDS"] = "0.05"
    return gateway


def count_reloads(gateway: GatewayProcess, outcome: str) -> float:
    return gateway.get_metric(f'berth_gateway_reloads_total{{outcome="{outcome}"}}')


def has_reloads(gateway: GatewayProcess, outcome: str, count: int) -> bool:
    """Return whether there were `count` reloads with this outcome."""
    return count_reloads(gateway, outcome) == count


def build_burst_config(burst: int) -> dict[str, Any]:
    """Return a configuration whose only client has this burst."""
    return build_config(clients=[build_client(burst=burst)])


def get_burst(gateway: GatewayProcess) -> int:
    """Return the active burst."""
    with gateway.client() as http:
        return int(http.get("/v2").headers["ratelimit-limit"])


def test_changed_file_is_loaded(watching: GatewayProcess) -> None:
    watching.start(build_burst_config(1000))
    for burst in (2000, 3000):
        watching.write_config(build_burst_config(burst))
        wait_until(lambda expected=burst: get_burst(watching) == expected, "the new configuration")  # type: ignore[misc]
    assert count_reloads(watching, "applied") == 2


def test_replaced_mounted_secret_is_loaded(watching: GatewayProcess, tmp_path: Path) -> None:
    """A kubelet links the file into a directory, which is a link that it replaces."""
    mount = tmp_path / "mount"

    def mount_secret(burst: int) -> None:
        directory = mount / f"..{burst}"
        directory.mkdir(parents=True)
        text = json.dumps(build_burst_config(burst))
        (directory / "gateway.json").write_text(text)
        # The size and the time stay equal: only the content differs.
        os.utime(directory / "gateway.json", (1e9, 1e9))
        (mount / "..data.new").symlink_to(directory.name)
        (mount / "..data.new").rename(mount / "..data")

    mount_secret(1000)
    (mount / "gateway.json").symlink_to("..data/gateway.json")
    watching.environment["GATEWAY_CONFIG"] = str(mount / "gateway.json")
    watching.start(build_burst_config(1000))
    assert get_burst(watching) == 1000
    mount_secret(2000)
    wait_until(lambda: get_burst(watching) == 2000, "the new configuration")
    assert count_reloads(watching, "applied") == 1


def test_invalid_configuration_keeps_current_one_and_is_logged_once(
    watching: GatewayProcess,
) -> None:
    watching.start(build_burst_config(1000))
    for count, content in enumerate((b"{", b"[]"), start=1):
        watching.write_config(content)
        wait_until(partial(has_reloads, watching, "rejected", count), "the rejected reload")
        time.sleep(0.3)
        assert count_reloads(watching, "rejected") == count
        assert watching.read_log().count("keeping the current configuration") == count
        assert get_burst(watching) == 1000
    (watching.directory / "gateway.json").unlink()
    wait_until(lambda: count_reloads(watching, "rejected") == 3, "the missing file in the log")
    watching.write_config(build_burst_config(2000))
    wait_until(lambda: get_burst(watching) == 2000, "the valid configuration")


def test_changed_token_is_loaded(watching: GatewayProcess) -> None:
    token = watching.directory / "token"
    token.write_text("old")
    watching.environment["GATEWAY_TOKEN_FILE"] = str(token)
    watching.start(build_burst_config(1000))
    token.write_text("new")
    wait_until(lambda: count_reloads(watching, "applied") == 1, "the new token")


def test_unchanged_files_are_not_loaded_again(watching: GatewayProcess) -> None:
    watching.start(build_burst_config(1000))
    time.sleep(0.3)
    watching.write_config(build_burst_config(1000))
    time.sleep(0.3)
    assert count_reloads(watching, "applied") == 0


def test_signal_reloads_once_while_watching(watching: GatewayProcess) -> None:
    watching.environment["GATEWAY_WATCH_SECONDS"] = "0.5"
    watching.start(build_burst_config(1000))
    watching.reload(build_burst_config(2000))
    time.sleep(1)
    assert count_reloads(watching, "applied") == 1


def test_files_are_not_watched_by_default(gateway: GatewayProcess) -> None:
    gateway.start(build_burst_config(1000))
    gateway.write_config(build_burst_config(2000))
    time.sleep(0.5)
    assert get_burst(gateway) == 1000
