"""Every reason that anybody can answer has a page, and `trypact explain` says the same."""

import pkgutil
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from typing import Any

import pytest
import trypact_coordinator
from trypact import Decision, Outcome, State
from trypact import errors as sdk_errors
from trypact.call import FencedCall, Refused
from trypact.fence.rules import Row, Status, meet
from trypact.joining import status_of
from trypact.kinds import Kind, Operation
from trypact.serving import _failure
from trypact.v1 import admin_pb2, initiator_pb2
from trypact_coordinator.cli.advice import ADVICE
from trypact_coordinator.cli.catalogue import entries
from trypact_coordinator.cli.failures import of_reason
from trypact_coordinator.cli.main import main
from trypact_coordinator.core import errors
from trypact_coordinator.core.errors import CallerError, CoordinatorError, JournalError

from tests.integration.server.house import MESSAGE, House, branch, keep_house, refused
from tests.tidy.repository import ROOT

PAGES = ROOT / "docs/reference/errors"
# What services say to their callers, and no coordinator does.
SAID: dict[str, sdk_errors.TrypactError] = {
    "TRANSACTION_CANCELLED": sdk_errors.TransactionCancelled(
        Outcome("order-17", "order", State.CANCELLED, Decision.CANCEL, reason="the deadline passed")
    ),
    "BRANCH_REFUSED": sdk_errors.BranchRefused(
        "order-17", "Reserve/reserve", "inventory.reserve", "out_of_stock"
    ),
    "OUTCOME_UNKNOWN": sdk_errors.OutcomeUnknown("order-17", "it did not answer within 30 s"),
    "COORDINATOR_UNAVAILABLE": sdk_errors.CoordinatorUnavailable(
        "the coordinator at 127.0.0.1:7000 does not answer (connection refused)"
    ),
    "NO_TRANSACTION": sdk_errors.NoTransaction(
        "this method only works inside a transaction; call it in the block of one, through "
        "trypact.interceptors.ClientInterceptor"
    ),
    "PAYLOAD_ERROR": sdk_errors.PayloadError(
        "payload.lines[0].price", "is nan, which JSON cannot carry"
    ),
}


def said_by_fences() -> dict[str, set[str]]:
    """What a fence refuses calls with: reason -> messages."""
    said: dict[str, set[str]] = {}
    rows = [Row("inventory.reserve", "tcc", status, b"", "") for status in Status]
    other = Row("inventory.reserve", "tcc", Status.TRIED, b"", "")
    for operation in Operation:
        call = FencedCall("order-17", "reserve", "inventory.reserve", Kind.TCC, operation)
        answers = [meet(call, row) for row in (None, *rows)]
        answers.append(meet(call._replace(action="inventory.release"), other))
        for answer in answers:
            # What a refused Try is answered with again is its handler's own word.
            if isinstance(answer, Refused) and answer.reason:
                reason, _, message = answer.reason.partition(": ")
                said.setdefault(reason, set()).add(message)
    return said


def descendants(of: type[CoordinatorError]) -> Iterator[type[CoordinatorError]]:
    yield of
    for child in of.__subclasses__():
        yield from descendants(child)


