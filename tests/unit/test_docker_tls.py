"""TLS of platform docker: the specification, the certificate, and what a stack declares."""

import io
import json
import tarfile
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

import pulumi_berth
from berth.platforms.docker import target
from berth.platforms.docker.certificate import check_certificate, inspect_certificate
from berth.platforms.docker.deploy import deploy
from berth.platforms.preflight import Status
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError
from berth_policy.rule import Resource, Stack, find_violations
from berth_policy.rules.containers import RULES
from pulumi_berth.component_args import ArgumentError
from pulumi_berth.docker import served_certificate
from pulumi_berth.docker.engine import COMPONENT_LABEL, HOSTING_LABEL, EngineError
from pulumi_berth.docker.tls_plan import (
    Acme,
    build_proxy_command,
    build_routes,
    compute_fingerprint,
)
from pulumi_berth.docker.tls_proxy import DockerTlsArgs, build_url, check_tls
from pulumi_berth.docker.volume_files import build_archive
from tests.certificates import Authority
from tests.unit.component_host import Resources, construct, record
from tests.unit.spec_file import config_of, find_problems, load

_NAME = "models.example.com"
_SUPPLIED = {"certificate_file": "server.pem", "key_file": "key.pem"}
_ACME = {"hostnames": [_NAME], "acme": {"email": "ops@example.com"}}
_HOSTS = {
    name: {
        "address": f"ssh://ann@192.0.2.{number}",
        "memory": "4Gi",
        "private_address": f"10.0.0.{number}",
    }
    for number, name in enumerate(("one", "two"), 1)
}
_OUTPUTS = {
    "key": "key-of-a-client", "reference": f"registry.example.com/x@sha256:{'1' * 64}",
    "image_id": f"sha256:{'2' * 64}", "address": "0123456789ab", "report": {},
}  # fmt: skip
_NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ({}, "docker.tls: must have one of certificate_file and acme; set one of them"),
        (
            {**_SUPPLIED, **_ACME},
            "docker.tls.acme: cannot be combined with certificate_file; remove one of them",
        ),
        (
            {"certificate_file": "server.pem"},
            "docker.tls.certificate_file: 'server.pem' requires key_file; set both",
        ),
        (
            {"acme": {"email": "ops@example.com"}},
            "docker.tls.acme: requires hostnames; list the names that the certificate is for",
        ),
        ({**_SUPPLIED, "port": 8080}, "docker.tls.port: 8080 is also port; use two different"),
        ({**_SUPPLIED, "port": 9100}, "docker.tls.port: 9100 is also metrics_port; use two"),
        ({**_ACME, "acme": {"email": "ops"}}, "docker.tls.acme.email: 'ops' is not valid; use"),
        (
            {**_ACME, "acme": {"email": "a@example.com", "directory": "http://ca.example/dir"}},
            "docker.tls.acme.directory: 'http://ca.example/dir' is not valid; use an HTTPS URL",
        ),
    ],
)
def test_invalid_tls_is_reported_with_its_key(
    tmp_path: Path, tls: dict[str, Any], expected: str
) -> None:
    changes = {"docker.tls": tls, "docker.metrics_port": 9100}
    (problem,) = find_problems(tmp_path, config_of("docker"), changes, "docker")
    assert problem.startswith(expected)


def test_authority_is_refused_with_several_servers(tmp_path: Path) -> None:
    config = config_of("docker")
    (problem,) = find_problems(
        tmp_path, config, {"docker.tls": _ACME, "docker.hosts": _HOSTS}, "docker"
    )
    assert problem.startswith("docker.tls.acme: works with one server, because the authority")
    one = {"docker.tls": _ACME, "docker.hosts": {"one": _HOSTS["one"]}}
    assert _load(tmp_path, one).docker.tls is not None


