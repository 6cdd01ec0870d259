"""Transactions to keep in a journal, as the core itself makes them."""

from itertools import count

from msgspec.structs import replace as with_fields
from trypact_coordinator.core.events import Answered, Event, Ok, PauseAct, Refused, Retry
from trypact_coordinator.core.outcome import Record
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.core.step import begin, freeze, step
from trypact_coordinator.core.transaction import (
    Branch,
    BranchSpec,
    BranchState,
    Entry,
    Kind,
    On,
    Operation,
    Role,
    Spec,
    State,
    Transaction,
)
from trypact_coordinator.ports import Write

T0 = 1_800_000_000_000_000
SECOND = 1_000_000
POLICY = Policy()
BRANCHES = (
    BranchSpec("stock", Kind.TCC, "inventory.reserve", b'{"sku":"tea"}'),
    BranchSpec("money", Kind.TCC, "balance.debit", b'{"cents":100}'),
)
_write_ids = count(1)


def write(record: Record, write_id: int | None = None) -> Write:
    return Write(record, next(_write_ids) if write_id is None else write_id)


def begun(
    xid: str,
    *,
    at: int = T0,
    epoch: int = 1,
    name: str = "order.submit",
    labels: tuple[tuple[str, str], ...] = (),
    branches: tuple[BranchSpec, ...] = BRANCHES,
    interactive: bool = False,
) -> Record:
    spec = Spec(
        xid=xid,
        name=name,
        timeout_ms=60_000,
        fingerprint=b"\x00\xff" * 8,
        interactive=interactive,
        labels=labels,
    )
    record = begin(spec, branches, at, epoch, POLICY).record
    assert record is not None
    return record


def after(record: Record, *events: Event, at: int | None = None) -> Record:
    """The one record that these events lead to together, as if they had come in one step."""
    tx, last = record.transaction, None
    for event in events:
        outcome = step(tx, event, tx.created_at + 1 if at is None else at, POLICY)
        last = outcome.record
        tx = outcome.transaction
    assert last is not None, "the last event asked for no record"
    return with_fields(last, transaction=with_fields(tx, version=record.transaction.version + 1))


def answered(record: Record, operation: Operation, answer: object = None) -> list[Event]:
    """An answer (OK) to that operation of each of its tcc branches."""
    return [
        Answered(branch.spec.id, operation, 1, answer or Ok(b"r"))  # type: ignore[arg-type]
        for branch in record.transaction.branches
        if branch.spec.kind is Kind.TCC
    ]


def decided(record: Record, at: int | None = None) -> Record:
    """Every Try is OK: Confirm is decided and its calls are out."""
    return after(record, *answered(record, Operation.TRY), at=at)


def finished(record: Record, at: int | None = None) -> Record:
    """Every Confirm is OK too: nothing is left to do. `record` is a decided one."""
    return after(record, *answered(record, Operation.CONFIRM), at=at)


def waiting(record: Record, at: int, after_ms: int = 1_000) -> Record:
    """Every Try asked to be retried: a timer, and no call in flight."""
    return after(record, *answered(record, Operation.TRY, Retry(after_ms)), at=at)


def stuck(record: Record, at: int | None = None) -> Record:
    """The first Confirm of a decided one is refused, the other is OK."""
    first, second = answered(record, Operation.CONFIRM)
    assert isinstance(first, Answered)
    refused = with_fields(first, answer=Refused("no such reservation"))
    return after(record, second, refused, at=at)


def paused(record: Record) -> Record:
    return after(record, PauseAct("ann", "stocktaking"))


def frozen(record: Record) -> Record:
    made = freeze(record.transaction, "two and two are five", T0 + 1, POLICY).record
    assert made is not None
    return made


def touched(record: Record, **fields: object) -> Record:
    """The next record, whatever else it says: for tests in which only the key matters."""
    changes = {"version": record.transaction.version + 1, **fields}
    return Record(with_fields(record.transaction, **changes), forced=True, admits=False)


def every_branch() -> tuple[Branch, ...]:
    """Branches none of whose fields has its default, and one whose role is another's doing."""
    return (
        Branch(
            spec=BranchSpec("a", Kind.SAGA, "warehouse.ship", bytes(range(256))),
            role=Role.SAGA,
            state=BranchState.CANCELLING,
            attempt=3,
            in_flight=True,
            due_at=T0 + 1,
            quiet_at=T0 + 2,
            result=b"\x00result",
            reason="timed out \0 twice",
            stuck=True,
            give_up_at=T0 + 6,
            failures=2,
        ),
        Branch(
            spec=BranchSpec(
                "b",
                Kind.NOTICE,
                "notification.send",
                b"{}",
                ("a",),
                On.ANY,
                delay_ms=5_000,
                pivot=True,
                attempts_max=7,
                retry_for_ms=8_000,
                topic="order.paid",
            ),
            role=Role.PIVOT,
            state=BranchState.NOT_NEEDED,
        ),
        Branch(spec=BranchSpec("f", Kind.SAGA, "shelf.mark", after=("b",)), role=Role.FORWARD),
    )


def everything(xid: str = "everything", epoch: int = 1) -> Transaction:
    """A transaction none of whose fields has its default."""
    spec = Spec(
        xid=xid,
        name="order.submit/é",
        timeout_ms=12_345,
        fingerprint=bytes(range(16)),
        interactive=True,
        nonce="nonce",
        labels=(("order", "17"), ("note", 'a "quoted\\" {value}, with NULL\0 and \n ü')),
        trace_parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    return Transaction(
        spec=spec,
        branches=every_branch(),
        created_at=T0,
        deadline_at=T0 + SECOND,
        state=State.CANCELLED,
        version=1,
        epoch=epoch,
        auto_commit=True,
        resumed=True,
        paused=True,
        frozen="because",
        due_at=T0 + 3,
        decided_at=T0 + 4,
        finished_at=T0 + 5,
        reason="out_of_stock",
        refused_branch_id="a",
        timeline=(Entry(T0, "begun", "", "order.submit"), Entry(T0 + 4, "decided", "a", "why")),
    )
