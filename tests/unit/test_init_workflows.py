"""The CI workflows that `berth init` writes."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from berth.cli.main import main
from berth.operations.init import TEMPLATE, create_project
from berth.operations.report_markdown import get_marker

_GITHUB = sorted((TEMPLATE / ".github").rglob("*.yml"))
_GITLAB = TEMPLATE / ".gitlab-ci.yml"
_PINNED = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


@pytest.mark.parametrize("file", _GITHUB, ids=lambda file: file.name)
def test_actions_of_others_are_pinned_by_commit_with_their_version(file: Path) -> None:
    uses = re.findall(r"uses: (.*)", file.read_text())
    assert uses
    assert [
        text for text in uses if not text.startswith("./") and not _PINNED.fullmatch(text)
    ] == []


@pytest.mark.parametrize("file", sorted((TEMPLATE / ".github/workflows").iterdir()))
def test_jobs_have_only_the_permissions_that_they_need(file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    assert document["permissions"] == {}
    allowed = {"contents": "read", "id-token": "write"}
    if file.name == "preview.yml":
        allowed["pull-requests"] = "write"
    for job in document["jobs"].values():
        assert job["permissions"] == allowed
        checkout = next(step for step in job["steps"] if "checkout" in step.get("uses", ""))
        assert checkout["with"] == {"persist-credentials": False}


@pytest.mark.parametrize("file", [*_GITHUB, _GITLAB], ids=lambda file: file.name)
def test_commands_and_options_exist(file: Path) -> None:
    for name, rest in re.findall(r"\bberth (preview|up)\b([^\n|;]*)", file.read_text()):
        context = click.Context(main)
        command = main.get_command(context, name)
        assert command is not None
        known = {option for parameter in command.params for option in parameter.opts}
        assert {*re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest)} <= known, rest


def test_workflows_are_clean_under_actionlint(tmp_path: Path) -> None:
    if shutil.which("actionlint") is None:
        pytest.skip("actionlint is not on the PATH: go install github.com/rhysd/actionlint/...")
    create_project(tmp_path / "demo")
    # It finds the local action by the root of the repository.
    subprocess.run(["git", "init", "-q"], cwd=tmp_path / "demo", check=True)
    result = subprocess.run(
        ["actionlint"], cwd=tmp_path / "demo", check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


class _Notes(BaseHTTPRequestHandler):
    """GitLab's notes of one merge request, two to a page."""

    notes: "list[dict[str, Any]]"
    calls: list[str]

    def do_GET(self) -> None:
        page = int(re.findall(r"[?&]page=(\d+)", self.path)[0])
        found = self.notes[2 * (page - 1) : 2 * page]
        self._answer(found, str(page + 1) if self.notes[2 * page :] else "")

    def do_POST(self) -> None:
        self.calls.append("POST")
        self.notes.append({"id": len(self.notes), **self._read()})
        self._answer(self.notes[-1])

    def do_PUT(self) -> None:
        self.calls.append("PUT")
        note = self.notes[int(self.path.rpartition("/")[2])]
        note |= self._read()
        self._answer(note)

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""

    def _read(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, document: Any, next_page: str = "") -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Next-Page", next_page)
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def gitlab() -> Iterator[HTTPServer]:
    """A server with three comments of others."""
    _Notes.notes = [{"id": number, "body": f"comment {number}"} for number in range(3)]
    _Notes.calls = []
    with HTTPServer(("127.0.0.1", 0), _Notes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_gitlab_comment_is_updated_in_place(gitlab: HTTPServer, tmp_path: Path) -> None:
    script = yaml.safe_load(_GITLAB.read_text())["preview"]["script"]
    (step,) = [line for line in script if "<<'EOF'" in line]
    program = step.partition("<<'EOF'\n")[2].partition("\nEOF")[0]
    environment = {
        **os.environ,
        "CI_API_V4_URL": f"http://127.0.0.1:{gitlab.server_port}/api/v4",
        "CI_PROJECT_ID": "1",
        "CI_MERGE_REQUEST_IID": "2",
        "GITLAB_TOKEN": "t",
        "no_proxy": "127.0.0.1",
    }
    for text in ("first", "second"):
        (tmp_path / "report.md").write_text(f"{get_marker('dev')}\n{text}\n")
        subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, timeout=60
        )
    assert _Notes.calls == ["POST", "PUT"]
    assert _Notes.notes[3]["body"].endswith("second\n")
    assert len(_Notes.notes) == 4


_STUB = """
const comments = [{id: 7, user: {type: 'User'}, body: MARKER}]
const github = {
  paginate: async (list) => list(),
  rest: {issues: {
    listComments: () => comments,
    createComment: async (c) => comments.push({id: 8, user: {type: 'Bot'}, body: c.body}),
    updateComment: async (c) => { comments.find((x) => x.id === c.comment_id).body = c.body },
  }},
}
const context = {repo: {owner: 'o', repo: 'r'}, issue: {number: 1}}
const comment = async () => { SCRIPT }
const fs = require('fs')
const run = async () => {
  await comment()
  fs.writeFileSync('report.md', MARKER + '\\nfirst')
  await comment()
  fs.writeFileSync('report.md', MARKER + '\\nsecond')
  await comment()
  console.log(JSON.stringify(comments))
}
run()
"""


def test_github_comment_is_updated_in_place_and_only_its_own(tmp_path: Path) -> None:
    """A user can write the marker, so only a comment of a bot is the report."""
    if shutil.which("node") is None:
        pytest.skip("node is not on the PATH; it runs the script of the workflow")
    workflow = yaml.safe_load((TEMPLATE / ".github/workflows/preview.yml").read_text())
    script = workflow["jobs"]["preview"]["steps"][-1]["with"]["script"]
    marker = get_marker("dev")
    program = _STUB.replace("SCRIPT", script).replace("MARKER", json.dumps(marker))
    result = subprocess.run(
        ["node", "-e", program], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert [comment["body"] for comment in json.loads(result.stdout)] == [
        marker,
        f"{marker}\nsecond",
    ]
