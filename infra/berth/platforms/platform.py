"""The definition of a platform: one record with all that the other packages need of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from berth.platforms.cost_line import CostLine
    from berth.platforms.kept_data import KeptData, OneWay
    from berth.platforms.preflight import Finding, Requirement
    from berth.platforms.stack_context import LostPart, SkippedPart, StackContext
    from berth.spec import HostingSpec
    from berth.spec.document import Document
    from berth.spec.errors import Problem
    from pulumi_berth.datasets.bucket_dataset import BucketDataset
    from pulumi_berth.monitoring.scraped_stack import ScrapedStack

HIDDEN = "[secret]"
"""The engine's replacement for a secret value in the outputs of a resource."""

Rule = Callable[..., "Iterator[Problem]"]
"""A rule that spans sections; see `berth.spec.rules`."""


class Deploy(Protocol):
    """Declares the resources of a stack and returns the stack's outputs."""

    def __call__(self, spec: HostingSpec, *, stack: str, root: Path) -> dict[str, Any]: ...


class ReadLogs(Protocol):
    """Yields the process or pod and one line of its log, the last `last` lines of each.

    With `follow`, it continues with each line that is written from then on.
    """

    def __call__(
        self,
        context: StackContext,
        outputs: dict[str, Any],
        *,
        model: str | None,
        version: str | None,
        last: int,
        follow: bool,
    ) -> Iterator[tuple[str, str]]: ...


class ReadCaptured(Protocol):
    """Returns the captured requests of each replica of a version that responds, as JSON lines."""

    def __call__(
        self, context: StackContext, outputs: dict[str, Any], model: str, version: str
    ) -> list[str]: ...


def _no_document_problems(_document: Document) -> Iterator[Problem]:
    yield from ()


def _no_spec_problems(_document: Document, _spec: HostingSpec) -> Iterator[Problem]:
    yield from ()


def _no_explanation(_context: StackContext) -> list[str]:
    return []


def _no_drift(_context: StackContext, _resources: Sequence[Mapping[str, Any]]) -> list[str]:
    return []


def _no_correction(_context: StackContext, _resources: Sequence[Mapping[str, Any]]) -> list[str]:
    return []


