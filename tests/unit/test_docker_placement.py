"""Placement of replicas on hosts."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulumi_berth.docker.placement import Demand, Host, PlacementError, Replica, place

_GIB = 1 << 30
_MIB = 1 << 20


def _hosts(*names: str, memory: int = 64 * _GIB) -> dict[str, Host]:
    return {name: Host(memory_bytes=memory) for name in names}


def _demands(count: int, replicas: int = 1) -> dict[str, Demand]:
    demand = Demand(memory_bytes=512 * _MIB, replicas=replicas)
    return {f"model-{number}": demand for number in range(count)}


def test_replicas_are_on_different_hosts_while_there_are_enough() -> None:
    placed = place(_hosts("a", "b", "c"), {"digits-1": Demand(memory_bytes=_GIB, replicas=4)})
    hosts = [replica.host for replica in placed]
    assert set(hosts[:3]) == {"a", "b", "c"}
    assert hosts[3] in hosts[:3]


def test_berths_use_all_hosts() -> None:
    assert {replica.host for replica in place(_hosts("a", "b"), _demands(20))} == {"a", "b"}


def test_new_berth_and_new_replica_move_no_other_replica() -> None:
    hosts, demands = _hosts("a", "b", "c"), _demands(10, replicas=2)
    before = place(hosts, demands)
    more = {name: replace(demand, replicas=3) for name, demand in demands.items()}
    after = place(hosts, {**more, "a-first": demands["model-0"], "z-last": demands["model-0"]})
    assert set(before) < set(after)


def test_removed_host_moves_only_its_own_replicas() -> None:
    demands = _demands(30)
    before = place(_hosts("a", "b", "c"), demands)
    after = place(_hosts("a", "c"), demands)
    assert [replica for replica in before if replica.host != "b"] == [
        replica for replica, old in zip(after, before, strict=True) if old.host != "b"
    ]
    assert {
        replica.host for replica, old in zip(after, before, strict=True) if old.host == "b"
    } == {
        "a",
        "c",
    }


def test_large_berth_is_placed_before_small_ones() -> None:
    hosts = _hosts("a", "b", memory=4 * _GIB)
    demands = {**_demands(8), "large": Demand(memory_bytes=4 * _GIB)}
    placed = place(hosts, demands)
    large = next(replica.host for replica in placed if replica.berth == "large")
    assert {replica.host for replica in placed if replica.berth != "large"} == {"a", "b"} - {large}


def test_gpus_are_not_shared() -> None:
    hosts = {
        "cpu": Host(memory_bytes=64 * _GIB),
        "gpu": Host(memory_bytes=64 * _GIB, compute="gpu", gpus=4),
    }
    demand = Demand(memory_bytes=_GIB, compute="gpu", gpus=1, replicas=2)
    placed = place(hosts, {"one": demand, "two": demand, "small": Demand(memory_bytes=_GIB)})
    assert {replica.host for replica in placed if replica.gpus} == {"gpu"}
    assert sorted(gpu for replica in placed for gpu in replica.gpus) == [0, 1, 2, 3]
    assert [replica for replica in placed if not replica.gpus] == [
        Replica(berth="small", number=0, host="cpu")
    ]


def test_error_explains_what_each_host_lacks() -> None:
    hosts = {
        "a": Host(memory_bytes=2 * _GIB),
        "b": Host(memory_bytes=64 * _GIB, compute="gpu", gpus=1),
    }
    demands = {
        "digits-1": Demand(memory_bytes=_GIB, replicas=3),
        "images-2": Demand(memory_bytes=_GIB, compute="gpu", gpus=2),
    }
    with pytest.raises(PlacementError) as error:
        place(hosts, demands)
    assert error.value.problems == {
        "digits-1": "needs compute: cpu, 1024Mi for replica 3 of 3, and no host has that: "
        "host a has 0Mi left of 2048Mi; host b runs compute: gpu",
        "images-2": "needs compute: gpu, 1024Mi, 2 GPUs for replica 1 of 1, and no host has that: "
        "host a runs compute: cpu; host b has 1 of 1 GPUs left",
    }


_HOSTS = st.dictionaries(
    st.sampled_from("abcd"),
    st.builds(
        Host,
        memory_bytes=st.integers(1, 8).map(lambda gib: gib * _GIB),
        compute=st.sampled_from(["cpu", "gpu"]),
        gpus=st.integers(0, 4),
    ),
    min_size=1,
)
_DEMANDS = st.dictionaries(
    st.text("xyz", min_size=1, max_size=3),
    st.builds(
        Demand,
        memory_bytes=st.integers(1, 16).map(lambda number: number * 256 * _MIB),
        compute=st.sampled_from(["cpu", "gpu"]),
        gpus=st.integers(0, 2),
        replicas=st.integers(0, 3),
    ),
    max_size=8,
)


@given(hosts=_HOSTS, demands=_DEMANDS, order=st.randoms())
def test_placement_fits_and_does_not_depend_on_the_order_of_the_specification(
    hosts: dict[str, Host], demands: dict[str, Demand], order: Random
) -> None:
    try:
        placed = place(hosts, demands)
    except PlacementError:
        return
    assert {berth: sum(replica.berth == berth for replica in placed) for berth in demands} == {
        berth: demand.replicas for berth, demand in demands.items()
    }
    for name, host in hosts.items():
        here = [replica for replica in placed if replica.host == name]
        assert sum(demands[replica.berth].memory_bytes for replica in here) <= host.memory_bytes
        assert all(demands[replica.berth].compute == host.compute for replica in here)
        used = [gpu for replica in here for gpu in replica.gpus]
        assert len(used) == len(set(used)) == sum(demands[r.berth].gpus for r in here)
        assert set(used) <= set(range(host.gpus))
    shuffled = list(demands.items())
    order.shuffle(shuffled)
    assert place(dict(reversed(hosts.items())), dict(shuffled)) == placed
