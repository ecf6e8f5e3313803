"""Blocks of clients and addresses: their durations, and what they remember."""

import pytest

from berth_gateway.config import Blocking
from berth_gateway.limits import blocks
from berth_gateway.limits.blocks import BlockList, normalize_address

BLOCKING = Blocking(
    rejections=3, invalid_keys=3, window_seconds=10, first_seconds=5, max_seconds=60
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def block_list(clock: Clock) -> BlockList:
    return BlockList(clock)


def record(block_list: BlockList, count: int, subject: str = "a") -> list[int]:
    return [block_list.record(subject, 3, BLOCKING) for _ in range(count)]


def test_block_starts_at_threshold_and_ends_after_its_duration(
    block_list: BlockList, clock: Clock
) -> None:
    assert record(block_list, 3) == [0, 0, 5]
    assert block_list.get_seconds_left("a") == 5
    clock.now = 4.5
    assert block_list.get_seconds_left("a") == 1
    clock.now = 5
    assert block_list.get_seconds_left("a") == 0


def test_each_block_takes_twice_as_long_up_to_maximum(block_list: BlockList, clock: Clock) -> None:
    durations = []
    for _ in range(7):
        durations.append(record(block_list, 3)[-1])
        clock.now += durations[-1]
    assert durations == [5, 10, 20, 40, 60, 60, 60]


def test_duration_starts_again_after_maximum_without_block(
    block_list: BlockList, clock: Clock
) -> None:
    record(block_list, 3)
    clock.now = 5
    assert record(block_list, 3)[-1] == 10
    clock.now = 15 + 61
    assert record(block_list, 3)[-1] == 5


def test_offenses_outside_window_do_not_count(block_list: BlockList, clock: Clock) -> None:
    record(block_list, 2)
    clock.now = 11
    assert record(block_list, 2) == [0, 0]
    assert record(block_list, 1) == [5]


def test_subjects_do_not_affect_each_other(block_list: BlockList) -> None:
    record(block_list, 3, "a")
    record(block_list, 2, "b")
    assert block_list.get_seconds_left("b") == 0
    assert block_list.count_blocked() == 1


def test_table_is_bounded_and_forgets_oldest(
    block_list: BlockList, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "MAX_SUBJECTS", 100)
    for number in range(1000):
        record(block_list, 3, f"address {number}")
    assert len(block_list) == 100
    assert block_list.get_seconds_left("address 899") == 0
    assert block_list.get_seconds_left("address 900") == 5


def test_unblocked_subjects_take_no_memory(block_list: BlockList) -> None:
    assert block_list.get_seconds_left("never seen") == 0
    assert len(block_list) == 0


def test_removed_clients_are_forgotten(block_list: BlockList) -> None:
    record(block_list, 3, "a")
    record(block_list, 3, "b")
    block_list.keep_only({"b"})
    assert (block_list.get_seconds_left("a"), block_list.get_seconds_left("b")) == (0, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("unknown", None),
        ("", None),
        ("192.0.2.7:4711", None),
    ],
)
def test_address_is_normalized(text: str, expected: str | None) -> None:
    assert normalize_address(text) == expected
