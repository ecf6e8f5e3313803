"""Loading a configuration file: its format, the line numbers in errors, and its secrets."""

from pathlib import Path
from typing import Any

import pytest

from berth.spec import ENCRYPTED, SpecError, load_file
from tests.unit.spec_file import SMALLEST, changed, config_of, load, problems


def test_smallest_stack_has_documented_defaults(tmp_path: Path) -> None:
    spec = load(tmp_path, SMALLEST)

    digits = spec.models["digits"]
    assert digits.traffic == {"1": 100}
    assert digits.exposed_versions == ["1"]
    assert (digits.replicas.min, digits.replicas.max, digits.compute) == (1, 1, "cpu")
    assert digits.serving.model_dump() == {
        "workers": 1,
        "threads": None,
        "intra_op_threads": 1,
        "max_batch": 1024,
        "queue": 256,
        "deadline_seconds": 30,
        "batch_size": 1,
        "max_body_bytes": 10485760,
        "body_memory_bytes": None,
        "grace_seconds": 30,
        "data_drift": True,
        "data_drift_seconds": 900,
        "data_drift_rows": 1000,
    }
    assert digits.capture.percent == 0
    assert list(spec.gateway.clients) == ["default"]
    assert spec.local.gateway_port is None
    assert spec.local.admin_port is None


def test_specification_is_immutable(tmp_path: Path) -> None:
    spec = load(tmp_path, SMALLEST)

    with pytest.raises(ValueError, match="frozen"):
        spec.protect = True


def test_all_problems_are_reported_with_line_in_file_order(
    tmp_path: Path,
) -> None:
    text = """\
config:
  berth:platform: locl
  berth:models:
    digits:
      versions:
        "1": {}
        "2": {}
      traffic:
        "1": 90
        "2": 20
      serving:
        workers: 0
        treads: 4
    Bad_name:
      versions: {"1": {}}
  berth:gatway: {}
"""
    lines = problems(tmp_path, text)

    assert [line.partition(" ")[0] for line in lines] == [
        f"Pulumi.local.yaml:{line}:" for line in (2, 12, 13, 14, 16)
    ]
    assert "'locl' is not valid; use one of local, docker, kubernetes, aws" in lines[0]
    assert "berth:models.digits.serving.workers: 0 is not valid" in lines[1]


def test_traffic_not_adding_up_to_100_is_rejected_with_line(tmp_path: Path) -> None:
    text = SMALLEST + '        "2": {}\n      traffic: {"1": 90, "2": 20}\n'

    assert problems(tmp_path, text) == [
        "Pulumi.local.yaml:8: berth:models.digits.traffic: {'1': 90, '2': 20} adds up to 110; "
        "change the percentages so that they add up to 100"
    ]


def test_error_text_has_one_problem_per_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, SMALLEST + "  berth:protectt: true\n  berth:locall: {}\n")

    assert str(caught.value).splitlines() == caught.value.problems
    assert len(caught.value.problems) == 2


def test_unknown_key_suggests_similar_key(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, SMALLEST + "  berth:gateway: {max_body_byte: 5000}\n")

    assert problem == (
        "Pulumi.local.yaml:7: berth:gateway.max_body_byte: unknown key; did you mean "
        "max_body_bytes? Known keys: clients, jwt, blocking, limits, replicas, max_replicas, "
        "resources, max_body_bytes, timeout_seconds, body_memory_bytes"
    )


def test_unknown_key_without_similar_key_lists_known_keys(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, SMALLEST + "  berth:local: {qqqq: 1}\n")

    assert problem.endswith("local.qqqq: unknown key; known keys: gateway_port, admin_port")


def test_unknown_section_suggests_similar_section(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, SMALLEST + "  berth:gatway: {}\n")

    assert "Pulumi.local.yaml:7: berth:gatway: unknown key; did you mean gateway?" in problem


def test_missing_file_lists_existing_stacks(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").touch()
    (tmp_path / "Pulumi.dev.yaml").touch()
    (tmp_path / "Pulumi.local.yaml").touch()

    with pytest.raises(SpecError) as caught:
        load_file(tmp_path / "Pulumi.prd.yaml")

    assert str(caught.value) == ("Pulumi.prd.yaml: file not found; existing stacks: dev, local")


def test_missing_file_in_directory_without_stacks_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="contains no stacks"):
        load_file(tmp_path / "Pulumi.local.yaml")


def test_directory_instead_of_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.local.yaml").mkdir()

    with pytest.raises(
        SpecError, match=r"Pulumi.local.yaml: cannot read the file \(Is a directory\)"
    ):
        load_file(tmp_path / "Pulumi.local.yaml")