@pytest.mark.parametrize(
    ("names", "start", "hostnames", "expected"),
    [
        ([_NAME], _NOW, [_NAME], None),
        (["*.example.com"], _NOW, [_NAME], None),
        (["10.0.0.1"], _NOW, [], None),
        ([], _NOW, [], None),
        ([_NAME], _NOW - timedelta(days=91), [_NAME], "expired at 2026-11-25T12:00:00Z. Renew it"),
        ([_NAME], _NOW + timedelta(days=1), [], "is valid only from 2026-11-27T11:00:00Z."),
        (["*.example.com"], _NOW, ["a.b.example.com"], "is for *.example.com, not for a.b.exam"),
        ([], _NOW, [_NAME], "is for no host name, not for models.example.com. Request a"),
    ],
)
def test_certificate_that_clients_would_reject_is_explained(
    authority: Authority,
    names: list[str],
    start: datetime,
    hostnames: list[str],
    expected: str | None,
) -> None:
    certificate, key = authority.issue(names, start=start)
    facts = inspect_certificate(certificate, key, hostnames, _NOW)
    problems = [text for where, text in facts.problems if where == "certificate_file"]
    assert len(problems) == len(facts.problems) == (expected is not None)
    assert expected is None or problems[0].startswith(expected)


def _encrypt(key: str) -> str:
    loaded = serialization.load_pem_private_key(key.encode(), password=None)
    encryption = serialization.BestAvailableEncryption(b"password")
    form = serialization.PrivateFormat.PKCS8
    return loaded.private_bytes(serialization.Encoding.PEM, form, encryption).decode()


@pytest.mark.parametrize("form", ["other", "encrypted", "none", "broken"])
def test_key_that_does_not_fit_is_explained_without_showing_it(
    authority: Authority, form: str
) -> None:
    certificate, own = authority.issue([_NAME])
    _, other = authority.issue([_NAME])
    key, expected = {
        "other": (other, "is not the key of the certificate. Use the key of"),
        "encrypted": (_encrypt(own), "is encrypted with a password. Decrypt it with"),
        "none": (certificate, "contains no private key in PEM that can be used."),
        "broken": (own.replace(own[60:64], "????"), "contains no private key in PEM that can"),
    }[form]
    ((where, problem),) = inspect_certificate(certificate, key, [], datetime.now(UTC)).problems
    assert where == "key_file"
    assert problem.startswith(expected)
    assert not any(line in problem for line in key.splitlines()[1:-1])


def _load(directory: Path, changes: Mapping[str, Any]) -> Any:
    from tests.unit.spec_file import changed

    return load(directory, changed(config_of("docker"), changes), "docker")


def _check(directory: Path, tls: Mapping[str, Any]) -> Any:
    spec = _load(directory, {"docker.tls": dict(tls)})
    return check_certificate(StackContext(root=directory, stack="docker", spec=spec))


def _write(directory: Path, pair: tuple[str, str]) -> None:
    (directory / "server.pem").write_text(pair[0])
    (directory / "key.pem").write_text(pair[1])


def test_certificate_is_checked_before_an_update(tmp_path: Path, authority: Authority) -> None:
    with pytest.raises(SpecError, match=r"docker\.tls\.certificate_file: Cannot read .*/server\.p"):
        _check(tmp_path, _SUPPLIED)
    _write(tmp_path, authority.issue([_NAME]))
    assert _check(tmp_path, _SUPPLIED).status is Status.PASSED
    _write(tmp_path, authority.issue([_NAME], lifetime=timedelta(days=10)))
    assert _check(tmp_path, _SUPPLIED).status is Status.WARNING
    with pytest.raises(SpecError) as caught:
        _check(tmp_path, {**_SUPPLIED, "hostnames": ["other.example.com"]})
    (problem,) = caught.value.problems
    assert problem.startswith("docker.tls.certificate_file: server.pem is for models.example.com,")
    _write(tmp_path, ("x" * (65 << 10), ""))
    with pytest.raises(SpecError, match="is longer than 64 KiB"):
        _check(tmp_path, _SUPPLIED)


@pytest.mark.parametrize(
    ("address", "status"), [("0.0.0.0", Status.PASSED), ("127.0.0.1", Status.WARNING)]
)
def test_proxy_that_no_authority_reaches_is_a_warning(
    tmp_path: Path, address: str, status: Status
) -> None:
    spec = _load(tmp_path, {"docker.tls": _ACME, "docker.address": address})
    finding = check_certificate(StackContext(root=tmp_path, stack="docker", spec=spec))
    assert finding.status is status
    assert finding.detail.startswith("The proxy obtains a certificate for models.example.com.")


