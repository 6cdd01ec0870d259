"""The async client against a real coordinator and a real participant."""

import asyncio
import dataclasses
import socket

import pytest
import trypact
from trypact import errors, message, notice, saga, tcc
from trypact.kinds import BranchState, Decision, State

from tests.integration.sdk.conftest import World


@dataclasses.dataclass(frozen=True)
class Frozen:
    frozen: int


def freeze(amount: int, **fields: object) -> dict[str, object]:
    return {"amount": amount, **fields}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


# ---------------------------------------------------------------- one shots


async def test_an_executed_transaction_is_confirmed_everywhere(
    world: World, client: trypact.Client
) -> None:
    outcome = await client.execute(
        "order.submit",
        [
            tcc("bank.freeze", freeze(30), id="money"),
            saga("bank.pay", freeze(20)),
            message("bank.mail", {"to": "ann"}, after=["money"]),
        ],
        labels={"order": "17"},
    )
    await world.bank.until(lambda: ("deliver", "mail") in world.bank.calls)

    assert (outcome.state, outcome.decision) == (State.CONFIRMED, Decision.CONFIRM)
    assert outcome.confirmed
    assert outcome.final
    assert outcome.result("money", Frozen) == Frozen(30)
    assert outcome.result("pay") == {"frozen": 20}
    assert outcome.branch("pay").state is BranchState.CONFIRMED
    assert world.bank.account == (50, 20)


async def test_a_refused_transaction_raises_who_refused_and_why(
    world: World, client: trypact.Client
) -> None:
    with pytest.raises(trypact.TransactionCancelled) as caught:
        await client.execute(
            "order.submit",
            [
                tcc("bank.freeze", freeze(30)),
                tcc("bank.freeze", freeze(500), id="too-much", after=["freeze"]),
            ],
            xid="order-17",
        )

    assert caught.value.refused_branch_id == "too-much"
    assert caught.value.reason == "TOO_LITTLE: 500 wanted"
    assert caught.value.xid == "order-17"
    assert caught.value.outcome.state is State.CANCELLED
    assert world.bank.account == (100, 0)


async def test_the_same_xid_with_the_same_content_is_the_same_transaction(
    world: World, client: trypact.Client
) -> None:
    branches = [tcc("bank.freeze", freeze(30))]
    outcomes = [await client.execute("order.submit", branches, xid="17") for _ in range(2)]

    assert outcomes[0] == outcomes[1]
    assert world.bank.account == (70, 0)


async def test_an_outcome_is_told_as_soon_as_it_is_decided(
    world: World, client: trypact.Client
) -> None:
    outcome = await client.execute("order", [tcc("bank.freeze", freeze(30))], wait="decided")

    assert outcome.confirmed
    assert (await client.wait(outcome.xid)).final
    assert (await client.get(outcome.xid)).state is State.CONFIRMED
    assert (await client.decision(outcome.xid)).decision is Decision.CONFIRM


