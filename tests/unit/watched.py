"""Snapshots for the tests of `berth watch` and `berth dashboard`."""

from dataclasses import replace

from berth.operations.rollout.status import RolloutStatus
from berth.operations.watch.snapshot import (
    BerthStatus,
    Rates,
    Snapshot,
    UpdateStatus,
)

START = 1_795_708_800.0
"""2026-11-26T16:00:00Z."""


def build_snapshot(seconds: float = 0.0, per_second: float = 20.0) -> Snapshot:
    """Return a snapshot of a stack with two versions, one of which does not answer."""
    rates = Rates(per_second=per_second, failed_share=0.25, p50_seconds=0.0042, p99_seconds=0.31)
    ready = BerthStatus(model="digits", version="1", state="ready", traffic=90, rates=rates)
    return Snapshot(
        stack="dev",
        at=START + seconds,
        platform="local",
        endpoint="http://127.0.0.1:9000",
        gateway="ready",
        berths=(
            ready,
            replace(
                ready,
                version="2",
                state="stopped",
                traffic=0,
                is_shadow=True,
                rates=None,
                rates_note="not available, because no program of it responds (state: stopped)",
            ),
        ),
        rollouts=(
            RolloutStatus(
                model="digits",
                stable="1",
                version="2",
                phase="watching",
                is_in_progress=True,
                is_interrupted=False,
                step="version 2 receives 5 % of the traffic",
                step_number=2,
                steps=5,
                traffic={"1": 95, "2": 5},
                since=START - 20,
                reason=None,
                event="Step 2 of 5",
                event_at=START - 30,
                resume=None,
                abort=None,
            ),
        ),
        updates=(
            UpdateStatus(
                number=7,
                result="failed",
                ended="2026-11-26T15:58:00.000Z",
                changes=("berth:models.digits.traffic.1: 100 -> 90",),
            ),
        ),
        drift=("digits-2 does not run",),
        usd_per_month=1234.0,
        notes=("The process supervisor is not running",),
        problems=("metrics: <b>no answer</b>",),
    )


def interrupt_rollout(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot after the process of its rollout was killed."""
    (rollout,) = snapshot.rollouts
    killed = replace(
        rollout,
        is_interrupted=True,
        resume="berth rollout digits 2 -s dev --resume",
        abort="berth rollout digits 2 -s dev --abort",
    )
    return replace(snapshot, rollouts=(killed,))
