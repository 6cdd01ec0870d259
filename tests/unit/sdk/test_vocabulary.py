"""The SDK's words, errors and limits are those of the contract and of the coordinator."""

import pickle

import pytest
import trypact
from trypact import errors, ids, kinds, limits
from trypact.outcome import BranchOutcome, Outcome
from trypact.v1 import initiator_pb2, transaction_pb2
from trypact_coordinator.core import errors as core_errors
from trypact_coordinator.core import limits as core_limits
from trypact_coordinator.server import errors as server_errors


def test_a_fence_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="OracleFence"):
        _ = trypact.fence.OracleFence


@pytest.mark.parametrize(
    ("words", "enum", "prefix"),
    [
        (kinds.Kind, transaction_pb2.BranchKind, "BRANCH_KIND_"),
        (kinds.On, transaction_pb2.DeliverOn, "DELIVER_ON_"),
        (kinds.Operation, transaction_pb2.Operation, "OPERATION_"),
        (kinds.Decision, transaction_pb2.Decision, "DECISION_"),
        (kinds.State, transaction_pb2.TransactionState, "TRANSACTION_STATE_"),
        (kinds.BranchState, transaction_pb2.BranchState, "BRANCH_STATE_"),
        (kinds.Until, initiator_pb2.WaitUntil, "WAIT_UNTIL_"),
    ],
)
def test_every_word_has_its_number_on_the_wire(
    words: type[kinds.Word], enum: object, prefix: str
) -> None:
    wire = {name: number for name, number in enum.items() if number}  # type: ignore[attr-defined]

    assert {prefix + word.name: word.number for word in words} == wire
    assert all(kinds.from_wire(words, number) in words for number in wire.values())
    assert kinds.from_wire(words, 0) is None


def test_a_word_reads_like_the_documentation() -> None:
    assert f"{kinds.Decision.CONFIRM} {kinds.BranchState.NOT_NEEDED}" == "confirm not needed"
    assert kinds.Kind.TCC == "tcc"


def subclasses(root: type) -> set[type]:
    return {root}.union(*(subclasses(branch) for branch in root.__subclasses__()))


def test_every_reason_of_the_coordinator_has_a_class() -> None:
    own = (core_errors.__name__, server_errors.__name__)
    of_the_wire = {
        found
        for found in subclasses(core_errors.CoordinatorError)
        # What only its parents raise never crosses the wire as itself.
        if found.__module__ in own and found is not core_errors.CallerError
    }
    reasons = {found.reason: found.status for found in of_the_wire}  # type: ignore[attr-defined]
    known = {reason: errors.by_code(reason) for reason in reasons}

    assert [reason for reason, found in known.items() if found is None] == []
    # Whether to ask again follows from the status, and must agree with the class.
    for reason, status in reasons.items():
        if status == "UNAVAILABLE" and reason != "PARTICIPANT_UNAVAILABLE":
            assert issubclass(known[reason] or object, errors.CoordinatorUnavailable), reason


def test_the_limits_are_those_of_the_coordinator() -> None:
    names = [name for name in vars(limits) if name.endswith("_MAX")]
    shared = [name for name in names if hasattr(core_limits, name)]

    assert len(shared) == 6
    assert [getattr(limits, n) for n in shared] == [getattr(core_limits, n) for n in shared]
    assert limits.TIMEOUT_S_MAX * 1000 == core_limits.TIMEOUT_MS_MAX
    assert limits.DELAY_S_MAX * 1000 == core_limits.DELAY_MS_MAX


def test_a_text_is_shortened_at_a_character() -> None:
    assert limits.shortened("é" * 512) == "é" * 512
    assert limits.shortened("é" * 513) == "é" * 510 + "…"
    assert limits.shortened("a\ud800") == "a?"


def test_the_tree_at_the_top_of_the_module_is_the_tree() -> None:
    drawn = [
        line.strip("│├└─ ").split()[0]
        for line in (errors.__doc__ or "").splitlines()
        if "─" in line or line.strip() == "TrypactError"
    ]
    real = {found.__name__ for found in subclasses(errors.TrypactError)}

    assert len(drawn) == len(set(drawn))
    assert set(drawn) == {name for name in real if hasattr(errors, name)}


OUTCOME = Outcome(
    xid="17",
    name="order",
    state=kinds.State.CANCELLED,
    decision=kinds.Decision.CANCEL,
    reason="no money",
    refused_branch_id="pay",
    branches=(BranchOutcome("pay", kinds.Kind.TCC, "bank.pay", kinds.BranchState.REFUSED),),
)


@pytest.mark.parametrize(
    "error",
    [
        errors.TransactionCancelled(OUTCOME),
        errors.BranchRefused("17", "pay", "bank.pay", "no money"),
        errors.OutcomeUnknown("17", "nobody answers"),
        errors.OutcomeUnknown("17", "transaction 17 is undecided after 4 s", OUTCOME),
        errors.PayloadError("sku", "is missing"),
        errors.Refuse("no money"),
        errors.RetryLater(2.0, "busy"),
        errors.XidConflict("17 exists"),
    ],
)
def test_errors_survive_a_process_boundary(error: errors.TrypactError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_a_cancelled_transaction_says_who_and_why() -> None:
    error = errors.TransactionCancelled(OUTCOME)

    assert str(error) == "transaction 17 was cancelled by branch 'pay': no money"
    assert (error.xid, error.refused_branch_id, error.reason) == ("17", "pay", "no money")


def test_the_default_message_of_an_error_is_its_docstring() -> None:
    assert str(errors.TryUnsettled()) == (
        "A Try of this transaction has no OK yet, so it cannot be confirmed."
    )


@pytest.mark.parametrize("after", [-0.001, 3600.001, float("inf"), float("nan")])
def test_asking_again_in_the_past_or_after_more_than_an_hour_is_a_mistake(after: float) -> None:
    with pytest.raises(ValueError, match="allowed: 0 to 3600 s"):
        errors.RetryLater(after)
    assert (errors.RetryLater(0).after, errors.RetryLater(3600).after) == (0, 3600)


def test_an_hour_is_what_the_coordinator_allows_too() -> None:
    assert limits.RETRY_AFTER_S_MAX * 1000 == core_limits.RETRY_AFTER_MS_MAX


def test_an_outcome_names_the_branches_it_has() -> None:
    with pytest.raises(errors.UnknownBranch, match="has no branch 'x'; it has: 'pay'"):
        OUTCOME.branch("x")
    assert OUTCOME.result("pay") is None


def test_a_fresh_xid_is_a_uuid_of_version_7_and_sorts_by_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ids, "now_us", lambda: 0x0123_4567_89AB * 1000)
    early = ids.new_xid()
    monkeypatch.setattr(ids, "now_us", lambda: 0x0123_4567_89AC * 1000)
    late = ids.new_xid()

    assert early.startswith("01234567-89ab-7")
    assert early[19] in "89ab"
    assert early < late
    assert len({ids.new_xid() for _ in range(100)}) == 100