def test_file_that_is_not_utf8_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.local.yaml").write_bytes(b"config: \xff\xfe")

    with pytest.raises(SpecError, match=r"Pulumi.local.yaml: the file is not UTF-8 text"):
        load_file(tmp_path / "Pulumi.local.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("config:\n  berth:models: {digits: [\n", "Pulumi.local.yaml:3: invalid YAML: "),
        ("config:\n\tx: 1\n", "Pulumi.local.yaml:2: invalid YAML: "),
        ("config: {}\n---\nconfig: {}\n", "Pulumi.local.yaml:2: invalid YAML: "),
        ("config: *nowhere\n", "Pulumi.local.yaml:1: invalid YAML: found undefined alias"),
        ("config: {a: \x07}\n", "Pulumi.local.yaml: invalid YAML: "),
        ("- config\n", "Pulumi.local.yaml:1: the file is not a map; add the key config:"),
        ("config: [1]\n", "Pulumi.local.yaml:1: config: is not valid; use a map with keys such as"),
        (
            "config: {}\nmodels: {}\n",
            "Pulumi.local.yaml:2: models: unknown key; move Berth's keys under config:",
        ),
    ],
)
def test_invalid_file_is_rejected_with_line(tmp_path: Path, text: str, expected: str) -> None:
    (problem,) = problems(tmp_path, text)

    assert problem.startswith(expected)


@pytest.mark.parametrize("text", ["", "config:\n", "config: {}\n"])
def test_empty_file_is_rejected_for_missing_platform_and_models(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == [
        "Pulumi.local.yaml: berth:platform: is missing; set it to one of local, docker, "
        "kubernetes, aws",
        "Pulumi.local.yaml: berth:models: is missing; set it to a map of 1 to 1000 entries",
    ]


def test_section_without_value_has_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, SMALLEST + "  berth:gateway:\n") == load(tmp_path, SMALLEST)


def test_keys_of_pulumi_and_providers_are_ignored(tmp_path: Path) -> None:
    text = (
        SMALLEST
        + "  aws:region: eu-central-1\n  other:thing: {a: [1, 2]}\n"
        + "encryptionsalt: v1:abc\nsecretsprovider: passphrase\nenvironment: [team/dev]\n"
    )

    assert load(tmp_path, text) == load(tmp_path, SMALLEST)


def test_versions_may_be_integers(tmp_path: Path) -> None:
    text = """\
config:
  berth:platform: local
  berth:models:
    digits:
      versions: {1: {}, 2: {}, 3: {}}
      traffic: {1: 90, 2: 10}
      shadow: 3
"""
    digits = load(tmp_path, text).models["digits"]

    assert list(digits.versions) == ["1", "2", "3"]
    assert digits.traffic == {"1": 90, "2": 10}
    assert digits.shadow == "3"


@pytest.mark.parametrize("version", ["1.10", "010", "0x1", "1_0", "2027-03-31", "true", "null"])
def test_ambiguous_version_without_quotes_is_rejected(tmp_path: Path, version: str) -> None:
    text = SMALLEST.replace('"1": {}', f"{version}: {{}}")

    lines = problems(tmp_path, text)[0]

    assert lines.startswith("Pulumi.local.yaml:6: berth:models.digits.versions")
    assert lines.endswith("is a name that YAML may read differently; put it in quotes")


def test_quoted_version_is_unchanged(tmp_path: Path) -> None:
    text = SMALLEST.replace('"1": {}', '"1.10": {}')

    assert list(load(tmp_path, text).models["digits"].versions) == ["1.10"]


def test_version_as_text_and_as_number_is_rejected_as_duplicate(tmp_path: Path) -> None:
    lines = problems(tmp_path, SMALLEST + "        1: {}\n")

    assert lines[0] == (
        "Pulumi.local.yaml:7: berth:models.digits.versions.1: is defined twice: "
        "once as text and once as a number; remove one of them"
    )


def test_date_without_quotes_is_rejected(tmp_path: Path) -> None:
    lines = problems(
        tmp_path,
        SMALLEST
        + "  berth:policy:\n    exceptions:\n      - {rule: a-rule, resource: x, "
        + "reason: for the time being, expires: 2027-03-31}\n",
    )

    assert lines[0] == (
        "Pulumi.local.yaml:9: berth:policy.exceptions[0].expires: "
        "is read as a date; put it in quotes"
    )


def test_anchors_and_merge_keys_are_resolved(tmp_path: Path) -> None:
    text = """\
config:
  berth:platform: local
  berth:models:
    digits:
      versions: {"1": {}}
      serving: &serving {workers: 2, threads: 8}
    other:
      versions: {"1": {}}
      serving: {<<: *serving, threads: 1}
"""
    serving = load(tmp_path, text).models["other"].serving

    assert (serving.workers, serving.threads) == (2, 1)


def test_recursive_yaml_alias_is_rejected(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, SMALLEST + "  berth:parity: &loop {may_differ: [*loop]}\n")

    assert problem.startswith("Pulumi.local.yaml:7: berth:parity.may_differ[0]: null is not valid")


def test_duplicate_key_is_rejected_without_showing_values(tmp_path: Path) -> None:
    text = SMALLEST + (
        "  berth:gateway:\n    clients:\n      default:\n"
        "        key: first-hush\n        key: second-hush\n"
    )
    (problem,) = problems(tmp_path, text)

    assert problem == "Pulumi.local.yaml:11: the key is defined twice; remove one of them"


def test_encrypted_key_is_accepted_without_decryption(tmp_path: Path) -> None:
    text = SMALLEST + "  berth:gateway: {clients: {a: {key: {secure: v1:abc:def}}}}\n"

    assert load(tmp_path, text).gateway.clients["a"].key == ENCRYPTED


def test_plaintext_key_is_rejected_with_command_and_not_shown(tmp_path: Path) -> None:
    text = SMALLEST + "  berth:gateway: {clients: {a: {key: hush-hush-hush-hush-hush}}}\n"

    assert problems(tmp_path, text) == [
        "Pulumi.local.yaml:7: berth:gateway.clients.a.key: is in plaintext; remove it, choose "
        "another key, and set it with `pulumi config set --secret --path "
        "'berth:gateway.clients.a.key'`"
    ]


def test_secret_outside_client_key_is_rejected(tmp_path: Path) -> None:
    text = SMALLEST + "  berth:gateway: {timeout_seconds: {secure: v1:abc}}\n"

    lines = problems(tmp_path, text)

    assert lines[0] == (
        "Pulumi.local.yaml:7: berth:gateway.timeout_seconds: is a secret; "
        "only a client's keys and gateway.limits.valkey_url may be secrets, so use a plain value"
    )


def test_encrypted_url_of_valkey_is_accepted_without_decryption(tmp_path: Path) -> None:
    text = SMALLEST + "  berth:gateway: {limits: {valkey_url: {secure: v1:abc:def}}}\n"

    assert load(tmp_path, text).gateway.limits.valkey_url == ENCRYPTED


def test_url_of_valkey_without_password_may_be_plaintext(tmp_path: Path) -> None:
    text = SMALLEST + "  berth:gateway: {limits: {valkey_url: 'valkey://limits:6379/1'}}\n"

    assert load(tmp_path, text).gateway.limits.valkey_url == "valkey://limits:6379/1"


def test_password_of_valkey_in_plaintext_is_rejected_and_not_shown(tmp_path: Path) -> None:
    text = SMALLEST + "  berth:gateway: {limits: {valkey_url: 'valkeys://:hush@limits'}}\n"

    assert problems(tmp_path, text) == [
        "Pulumi.local.yaml:7: berth:gateway.limits.valkey_url: is in plaintext; remove it, choose "
        "another password, and set it with `pulumi config set --secret --path "
        "'berth:gateway.limits.valkey_url'`"
    ]


@pytest.mark.parametrize(
    "gateway",
    [
        "{clients: {a: {key: SECRET}}}",
        "{clients: {a: {kee: SECRET}}}",
        "{clients: {a: {key: SECRET, rate_per_second: 0}}}",
        "{clients: {a: {key: [SECRET]}}}",
        "{clients: {a: {key: {value: SECRET}}}}",
        "{clients: {a: SECRET}}",
        "{clients: {a: [SECRET]}}",
        "{clients: {a: {rate_per_second: SECRET}}}",
        "{clients: {a: {quota: {period: SECRET}}}}",
        "{clients: SECRET}",
        "{client: {a: {key: SECRET}}}",
        "{limits: {valkey_url: 'redis://:SECRET@limits'}}",
        "{limits: {valkey_url: 'valkey://:SECRET@limits?x'}}",
        "[SECRET]",
        "SECRET",
    ],
)
def test_error_never_shows_possible_key(tmp_path: Path, gateway: str) -> None:
    text = SMALLEST + f"  berth:gateway: {gateway.replace('SECRET', 'hush-hush')}\n"

    assert "hush" not in "\n".join(problems(tmp_path, text))


def test_repr_of_specification_has_no_key(tmp_path: Path) -> None:
    text = SMALLEST + "  berth:gateway: {clients: {a: {key: {secure: v1:abc:def}}}}\n"

    assert ENCRYPTED not in repr(load(tmp_path, text))


def test_name_with_line_break_is_escaped_in_error(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, SMALLEST + '  berth:local: {"a\\nb": 1}\n')

    assert problem.startswith('Pulumi.local.yaml:7: berth:local["a\\nb"]: unknown key;')


def test_long_value_is_shortened_in_error(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, SMALLEST.replace("local", "x" * 5000, 1))

    assert len(problem) < 250
    assert "..." in problem


@pytest.mark.parametrize(
    ("keys", "gpus", "memory"),
    [
        ({}, 1, "2Gi"),
        ({"models.digits.resources": {"cpu": "2"}}, 1, "2Gi"),
        ({"models.digits.resources": {"memory": "1Gi", "gpu": 4}}, 4, "1Gi"),
    ],
)
def test_gpu_model_has_a_gpu_and_memory_for_its_libraries(
    tmp_path: Path, keys: dict[str, Any], gpus: int, memory: str
) -> None:
    text = changed(config_of("local"), {"models.digits.compute": "gpu", **keys})
    resources = load(tmp_path, text).models["digits"].resources
    assert (resources.gpu, resources.memory) == (gpus, memory)
