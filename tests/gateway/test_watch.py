"""Watch: a table that becomes another one is in force soon, without a signal."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.gateway_process import GatewayProcess, build_client, build_config, wait_until


@pytest.fixture
def watching(gateway: GatewayProcess) -> GatewayProcess:
    gateway.environment["GATEWAY_WATCH_SECONDS"] = "0.05"
    return gateway


def reloads(gateway: GatewayProcess, outcome: str) -> float:
    return gateway.get_metric(f'berth_gateway_reloads_total{{outcome="{outcome}"}}')


def bursts(burst: int) -> dict[str, Any]:
    """A table whose one client has this burst."""
    return build_config(clients=[build_client(burst=burst)])


def burst_of(gateway: GatewayProcess) -> int:
    """The burst in force."""
    with gateway.client() as http:
        return int(http.get("/v2").headers["ratelimit-limit"])


def test_a_file_that_changes_is_read(watching: GatewayProcess) -> None:
    watching.start(bursts(1000))
    for burst in (2000, 3000):
        watching.write_config(bursts(burst))
        wait_until(lambda wanted=burst: burst_of(watching) == wanted, "the new table")  # type: ignore[misc]
    assert reloads(watching, "taken") == 2


def test_a_mounted_secret_that_is_swapped_is_read(watching: GatewayProcess, tmp_path: Path) -> None:
    """As a kubelet does it: the file is a link into a folder that is a link itself."""
    mount = tmp_path / "mount"

    def put(burst: int) -> None:
        folder = mount / f"..{burst}"
        folder.mkdir(parents=True)
        text = json.dumps(bursts(burst))
        (folder / "gateway.json").write_text(text)
        # The same size and time as before: only what is inside tells.
        os.utime(folder / "gateway.json", (1e9, 1e9))
        (mount / "..data.new").symlink_to(folder.name)
        (mount / "..data.new").rename(mount / "..data")

    put(1000)
    (mount / "gateway.json").symlink_to("..data/gateway.json")
    watching.environment["GATEWAY_CONFIG"] = str(mount / "gateway.json")
    watching.start(bursts(1000))
    assert burst_of(watching) == 1000
    put(2000)
    wait_until(lambda: burst_of(watching) == 2000, "the new table")
    assert reloads(watching, "taken") == 1


def test_a_bad_table_changes_nothing_and_is_told_once(watching: GatewayProcess) -> None:
    watching.start(bursts(1000))
    for count, content in enumerate((b"{", b"[]"), start=1):
        watching.write_config(content)
        wait_until(lambda seen=count: reloads(watching, "refused") == seen, "the refusal")  # type: ignore[misc]
        time.sleep(0.3)
        assert reloads(watching, "refused") == count
        assert watching.read_log().count("the table in force stays") == count
        assert burst_of(watching) == 1000
    (watching.directory / "gateway.json").unlink()
    wait_until(lambda: reloads(watching, "refused") == 3, "the missing file told")
    watching.write_config(bursts(2000))
    wait_until(lambda: burst_of(watching) == 2000, "the good table")


def test_another_token_is_read_too(watching: GatewayProcess) -> None:
    token = watching.directory / "token"
    token.write_text("old")
    watching.environment["GATEWAY_TOKEN_FILE"] = str(token)
    watching.start(bursts(1000))
    token.write_text("new")
    wait_until(lambda: reloads(watching, "taken") == 1, "the new token")


def test_what_stays_is_not_read_again(watching: GatewayProcess) -> None:
    watching.start(bursts(1000))
    time.sleep(0.3)
    watching.write_config(bursts(1000))
    time.sleep(0.3)
    assert reloads(watching, "taken") == 0


def test_a_signal_still_does_it_and_nothing_twice(watching: GatewayProcess) -> None:
    watching.environment["GATEWAY_WATCH_SECONDS"] = "0.5"
    watching.start(bursts(1000))
    watching.reload(bursts(2000))
    time.sleep(1)
    assert reloads(watching, "taken") == 1


def test_nobody_watches_unless_asked(gateway: GatewayProcess) -> None:
    gateway.start(bursts(1000))
    gateway.write_config(bursts(2000))
    time.sleep(0.5)
    assert burst_of(gateway) == 1000
