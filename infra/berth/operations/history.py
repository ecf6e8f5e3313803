"""`berth history`: the updates of a stack, and how their configurations differ."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from berth.operations.configuration import ConfigPath, can_be_secret
from berth.operations.update import Update
from berth.platforms.platform import HIDDEN

_SHOWN_CHARACTERS = 60
_ABSENT = object()


@dataclass(frozen=True, kw_only=True)
class Change:
    """A configured value that differs between two updates.

    Attributes:
        path: The key and the steps under it, such as `berth:models.digits.traffic.1`.
        before: The earlier value as text, or None if there is none. A secret is hidden.
        after: The later value, likewise.
    """

    path: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.path}: {_shorten(self.before)} -> {_shorten(self.after)}"


@dataclass(frozen=True, kw_only=True)
class Release:
    """An update, and how its configuration differs from that of the successful one before it."""

    update: Update
    changes: tuple[Change, ...]


def list_releases(history: Sequence[Update]) -> list[Release]:
    """Return the updates that deployed something, oldest first.

    Args:
        history: All updates, with secrets in plaintext. Otherwise a changed secret is no change.
    """
    releases: list[Release] = []
    before: Mapping[str, Any] = {}
    secrets: frozenset[str] = frozenset()
    for update in history:
        if update.kind != "update":
            continue
        changes = compare_configurations(before, update.config, secrets | update.secrets)
        releases.append(Release(update=update, changes=tuple(changes)))
        if update.succeeded:
            before, secrets = update.config, update.secrets
    return releases


def compare_configurations(
    before: Mapping[str, Any], after: Mapping[str, Any], secret_keys: frozenset[str]
) -> list[Change]:
    """Return the values that differ between two configurations, ordered by path.

    Args:
        secret_keys: The keys that contain a secret in either of them.
    """
    ones, others = dict(_flatten(before)), dict(_flatten(after))
    return [
        Change(
            path=".".join(path),
            before=_format(path, ones.get(path, _ABSENT), secret_keys),
            after=_format(path, others.get(path, _ABSENT), secret_keys),
        )
        for path in sorted({*ones, *others})
        if ones.get(path, _ABSENT) != others.get(path, _ABSENT)
    ]


def as_json(
    releases: Sequence[Release], completeness: Mapping[int, str] | None = None
) -> list[dict[str, Any]]:
    """Return the releases as a JSON document, without configurations.

    Args:
        completeness: Recorded answers; see `previous_release.read_completeness`.
    """
    return [
        {
            "number": release.update.number,
            "result": _format_result(release.update),
            "ended": release.update.ended,
            "commit": release.update.commit,
            "has_uncommitted_changes": release.update.has_uncommitted_changes,
            "completeness": (completeness or {}).get(release.update.number),
            "changes": [asdict(change) for change in release.changes],
        }
        for release in releases
    ]


def format_text(releases: Sequence[Release], completeness: Mapping[int, str] | None = None) -> str:
    """Return the releases as text, the latest first.

    Args:
        completeness: Recorded answers; see `previous_release.read_completeness`.
    """
    lines = [f"{'UPDATE':<7} {'RESULT':<10} {'ENDED':<25} COMMIT"]
    for release in reversed(releases):
        update = release.update
        commit = (update.commit or "none")[:12]
        changed = " and uncommitted changes" if update.has_uncommitted_changes else ""
        lines.append(
            f"{update.number:<7} {_format_result(update):<10} {update.ended:<25} {commit}{changed}"
        )
        if answer := (completeness or {}).get(update.number):
            lines.append(f"        {answer}")
        if release is releases[0]:
            lines.append("        the first configuration")
        else:
            lines += [f"        {change}" for change in release.changes]
    return "\n".join(lines)


def _format_result(update: Update) -> str:
    return "succeeded" if update.succeeded else "failed"


def _flatten(value: Any, path: ConfigPath = ()) -> Iterator[tuple[ConfigPath, Any]]:
    """Yield each value that is not a mapping with its path. A list is one value."""
    if isinstance(value, Mapping) and (value or not path):
        for key, item in value.items():
            yield from _flatten(item, (*path, str(key)))
    else:
        yield path, value


def _format(path: ConfigPath, value: Any, secret_keys: frozenset[str]) -> str | None:
    if value is _ABSENT:
        return None
    if path[0] in secret_keys and can_be_secret(path):
        return HIDDEN
    return value if isinstance(value, str) else json.dumps(value)


def _shorten(text: str | None) -> str:
    if text is None:
        return "(none)"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."