def test_every_error_of_every_module_has_an_entry_and_a_page() -> None:
    for module in pkgutil.walk_packages(trypact_coordinator.__path__, "trypact_coordinator."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    # What only its children are raised as.
    raised = set(descendants(CoordinatorError)) - {CallerError}
    reasons = {error.reason for error in raised}

    assert {JournalError.reason, "INTERNAL"} < reasons
    assert reasons == set(ADVICE)
    said = {"HANDLER_FAILED", *SAID, *said_by_fences()}
    assert reasons | said == set(entries())
    assert set(entries()) == {path.stem for path in PAGES.iterdir()}


@pytest.mark.parametrize("reason", list(SAID))
def test_what_services_say_to_their_callers_has_an_entry_and_a_page(reason: str) -> None:
    entry = entries()[reason]
    code, details = status_of(SAID[reason])

    assert (code.name, details) == (entry.status, f"{reason}: {entry.advice.example}")
    assert entry.what == (type(SAID[reason]).__doc__ or "").partition("\n\n")[0]
    page = (ROOT / "docs/how-to/joining.md").read_text()
    assert f"`{reason}: ...`" in page


@pytest.mark.parametrize("reason", list(said_by_fences()))
def test_what_fences_refuse_with_is_explained(reason: str) -> None:
    advice = entries()[reason].advice

    if advice.whose == "participant":
        assert advice.example in said_by_fences()[reason]
    else:
        assert "A fence refuses" in advice.when


def test_what_participants_say_of_their_handlers_is_explained() -> None:
    call = FencedCall("order-17", "charge", "wallet.charge", Kind.TCC, Operation.CANCEL)
    code, details = _failure(KeyError("amount"), call)
    entry = entries()["HANDLER_FAILED"]

    assert (code.name, details) == (entry.status, f"HANDLER_FAILED: {entry.advice.example}")


@pytest.mark.parametrize(
    ("reason", "first"),
    [
        ("OUTCOME_UNKNOWN", "A client's patience ended"),
        ("BRANCH_REFUSED", "A participant refused a Try"),
        ("INTERNAL", "As the last error of a branch"),
    ],
)
def test_the_case_of_most_readers_stands_first(reason: str, first: str) -> None:
    assert entries()[reason].advice.when.startswith(first)


@pytest.mark.parametrize("reason", list(entries()))
def test_an_entry_says_when_whose_and_what_to_do(
    reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    advice = entries()[reason].advice

    assert advice.whose in ("business", "caller", "nobody", "operator", "participant", "us")
    assert advice.when.endswith(".")
    assert advice.todo.endswith(".")
    raised = type(SAID[reason]) if reason in SAID else sdk_errors.by_code(reason)
    assert advice.raises == (raised.__name__ if raised else "")

    assert main(["explain", reason]) == 0
    said = " ".join(capsys.readouterr().out.split())
    page = (PAGES / f"{reason}.md").read_text()
    assert said.startswith(f"{reason}: {entries()[reason].what}")
    for title, text in entries()[reason].paragraphs():
        assert f"{title}: {text}" in said
        assert f"**{title}.** {text}\n" in page


@pytest.mark.parametrize("typed", ["XID_CONFLICT", "xid_conflict", "xid-conflict", "Xid Conflict"])
def test_a_reason_is_understood_however_it_is_typed(
    typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", typed]) == 0
    assert capsys.readouterr().out.startswith("XID_CONFLICT: ")


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("UnknownParticipant", "the nearest: UNKNOWN_PARTICIPANT"),
        ("order-17", "no reason is written like that"),
    ],
)
def test_an_unknown_reason_gets_the_nearest_ones(
    typed: str, nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", typed]) == 4

    what, why, todo = capsys.readouterr().err.splitlines()
    assert what == f"error: there is no reason {typed!r}"
    assert nearest in why
    assert "`trypact tx explain XID` explains a transaction" in todo


def test_without_a_reason_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0

    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(entries())


def test_an_error_of_a_command_says_where_to_read_more() -> None:
    failure = of_reason("transaction x could not be shown", "it is not known", "NOT_FOUND", "XID")

    assert failure.lines().endswith("More: `trypact explain XID`.")


# ---------------------------------------------------------------- what errors really say


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with keep_house() as kept:
        yield kept


async def _skip(house: House, branch_id: str) -> None:
    request = admin_pb2.SkipBranchRequest(xid="order-17", branch_id=branch_id, reason="by hand")
    await house.admin.SkipBranch(request)


async def _settle(house: House) -> None:
    await house.transactions.GetDecision(
        initiator_pb2.GetDecisionRequest(xid="order-17", settle=True)
    )


def _request(method: str) -> Any:
    return getattr(initiator_pb2, f"{method}Request")(xid="order-17")


async def _provoke(reason: str, house: House) -> None:
    """Do what a reason stands for, with what comes before."""
    if reason in ("XID_IN_USE", "BRANCH_CONFLICT", "ALREADY_CONFIRMED", "NOT_DECIDED"):
        await house.begin("order-17")
    elif reason in ("XID_CONFLICT", "UNKNOWN_BRANCH", "BRANCH_SETTLED"):
        await house.execute(branch("reserve"), xid="order-17")
    match reason:
        case "INVALID_ARGUMENT":
            await house.execute(branch("pay"), branch("ship", after=["ship"]))
        case "LIMIT_EXCEEDED":
            await house.execute(branch(payload=b"x" * (256 * 1024 + 1)))
        case "UNKNOWN_PARTICIPANT":
            await house.execute(branch("reserve", action="inventry.reserve"))
        case "UNKNOWN_ACTION":
            await house.execute(branch("reserve", action="inventory.reserv"))
        case "KIND_NOT_SERVED":
            await house.execute(branch("notify", MESSAGE, action="inventory.reserve"))
        case "UNKNOWN_TOPIC":
            await house.execute(branch("paid", MESSAGE, action="", topic="order.payed"))
        case "UNKNOWN_TRANSACTION":
            await house.transactions.Get(_request("Get"))
        case "UNKNOWN_BRANCH":
            await _skip(house, "reserv")
        case "XID_CONFLICT":
            await house.execute(branch("reserve", payload=b"other"), xid="order-17")
        case "XID_IN_USE":
            await house.begin("order-17", nonce="another process")
        case "BRANCH_CONFLICT":
            await house.try_(branch("reserve"), "order-17")
            await house.try_(branch("reserve", payload=b"other"), "order-17")
        case "ALREADY_CONFIRMED":
            await house.transactions.Commit(_request("Commit"))
            await house.transactions.Rollback(_request("Rollback"))
        case "ALREADY_CANCELLED":
            await _settle(house)
            await house.execute(branch("reserve"), xid="order-17")
        case "NOT_DECIDED":
            await house.try_(branch("reserve"), "order-17")
            await _skip(house, "reserve")
        case "BRANCH_SETTLED":
            await _skip(house, "reserve")


@pytest.mark.parametrize(
    "reason",
    [
        "INVALID_ARGUMENT", "LIMIT_EXCEEDED", "UNKNOWN_PARTICIPANT", "UNKNOWN_ACTION",
        "KIND_NOT_SERVED", "UNKNOWN_TRANSACTION", "UNKNOWN_BRANCH", "XID_CONFLICT", "XID_IN_USE",
        "BRANCH_CONFLICT", "ALREADY_CONFIRMED", "ALREADY_CANCELLED", "NOT_DECIDED",
        "BRANCH_SETTLED", "UNKNOWN_TOPIC",
    ],
)  # fmt: skip
async def test_the_example_of_an_error_is_what_it_really_says(reason: str, house: House) -> None:
    with refused(entries()[reason].status, reason) as found:
        await _provoke(reason, house)

    assert found[0].message == ADVICE[reason].example


def test_an_example_that_is_a_class_speaking_for_itself_is_its_docstring() -> None:
    for error in (errors.TryUnsettled, errors.PivotSent, errors.ShuttingDown):
        assert ADVICE[error.reason].example == str(error())