def test_fingerprint_is_that_of_the_first_certificate(authority: Authority) -> None:
    certificate, _ = authority.issue([_NAME])
    expected = x509.load_pem_x509_certificate(certificate.encode()).fingerprint(hashes.SHA256())
    assert compute_fingerprint(f"subject=x\n{certificate}{authority.root}") == expected.hex()
    with pytest.raises(ValueError, match="no certificate"):
        compute_fingerprint("")


def test_file_of_the_proxy_has_the_route_and_the_certificate() -> None:
    routes = json.loads(build_routes("http://entry:8080", [], "CERTIFICATE", "KEY"))
    router = routes["http"]["routers"]["gateway"]
    assert (router["rule"], router["tls"]) == ("PathPrefix(`/`)", {})
    servers = routes["http"]["services"]["gateway"]["loadBalancer"]["servers"]
    assert servers == [{"url": "http://entry:8080"}]
    default = routes["tls"]["stores"]["default"]["defaultCertificate"]
    assert default == {"certFile": "CERTIFICATE", "keyFile": "KEY"}
    routes = json.loads(build_routes("http://entry:8080", [_NAME, "b.example"], None, None))
    assert routes["http"]["routers"]["gateway"]["tls"] == {
        "certResolver": "acme",
        "domains": [{"main": _NAME, "sans": ["b.example"]}],
    }
    assert "tls" not in routes


def test_proxy_waits_longer_than_the_gateway() -> None:
    """The gateway's own responses to slow clients have the format of all errors."""
    arguments = build_proxy_command(timeout_seconds=30.5, acme=None)
    assert "--entrypoints.web.transport.respondingtimeouts.readtimeout=91s" in arguments
    assert not any("responseheadertimeout" in argument for argument in arguments)


def test_proxy_reuses_no_connection_that_a_gateway_is_about_to_close() -> None:
    """A request at that moment would get 502."""
    from berth_gateway.server import _LINGER_SECONDS

    option = "--serverstransport.forwardingtimeouts.idleconntimeout="
    (milliseconds,) = (
        int(argument.removeprefix(option).removesuffix("ms"))
        for argument in build_proxy_command(timeout_seconds=30, acme=None)
        if argument.startswith(option)
    )
    assert 2 * milliseconds <= 1000 * _LINGER_SECONDS


def test_files_appear_in_a_volume_with_their_whole_content() -> None:
    """A program that watches a file, as Traefik does, would otherwise read an empty one."""
    archive = build_archive({"a.yaml": "content"}, ["directory"])
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = tar.getmembers()
        names = [member.name for member in members]
        link = tar.getmember("a.yaml")
        assert link.islnk()
        assert names.index(link.linkname) < names.index("a.yaml")
        file = tar.extractfile(link.linkname)
        assert file is not None
        assert file.read() == b"content"
    assert {(member.uid, member.mode) for member in members if not member.isdir()} == {
        (65532, 0o400)
    }


def _declare(directory: Path, changes: Mapping[str, Any]) -> tuple[Resources, dict[str, Any]]:
    spec = _load(directory, changes)
    outputs: dict[str, Any] = {}

    def declare() -> None:
        declared = deploy(spec, stack="x", root=directory)
        shown = {key: value for key, value in declared.items() if key.startswith(("endp", "prox"))}
        pulumi.Output.from_input(shown).apply(outputs.update)

    return record(declare, _OUTPUTS), outputs


@pytest.fixture
def project(tmp_path: Path, authority: Authority) -> Path:
    """A directory with the models and a certificate."""
    from tests.repository import REPOSITORY

    (tmp_path / "models").symlink_to(REPOSITORY / "models")
    _write(tmp_path, authority.issue([_NAME]))
    return tmp_path