async def test_a_bad_payload_is_refused_by_the_participant_by_name(
    world: World, client: trypact.Client
) -> None:
    with pytest.raises(trypact.TransactionCancelled) as caught:
        await client.execute("order", [tcc("bank.freeze", b"[1,")])

    assert caught.value.reason.startswith("invalid payload: is not JSON")


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"branches": []}, errors.InvalidRequest, "branches: is empty"),
        ({"xid": "a\nb"}, errors.InvalidRequest, "xid"),
        ({"xid": "x" * 4096}, errors.LimitExceeded, "xid"),
        ({"branches": [tcc("nobody.freeze")]}, errors.UnknownParticipant, "nobody"),
        ({"branches": [tcc("bank.freese")]}, errors.UnknownAction, "freese"),
        ({"branches": [message("bank.freeze")]}, errors.KindNotServed, "message"),
        ({"branches": [tcc("freeze")]}, errors.InvalidRequest, "participant.verb"),
        (
            {"branches": [tcc("bank.freeze", id="a"), saga("bank.pay", id="a")]},
            errors.InvalidRequest,
            "names another branch",
        ),
        (
            {"branches": [tcc("bank.freeze", after=["pay"])]},
            errors.InvalidRequest,
            "no branch",
        ),
        (
            {"branches": [tcc("bank.freeze", b"x" * 262144, id=str(i)) for i in range(12)]},
            errors.LimitExceeded,
            "payload",
        ),
        (
            {"branches": [tcc("bank.freeze", b"x" * 262144, id=str(i)) for i in range(20)]},
            errors.LimitExceeded,
            "too large",
        ),
    ],
)
async def test_a_bad_request_is_a_named_error_and_begins_nothing(
    world: World,
    client: trypact.Client,
    arguments: dict[str, object],
    error: type[errors.TrypactError],
    said: str,
) -> None:
    full: dict[str, object] = {"name": "order", "branches": [tcc("bank.freeze")], **arguments}

    with pytest.raises(error, match=said):
        await client.execute(**full)  # type: ignore[arg-type]
    assert world.bank.calls == []


async def test_the_field_that_is_wrong_is_named(client: trypact.Client) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        await client.execute("order", [tcc("bank.freeze", id="a b")])

    assert [violation.field for violation in caught.value.violations] == ["branches[0].id"]


async def test_the_same_xid_with_other_content_is_a_conflict(client: trypact.Client) -> None:
    await client.execute("order", [tcc("bank.freeze", freeze(1))], xid="17")

    with pytest.raises(errors.XidConflict):
        await client.execute("order", [tcc("bank.freeze", freeze(2))], xid="17")


async def test_an_unknown_xid_is_named_and_not_taken_for_cancelled(client: trypact.Client) -> None:
    with pytest.raises(errors.UnknownTransaction):
        await client.get("never")
    with pytest.raises(errors.UnknownTransaction):
        await client.wait("never")
    assert await client.decision("never") == (Decision.UNKNOWN, False, False)


async def test_a_settled_xid_can_never_begin(world: World, client: trypact.Client) -> None:
    assert (await client.decision("17", settle=True)).decision is Decision.CANCEL

    with pytest.raises(errors.RequestRefused):
        await client.execute("order", [tcc("bank.freeze", freeze(30))], xid="17")
    assert world.bank.calls == []


# ---------------------------------------------------------------- a coordinator that is away


async def test_without_a_coordinator_an_outcome_is_unknown_and_a_question_fails() -> None:
    endpoint = f"127.0.0.1:{free_port()}"
    async with trypact.Client(endpoint, patience=0.05) as client:
        with pytest.raises(trypact.OutcomeUnknown, match=endpoint) as caught:
            await client.execute("order", [tcc("bank.freeze")], xid="17")
        assert caught.value.xid == "17"
        with pytest.raises(trypact.CoordinatorUnavailable, match=endpoint):
            await client.get("17")
        with pytest.raises(trypact.CoordinatorUnavailable, match=endpoint):
            await client.ping()


async def test_a_coordinator_that_comes_up_is_found_within_the_patience(world: World) -> None:
    await world.stop()
    async with trypact.Client(world.endpoint, patience=10.0) as client:
        asked = asyncio.create_task(client.decision("17"))
        await asyncio.sleep(0)
        await world.start()

        assert (await asked).decision is Decision.UNKNOWN


async def test_a_restart_in_the_middle_ends_in_the_same_transaction(
    world: World, client: trypact.Client
) -> None:
    branches = [tcc("bank.freeze", freeze(30, hold=True))]
    asked = asyncio.create_task(client.execute("order", branches, xid="17"))
    await asyncio.to_thread(world.bank.holding.wait, 10)
    await world.stop()
    world.bank.release.set()
    await world.start()

    assert (await asked).confirmed
    assert world.bank.account == (70, 0)


