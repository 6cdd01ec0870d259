"""What a coordinator suffers: it does not answer, or its operator has to mend it; no caller can.

The tree is drawn in `trypact.errors`, which is where to import these from.
"""

from trypact._error import TrypactError


class CoordinatorUnavailable(TrypactError):
    """The coordinator does not answer.

    Attributes:
        sent: False where it is certain that the request has never left.

    >>> async with Client("127.0.0.1:1", patience=0.1) as lonely:
    ...     try:
    ...         await lonely.ping()
    ...     except CoordinatorUnavailable as away:
    ...         print(away)
    the coordinator at 127.0.0.1:1 does not answer (...)
    """

    sent = True


class Starting(CoordinatorUnavailable):
    """This coordinator is starting and takes no work yet.

    >>> issubclass(errors.by_code("STARTING"), errors.CoordinatorUnavailable)
    True
    """

    code = "STARTING"


class ShuttingDown(CoordinatorUnavailable):
    """This coordinator is stopping and takes no new work.

    >>> issubclass(errors.by_code("SHUTTING_DOWN"), errors.CoordinatorUnavailable)
    True
    """

    code = "SHUTTING_DOWN"


class JournalUnavailable(CoordinatorUnavailable):
    """The coordinator's journal does not answer.

    >>> issubclass(errors.by_code("JOURNAL_UNAVAILABLE"), errors.CoordinatorUnavailable)
    True
    """

    code = "JOURNAL_UNAVAILABLE"


class JournalLocked(JournalUnavailable):
    """Another coordinator owns the journal.

    >>> issubclass(errors.by_code("JOURNAL_LOCKED"), errors.JournalUnavailable)
    True
    """

    code = "JOURNAL_LOCKED"


class OwnershipLost(JournalUnavailable):
    """A newer coordinator owns the journal.

    >>> issubclass(errors.by_code("OWNERSHIP_LOST"), errors.JournalUnavailable)
    True
    """

    code = "OWNERSHIP_LOST"


class CoordinatorFault(TrypactError):
    """The coordinator failed, and says so.

    >>> try:
    ...     outcome = await client.get("order-25")
    ... except errors.CoordinatorFault as fault:
    ...     print("tell the operator of the coordinator:", fault.code)
    ... except errors.UnknownTransaction:
    ...     print("there is no such transaction")
    there is no such transaction
    """

    code = "INTERNAL"


class SchemaMismatch(CoordinatorFault):
    """The journal's schema is of another version than the coordinator.

    >>> issubclass(errors.by_code("SCHEMA_MISMATCH"), errors.CoordinatorFault)
    True
    """

    code = "SCHEMA_MISMATCH"


class RecordRejected(CoordinatorFault):
    """The journal's database refuses to write this transaction.

    >>> issubclass(errors.by_code("RECORD_REJECTED"), errors.CoordinatorFault)
    True
    """

    code = "RECORD_REJECTED"


class UnreadableRow(CoordinatorFault):
    """The journal's row of this transaction is damaged; its operator must look at it.

    >>> issubclass(errors.by_code("UNREADABLE_ROW"), errors.CoordinatorFault)
    True
    """

    code = "UNREADABLE_ROW"


class TransactionFrozen(CoordinatorFault):
    """A violated invariant has stopped this transaction; its operator must look at it.

    >>> issubclass(errors.by_code("TRANSACTION_FROZEN"), errors.CoordinatorFault)
    True
    """

    code = "TRANSACTION_FROZEN"


class InvariantViolated(CoordinatorFault):
    """An invariant does not hold; the coordinator froze the transaction.

    >>> issubclass(errors.by_code("INVARIANT_VIOLATED"), errors.CoordinatorFault)
    True
    """

    code = "INVARIANT_VIOLATED"