def _no_partial_outputs(
    _context: StackContext, _resources: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    return None


def _no_watch(_context: StackContext) -> Callable[[], list[str]] | None:
    return None


def _shift_nothing(
    _context: StackContext, _resources: Sequence[Mapping[str, Any]], _models: Sequence[str]
) -> list[str]:
    return []


def _no_skipped_parts(_spec: HostingSpec, _root: Path) -> list[SkippedPart]:
    return []


def _no_lost_parts(
    _context: StackContext, _resources: Sequence[Mapping[str, Any]]
) -> list[LostPart]:
    return []


def _accept_owners(
    context: StackContext, owner_ids: Mapping[str, str], *, for_removal: bool
) -> None:
    """A platform whose resources no one else can own."""


class CheckOwnership(Protocol):
    """Raises SpecError if the stack would use or delete what belongs to someone else.

    `owner_ids` contains the IDs in the stack's state. It is empty before the first update.
    """

    def __call__(
        self, context: StackContext, owner_ids: Mapping[str, str], *, for_removal: bool
    ) -> None: ...


def _record_nothing(_context: StackContext) -> list[str]:
    return []


def _no_warnings(_spec: HostingSpec) -> list[str]:
    return []


def _nothing_to_prepare(_context: StackContext) -> list[str]:
    return []


def _describe_scraped_gateway(context: StackContext) -> ScrapedStack:
    from berth.platforms.hosted_models import describe_scraped_gateway

    return describe_scraped_gateway(context)


def ask_registry(context: StackContext, reference: str) -> bool | None:
    """Return whether the registry or the store has an image. None if it does not say."""
    from pulumi_berth.oci.image_store import open_repository
    from pulumi_berth.oci.registry import RegistryError, split_reference

    name, digest = split_reference(reference)
    repository = open_repository(name, plain_http=context.spec.registry.plain_http)
    try:
        return repository.digest_of(digest) is not None
    except RegistryError:
        return None


def _no_offline_answer(
    _spec: HostingSpec, _function: str, _arguments: Mapping[str, Any]
) -> dict[str, Any]:
    return {}


def _find_configured_registry(context: StackContext) -> str | None:
    return context.spec.registry.url


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Where stacks run, and how Berth works with it.

    The functions import cloud SDKs only when they are called, so that the record is cheap to load.

    Attributes:
        name: The value of `berth:platform`.
        providers: Pulumi providers that its stacks use, such as `kubernetes`.
        sections: Sections of the specification that it reads and some other platform does not.
        rules: Rules that span sections and apply only to this platform.
        check_document: Yields problems of a configuration file that is not typed yet.
        check_spec: Yields problems of a typed specification together with its file.
        has_security_baseline: Whether the policy pack has rules for its resources.
        complete_configuration: Records in the stack's configuration file what Berth finds out by
            itself, so that previews do not depend on the machine. Returns one line for each value.
        list_requirements: Returns what the place to deploy to must meet, in the order in which it
            is checked.
        preflight: Returns what else would stop an update in its middle. None if nothing would.
        find_warnings: Returns what a user should know before a preview or an update, one line each.
        check_ownership: Raises SpecError if the stack would use or delete what belongs to someone
            else.
        prepare_update: Removes what a destroyed stack left behind and what would block an update.
            Returns what it did, one line each.
        deploy: Declares the resources of a stack.
        observe: Returns the current state of the gateway and of each model version.
        read_logs: Yields lines of the stack's logs.
        read_metrics: Returns the metrics of each berth and gateway that responds, in Prometheus'
            format, by a name that no other program will have. None if a rollout cannot watch.
        read_captured: Returns the captured requests of a version, authenticated with its token.
        shift_traffic: Moves the requests of running models to the versions with traffic in the
            specification, without the engine and within seconds, and returns those models. The
            next update declares the same. It gets the same as `find_drift` and the names of the
            models, whose versions run.
        describe_scraped: Returns the stack as a Prometheus server sees it. By default, only the
            gateway is sure to be read, and it forwards all requests.
        has_external_resources: Whether something other than the stack can change its resources
            without the resources' own diff noticing it. The engine then reads them before `up`.
        find_registry: Returns the registry and path of the stack's images, or None if they are in
            none.
        find_drift: Returns what differs from the last update, one line each. It gets the type, ID,
            provider, URN and outputs of each resource in the state, and the inputs of Kubernetes
            objects, with secrets replaced by `HIDDEN`.
        build_partial_outputs: Returns the outputs of a stack whose first update failed, from the
            resources that exist, or None if it has no gateway and no berth.
        watch_update: Returns a function that an update calls every few seconds, or None. It returns
            what cannot become ready by waiting, one line each.
        finish_update: Corrects what an update could not leave as declared, and returns what it
            corrected, one line each. It gets the same as `find_drift`.
        explain_failure: Returns the reasons that keep berths from becoming ready, one per line.
        find_unreachable_parts: Returns parts of the stack that an update must skip.
        kept_data: What its resources keep, by Pulumi type token; see `berth.platforms.kept_data`.
        one_way: Properties that do not return to an earlier value, by Pulumi type token.
        estimate_cost: Returns the monthly cost of declared resources line by line, or None if its
            stacks cost nothing by themselves.
        find_lost_parts: Returns parts that the specification no longer has and that an update
            cannot delete. It gets the same as `find_drift`.
        has_image: Returns whether an image of an earlier release still exists, or None if that
            cannot be found out. By default, it asks the registry in the reference.
        open_own_dataset: Opens a dataset in the stack's own bucket, or None if stacks have none.
        answer_offline: Returns the result of a provider function, or the outputs of a stack
            reference, for a program that runs without a cloud.
    """

    name: str
    providers: tuple[str, ...] = ()
    sections: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] = ()
    check_document: Callable[[Document], Iterator[Problem]] = _no_document_problems
    check_spec: Callable[[Document, HostingSpec], Iterator[Problem]] = _no_spec_problems
    has_security_baseline: bool = True
    complete_configuration: Callable[[StackContext], list[str]] = _record_nothing
    preflight: Callable[[StackContext], list[Finding]] | None = None
    list_requirements: Callable[[], Sequence[Requirement]]
    deploy: Deploy
    observe: Callable[[StackContext, dict[str, Any]], dict[str, Any]]
    read_logs: ReadLogs
    find_warnings: Callable[[HostingSpec], list[str]] = _no_warnings
    check_ownership: CheckOwnership = _accept_owners
    prepare_update: Callable[[StackContext], list[str]] = _nothing_to_prepare
    read_metrics: Callable[[StackContext, dict[str, Any]], Mapping[str, str]] | None = None
    read_captured: ReadCaptured
    shift_traffic: Callable[
        [StackContext, Sequence[Mapping[str, Any]], Sequence[str]], list[str]
    ] = _shift_nothing
    describe_scraped: Callable[[StackContext], ScrapedStack] = _describe_scraped_gateway
    find_registry: Callable[[StackContext], str | None] = _find_configured_registry
    has_external_resources: bool = False
    find_drift: Callable[[StackContext, Sequence[Mapping[str, Any]]], list[str]] = _no_drift
    build_partial_outputs: Callable[
        [StackContext, Sequence[Mapping[str, Any]]], dict[str, Any] | None
    ] = _no_partial_outputs
    watch_update: Callable[[StackContext], Callable[[], list[str]] | None] = _no_watch
    finish_update: Callable[[StackContext, Sequence[Mapping[str, Any]]], list[str]] = _no_correction
    explain_failure: Callable[[StackContext], list[str]] = _no_explanation
    find_unreachable_parts: Callable[[HostingSpec, Path], list[SkippedPart]] = _no_skipped_parts
    kept_data: Mapping[str, KeptData] = field(default_factory=dict)
    one_way: Mapping[str, OneWay] = field(default_factory=dict)
    estimate_cost: (
        Callable[[HostingSpec, Sequence[Mapping[str, Any]]], Sequence[CostLine]] | None
    ) = None
    find_lost_parts: Callable[[StackContext, Sequence[Mapping[str, Any]]], list[LostPart]] = (
        _no_lost_parts
    )
    has_image: Callable[[StackContext, str], bool | None] = ask_registry
    open_own_dataset: Callable[[HostingSpec, str, str], BucketDataset] | None = None
    answer_offline: Callable[[HostingSpec, str, Mapping[str, Any]], dict[str, Any]] = (
        _no_offline_answer
    )