async def test_an_impatient_caller_can_ask_again_by_xid(world: World) -> None:
    branches = [tcc("bank.freeze", freeze(30, hold=True))]
    async with trypact.Client(world.endpoint, patience=0.3) as client:
        said = r"17 is undecided after [\d.]+ s: branch freeze \(bank\.freeze\) has no answer yet"
        with pytest.raises(trypact.OutcomeUnknown, match=said):
            await client.execute("order", branches, xid="17")
        with pytest.raises(trypact.OutcomeUnknown):
            await client.wait("17")
        world.bank.release.set()

        assert (await client.wait("17", patience=10.0)).confirmed
        assert (await client.execute("order", branches, xid="17")).confirmed


async def test_a_pinged_coordinator_answers_in_no_time(client: trypact.Client) -> None:
    assert 0 < await client.ping() < 5


async def test_a_participant_is_no_coordinator(world: World) -> None:
    async with (
        world.bank.participant.serve() as server,
        trypact.Client(server.endpoint, patience=1.0) as client,
    ):
        with pytest.raises(trypact.CoordinatorUnavailable, match="is no trypact coordinator"):
            await client.get("17")


async def test_closing_a_client_ends_what_others_are_asking(world: World) -> None:
    client = trypact.Client(world.endpoint, patience=60.0)
    branches = [tcc("bank.freeze", freeze(30, hold=True))]
    asked = asyncio.create_task(client.execute("order", branches, xid="17"))
    await asyncio.to_thread(world.bank.holding.wait, 10)
    await client.close()

    with pytest.raises(trypact.OutcomeUnknown, match="this client was closed"):
        await asked


async def test_a_closed_client_says_so(client: trypact.Client) -> None:
    await client.close()

    with pytest.raises(trypact.CoordinatorUnavailable) as asked:
        await client.get("17")
    assert str(asked.value) == "this client is closed"
    with pytest.raises(trypact.CoordinatorUnavailable) as executed:
        await client.execute("order", [tcc("bank.freeze")])
    assert str(executed.value) == "this client is closed; nothing was begun"


# ---------------------------------------------------------------- PENDING


async def test_a_pending_try_is_completed_by_a_report(world: World, client: trypact.Client) -> None:
    branches = [tcc("bank.freeze", freeze(0, pending=True))]
    asked = asyncio.create_task(client.execute("order", branches, xid="17"))
    await world.bank.until(lambda: ("try", "freeze") in world.bank.calls)

    def complete() -> None:
        with world.bank.engine.begin() as connection:
            world.bank.fence.complete(connection, "17", "freeze", "try", ok={"frozen": 7})

    await asyncio.to_thread(complete)
    reported = await client.report("17", "freeze", "try", ok={"frozen": 7})
    outcome = await asked

    assert reported.decision in (Decision.UNDECIDED, Decision.CONFIRM)
    assert outcome.result("freeze", Frozen) == Frozen(7)


async def test_a_report_of_a_refusal_cancels(world: World, client: trypact.Client) -> None:
    branches = [tcc("bank.freeze", freeze(0, pending=True))]
    asked = asyncio.create_task(client.execute("order", branches, xid="17"))
    await world.bank.until(lambda: ("try", "freeze") in world.bank.calls)

    def complete() -> None:
        with world.bank.engine.begin() as connection:
            world.bank.fence.complete(connection, "17", "freeze", "try", refused="no")

    await asyncio.to_thread(complete)
    await client.report("17", "freeze", "try", refused="no")

    with pytest.raises(trypact.TransactionCancelled, match="no"):
        await asked
    late = await client.report("17", "freeze", "try", ok=None)
    assert late == (Decision.CANCEL, False)


async def test_a_notice_of_an_outcome_says_which(world: World, client: trypact.Client) -> None:
    outcome = await client.execute("order", [notice("bank.mail", {"n": 1}, on="any", id="n")])
    await world.bank.until(lambda: ("deliver", "n") in world.bank.calls)

    assert outcome.confirmed