def test_proxy_is_hardened_and_alone_has_a_published_port(project: Path) -> None:
    tls = {**_SUPPLIED, "hostnames": [_NAME]}
    resources, outputs = _declare(project, {"docker.tls": tls})
    containers = {name: each for (kind, name), each in resources.items() if kind == "Container"}
    for name, inputs in containers.items():
        container = Resource(
            type="docker:index/container:Container", name=name, urn=name, props=inputs
        )
        assert not list(find_violations(RULES, [container], Stack())), name
    assert [name for name, inputs in containers.items() if inputs.get("ports")] == ["berth-x-proxy"]
    proxy = containers["berth-x-proxy"]
    assert proxy["ports"] == [{"internal": 8443.0, "external": 443.0, "ip": "127.0.0.1"}]
    assert proxy["user"] == "65532:65532"
    assert proxy["dns"] == ["127.0.0.1"]
    assert proxy["healthcheck"]["tests"][:3] == ["CMD", "traefik", "healthcheck"]
    assert [network["name"] for network in proxy["networksAdvanced"]] == ["berth-x-front"]
    assert "PRIVATE KEY" not in json.dumps(list(containers.values()))
    gateway = containers["berth-x-gateway"]
    assert "GATEWAY_TRUST_FORWARDED_FOR=1" in gateway["envs"]
    assert outputs == {"endpoint": f"https://{_NAME}", "proxy": "berth-x-proxy-id"}


def test_gateway_without_proxy_trusts_no_header(project: Path) -> None:
    resources, outputs = _declare(project, {})
    gateway = resources["Container", "berth-x-gateway"]
    assert not any("FORWARDED" in variable for variable in gateway["envs"])
    assert outputs == {"endpoint": "http://127.0.0.1:8080"}


def test_private_key_is_a_secret_of_the_state(project: Path) -> None:
    resources, _ = _declare(project, {"docker.tls": _SUPPLIED})
    files = resources["VolumeFiles", "berth-x-proxy-config"]["files"]
    assert files[pulumi.runtime.rpc._special_sig_key] == pulumi.runtime.rpc._special_secret_sig
    content = json.loads(files["value"]["routes.yaml"])
    key = content["tls"]["stores"]["default"]["defaultCertificate"]["keyFile"]
    assert key == (project / "key.pem").read_text()


def test_each_server_has_the_certificate(project: Path) -> None:
    changes = {"docker.tls": {**_SUPPLIED, "port": 8443}, "docker.hosts": _HOSTS}
    resources, outputs = _declare(project, changes)
    for host in _HOSTS:
        assert ("VolumeFiles", f"berth-x-{host}-proxy-config") in resources
        assert resources["Container", f"berth-x-{host}-proxy"]["ports"][0]["external"] == 8443
        assert "ports" not in resources["Container", f"berth-x-{host}-entry"]
    assert set(outputs["proxies"]) == set(_HOSTS)
    assert outputs["endpoints"] == dict.fromkeys(_HOSTS, "https://127.0.0.1:8443")


def test_authority_has_a_volume_and_the_proxy_a_name_server(project: Path) -> None:
    (project / "roots.pem").write_text("ROOTS")
    acme = {"email": "ops@example.com", "root_file": "roots.pem", "directory": "https://ca.lan/d"}
    resources, _ = _declare(project, {"docker.tls": {**_ACME, "acme": acme}})
    proxy = resources["Container", "berth-x-proxy"]
    assert {
        "--certificatesresolvers.acme.acme.caserver=https://ca.lan/d",
        "--certificatesresolvers.acme.acme.storage=/var/lib/traefik/acme/acme.json",
        "--certificatesresolvers.acme.acme.cacertificates=/etc/traefik/acme-roots.pem",
        "--certificatesresolvers.acme.acme.tlschallenge=true",
    } < set(proxy["entrypoints"])
    assert "dns" not in proxy
    assert {mount["target"]: mount["readOnly"] for mount in proxy["mounts"]} == {
        "/etc/traefik": True,
        "/var/lib/traefik": False,
    }
    files = resources["VolumeFiles", "berth-x-proxy-config"]["files"]
    assert set(files.get("value", files)) == {"routes.yaml", "acme-roots.pem"}
    assert resources["VolumeFiles", "berth-x-proxy-state"]["directories"] == ["acme"]


