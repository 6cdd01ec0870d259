"""The examination of participants: the right pass, and each wrong one fails where it is wrong."""

import re
from pathlib import Path
from typing import Any

import pytest
import trypact
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from trypact.fence import AsyncSqlAlchemyFence, Effect, ExternalFence, SqlAlchemyFence
from trypact.kinds import Kind
from trypact.testing import NotConformant, conformance
from trypact.testing.examination import (
    Mark,
    NotServed,
    RemoteCallee,
    Subject,
    Unreachable,
    examine,
)
from trypact.testing.examination.cases import CASES

from tests.testing.conftest import Warehouse
from tests.testing.wrong_fences import WRONG, RightFence, shop_over

PIECE = {"pieces": 1}
TOO_MANY = {"pieces": 1_000}


def test_each_case_has_a_wrong_participant_that_it_must_catch() -> None:
    caught = {fence.caught_by for fence in WRONG}

    assert {case.name for case in CASES} == caught


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


@pytest.mark.parametrize("verb", ["reserve", "move", "tell"])
async def test_real_fences_pass_though_their_process_dies_in_each_handler(
    warehouse: Warehouse, verb: str
) -> None:
    report = await conformance(
        lambda: warehouse.participant,
        f"warehouse.{verb}",
        PIECE if verb == "reserve" else None,
        probe=lambda: (warehouse.shelf, len(warehouse.mail)),
    )

    held = {finding.name for finding in report.findings if finding.mark is Mark.HELD}
    assert ("crash-during-delivery" if verb == "tell" else "crash-during-cancel") in held
    assert warehouse.conserved()


class Receipts:
    """What is outside of the fence's database, and is written at once."""

    def __init__(self) -> None:
        self.sent: list[str] = []


async def _examined(warehouse: Warehouse, verb: str, receipts: Receipts) -> NotConformant:
    with pytest.raises(NotConformant) as raised:
        await conformance(
            lambda: warehouse.participant,
            f"warehouse.{verb}",
            probe=lambda: (warehouse.shelf, len(receipts.sent)),
        )
    return raised.value


async def test_a_try_that_writes_over_a_connection_of_its_own_is_caught(
    warehouse: Warehouse,
) -> None:
    class Written:
        def try_(self, call: trypact.Call[Any], connection: Connection) -> None:
            receipts.sent.append(call.xid)

        def confirm(self, call: trypact.Call[Any], connection: Connection) -> None: ...

        def cancel(self, call: trypact.Call[Any], connection: Connection) -> None:
            # As careful as a handler can be, which is of no use if it is never asked.
            receipts.sent[:] = [xid for xid in receipts.sent if xid != call.xid]

    receipts = Receipts()
    warehouse.participant.tcc("write")(Written)

    said = await _examined(warehouse, "write", receipts)

    assert said.report.failed == ("crash-during-try",)


@pytest.mark.parametrize("kind", ["tcc", "message"])
async def test_a_receipt_that_is_sent_by_each_attempt_is_caught(
    warehouse: Warehouse, kind: str
) -> None:
    class Sent:
        def try_(self, call: trypact.Call[Any], connection: Connection) -> None: ...

        def confirm(self, call: trypact.Call[Any], connection: Connection) -> None:
            receipts.sent.append(call.xid)

        def cancel(self, call: trypact.Call[Any], connection: Connection) -> None: ...

    receipts = Receipts()
    if kind == "tcc":
        warehouse.participant.tcc("send")(Sent)
    else:
        warehouse.participant.message("send")(Sent().confirm)

    said = await _examined(warehouse, "send", receipts)

    assert said.report.failed == (
        "crash-during-confirm" if kind == "tcc" else "crash-during-delivery",
    )
    assert "its effect came 4 times: some of it is in no local transaction" in str(said)


async def test_an_effect_outside_that_is_idempotent_by_its_key_passes(
    warehouse: Warehouse,
) -> None:
    sent: set[str] = set()

    def send(call: trypact.Call[Any], effect: Effect) -> None:
        sent.add(effect.key)

    def make() -> trypact.Participant:
        post = trypact.Participant("post", fence=ExternalFence(SqlAlchemyFence(warehouse.engine)))
        post.message("send")(send)
        return post

    assert (await conformance(make, probe=lambda: len(sent))).passed


async def test_handlers_that_are_awaited_die_before_their_commit_too(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/purse.db")
    fence = AsyncSqlAlchemyFence(engine)
    await fence.create_tables()
    sent: list[str] = []

    async def send(call: trypact.Call[Any], connection: AsyncConnection) -> None:
        sent.append(call.xid)

    def make() -> trypact.Participant:
        purse = trypact.Participant("purse", fence=fence)
        purse.message("send")(send)
        return purse

    with pytest.raises(NotConformant) as raised:
        await conformance(make, probe=lambda: len(sent))
    await engine.dispose()

    assert raised.value.report.failed == ("crash-during-delivery",)


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
        with pytest.raises(NotServed) as raised:
            await examine(callee, Subject("warehouse.reserv", Kind.TCC, lambda _: b""))
        await callee.close()

    served = "it serves: hint (notice), move (saga), note (message), reserve (tcc)"
    assert served in str(raised.value)


async def test_what_was_not_tried_says_what_it_needs(warehouse: Warehouse) -> None:
    report = await conformance(warehouse.participant, "warehouse.reserve", PIECE)

    said = str(report)
    assert "not tried without a payload that is refused" in said
    assert "not tried without a way to restart it" in said
    assert said.splitlines()[0] == "warehouse.reserve: 16 held, 6 not tried"


async def test_one_failure_that_hides_the_others_takes_a_line_and_one_traceback(
    warehouse: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(call: object, connection: object) -> None:
        raise KeyError("nothing")

    warehouse.participant.message("break", batch=False)(fail)

    with pytest.raises(NotConformant) as raised:
        await conformance(warehouse.participant, "warehouse.break", patience=0.5)

    _, failed, *_, last = str(raised.value).splitlines()
    assert failed.startswith("✗ deliver-twice")
    assert last.startswith("– not tried because deliver-twice failed: deliveries-at-once, crash")
    assert len(caplog.records) > 1
    assert [bool(record.exc_info) for record in caplog.records].count(True) == 1


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

    assert report.failed == ("crash-during-delivery", "crash-after-delivery")
    assert "was restarted and did not come back" in report.findings[-2].why


async def test_kills_that_come_after_the_answer_are_no_trial(warehouse: Warehouse) -> None:
    async def too_late() -> None:
        """Kill nobody."""

    async with warehouse.participant.serve() as server:
        callee = RemoteCallee(server.endpoint)
        subject = Subject("warehouse.tell", Kind.MESSAGE, lambda _: b"", restart=too_late)
        report = await examine(callee, subject)
        await callee.close()

    (late,) = (finding for finding in report.findings if finding.mark is Mark.NOT_TRIED)
    assert late.name == "crash-during-delivery"
    assert "let handlers wait at their end" in late.why


async def test_where_nothing_answers_is_said_in_a_sentence(tmp_path: Path) -> None:
    callee = RemoteCallee(f"unix:{tmp_path}/nobody")

    with pytest.raises(Unreachable, match="start the participant there"):
        await examine(callee, Subject("a.b", Kind.TCC, bytes, patience=0.1))
    await callee.close()
