"""AdminService and RegistryService over real gRPC."""

from typing import Any

import pytest
from trypact.v1 import admin_pb2, initiator_pb2, registry_pb2

from tests.integration.server.house import TCC, House, branch, refused
from tests.integration.server.scripted_participant import ScriptedParticipant, hangs, refuses

CONFIRMED, CANCELLED = 4, 5


async def listed(house: House, filter_: str = "", **fields: Any) -> list[str]:
    request = admin_pb2.ListTransactionsRequest(filter=filter_, **fields)
    return [tx.xid for tx in (await house.admin.ListTransactions(request)).transactions]


# ---------------------------------------------------------------- listing


async def test_transactions_are_found_by_what_is_known_of_them(house: House) -> None:
    await house.execute(branch(), xid="a", name="order.submit", labels={"order": '1"7'})
    await house.begin("b", name="order.submit")
    house.participant.on("no", "Try", refuses("no"))
    await house.execute(branch("no"), xid="c", name="refund")

    assert await listed(house) == ["c", "b", "a"]
    assert await listed(house, "state=TRYING") == ["b"]
    assert await listed(house, "name=order.submit AND state=confirmed") == ["a"]
    assert await listed(house, r'label.order="1\"7"') == ["a"]
    assert await listed(house, "participant=inventory") == ["c", "a"]
    assert await listed(house, "participant=stranger") == []
    assert await listed(house, "unfinished=true") == ["b"]
    assert await listed(house, "older_than=1h") == []
    assert await listed(house, "newer_than=1h AND stuck=false") == ["c", "b", "a"]


async def test_a_listing_is_paged(house: House) -> None:
    for xid in "abcde":
        await house.begin(xid)

    seen: list[str] = []
    token = ""
    for _ in range(3):
        request = admin_pb2.ListTransactionsRequest(
            page_size=2, page_token=token, filter="state=TRYING"
        )
        page = await house.admin.ListTransactions(request)
        seen += [tx.xid for tx in page.transactions]
        token = page.next_page_token

    assert (seen, token) == (["e", "d", "c", "b", "a"], "")


@pytest.mark.parametrize("token", ["x", "AAAA", "=", "é", "A" * 64, "ZZZZZZZZZZZZZZZZZZZZZZZZ"])
async def test_a_token_that_was_never_given_is_refused(house: House, token: str) -> None:
    with refused("INVALID_ARGUMENT", "INVALID_ARGUMENT") as errors:
        await listed(house, page_token=token)

    assert errors[0].fields == ["page_token"]


async def test_a_token_belongs_to_its_filter(house: House) -> None:
    for xid in "ab":
        await house.begin(xid)
    page = await house.admin.ListTransactions(admin_pb2.ListTransactionsRequest(page_size=1))

    assert await listed(house, page_token=page.next_page_token) == ["a"]
    with refused("INVALID_ARGUMENT", "INVALID_ARGUMENT"):
        await listed(house, "state=TRYING", page_token=page.next_page_token)


@pytest.mark.parametrize("size", [-1, 1001])
async def test_a_page_size_out_of_bounds_is_refused(house: House, size: int) -> None:
    with refused("INVALID_ARGUMENT", "INVALID_ARGUMENT") as errors:
        await listed(house, page_size=size)

    assert errors[0].fields == ["page_size"]
    assert await listed(house, page_size=1000) == []


async def test_a_filter_that_is_none_names_itself(house: House) -> None:
    with refused("INVALID_ARGUMENT", "INVALID_ARGUMENT") as errors:
        await listed(house, "colour=red")

    assert errors[0].fields == ["filter"]
    assert "no key 'colour'" in errors[0].message


# ---------------------------------------------------------------- acting


async def test_an_act_needs_a_reason(house: House) -> None:
    await house.begin()

    for method in ("Retry", "Pause", "Resume"):
        request = getattr(admin_pb2, f"{method}TransactionRequest")(xid="x", reason=" ")
        with refused("INVALID_ARGUMENT", "INVALID_ARGUMENT") as errors:
            await getattr(house.admin, f"{method}Transaction")(request)
        assert errors[0].fields == ["reason"]


async def test_an_act_leaves_its_actor_and_reason_in_the_timeline(house: House) -> None:
    await house.begin()

    shown = await house.admin.PauseTransaction(
        admin_pb2.PauseTransactionRequest(xid="x", reason="look first", actor="ann")
    )

    last = shown.transaction.timeline[-1]
    assert (last.event, last.detail) == ("paused", "ann: look first")
    assert shown.transaction.summary.paused


async def decide(house: House, decision: int) -> Any:
    request = admin_pb2.DecideTransactionRequest(
        xid="x", decision=decision, reason="r", actor="ann"
    )
    return (await house.admin.DecideTransaction(request)).transaction


async def test_an_operator_decides_what_is_undecided_and_reverses_nothing(house: House) -> None:
    await house.begin()
    await house.try_(branch())

    assert (await decide(house, 1)).decision == 1
    with refused("FAILED_PRECONDITION", "ALREADY_CONFIRMED"):
        await decide(house, 2)
    for neither in (0, 3, 4, 9):
        with refused("INVALID_ARGUMENT", "INVALID_ARGUMENT") as errors:
            await decide(house, neither)
        assert errors[0].fields == ["decision"]


async def test_an_operator_cannot_confirm_what_was_not_tried(house: House) -> None:
    house.participant.on("b", "Try", hangs())
    request = initiator_pb2.TransactionServiceTryRequest(
        xid="x", begin=initiator_pb2.Begin(xid="x", name="n"), branch=branch()
    )
    trying = house.transactions.Try(request)
    await house.participant.called("b", "Try")

    with refused("FAILED_PRECONDITION", "TRY_UNSETTLED"):
        await decide(house, 1)

    assert (await decide(house, 2)).decision == 2
    with refused("FAILED_PRECONDITION", "ALREADY_CANCELLED"):
        await trying


