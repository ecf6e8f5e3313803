"""Kinds of text: each with its pattern, and what is allowed in words for a person."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from berth.spec.errors import Problem, refusal


@dataclass(frozen=True)
class Text:
    """Text that matches `pattern` as a whole and is `allowed` in words.

    The pattern stays within what Python and ECMAScript, thus editors, read alike.
    """

    pattern: str
    allowed: str

    def check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value, re.ASCII):
            raise refusal(Problem((), f"is not allowed; {self.allowed}"))
        return value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            **handler(schema),
            "pattern": f"^(?:{self.pattern})$",
            "patternErrorMessage": self.allowed,
        }


@dataclass(frozen=True)
class WithoutQuotes:
    """Text that may stand in YAML as a number of `kind`, "integer" or "number".

    Says so in the JSON schema; a validator turns the number into text.
    """

    kind: str

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "type": ["string", self.kind]}


def _number_as_text(value: Any) -> Any:
    """YAML reads an unquoted 2 as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Name = Annotated[
    str,
    Text(
        r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
        "1 to 40 lower-case letters, digits and hyphens, a letter first, no hyphen last",
    ),
]
VersionName = Annotated[
    str,
    Text(
        r"[a-z0-9]([a-z0-9.-]{0,14}[a-z0-9])?",
        "1 to 16 lower-case letters, digits, dots and hyphens, a letter or digit at both ends",
    ),
]
"""A version as the key of a map; `Version` as a value."""
Version = Annotated[VersionName, BeforeValidator(_number_as_text), WithoutQuotes("integer")]
Digest = Annotated[str, Text(r"sha256:[0-9a-f]{64}", "sha256: and 64 hexadecimal digits")]
ProjectPath = Annotated[
    str,
    Text(
        r"(?![\/~])(?!\.\.(\/|$))(?!.*\/\.\.(\/|$))[^\\\s](.*[^\s])?",
        "a path relative to the project, which does not leave it",
    ),
]
FilePath = Annotated[str, Text(r"\S(.*\S)?", "the path of a file")]
KubernetesName = Annotated[
    str,
    Text(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "1 to 63 lower-case letters, digits and hyphens, no hyphen at the ends",
    ),
]
LabelKey = Annotated[
    str,
    Text(
        r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?",
        "a Kubernetes label's key: a name of up to 63 characters, a domain and / before it or not",
    ),
]
LabelValue = Annotated[
    str,
    Text(
        r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?",
        "a Kubernetes label's value: up to 63 letters, digits, _ . and -",
    ),
]
Hostname = Annotated[
    str,
    Text(
        r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}",
        "a full host name in lower case, such as api.example.com",
    ),
]
Email = Annotated[
    str, Text(r"[^@\s]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,63}", "an e-mail address")
]
Region = Annotated[
    str, Text(r"[a-z]{2}(-[a-z]{2,10}){1,2}-[1-9]", "a region of AWS, such as eu-central-1")
]
Account = Annotated[str, Text(r"[0-9]{12}", "an AWS account: 12 digits in quotes")]
StackName = Annotated[
    str, Text(r"[A-Za-z0-9_.-]{1,100}", "the name of a stack: letters, digits, _ . and -")
]
Reason = Annotated[str, Text(r"\S.{8,398}\S", "10 to 400 characters that say why, on one line")]
RoleName = Annotated[
    str,
    Text(
        r"[A-Za-z0-9+=,.@_-]{1,64}",
        "the name of an IAM role, without account or path: up to 64 letters, digits and +=,.@_-",
    ),
]
