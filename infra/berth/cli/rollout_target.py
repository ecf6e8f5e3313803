"""The stack on which `berth rollout` works."""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.cli import stacks
from berth.errors import OperationError
from berth.operations.configuration import set_traffic
from berth.operations.lifecycle import exclude
from berth.operations.rollout.plan import Plan
from berth.platforms import get_platform
from berth.platforms.stack_context import StackContext
from pulumi_berth.files import replace_atomically

_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class _Deployed:
    """What the latest step deployed, which is read once per step."""

    context: StackContext
    outputs: dict[str, Any]
    resources: Sequence[Mapping[str, Any]]


@dataclass
class RolloutTarget:
    """The stack on which a rollout works; see `berth.operations.rollout.controller.Target`."""

    root: Path
    name: str
    plan: Plan
    as_json: bool
    _deployed: _Deployed | None = None
    _is_shifted: bool = False

    def is_deployed(self) -> bool:
        """Return whether the stack has resources. One that was destroyed has none."""
        spec = stacks.load_spec(self.root, self.name)
        context = StackContext(root=self.root, stack=self.name, spec=spec)
        return bool(stacks.read_stack_resources(context))

    def require_own_traffic(self) -> None:
        """Raise OperationError if someone else has changed the traffic since the rollout began."""
        spec = stacks.load_spec(self.root, self.name)
        if get_platform(spec.platform).read_metrics is None:
            raise OperationError(
                f"berth rollout is not available on platform {spec.platform}: Berth cannot read "
                "the metrics of its versions. Change models.<model>.traffic, and run berth up."
            )
        if self.plan.model not in spec.models:
            raise OperationError(
                f"Model '{self.plan.model}' is not in Pulumi.{self.name}.yaml any more. Add it "
                f"again with version {self.plan.stable}, then run the same command."
            )
        traffic = spec.models[self.plan.model].traffic
        own = {name: weight for name, weight in traffic.items() if weight}
        if own not in self.plan.possible_traffic:
            raise OperationError(
                f"models.{self.plan.model}.traffic in Pulumi.{self.name}.yaml is {own}, which is "
                f"no step of this rollout. Set it to {{'{self.plan.stable}': 100}}."
            )

    def deploy(
        self, traffic: Mapping[str, int], shadow: str | None, look: Callable[[], None]
    ) -> None:
        """Deploy a traffic split, wait until everything is ready, and call `look` meanwhile."""
        with _calling(look):
            self._deploy(traffic, shadow, is_urgent=False)

    def shift(self, traffic: Mapping[str, int]) -> bool:
        """Move the requests to a traffic split without an update, if the platform can.

        The configuration file has the split before, so that each later update keeps it.
        """
        deployed = self._observe()
        self.write_traffic(traffic, None)
        spec = stacks.load_spec(self.root, self.name)
        context = StackContext(root=self.root, stack=self.name, spec=spec)
        model = self.plan.model
        self._is_shifted = True
        return bool(get_platform(spec.platform).shift_traffic(context, deployed.resources, [model]))

    def revert(self, traffic: Mapping[str, int]) -> None:
        """Deploy a traffic split of versions that already run, as fast as possible."""
        if not self.is_deployed():
            raise OperationError(
                f"Stack '{self.name}' was destroyed during the rollout, so nothing was deployed. "
                "'--abort' ends the rollout."
            )
        self._deploy(traffic, None, is_urgent=True)

    def write_traffic(self, traffic: Mapping[str, int], shadow: str | None) -> None:
        """Write a traffic split into the configuration file."""
        file = self.root / f"Pulumi.{self.name}.yaml"
        text = file.read_text()
        changed = set_traffic(text, self.plan.model, traffic, shadow)
        if changed != text:
            replace_atomically(file, changed, mode=0o644)

    def _deploy(self, traffic: Mapping[str, int], shadow: str | None, *, is_urgent: bool) -> None:
        self.write_traffic(traffic, shadow)
        self._is_shifted = False
        load = stacks.load_spec if is_urgent else stacks.load_deployable_spec
        spec = load(self.root, self.name)
        context = StackContext(root=self.root, stack=self.name, spec=spec)
        stack = stacks.open_stack_for_update(self.root, self.name, spec, to_stderr=self.as_json)
        parts = stacks.find_skipped_parts(spec, self.root)
        stack = stacks.open_program(stack, parts)
        # The progress of the engine is not the result of this command.
        with redirect_stdout(sys.stderr):
            if stack.up("--yes", "--skip-preview", *exclude(parts)):
                stacks.explain_failure(context)
                raise OperationError("the update failed")
        self._deployed = self._read(context)
        # To finish the update would restore what it declared, also the traffic that was moved back.
        if is_urgent or self._is_shifted:
            return
        try:
            stacks.require_serving(stack, context, self._deployed.outputs, parts)
        except SystemExit as error:
            raise OperationError("not everything became ready") from error

    def scrape(self) -> Mapping[str, str]:
        """Return the metrics of each program."""
        deployed = self._observe()
        read = get_platform(deployed.context.spec.platform).read_metrics
        assert read is not None
        texts = read(deployed.context, deployed.outputs)
        if not texts:
            raise OperationError("no berth and no gateway responded")
        return texts

    def find_unready(self) -> list[str]:
        """Return the state of the new version, unless it is ready."""
        deployed = self._observe()
        platform = get_platform(deployed.context.spec.platform)
        models = platform.observe(deployed.context, deployed.outputs)["models"]
        state = models[self.plan.model]["versions"].get(self.plan.version, {}).get("state")
        if state in (None, "ready"):
            return []
        return [f"version {self.plan.version} of {self.plan.model} is {state}"]

    def _observe(self) -> _Deployed:
        if self._deployed is None:
            spec = stacks.load_spec(self.root, self.name)
            self._deployed = self._read(StackContext(root=self.root, stack=self.name, spec=spec))
        return self._deployed

    def _read(self, context: StackContext) -> _Deployed:
        outputs = stacks.read_recorded_state(self.root, self.name).outputs
        return _Deployed(context, outputs, stacks.read_stack_resources(context))


@contextmanager
def _calling(look: Callable[[], None]) -> Iterator[None]:
    """Call a function about once per second, in another thread, until the block ends."""
    end = threading.Event()

    def call() -> None:
        while not end.wait(_LOOK_SECONDS):
            look()

    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(call)
        try:
            yield
        finally:
            end.set()
        calls.result()
