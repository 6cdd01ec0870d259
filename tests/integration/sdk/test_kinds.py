"""Pivots, budgets and topics against a real coordinator and real participants."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trypact
from sqlalchemy import Connection
from trypact import errors, message, notice, saga, tcc
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.kinds import BranchState

from tests.integration.sdk.conftest import World
from tests.integration.sdk.test_client import freeze


@dataclass
class Office:
    """A participant whose steps say what they were asked to say, and write down what they did."""

    participant: trypact.Participant
    done: list[str] = field(default_factory=list)
    # Step -> what its first Tries answer instead of OK.
    answers: dict[str, list[Exception]] = field(default_factory=dict)


def office_of(folder: Path, name: str) -> Office:
    fence = SqlAlchemyFence(sqlite_engine(folder / f"{name}.db"))
    fence.create_tables()
    office = Office(trypact.Participant(name, fence=fence))

    @office.participant.saga("step")
    class Step:
        def try_(self, call: trypact.Call[Any], connection: Connection) -> Any:
            if answers := office.answers.get(call.branch_id):
                raise answers.pop(0)
            office.done.append(call.branch_id)
            return {"number": len(office.done)}

        def cancel(self, call: trypact.Call[Any], connection: Connection) -> None:
            office.done.append(f"{call.branch_id} undone")

    @office.participant.subscribe("order.paid")
    def note_payment(call: trypact.Call[Any], connection: Connection) -> None:
        office.done.append(f"{call.branch_id} says {call.request['order']}")

    return office


@pytest.fixture
async def office(world: World, tmp_path: Path) -> AsyncIterator[Office]:
    office = office_of(tmp_path, "office")
    async with office.participant.serve(coordinator=world.endpoint, grace=0.1) as server:
        await server.wait_registered()
        yield office


def booking() -> list[trypact.Branch]:
    return [
        tcc("bank.freeze", freeze(10), id="seat"),
        saga("office.step", id="rent", after=["seat"]),
        saga("office.step", id="charge", after=["rent"], pivot=True),
        saga("office.step", id="print", after=["charge"]),
        saga("office.step", id="post", after=["print"]),
    ]


async def test_what_follows_a_pivot_goes_forward(client: trypact.Client, office: Office) -> None:
    outcome = await client.execute("trip.book", booking())

    assert office.done == ["rent", "charge", "print", "post"]
    assert outcome.final
    assert outcome.confirmed
    assert {branch.state for branch in outcome.branches} == {BranchState.CONFIRMED}
    assert outcome.result("post") == {"number": 4}


async def test_a_pivot_that_refuses_undoes_what_came_before(
    world: World, client: trypact.Client, office: Office
) -> None:
    office.answers["charge"] = [trypact.Refuse("card declined")]

    with pytest.raises(trypact.TransactionCancelled) as caught:
        await client.execute("trip.book", booking())

    assert (caught.value.refused_branch_id, caught.value.reason) == ("charge", "card declined")
    assert office.done == ["rent", "rent undone"]
    assert world.bank.account == (100, 0)


async def test_a_pivot_decides_after_the_deadline_too(
    client: trypact.Client, office: Office
) -> None:
    office.answers["charge"] = [trypact.RetryLater(0.4)]

    outcome = await client.execute("trip.book", booking(), timeout=0.2)

    assert outcome.confirmed
    assert office.done == ["rent", "charge", "print", "post"]


async def test_a_step_that_spends_its_budget_takes_the_transaction_back(
    world: World, client: trypact.Client, office: Office
) -> None:
    office.answers["rent"] = [trypact.RetryLater(0.01, "no cars yet") for _ in range(3)]
    branches = [
        tcc("bank.freeze", freeze(10), id="seat"),
        saga("office.step", id="insure", after=["seat"]),
        saga("office.step", id="rent", after=["insure"], attempts=2),
        notice("bank.mail", {"sorry": True}, on="cancel", attempts=1),
    ]

    with pytest.raises(trypact.TransactionCancelled) as caught:
        await client.execute("trip.book", branches)

    assert caught.value.reason == "rent was given up after 2 calls: no cars yet"
    assert caught.value.refused_branch_id == ""
    assert office.done == ["insure", "insure undone"]
    assert world.bank.account == (100, 0)


async def test_a_message_to_a_topic_reaches_all_who_have_subscribed(
    world: World, client: trypact.Client, office: Office, tmp_path: Path
) -> None:
    ledger = office_of(tmp_path, "ledger")
    paid = message(topic="order.paid", payload={"order": 17})
    with pytest.raises(errors.UnknownTopic, match=r"nobody has subscribed to 'order\.payed'"):
        await client.execute("order", [message(topic="order.payed")])

    await client.execute("order", [paid], xid="early")
    async with ledger.participant.serve(coordinator=world.endpoint, grace=0.1) as server:
        await server.wait_registered()
        outcome = await client.execute("order", [tcc("bank.freeze", freeze(1)), paid], xid="17")
        again = await client.execute("order", [paid], xid="early")
        async for state in states_of(client, "17", "paid#1", "paid#2"):
            if state == {BranchState.DELIVERED}:
                break

    assert [(b.id, b.action) for b in outcome.branches[1:]] == [
        ("paid#1", "ledger.note_payment"),
        ("paid#2", "office.note_payment"),
    ]
    assert [branch.action for branch in again.branches] == ["office.note_payment"]
    assert ledger.done == ["paid#1 says 17"]
    assert office.done == ["paid#1 says 17", "paid#2 says 17"]


async def states_of(
    client: trypact.Client, xid: str, *branch_ids: str
) -> AsyncIterator[set[BranchState | None]]:
    while True:
        outcome = await client.get(xid)
        yield {outcome.branch(branch_id).state for branch_id in branch_ids}


async def test_results_feed_what_comes_later_across_a_restart(
    world: World, client: trypact.Client, office: Office
) -> None:
    """What a Try answered is in the payload of the next one, and in the message at the end."""
    async with client.transaction("trip.book", xid="17") as tx:
        seat = await tx.try_("bank.freeze", freeze(30))
        await world.stop()
        await world.start()
        rent = await tx.try_("bank.pay", {"amount": seat["frozen"] // 3}, kind="saga")
        tx.message("bank.mail", {"seat": seat["frozen"], "rent": rent["frozen"]})
    outcome = tx.outcome
    async for state in states_of(client, "17", "mail"):
        if state == {BranchState.DELIVERED}:
            break

    assert outcome.confirmed
    mailed = (await client.get("17")).result("mail")
    assert mailed == {"sent": {"seat": 30, "rent": 10}, "after": "confirm"}
    assert world.bank.calls.count(("try", "freeze")) == 1


async def test_a_block_gives_its_branches_budgets_and_topics_too(
    world: World, client: trypact.Client, office: Office
) -> None:
    """A Try that is given up cancels the block, and who subscribed to that hears of it."""
    office.answers["rent"] = [trypact.RetryLater(0.01, "no cars yet") for _ in range(3)]

    with pytest.raises(trypact.TransactionCancelled) as caught:
        async with client.transaction("trip.book", xid="17") as tx:
            await tx.try_("bank.freeze", freeze(10))
            tx.message(topic="order.paid", payload={"order": "none"}, on="any")
            tx.notice("bank.mail", {}, on="cancel", attempts=1, retry_for=5.0)
            await tx.try_("office.step", kind="saga", id="rent", attempts=2, retry_for=60.0)
    async for state in states_of(client, "17", "paid#1", "mail"):
        if state == {BranchState.DELIVERED}:
            break

    assert caught.value.reason == "rent was given up after 2 calls: no cars yet"
    assert office.done == ["paid#1 says none"]
    assert world.bank.account == (100, 0)


async def test_a_block_that_is_left_well_tells_its_topic(
    world: World, office: Office, client: trypact.Client
) -> None:
    def buy() -> str:
        with trypact.SyncClient(world.endpoint) as shop, shop.transaction("order") as tx:
            held = tx.try_("bank.freeze", freeze(10), attempts=5)
            tx.message(topic="order.paid", payload={"order": held["frozen"]})
        return tx.xid

    xid = await asyncio.to_thread(buy)
    async for state in states_of(client, xid, "paid#1"):
        if state == {BranchState.DELIVERED}:
            break

    assert office.done == ["paid#1 says 10"]