def test_terms_of_an_authority_need_no_file() -> None:
    acme = Acme(email="a@example.com", directory="https://ca.lan/d", has_roots=False)
    arguments = build_proxy_command(timeout_seconds=30, acme=acme)
    assert not any("cacertificates" in argument for argument in arguments)


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        (None, "http://10.0.0.1:8080"),
        (DockerTlsArgs(), "https://10.0.0.1"),
        (DockerTlsArgs(port=8443), "https://10.0.0.1:8443"),
        (DockerTlsArgs(hostnames=[_NAME, "b.example"]), f"https://{_NAME}"),
    ],
)
def test_url_names_the_host_of_the_certificate(tls: DockerTlsArgs | None, expected: str) -> None:
    assert build_url(tls, "10.0.0.1", 8080) == expected


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        (DockerTlsArgs(), "tls: must have one of certificate and acme"),
        (DockerTlsArgs(certificate="C"), "tls.key: must be set with certificate, and only then"),
        (DockerTlsArgs(certificate="C", key="K", port=8080), "tls.port: is also port, 8080"),
    ],
)
def test_invalid_arguments_of_a_component_are_reported(tls: DockerTlsArgs, expected: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{expected}"):
        check_tls(tls, 8080)


def test_component_takes_the_certificate_as_inputs(authority: Authority, project: Path) -> None:
    certificate, key = authority.issue([_NAME])
    inputs = {
        "models": {"digits": {"versions": {"1": {"directory": str(project / "models/digits/1")}}}},
        "tls": {"certificate": certificate, "key": key, "hostnames": [_NAME], "port": 8443.0},
    }
    resources = construct(pulumi_berth.DockerHosting, inputs, _OUTPUTS)
    assert resources["Container", "x-proxy"]["ports"][0]["external"] == 8443
    served = resources["ServedCertificate", "x-proxy"]
    assert served["fingerprint"] == compute_fingerprint(certificate)


@pytest.mark.parametrize(("port", "is_refused"), [(8443, True), (8080, False)])
def test_port_of_the_own_proxy_is_refused_when_tls_is_turned_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, is_refused: bool
) -> None:
    spec = _load(tmp_path, {"docker.port": port})
    context = StackContext(root=tmp_path, stack="docker", spec=spec)
    (tmp_path / "Pulumi.yaml").write_text("name: berth\nruntime: python\n")
    labels = {HOSTING_LABEL: target.get_hosting_id(context), COMPONENT_LABEL: "proxy"}
    entry = {"Names": ["/p"], "Labels": labels, "Ports": [{"IP": "0.0.0.0", "PublicPort": 8443}]}
    client = SimpleNamespace(api=SimpleNamespace(containers=lambda: [entry]))
    monkeypatch.setattr(target, "open_engines", lambda _docker, _stack: {"": client})
    if is_refused:
        with pytest.raises(SpecError, match=r"docker\.port: port 8443 is published by the stack's"):
            target.require_free_ports(context)
    else:
        target.require_free_ports(context)


@pytest.mark.parametrize(
    ("fingerprint", "restarts", "fix"),
    [("ab" * 32, 0, "Run 'berth up' again."), ("", 1, "Let models.example.com resolve to this")],
)
def test_certificate_that_is_not_served_fails_the_update_with_the_log(
    monkeypatch: pytest.MonkeyPatch, fingerprint: str, restarts: int, fix: str
) -> None:
    """A proxy that got no certificate asks the authority again only when it starts."""
    restarted: list[int] = []
    proxy = SimpleNamespace(
        name="berth-x-proxy",
        logs=lambda tail: b"acme: error: 403" if tail else b"",
        restart=lambda timeout: restarted.append(timeout),
    )
    monkeypatch.setattr(served_certificate, "open_engine", lambda _host: nullcontext(None))
    monkeypatch.setattr(served_certificate, "find_container", lambda _client, _id: proxy)
    monkeypatch.setattr(
        served_certificate, "run_in_container", lambda _container, _check: (1, "no certificate yet")
    )
    inputs = {
        "host": "unix:///docker.sock", "entry": "1" * 64, "proxy": "2" * 64, "hostname": _NAME,
        "fingerprint": fingerprint, "seconds": 0,
    }  # fmt: skip
    with pytest.raises(EngineError) as caught:
        served_certificate.wait_for_certificate(inputs)
    message = str(caught.value)
    assert "berth-x-proxy did not serve its certificate within 0 s: no certificate yet" in message
    assert fix in message
    assert "Its last log lines: acme: error: 403" in message
    assert len(restarted) == restarts
