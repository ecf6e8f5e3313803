"""`berth rollout` on a running stack, under load."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from berth.operations.state_file import read_resources
from berth.platforms.local.platform import PLATFORM as LOCAL
from berth.platforms.stack_context import StackContext
from berth.spec import load_recorded
from berth_protocol.model_card import read_card
from tests.bad_versions import FAULT, package_version
from tests.browser import open_browser
from tests.engine.project import Load, Project, wait_for

# Few requests decide, and a slow machine does not revert a good version.
_QUICK = ("--max-failed", "20%", "--max-slow", "off", "--max-different", "40%", "--bake", "1")

_SPLIT = {"digits": {"versions": {"1": {}, "2": {}}, "traffic": {"1": 50, "2": 50}}}


@pytest.fixture(scope="module")
def project(project: Project) -> Project:
    """The project with version 1, a version that fails, and a client without effective limits."""
    package_version(project.root, project.environment, "failing")

    def simplify(config: Any) -> None:
        config["berth:models"] = {"digits": {"versions": {"1": {}}}}
        config["berth:gateway"]["clients"] = {
            "default": {"rate_per_second": 100_000, "burst": 100_000}
        }

    project.edit(simplify)
    return project


def create_load(up: Project) -> Load:
    request = read_card(up.root / "models" / "digits" / "1").example
    return Load(
        endpoint=up.json("status")["endpoint"],
        headers={"x-api-key": up.key(), "content-type": "application/json"},
        path="/v2/models/digits/infer",
        body=json.dumps(request).encode(),
    )


def get_traffic(up: Project) -> dict[str, float]:
    versions = up.json("status")["models"]["digits"]["versions"]
    return {version: berth["traffic"] for version, berth in versions.items() if berth["traffic"]}


def read_last_line(path: Path) -> str:
    """Return the last complete line."""
    return path.read_text().rpartition("\n")[0].rpartition("\n")[2]


def read_journal(up: Project) -> Any:
    path = up.root / ".berth" / "rollouts" / "local" / "digits.json"
    return json.loads(path.read_text()) if path.exists() else {}


def test_dashboard_and_watch_show_the_requests_of_a_stack(up: Project, tmp_path: Path) -> None:
    with open_browser(tmp_path) as browser, create_load(up).running():
        process = up.start("dashboard", "--port", "0", "--interval", "0.5")
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            browser.read_requests()  # Those of the browser's first page.
            browser.open(url)
            row = "const row = document.querySelector('#berths tbody').rows[0];"
            browser.wait_for(f"{row} return parseFloat(row.cells[6].textContent) > 0")
            shown = browser.run(f"{row} return [...row.cells].map(cell => cell.textContent)")
            others = [each for each in browser.read_requests() if not each.startswith(url)]
            assert others == []
            assert browser.read_console() == []
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()
        (document,) = up.berth("watch", "--once", "--json").stdout.splitlines()
    assert process.returncode == 0
    assert [shown[column] for column in (0, 1, 2, 4)] == ["digits", "1", "ready", "100 %"]
    snapshot = json.loads(document)
    assert snapshot["problems"] == []
    (berth,) = snapshot["berths"]
    assert (berth["model"], berth["version"], berth["state"]) == ("digits", "1", "ready")
    assert berth["rates"]["per_second"] > 0
    assert berth["rates"]["failed_share"] == 0
    assert up.key() not in document
    assert "\x1b" not in up.berth("watch", "--once").stdout


def test_watch_fits_into_a_narrow_terminal_and_restores_it(up: Project) -> None:
    """The terminal has 60 columns, is resized, and does not use UTF-8."""
    variables = {"TERM": "xterm", "NO_COLOR": "1", "PYTHONIOENCODING": "ascii"}
    screen, terminal = pty.openpty()
    resize(terminal, columns=60)
    # The watch takes the size of its terminal, unless these state another one.
    environment = {k: v for k, v in up.environment.items() if k not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "berth", "watch", "--interval", "60"]
    with subprocess.Popen(
        command, cwd=up.root, env=environment | variables, stdout=terminal, stderr=terminal
    ) as process:
        shown = read_until(screen, "UPDATES")
        lines = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", shown).splitlines()
        assert any(line.startswith("digits") for line in lines)
        assert max(len(line) for line in lines) <= 60
        assert "EXPOSED" not in shown
        assert "\x1b[3" not in shown, "NO_COLOR is set"
        resize(terminal, columns=120)
        assert "EXPOSED" in read_until(screen, "UPDATES")
        process.send_signal(signal.SIGTERM)
        # The cursor and the screen that the terminal had before.
        read_until(screen, "\x1b[?25h\x1b[?1049l")
        assert process.wait(timeout=60) == 0
    os.close(screen)
    os.close(terminal)


def resize(terminal: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))


def read_until(screen: int, text: str) -> str:
    """Return what a terminal got until a text has appeared in it."""
    shown = ""
    while text not in shown:
        assert select.select([screen], [], [], 120)[0], f"{text} does not appear: {shown}"
        shown += os.read(screen, 65536).decode()
    return shown


def test_watch_into_a_pipe_that_closes_ends_without_a_traceback(up: Project) -> None:
    process = up.start("watch", "--interval", "0.5")
    assert process.stdout is not None
    assert process.stderr is not None
    assert "\x1b" not in process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 1
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_failing_version_is_reverted_before_a_client_receives_an_error(up: Project) -> None:
    load = create_load(up)
    with load.running():
        result = up.json("rollout", "digits", "failing", "--yes", *_QUICK, code=1)
    load.assert_no_failures()
    assert load.versions.keys() == {"1"}
    assert result["result"] == "reverted"
    assert "requests to version failing" in result["reason"]
    assert "failed; a version is good up to 2.00% and bad from 20.00%" in result["reason"]
    assert FAULT not in json.dumps(result)
    assert get_traffic(up) == {"1": 100}
    assert "<svg" in Path(result["report"]).read_text()
    texts = [event["text"] for event in result["events"]]
    assert texts[-1].startswith("An update has recorded it")
    # Each step is an update in the history, and the configuration file is the deployed one.
    changes = [change["path"] for entry in up.json("history")[-2:] for change in entry["changes"]]
    assert "berth:models.digits.shadow" in changes
    up.berth("preview", "--expect-no-changes")


def test_killed_rollout_is_resumed(up: Project) -> None:
    load = create_load(up)
    arguments = ("rollout", "digits", "2", "--yes", "--steps", "50,100", *_QUICK)
    with load.running():
        process = up.start(*arguments)
        wait_for(lambda: read_journal(up).get("phase") == "watching", seconds=120)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        refused = up.berth(*arguments, code=1)
        assert "is not complete" in refused.stderr
        assert "berth rollout digits 2 --resume" in refused.stderr
        result = up.json("rollout", "digits", "2", "--yes", "--resume")
    load.assert_no_failures()
    assert result["result"] == "promoted"
    assert get_traffic(up) == {"2": 100}
    assert up.berth("rollout", "digits", "2", "--yes", "--resume", code=1).stderr.count(
        "the latest one was promoted"
    )


def test_killed_rollout_is_aborted(up: Project) -> None:
    """All commands show the interrupted rollout, and none of them ends it by accident."""
    with create_load(up).running():
        process = up.start("rollout", "digits", "2", "--yes", "--steps", "10,100", "--bake", "600")
        wait_for(lambda: read_journal(up).get("phase") == "watching", seconds=120)
        assert up.json("status")["rollouts"][0]["is_interrupted"] is False
        refused = up.berth("destroy", "--yes", code=1)
        assert "A process runs the rollout of digits to version 2" in refused.stderr
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert get_traffic(up) == {"1": 90, "2": 10}
    (rollout,) = up.json("status")["rollouts"]
    assert (rollout["phase"], rollout["step"], rollout["traffic"]) == (
        *("watching", "version 2 receives 10 % of the traffic"),
        {"1": 90, "2": 10},
    )
    assert rollout["resume"] == "berth rollout digits 2 --resume"
    shown = "interrupted while watching"
    assert shown in up.berth("status").stdout
    watched = up.berth("watch", "--once").stdout
    assert shown in watched
    assert rollout["resume"] in watched
    assert shown in up.berth("history").stderr
    journal = read_journal(up)
    updated = up.berth("up", "--yes")
    assert shown in updated.stderr
    assert "does not end the rollout" in updated.stderr
    assert get_traffic(up) == {"1": 90, "2": 10}
    # The update before the rollout has no version 2, and the rollback removes it.
    assert shown in up.berth("rollback", "--yes", "--no-request").stderr
    assert get_traffic(up) == {"1": 100}
    assert read_journal(up) == journal
    result = up.json("rollout", "digits", "2", "--yes", "--abort", code=1)
    assert (result["result"], result["reason"]) == ("reverted", "aborted")
    assert get_traffic(up) == {"1": 100}
    assert up.json("status")["rollouts"] == []


def test_stack_that_is_destroyed_during_an_interrupted_rollout_stays_destroyed(
    up: Project, tmp_path: Path
) -> None:
    """Nothing is deployed again by accident, and a watch shows the stack when it is back."""
    arguments = ("rollout", "digits", "2", "--yes", "--steps", "10,100", "--bake", "600")
    process = up.start(*arguments)
    # Without requests, the rollout does not begin.
    wait_for(lambda: read_journal(up).get("phase") == "starting", seconds=120)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert "so nothing was changed" in up.berth("status").stdout
    with create_load(up).running():
        process = up.start("rollout", "digits", "2", "--yes", "--resume")
        wait_for(lambda: read_journal(up).get("phase") == "deploying", seconds=120)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    command = [sys.executable, "-m", "berth", "watch", "--json", "--interval", "0.5"]
    with (tmp_path / "watch.jsonl").open("w") as file:
        watch = subprocess.Popen(command, cwd=up.root, env=up.environment, stdout=file)
    wait_for(lambda: "ready" in (tmp_path / "watch.jsonl").read_text(), seconds=60)
    destroyed = up.berth("destroy", "--yes")
    assert "interrupted while deploying" in destroyed.stderr
    assert "The record of the rollout is kept" in destroyed.stderr
    assert "interrupted while deploying" in up.berth("status", code=1).stderr
    refused = up.berth("rollout", "digits", "2", "--yes", "--resume", code=1)
    assert "Stack 'local' is not deployed" in refused.stderr
    assert read_journal(up)["phase"] == "deploying"
    result = up.json("rollout", "digits", "2", "--yes", "--abort", code=1)
    assert result["result"] == "reverted"
    assert up.find_processes() == []
    up.berth("up", "--yes")
    assert get_traffic(up) == {"1": 100}
    wait_for(lambda: json.loads(read_last_line(tmp_path / "watch.jsonl"))["problems"] == [])
    watch.send_signal(signal.SIGINT)
    assert watch.wait(timeout=60) == 0
    snapshots = [json.loads(line) for line in (tmp_path / "watch.jsonl").read_text().splitlines()]
    gone = [each for each in snapshots if "is not deployed" in " ".join(each["problems"])]
    assert gone
    assert all(each["berths"] == [] and each["drift"] is None for each in gone)
    assert all(each["rollouts"] for each in gone)
    assert snapshots[-1]["problems"] == []
    assert {each["state"] for each in snapshots[-1]["berths"]} == {"ready"}


def test_update_replaces_traffic_that_a_killed_command_moved(up: Project) -> None:
    """Between the moved traffic and the update that records it, a process can be killed."""

    def send_all_to_2(config: Any) -> None:
        config["berth:models"]["digits"] = {"versions": {"1": {}, "2": {}}, "traffic": {"2": 100}}

    up.deploy(send_all_to_2)
    deployed = up.config_file.read_text()
    spec = load_recorded("local", {"berth:models": _SPLIT, "berth:platform": "local"}, ())
    context = StackContext(root=up.root, stack="local", spec=spec)
    resources = read_resources(up.root, "local")
    load = create_load(up)
    with load.running():
        assert LOCAL.shift_traffic(context, resources or [], ["digits"]) == ["digits"]
        wait_for(lambda: load.versions["1"] > 20, seconds=60)
        assert up.config_file.read_text() == deployed
        up.berth("up", "--yes")
        before = load.versions["1"]
        wait_for(lambda: load.versions["2"] > 50, seconds=60)
    load.assert_no_failures()
    assert load.versions["1"] <= before + 4  # Requests in flight.
    up.berth("preview", "--expect-no-changes")


def test_rollback_returns_requests_before_the_update_that_records_it(up: Project) -> None:
    def send_all_to(version: str) -> Any:
        def change(config: Any) -> None:
            traffic = {"1": 0, "2": 0} | {version: 100}
            config["berth:models"]["digits"] = {
                "versions": {"1": {}, "2": {}}, "traffic": traffic,
            }  # fmt: skip

        return change

    up.deploy(send_all_to("1"))
    up.deploy(send_all_to("2"))
    load = create_load(up)
    with load.running():
        result = up.berth("rollback", "--yes", "--no-request")
    load.assert_no_failures()
    assert re.search(r"Requests to digits return after .* s: 100 % to version 1", result.stderr)
    assert "drift" not in result.stderr.lower()
    assert get_traffic(up) == {"1": 100}
    up.berth("preview", "--expect-no-changes")
