"""Whether `berth rollback` restores what an update changes.

`judge` is a pure function of a change and of facts about the stack. The rules are in their order:
the first one that applies decides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from berth.operations.resource_changes import Operation, ResourceChange, shorten_type
from berth.platforms.kept_data import CLIENT_KEYS, KeptData, OneWay


class Undo(StrEnum):
    """How far a rollback restores a change, the best first."""

    YES = "yes"
    KEPT = "kept"
    """A rollback leaves it as the update made it, on purpose: clients and their keys."""
    DOWNTIME = "yes, with downtime"
    LOSS = "yes, with loss"
    NO = "no"


_ORDER = tuple(Undo)
_FILE_PROPERTIES = ("model_dir", "layers", "base", "reference", "copy_of")
IRREVERSIBLE = (Undo.LOSS, Undo.NO)
"""The verdicts that `--fail-on irreversible` matches."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a rollback restores a change.

    Attributes:
        undo: How far.
        reason: What is lost, or why not. Empty if nothing needs an explanation.
    """

    undo: Undo
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.undo.value}: {self.reason}" if self.reason else self.undo.value


@dataclass(frozen=True, kw_only=True)
class UndoFacts:
    """What decides about a rollback, apart from the changes.

    Attributes:
        release: Number of the update that a rollback returns to. None if there is none.
        obstacles: What a rollback would be refused for.
        remaining: URN -> properties that differ from what is deployed, if the configuration of
            `release` is deployed with the current program and files. A rollback cannot restore
            them: they do not follow from the configuration.
        following: URN -> properties that follow from another resource that is in `remaining`, so
            that it is unknown before the update whether they differ.
        kept_clients: What a rollback leaves as it is, one line for each client.
        kept_signatures: A line if a rollback requires other signatures than the release did.
        missing: URN -> what the deployed resource needs and what no longer exists.
        kept_data: Type token -> what a resource keeps.
        one_way: Type token -> a property that does not return to an earlier value.
    """

    release: int | None
    obstacles: tuple[str, ...] = ()
    remaining: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    following: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kept_clients: tuple[str, ...] = ()
    kept_signatures: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    kept_data: Mapping[str, KeptData] = field(default_factory=dict)
    one_way: Mapping[str, OneWay] = field(default_factory=dict)


def judge(change: ResourceChange, facts: UndoFacts) -> Verdict:
    """Return whether a rollback after the update restores what `change` changes."""
    if facts.release is None:
        if change.operation is Operation.CREATE:
            return Verdict(undo=Undo.YES, reason="'berth destroy' removes it")
        return Verdict(undo=Undo.NO, reason="no update has succeeded, so none can be restored")
    if facts.obstacles:
        return Verdict(undo=Undo.NO, reason=f"a rollback would be refused: {facts.obstacles[0]}")
    if change.type == CLIENT_KEYS and (verdict := _judge_client_key(change)):
        return verdict
    if change.urn in facts.missing:
        return Verdict(undo=Undo.NO, reason=facts.missing[change.urn])
    if change.urn in facts.remaining and _is_remaining(change, facts):
        return _judge_remaining(change, facts)
    return _judge_restored(change, facts)


def judge_all(changes: Iterable[ResourceChange], facts: UndoFacts) -> dict[str, Verdict]:
    """Return the verdict on each change, by its URN."""
    return {change.urn: judge(change, facts) for change in changes}


def find_worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict that restores least, or `yes` without verdicts."""
    return max(verdicts, key=lambda v: _ORDER.index(v.undo), default=Verdict(undo=Undo.YES))


def _is_remaining(change: ResourceChange, facts: UndoFacts) -> bool:
    """Return whether a rollback leaves a difference. The repair of drift is none."""
    if change.operation in (Operation.CREATE, Operation.DELETE):
        return True
    if facts.remaining[change.urn]:
        return bool(change.properties)
    # The address of a process that starts again is no difference. An image that follows from other
    # files is one, and clients may be.
    following = facts.following.get(change.urn, ())
    if following and facts.kept_clients:
        return True
    return any(map(_is_of_program, following)) and any(
        _is_of_program(path) for each in facts.remaining.values() for path in each
    )


def _judge_client_key(change: ResourceChange) -> Verdict | None:
    match change.operation:
        case Operation.CREATE:
            return Verdict(undo=Undo.KEPT, reason="a rollback keeps a client that was added")
        case Operation.DELETE | Operation.REPLACE:
            return Verdict(
                undo=Undo.NO, reason="a rollback does not make a removed key valid again"
            )
    return None


def _judge_remaining(change: ResourceChange, facts: UndoFacts) -> Verdict:
    """Judge a change that does not follow from the configuration, or only in part."""
    remaining = facts.remaining[change.urn] or facts.following.get(change.urn, ())
    paths = ", ".join(remaining) or shorten_type(change.type)
    if facts.kept_clients and not any(_is_of_program(path) for path in remaining):
        return Verdict(undo=Undo.KEPT, reason="clients and their keys stay; the rest returns")
    return Verdict(
        undo=Undo.NO,
        reason=(
            f"{paths} changes with the program or its files, not with the configuration; revert "
            "the commit and run 'berth up'"
        ),
    )


def _is_of_program(path: str) -> bool:
    """Return whether a property identifies a program, an image or a model's files."""
    name = path.rpartition(".")[2]
    return "digest" in name or name.startswith("image") or name in _FILE_PROPERTIES


def _judge_restored(change: ResourceChange, facts: UndoFacts) -> Verdict:
    """Judge a change that the earlier configuration takes back."""
    one_way = facts.one_way.get(change.type)
    if one_way is not None and change.operation is Operation.UPDATE:
        changed = [path for path in change.properties if _touches(path, one_way.property)]
        if changed:
            return Verdict(undo=Undo.NO, reason=one_way.reason)
    data = facts.kept_data.get(change.type)
    if data is not None and change.operation in (Operation.REPLACE, Operation.DELETE):
        undo = Undo.NO if data.is_final else Undo.LOSS
        return Verdict(undo=undo, reason=data.loss)
    if change.has_gap:
        return Verdict(
            undo=Undo.DOWNTIME, reason="it is deleted before its replacement exists, and again"
        )
    if data is not None and change.operation is Operation.CREATE:
        return Verdict(undo=Undo.YES, reason=f"the rollback deletes {data.loss}")
    return Verdict(undo=Undo.YES)


def _touches(path: str, property_path: str) -> bool:
    """Return whether a changed path contains the property, or is below it."""
    return f"{path}.".startswith(f"{property_path}.") or f"{property_path}.".startswith(f"{path}.")