async def test_a_branch_is_skipped_only_after_the_decision(house: House) -> None:
    await house.begin()
    await house.try_(branch())

    async def skip(branch_id: str) -> Any:
        request = admin_pb2.SkipBranchRequest(xid="x", branch_id=branch_id, reason="by hand")
        return (await house.admin.SkipBranch(request)).transaction

    with refused("FAILED_PRECONDITION", "NOT_DECIDED"):
        await skip("b")
    house.participant.on("b", "Confirm", refuses("gone"))
    commit = initiator_pb2.CommitRequest(xid="x", wait_until=2)
    await house.transactions.Commit(commit)
    await house.participant.called("b", "Confirm")
    with refused("NOT_FOUND", "UNKNOWN_BRANCH"):
        await skip("c")
    skipped = await skip("b")
    assert skipped.summary.state == CONFIRMED
    assert skipped.branches[0].state == 13
    assert (await skip("b")).summary.state == CONFIRMED


async def test_no_act_knows_an_unknown_transaction(house: House) -> None:
    for method in ("Retry", "Pause", "Resume", "Show", "Decide"):
        fields = {} if method == "Show" else {"reason": "r"}
        if method == "Decide":
            fields |= {"decision": 2}  # type: ignore[dict-item]
        request = getattr(admin_pb2, f"{method}TransactionRequest")(xid="nobody", **fields)
        with refused("NOT_FOUND", "UNKNOWN_TRANSACTION"):
            await getattr(house.admin, f"{method}Transaction")(request)


# ---------------------------------------------------------------- participants


async def participants(house: House) -> Any:
    return await house.registry.ListParticipants(registry_pb2.ListParticipantsRequest())


async def test_a_participant_is_registered_renewed_and_drained(house: House) -> None:
    [view] = (await participants(house)).participants
    assert (view.name, [action.verb for action in view.actions]) == (
        "inventory",
        ["reserve", "tell"],
    )
    assert view.instances[0].state == registry_pb2.INSTANCE_STATE_LIVE

    renew = registry_pb2.RenewRequest(participant="inventory", instance="inventory-1")
    assert (await house.registry.Renew(renew)).known
    other = registry_pb2.RenewRequest(participant="inventory", instance="inventory-2")
    assert not (await house.registry.Renew(other)).known

    leave = registry_pb2.DeregisterRequest(participant="inventory", instance="inventory-1")
    await house.registry.Deregister(leave)
    await house.registry.Deregister(leave)
    [view] = (await participants(house)).participants
    assert view.instances[0].state == registry_pb2.INSTANCE_STATE_DRAINING
    with refused("UNAVAILABLE", "PARTICIPANT_UNAVAILABLE"):
        await house.execute(branch())
    assert not (await house.registry.Renew(renew)).known


def registration(**fields: Any) -> registry_pb2.RegisterRequest:
    whole = {
        "participant": "points",
        "instance": "points-1",
        "endpoint": "127.0.0.1:1",
        "actions": [registry_pb2.Action(verb="add", kinds=[TCC])],
    }
    return registry_pb2.RegisterRequest(**(whole | fields))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"participant": ""}, "participant"),
        ({"participant": "Points"}, "participant"),
        ({"participant": "p" * 65}, "participant"),
        ({"instance": ""}, "instance"),
        ({"instance": "a\nb"}, "instance"),
        ({"endpoint": ""}, "endpoint"),
        ({"endpoint": "e" * 257}, "endpoint"),
        ({"actions": []}, "actions"),
        ({"actions": [registry_pb2.Action(verb="add")]}, "actions[0].kinds"),
        ({"actions": [registry_pb2.Action(verb="Add", kinds=[1])]}, "actions[0].verb"),
        ({"actions": [registry_pb2.Action(verb="add", kinds=[1, 0])]}, "actions[0].kinds[1]"),
        ({"actions": [registry_pb2.Action(verb="add", kinds=[42])]}, "actions[0].kinds[0]"),
        ({"actions": [registry_pb2.Action(verb="add", kinds=[1])] * 2}, "actions"),
    ],
)
async def test_a_registration_that_cannot_be_is_refused_by_field(
    house: House, fields: Any, field: str
) -> None:
    with pytest.raises(Exception, match=r".") as raised:
        await house.registry.Register(registration(**fields))

    assert raised.value.code().name == "INVALID_ARGUMENT"  # type: ignore[attr-defined]
    assert raised.value.details().startswith(f"{field}: ")  # type: ignore[attr-defined]
    assert len((await participants(house)).participants) == 1


async def test_every_instance_is_pinged(house: House) -> None:
    async with ScriptedParticipant() as other:
        await house.registry.Register(
            registration(
                participant="inventory",
                instance="inventory-2",
                endpoint=other.endpoint,
                actions=[registry_pb2.Action(verb="reserve", kinds=[TCC])],
            )
        )
        await house.participant.die()

        request = admin_pb2.PingParticipantRequest(participant="inventory")
        pings = (await house.admin.PingParticipant(request)).pings

    by_name = {ping.instance: ping.status for ping in pings}
    assert by_name["inventory-2"] == "SERVING"
    assert by_name["inventory-1"].startswith("UNAVAILABLE: ")
    with refused("FAILED_PRECONDITION", "UNKNOWN_PARTICIPANT"):
        await house.admin.PingParticipant(admin_pb2.PingParticipantRequest(participant="nobody"))
