"""The examination of participants: the right pass, and each wrong one fails where it is wrong."""

import re
from pathlib import Path

import pytest
import trypact
from trypact.kinds import Kind
from trypact.testing import NotConformant, conformance
from trypact.testing.examination import Mark, RemoteCallee, Subject, Unreachable, examine
from trypact.testing.examination.cases import CASES

from tests.testing.conftest import Warehouse
from tests.testing.wrong_fences import WRONG, RightFence, shop_over

PIECE = {"pieces": 1}
TOO_MANY = {"pieces": 1_000}


def test_each_case_has_a_wrong_participant_that_it_must_catch() -> None:
    caught = {fence.caught_by for fence in WRONG}

    # Its wrong participant is a process of its own: it has to die in the middle of a handler.
    assert {case.name for case in CASES} - caught == {"crash-during-try"}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda fence: fence.__name__)
async def test_a_wrong_participant_is_caught_by_the_case_that_is_named_for_it(
    wrong: type[RightFence],
) -> None:
    fence = wrong()
    action = "stock.tell" if "deliver" in wrong.caught_by else "stock.reserve"

    with pytest.raises(NotConformant) as raised:
        await conformance(
            lambda: shop_over(fence),
            action,
            PIECE,
            refused=TOO_MANY,
            probe=lambda: dict(+fence.ledger),
            patience=0.2,
        )

    assert wrong.caught_by in raised.value.report.failed, str(raised.value)
    failed = next(f for f in raised.value.report.findings if f.name == wrong.caught_by)
    assert failed.trace
    assert failed.why in str(raised.value)


@pytest.mark.parametrize("action", ["stock.reserve", "stock.tell"])
async def test_a_right_participant_passes_every_case(action: str) -> None:
    fence = RightFence()

    report = await conformance(
        lambda: shop_over(fence),
        action,
        PIECE,
        refused=TOO_MANY,
        probe=lambda: dict(+fence.ledger),
    )

    assert {finding.mark for finding in report.findings} == {Mark.HELD}
    assert str(report).startswith(f"{action}: {len(report.findings)} held\n")


@pytest.mark.parametrize("verb", ["reserve", "move", "tell", "hint"])
async def test_the_sdk_s_own_fence_passes_for_every_kind(warehouse: Warehouse, verb: str) -> None:
    refused = TOO_MANY if verb == "reserve" else None

    report = await conformance(
        warehouse.participant,
        f"warehouse.{verb}",
        PIECE,
        refused=refused,
        probe=lambda: (warehouse.shelf, len(warehouse.mail)),
    )

    assert report.passed
    assert warehouse.conserved()


async def test_a_participant_that_serves_one_action_is_examined_in_it() -> None:
    fence = RightFence()

    def make() -> trypact.Participant:
        stock = trypact.Participant("stock", fence=fence)
        stock.message("tell")(lambda call, ledger: None)
        return stock

    assert (await conformance(make)).action == "stock.tell"
    with pytest.raises(trypact.errors.InvalidRequest, match=r"stock\.reserve, stock\.tell"):
        await conformance(lambda: shop_over(fence))


async def test_calls_that_are_answered_alike_are_one_line_of_the_trace(
    warehouse: Warehouse,
) -> None:
    def fail(call: object, connection: object) -> None:
        raise trypact.RetryLater(after=0.01)

    warehouse.participant.message("later")(fail)

    with pytest.raises(NotConformant) as raised:
        await conformance(warehouse.participant, "warehouse.later", patience=0.1)

    trace = raised.value.report.findings[0].trace
    assert len(trace) == 1
    assert re.fullmatch(r"Deliver #1 to #\d+ of b -> RETRY in 10 ms", trace[0])


async def test_what_nobody_serves_is_not_asked_for_again(warehouse: Warehouse) -> None:
    async with warehouse.participant.serve() as server:
        callee = RemoteCallee(server.endpoint)
        report = await examine(callee, Subject("warehouse.reserv", Kind.TCC, lambda _: b""))
        await callee.close()

    assert report.failed == ("try-and-cancel",)
    (line,) = report.findings[0].trace
    assert "UNIMPLEMENTED" in line
    assert "it serves: hint (notice), move (saga), note (message), reserve (tcc)" in line
    assert "name an action and a kind that are served" in report.findings[0].why


async def test_what_was_not_tried_says_what_it_needs(warehouse: Warehouse) -> None:
    report = await conformance(warehouse.participant, "warehouse.reserve", PIECE)

    said = str(report)
    assert "not tried without a payload that is refused" in said
    assert "not tried without a way to restart it" in said
    assert said.splitlines()[0] == "warehouse.reserve: 16 held, 4 not tried"


async def test_a_payload_that_is_refused_tells_so_once(warehouse: Warehouse) -> None:
    with pytest.raises(NotConformant, match="give a payload whose Try succeeds") as raised:
        await conformance(warehouse.participant, "warehouse.reserve", TOO_MANY)

    assert raised.value.report.failed == ("try-and-cancel",)


async def test_an_action_that_is_not_served_says_what_is(warehouse: Warehouse) -> None:
    with pytest.raises(trypact.errors.InvalidRequest, match=r"warehouse\.reserve"):
        await conformance(warehouse.participant, "warehouse.reserv")


async def test_a_participant_on_a_socket_is_examined_by_plain_grpc(warehouse: Warehouse) -> None:
    subject = Subject("warehouse.reserve", Kind.TCC, lambda number: b'{"pieces":1}')
    async with warehouse.participant.serve() as server:
        callee = RemoteCallee(server.endpoint)
        report = await examine(callee, subject)
        await callee.close()

    assert report.passed, str(report)


async def test_a_participant_that_does_not_come_back_fails_the_cases_with_a_crash(
    warehouse: Warehouse,
) -> None:
    async with warehouse.participant.serve(grace=0) as server:
        callee = RemoteCallee(server.endpoint)
        subject = Subject(
            "warehouse.tell", Kind.MESSAGE, lambda _: b"", restart=server.stop, patience=0.2
        )
        report = await examine(callee, subject)
        await callee.close()

    assert report.failed == ("crash-after-delivery",)
    assert "was restarted and did not come back" in report.findings[-1].why


async def test_where_nothing_answers_is_said_in_a_sentence(tmp_path: Path) -> None:
    callee = RemoteCallee(f"unix:{tmp_path}/nobody")

    with pytest.raises(Unreachable, match="start the participant there"):
        await examine(callee, Subject("a.b", Kind.TCC, bytes, patience=0.1))
    await callee.close()
