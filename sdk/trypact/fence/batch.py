"""Many calls in one local transaction: the rules of one call, with the statements of all.

The rows of the whole batch are inserted in one statement, those that exist are read in another,
then the handlers run, and what they said is written in a third. A plain handler runs behind a
savepoint of its own, a set-based one once for all its calls. Nothing is answered here: what comes
back is true once the caller has committed, and nothing of it if that fails.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from trypact.call import PENDING, FencedCall, Ok, Pending, PendingType, Refused
from trypact.errors import ParticipantError, Refuse
from trypact.fence import rules
from trypact.fence.connections import Savepoint, ends_all, held, trouble_of
from trypact.fence.contract import ALONE, Asked, Together, Verdict
from trypact.fence.local import too_late
from trypact.fence.rows import Rows
from trypact.fence.rules import FenceRow, Key, Row, Status
from trypact.kinds import Operation

logger = logging.getLogger("trypact.fence")


class CannotGoOn(Exception):
    """The transaction of the whole batch is lost; each call has to run by itself."""


class _Unit(NamedTuple):
    """What runs in one go: one call, or all calls of a set-based handler."""

    together: Together | None
    asked: list[Asked]


class Batch:
    """One local transaction for calls of different branches.

    Args:
        connection: inside that transaction.
        rows: the fence's.
        now: microseconds since 1970-01-01T00:00Z.
    """

    def __init__(self, connection: Connection, rows: Rows, now: Callable[[], int]) -> None:
        self._connection = connection
        self._transaction = connection.get_transaction()
        self._rows = rows
        self._now = now
        self._inserted: set[Key] = set()
        self._found: dict[Key, Row] = {}
        self._verdicts: dict[Key, Verdict] = {}
        self._changed: list[FenceRow] = []
        self.removed: list[Key] = []
        # Whose handler has run, whatever came of it.
        self._begun: set[Key] = set()
        # What the inserted rows have as their `created_at`.
        self.inserted_at = 0
        # Whether the rows say all there is to say, but for those to be removed.
        self._written = False

    def run(self, asked: Sequence[Asked]) -> list[Verdict]:
        """Run all calls; return a verdict for each that holds once the caller has committed.

        Raises CannotGoOn, or what the database raised, when the transaction is of no use.
        """
        self._meet([one.call for one in asked])
        units = _units(one for one in asked if key_of(one.call) not in self._verdicts)
        savepoint = Savepoint(self._connection)
        with held(self._connection):
            for unit in units:
                if unit.together is None:
                    self._run_one(unit.asked[0], savepoint)
                else:
                    # One that is all by itself has nobody to be protected from it.
                    behind = savepoint if len(units) > 1 or savepoint.tells else None
                    self._run_set(unit.together, unit.asked, behind)
            if savepoint.tells:
                savepoint.end()
        if self._changed:
            self._rows.write(self._connection, sorted(self._changed))
        self._written = True
        return [self._verdicts[key_of(one.call)] for one in asked]

    def unfounded(self) -> tuple[list[Key], list[FenceRow]]:
        """Return what is false of the inserted rows, should a handler have committed them.

        These are the rows of calls that have done nothing, and those that are to say otherwise.
        """
        if self._written:
            return [], []
        waiting = self._inserted - self._begun - self._verdicts.keys()
        others = [row for row in self._changed if (row.xid, row.branch_id) in self._inserted]
        return sorted(waiting.union(self.removed)), sorted(others)

    # ------------------------------------------------------------ what the rows say

    def _meet(self, calls: list[FencedCall]) -> None:
        """Insert or find each call's row, and give the verdicts that need no handler."""
        now = self._now()
        new = [rules.row_of(call, now) for call in calls if call.operation is not Operation.CONFIRM]
        if new:
            self.inserted_at = now
            self._inserted = self._rows.put(self._connection, sorted(new))
        others = [key for call in calls if (key := key_of(call)) not in self._inserted]
        if others:
            self._found = self._rows.read(self._connection, sorted(others))
        # Asked only now, because a row may have been waited for.
        now = self._now()
        for call in calls:
            verdict = self._met(call, now)
            if verdict is not None:
                self._verdicts[key_of(call)] = verdict

    def _met(self, call: FencedCall, now: int) -> Verdict | None:
        key = key_of(call)
        if key in self._inserted:
            if call.operation is Operation.CANCEL:
                return Ok()
            late_us = now - call.not_after_us if call.not_after_us else 0
            if call.operation is Operation.TRY and late_us > 0:
                self.removed.append(key)
                return too_late(late_us)
            return None
        row = self._found.get(key)
        if row is None and call.operation is not Operation.CONFIRM:
            # It went away between the two statements; the next attempt sees how.
            return ALONE
        return rules.meet(call, row)

    # ------------------------------------------------------------ handlers

    def _run_one(self, one: Asked, savepoint: Savepoint) -> None:
        """Run a plain handler, behind a savepoint."""
        said: bytes | PendingType | Exception
        savepoint.begin()
        self._begun.add(key_of(one.call))
        try:
            said = one.handler(self._connection)
            self._require_sound(one.call.action)
        except Exception as error:
            said = error
        if isinstance(said, Exception):
            self._undo(said, savepoint)
        self._settle(one.call, said)

    def _run_set(self, together: Together, asked: list[Asked], savepoint: Savepoint | None) -> None:
        """Run a set-based handler for all its calls; if it fails, each is to run alone."""
        if savepoint is not None:
            savepoint.begin()
        self._begun.update(key_of(one.call) for one in asked)
        try:
            said = together(asked, self._connection)
            self._require_sound(asked[0].call.action)
        except Exception as error:
            self._undo(error, savepoint)
            call = asked[0].call
            logger.warning(
                "%s of %d calls failed together, and each runs alone: %s",
                f"{call.action} {call.operation}",
                len(asked),
                type(error).__name__,
            )
            for one in asked:
                self._leave(one.call, ALONE)
            return
        for one, what in zip(asked, said, strict=True):
            self._settle(one.call, what)

    def _require_sound(self, action: str) -> None:
        self._require_active()
        if self._connection.in_nested_transaction():
            raise CannotGoOn(f"a handler of {action} has left a savepoint open")
        if (trouble := trouble_of(self._connection)) is not None:
            raise ParticipantError(f"the handler of {action} {trouble}")

    def _undo(self, error: Exception, savepoint: Savepoint | None) -> None:
        """Undo what the last handler did. Raises CannotGoOn where that is not enough."""
        if savepoint is None or isinstance(error, CannotGoOn) or ends_all(error):
            raise CannotGoOn(str(error)) from error
        self._require_active()
        savepoint.rollback()

    def _require_active(self) -> None:
        if self._transaction is None or not self._transaction.is_active:
            raise CannotGoOn("a handler has ended the local transaction")

    # ------------------------------------------------------------ what they said

    def _settle(self, call: FencedCall, said: bytes | PendingType | Exception) -> None:
        operation = call.operation
        if isinstance(said, Refuse):
            refused = Refused(said.reason)
            if operation is not Operation.TRY:
                # Nothing but a Try's refusal is final: the operation is asked for again.
                self._leave(call, refused)
                return
            self._write(call, Status.REFUSED, reason=said.reason)
            self._verdicts[key_of(call)] = refused
        elif isinstance(said, Exception):
            self._leave(call, said)
        elif said is PENDING:
            self._write(call, rules.PENDING[operation])
            self._verdicts[key_of(call)] = Pending()
        else:
            kept = said if operation in rules.WITH_RESULT else b""
            if kept or key_of(call) not in self._inserted:
                # Without a result an inserted row says it all already.
                self._write(call, rules.DONE[operation], result=kept)
            self._verdicts[key_of(call)] = Ok(kept)

    def _leave(self, call: FencedCall, verdict: Verdict) -> None:
        """Leave the branch as it was before the call."""
        key = key_of(call)
        if key in self._inserted:
            self.removed.append(key)
        self._verdicts[key] = verdict

    def _write(
        self, call: FencedCall, status: Status, result: bytes = b"", reason: str = ""
    ) -> None:
        # What the Try said stays while its Confirm or Cancel is written.
        before = self._found.get(key_of(call))
        if before is not None:
            result, reason = before.result, before.reason
        row = rules.row_of(call, self._now())
        self._changed.append(row._replace(status=str(status), result=result, reason=reason))


def key_of(call: FencedCall) -> Key:
    """Return what names the call's row."""
    return call.xid, call.branch_id


def _units(asked: Iterable[Asked]) -> list[_Unit]:
    """Group the calls of set-based handlers where the first of them stands."""
    units: list[_Unit] = []
    sets: dict[Together, _Unit] = {}
    for one in asked:
        together = one.together
        if together is not None and together in sets:
            sets[together].asked.append(one)
            continue
        units.append(_Unit(together, [one]))
        if together is not None:
            sets[together] = units[-1]
    return units
