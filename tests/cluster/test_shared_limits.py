"""Tests of the limits that the gateways of a cluster share in Valkey."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import valkey

from berth_gateway.limits.valkey_scripts import COMMANDS
from berth_protocol.model_card import read_card
from tests.cluster.cluster import Cluster, poll
from tests.cluster.stacks import NAMESPACE, create_load
from tests.engine.project import Project
from tests.gateway.valkey_server import ValkeyServer

# Valkey checks the number of arguments, and then the permission, before it executes a command.
_TRY_COMMANDS = """
import json, sys, valkey
from urllib.parse import urlsplit

def connect(**options):
    url = urlsplit(open("/etc/gateway/valkey-url").read())
    password = options.pop("password", url.password)
    return valkey.Connection(host=url.hostname, port=url.port, password=password, **options)

def call(connection, *words):
    try:
        connection.send_command(*words)
        return str(connection.read_response())
    except valkey.exceptions.ValkeyError as error:
        return f"{type(error).__name__}: {error}"

anonymous = [call(connect(password=None), "GET", "x")]
anonymous += [call(connect(username="default", password=word), "GET", "x") for word in ("x", None)]
own = connect(username="gateway")
answers = {name: call(own, *words) for name, words in json.load(sys.stdin).items()}
print(json.dumps([anonymous, call(own, "GET", "x"), answers]))
"""
# Every connection may call these, also before it authenticates.
_FOR_ALL = {"auth", "hello", "quit", "reset"}
# No permission, or a command that the server does not have or that no user may call.
_REFUSALS = ("NOPERM", "NoPermissionError", "unknown command", "unknown subcommand", "not allowed")


def _list_pods(cluster: Cluster, name: str) -> list[str]:
    return cluster.list_names("pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/name={name}")


def _share_limits(cluster: Cluster) -> bool:
    """Return whether all gateways get their decisions from Valkey, from their own metrics."""
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    metrics = [
        cluster.kubectl("get", "--raw", f"{pods}/{pod}:9090/proxy/metrics")
        for pod in _list_pods(cluster, "gateway")
    ]
    return len(metrics) == 2 and all("berth_gateway_limits_shared 1.0" in text for text in metrics)


def _delete_pods(cluster: Cluster, name: str) -> None:
    pods = _list_pods(cluster, name)
    cluster.kubectl("delete", "pod", "-n", NAMESPACE, *pods)


def test_quota_survives_deletion_of_valkey_and_then_of_all_gateways(
    hosted: Project, cluster: Cluster
) -> None:
    example = read_card(hosted.root / "models" / "digits" / "1").example
    url = f"{hosted.json('status')['endpoint']}/v2/models/digits/infer"

    def send() -> int:
        headers = {"x-api-key": hosted.key("counted")}
        return httpx.post(url, headers=headers, json=example, timeout=30).status_code

    while send() == 200:  # A first attempt of this test may have used a part of the quota.
        pass
    load = create_load(hosted)
    with load.running(clients=2):
        _delete_pods(cluster, "valkey")
        poll(lambda: _share_limits(cluster), seconds=180)
    load.assert_no_failures()
    assert send() == 429
    _delete_pods(cluster, "gateway")
    cluster.wait_for(
        "-n", NAMESPACE, "deployment/gateway", "--for=condition=Available", seconds=180
    )
    poll(lambda: _share_limits(cluster), seconds=180)
    assert send() == 429


@pytest.mark.usefixtures("hosted")
def test_only_secrets_contain_the_password_of_valkey(cluster: Cluster) -> None:
    secrets = cluster.get("secrets", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=gateway")
    url = base64.b64decode(secrets["items"][0]["data"]["valkey-url"]).decode()
    password = urlsplit(url).password
    assert password
    kinds = "pods,statefulsets,deployments,services,configmaps,events"
    assert password not in cluster.kubectl("get", kinds, "-n", NAMESPACE, "-o", "yaml")
    for pod in [*_list_pods(cluster, "gateway"), *_list_pods(cluster, "valkey")]:
        assert password not in cluster.kubectl("logs", "-n", NAMESPACE, pod)


def _list_commands(directory: Path) -> dict[str, list[str]]:
    """Return every command of Valkey, with as many arguments as it needs."""
    server = ValkeyServer(directory)
    server.start()
    try:
        with valkey.Valkey.from_url(server.url) as client:
            connection = client.connection_pool.get_connection("COMMAND")
            connection.send_command("COMMAND")
            return dict(_name_commands(connection.read_response()))
    finally:
        server.kill()


def _name_commands(entries: list[Any]) -> Iterator[tuple[str, list[str]]]:
    for entry in entries:
        name, arity, subcommands = entry[0].decode(), entry[1], entry[9]
        yield from _name_commands(subcommands)
        if not subcommands:
            words = name.split("|")
            yield name, [*words, *["x"] * (abs(arity) - len(words))]


@pytest.mark.usefixtures("hosted")
def test_user_of_valkey_has_only_the_documented_commands_and_default_user_is_off(
    cluster: Cluster, tmp_path: Path
) -> None:
    commands = _list_commands(tmp_path)
    assert len(commands) > 300
    assert commands.keys() >= {*COMMANDS, "acl|list", "config|set", "flushall", "keys", "eval"}
    tried = {name: words for name, words in commands.items() if name not in {*COMMANDS, *_FOR_ALL}}
    [pod, *_] = _list_pods(cluster, "gateway")
    program = ("/usr/bin/python3", "-c", _TRY_COMMANDS)
    output = cluster.kubectl(
        "exec", "-i", "-n", NAMESPACE, pod, "--", *program, stdin=json.dumps(tried)
    )
    anonymous, own, answers = json.loads(output)
    assert all("Authentication" in text for text in anonymous), anonymous
    assert own == "None"
    permitted = {
        name: text
        for name, text in answers.items()
        if not any(refusal in text for refusal in _REFUSALS)
    }
    assert not permitted
    assert sum("NoPermissionError" in text for text in answers.values()) > 250
