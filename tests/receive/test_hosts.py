"""The resolver is asked now and then, by one caller at a time."""

from __future__ import annotations

import anyio
import pytest

from router.clock import ManualClock
from router.receive import hosts as hosts_module
from router.receive.hosts import KNOWN_FOR_S, UNKNOWN_FOR_S, Hosts


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the resolver was asked; it knows one host."""
    names: list[str] = []

    async def ask(host: str) -> frozenset[str]:
        names.append(host)
        await anyio.lowlevel.checkpoint()
        return frozenset({"10.0.0.1"}) if host == "known" else frozenset()

    monkeypatch.setattr(hosts_module, "_ask", ask)
    return names


async def test_what_was_found_is_remembered_for_a_while(asked: list[str]) -> None:
    clock = ManualClock()
    hosts = Hosts(clock)
    for _ in range(3):
        assert await hosts.addresses_of(["known", "known", "unknown"]) == {
            "known": {"10.0.0.1"},
            "unknown": set(),
        }
    assert asked == ["known", "unknown"]
    clock.advance(UNKNOWN_FOR_S)
    await hosts.addresses_of(["known", "unknown"])
    assert asked == ["known", "unknown", "unknown"]
    clock.advance(KNOWN_FOR_S)
    await hosts.addresses_of(["known"])
    assert asked[3:] == ["known"]


async def test_many_callers_at_once_ask_once(asked: list[str]) -> None:
    hosts = Hosts(ManualClock())
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(hosts.addresses_of, ["known"])
    assert asked == ["known"]


async def test_the_real_resolver() -> None:
    hosts = Hosts(ManualClock())
    found = await hosts.addresses_of(["127.0.0.1", "no such host."])
    assert found == {"127.0.0.1": {"127.0.0.1"}, "no such host.": set()}
