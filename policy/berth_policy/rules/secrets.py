"""Rules for secrets in plaintext: environment variables, arguments and ConfigMaps."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.rule import (
    Resource,
    Rule,
    Stack,
    get_list,
    get_mapping,
    kubernetes_objects,
    kubernetes_types,
)
from berth_policy.rules.pod_specs import POD_TYPES, Container, Pod, each_container

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase|code)|(^|_)(pass|pwd|pat|dsn)($|_)|pwd$|secret|token(?!s|iz)|credential"
    r"|(api|access|private|signing|encryption|account|shared|ssh|license|auth|webhook|master)_?key"
    r"|auth(orization)?$|cookie|conn(ection)?_?str(ing)?|bearer",
    re.IGNORECASE,
)
# A name says that the value is not the secret, but where it is, or a property of it.
_REFERENCE_NAME = re.compile(
    r"(_?(file|path|dir|arn|name|id|url|uri|endpoint|ttl|seconds|days|length|type|count|limit"
    r"|enabled|header|prefix|suffix|algorithm|region|version|audience|issuer|namespace|provider))$",
    re.IGNORECASE,
)
# Access key IDs belong to a secret, and Slack and others put the secret into the URL.
_SECRET_REFERENCE = re.compile(
    r"access_?key_?id$|(webhook|database|db|redis|valkey|mongo\w*|amqp|broker)_?ur[il]$",
    re.IGNORECASE,
)
_LOCATION = re.compile(
    r"(/[A-Za-z0-9._/-]*|arn:[a-z0-9:/_.+=,@-]+|https?://[^/@\s]+(/[^\s]*)?)", re.IGNORECASE
)
# Secrets that are recognized by their form, whatever the variable is called.
_SECRET_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{30,}|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\bxox[abposr]-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/\S+"
    r"|\bsk-[A-Za-z0-9_-]{20,}|\b[rs]k_live_[A-Za-z0-9]{20,}|\bhf_[A-Za-z0-9]{30,}"
    r"|\bAIza[0-9A-Za-z_-]{35}|\bberth_[A-Za-z0-9_-]{43}\b|\bnpm_[A-Za-z0-9]{36}"
    r"|\bpypi-[A-Za-z0-9_-]{50,}|\bpul-[0-9a-f]{40}\b"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+"
    r"|[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s:@]+@"
)
_ARGUMENT = re.compile(r"--?([A-Za-z][A-Za-z0-9_.-]*)(?:=(.*))?$", re.DOTALL)
_CONTAINERS_OF_AWS = (
    "aws:lambda/*",
    "aws:ecs/taskDefinition:TaskDefinition",
    "aws:batch/jobDefinition:JobDefinition",
    "aws:apprunner/service:Service",
    "aws:codebuild/project:Project",
    "aws:sagemaker/*",
    "aws-native:lambda:*",
    "aws-native:ecs:TaskDefinition",
    "aws-native:batch:JobDefinition",
    "aws-native:apprunner:Service",
)
_ENVIRONMENTS = (
    "environment",
    "environmentvariables",
    "runtimeenvironmentvariables",
    "variables",
)
# CodeBuild reads the values of these types from Secrets Manager or Parameter Store.
_STORED_TYPES = ("PARAMETER_STORE", "SECRETS_MANAGER")
_MAX_DEPTH = 20


def is_secret(name: str, value: Any) -> bool:
    """Return whether a variable seems to contain a secret, by its name or the form of its value."""
    if not isinstance(value, str) or not value:
        return False
    if _SECRET_VALUE.search(value):
        return True
    if not _SECRET_NAME.search(name) or value.lower() in ("true", "false", "none"):
        return False
    if _SECRET_REFERENCE.search(name):
        return "key" in name.lower()
    return not (_REFERENCE_NAME.search(name) and _is_reference(value))


def _is_reference(value: str) -> bool:
    return bool(_LOCATION.fullmatch(value)) or bool(re.fullmatch(r"[A-Za-z0-9._-]{1,40}", value))


def _check_environment(container: Container, _: Pod) -> str | None:
    names = [
        str(entry["name"])
        for entry in get_list(container, "env")
        if isinstance(entry, Mapping) and is_secret(str(entry.get("name")), entry.get("value"))
    ]
    arguments = [str(one) for key in ("command", "args") for one in get_list(container, key)]
    names += sorted(set(_find_in_arguments(arguments)))
    return f"has {', '.join(names)} in plaintext" if names else None


def _find_in_arguments(arguments: list[str]) -> Iterator[str]:
    for position, argument in enumerate(arguments):
        match = _ARGUMENT.match(argument)
        if match is None:
            if is_secret("", argument):
                yield f"argument {position}"
            continue
        name, value = match[1].replace("-", "_").replace(".", "_"), match[2]
        following = arguments[position + 1] if position + 1 < len(arguments) else ""
        if value is None:
            value = "" if following.startswith("-") else following
        if is_secret(name, value):
            yield f"argument --{match[1]}"


def _check_aws_environment(resource: Resource, _: Stack) -> Iterator[str]:
    names = sorted(set(_search(resource.props, "", 0)))
    if names:
        yield f"it has {', '.join(names)} in plaintext"


def _search(value: Any, key: str, depth: int) -> Iterator[str]:
    """Return names of variables with secrets. Container definitions are JSON inside a text."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except ValueError:
            return
    is_environment = key.lower() in _ENVIRONMENTS
    if isinstance(value, list):
        for item in value:
            yield from _search(item, key, depth + 1)
    elif isinstance(value, Mapping):
        entry = {str(name).lower(): item for name, item in value.items()}
        if is_environment and {"name", "value"} <= entry.keys():
            if entry.get("type") not in _STORED_TYPES and is_secret(
                str(entry["name"]), entry["value"]
            ):
                yield str(entry["name"])
            return
        for name, item in value.items():
            if is_environment and is_secret(str(name), item):
                yield str(name)
            else:
                yield from _search(item, str(name), depth + 1)


def _check_config_map(config_map: Resource, _: Stack) -> Iterator[str]:
    for content in kubernetes_objects(config_map):
        data = get_mapping(content, "data")
        names = [str(name) for name, value in data.items() if _is_secret_file(str(name), value)]
        if names:
            yield f"it has {', '.join(names)} in plaintext"


def _is_secret_file(name: str, value: Any) -> bool:
    """Return whether an entry is a secret. Files have names and contents that only mention one."""
    if isinstance(value, str) and ("\n" in value.strip() or "." in name):
        return bool(_SECRET_VALUE.search(value))
    return is_secret(name, value)


RULES = (
    Rule(
        id="pod-no-secret-in-environment",
        severity="critical",
        types=POD_TYPES,
        description="A container has no plaintext secret in its environment variables or "
        "arguments.",
        remedy="Use a Secret as a file, or valueFrom.secretKeyRef.",
        check=each_container(_check_environment),
    ),
    Rule(
        id="config-map-no-secret",
        severity="critical",
        types=kubernetes_types("ConfigMap"),
        description="ConfigMaps, which become files and environment variables, contain no secret.",
        remedy="Use a Secret.",
        check=_check_config_map,
    ),
    Rule(
        id="aws-no-secret-in-environment",
        severity="critical",
        types=_CONTAINERS_OF_AWS,
        description="Lambda functions, ECS tasks, Batch jobs, App Runner services, CodeBuild "
        "projects and SageMaker models have no plaintext secret in their environment variables.",
        remedy="Store it in Secrets Manager, and pass its ARN or use `secrets` with valueFrom.",
        check=_check_aws_environment,
    ),
)
