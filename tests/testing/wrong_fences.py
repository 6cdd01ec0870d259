"""A fence in memory that is right, and one for each classic way to be wrong.

Each wrong one names the case that must catch it. The handlers' connection is the ledger.
"""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import trypact
from trypact.call import Answer, FencedCall, Ok, PendingType, Refused
from trypact.clock import now_us
from trypact.errors import Refuse, TryTooLate
from trypact.kinds import Operation

Handler = Callable[[Any], "bytes | PendingType"]
TRY, CANCEL, DELIVER = Operation.TRY, Operation.CANCEL, Operation.DELIVER


class RightFence:
    """The protocol's rules over a dictionary that outlives the participant, as a database does."""

    caught_by: ClassVar[str] = ""
    one_writer = True
    # Whether the effects of a handler go with its row.
    undoes = True

    def __init__(self) -> None:
        self.lock: Any = threading.RLock()
        self.ledger: Counter[str] = Counter(free=100)
        # Key -> (status, result or reason).
        self.rows: dict[Any, tuple[str, bytes]] = {}

    def run(self, call: FencedCall, handler: Handler, /) -> Answer:
        with self.lock:
            self.check_time(call)
            return self.transacted(call, handler)

    def transacted(self, call: FencedCall, handler: Handler) -> Answer:
        """Have all of it happen, or undo it."""
        ledger, rows = Counter(self.ledger), dict(self.rows)
        try:
            return getattr(self, f"on_{call.operation}")(self.key(call), handler)
        except BaseException:
            self.rows, self.ledger = rows, ledger if self.undoes else self.ledger
            raise

    def key(self, call: FencedCall) -> Any:
        return call.xid, call.branch_id

    def check_time(self, call: FencedCall) -> None:
        if call.operation is TRY and call.not_after_us < now_us():
            raise TryTooLate("too late")

    def status(self, key: Any) -> str:
        return self.rows.get(key, ("", b""))[0]

    def first_try(self, key: Any, handler: Handler) -> Answer:
        try:
            result = handler(self.ledger)
        except Refuse as refusal:
            self.rows[key] = ("REFUSED", refusal.reason.encode())
            return Refused(refusal.reason)
        assert isinstance(result, bytes)
        self.rows[key] = ("TRIED", result)
        return Ok(result)

    def on_try(self, key: Any, handler: Handler) -> Answer:
        match self.status(key):
            case "":
                return self.first_try(key, handler)
            case "CANCELLED":
                return self.late_try(key, handler)
            case "REFUSED":
                return Refused(self.rows[key][1].decode())
        return self.repeated_try(key, handler)

    def late_try(self, key: Any, handler: Handler) -> Answer:
        return Refused("already cancelled")

    def repeated_try(self, key: Any, handler: Handler) -> Answer:
        return Ok(self.rows[key][1])

    def on_confirm(self, key: Any, handler: Handler) -> Answer:
        match self.status(key):
            case "TRIED":
                handler(self.ledger)
                self.rows[key] = ("CONFIRMED", self.rows[key][1])
                return Ok()
            case "CONFIRMED":
                return self.repeated_confirm(key, handler)
            case "CANCELLED":
                return self.confirm_after_cancel(key, handler)
        return self.confirm_without_try(key, handler)

    def repeated_confirm(self, key: Any, handler: Handler) -> Answer:
        return Ok()

    def confirm_after_cancel(self, key: Any, handler: Handler) -> Answer:
        return Refused("already cancelled")

    def confirm_without_try(self, key: Any, handler: Handler) -> Answer:
        return Refused("not tried")

    def on_cancel(self, key: Any, handler: Handler) -> Answer:
        match self.status(key):
            case "":
                return self.empty_cancel(key, handler)
            case "TRIED":
                handler(self.ledger)
                self.rows[key] = ("CANCELLED", b"")
                return Ok()
            case "CONFIRMED":
                return self.cancel_after_confirm(key, handler)
            case "REFUSED":
                return self.cancel_of_refused(key, handler)
        return self.repeated_cancel(key, handler)

    def empty_cancel(self, key: Any, handler: Handler) -> Answer:
        self.rows[key] = ("CANCELLED", b"")
        return Ok()

    def cancel_after_confirm(self, key: Any, handler: Handler) -> Answer:
        return Refused("already confirmed")

    def cancel_of_refused(self, key: Any, handler: Handler) -> Answer:
        return Ok()

    def repeated_cancel(self, key: Any, handler: Handler) -> Answer:
        return Ok()

    def on_deliver(self, key: Any, handler: Handler) -> Answer:
        if not self.status(key):
            result = handler(self.ledger)
            assert isinstance(result, bytes)
            self.rows[key] = ("DELIVERED", result)
        return Ok(self.rows[key][1])

    def crashed(self) -> None:
        """The process that used it has died."""


def runs(self: RightFence, key: Any, handler: Handler) -> Answer:
    """Run the handler, where that is wrong."""
    handler(self.ledger)
    return Ok()


def accepts(self: RightFence, key: Any, handler: Handler) -> Answer:
    """Answer OK, where that is wrong."""
    return Ok()


def refuses(self: RightFence, key: Any, handler: Handler) -> Answer:
    """Refuse, where that is wrong."""
    return Refused("no")


class TakesNothingBack(RightFence):
    caught_by = "try-and-cancel"

    def on_cancel(self, key: Any, handler: Handler) -> Answer:
        return super().on_cancel(key, lambda ledger: b"")


class RefusesToConfirm(RightFence):
    caught_by = "try-and-confirm"
    on_confirm = refuses


class TriesTwice(RightFence):
    caught_by = "duplicate-try"

    def repeated_try(self, key: Any, handler: Handler) -> Answer:
        return self.first_try(key, handler)


class ForgetsTheFirstResult(RightFence):
    caught_by = "duplicate-try"
    repeated_try = accepts


class RefusesARepeatedTry(RightFence):
    caught_by = "duplicate-try"
    repeated_try = refuses


class ForgetsTheResultOfWhatIsConfirmed(RightFence):
    caught_by = "try-after-confirm"

    def repeated_try(self, key: Any, handler: Handler) -> Answer:
        return Ok(b"" if self.status(key) == "CONFIRMED" else self.rows[key][1])


class TriesAgainWhatIsConfirmed(RightFence):
    caught_by = "try-after-confirm"

    def repeated_try(self, key: Any, handler: Handler) -> Answer:
        if self.status(key) == "CONFIRMED":
            handler(self.ledger)
        return Ok(self.rows[key][1])


class ConfirmsTwice(RightFence):
    caught_by = "duplicate-confirm"
    repeated_confirm = runs


class RefusesARepeatedConfirm(RightFence):
    caught_by = "duplicate-confirm"
    repeated_confirm = refuses


class CancelsTwice(RightFence):
    caught_by = "duplicate-cancel"
    repeated_cancel = runs


class RefusesARepeatedCancel(RightFence):
    caught_by = "duplicate-cancel"
    repeated_cancel = refuses


class RefusesAnEmptyCancel(RightFence):
    caught_by = "empty-cancel"
    empty_cancel = refuses


class RunsAnEmptyCancel(RightFence):
    """Releases what nobody reserved."""

    caught_by = "empty-cancel"

    def empty_cancel(self, key: Any, handler: Handler) -> Answer:
        handler(self.ledger)
        return super().empty_cancel(key, handler)


class ForgetsAnEmptyCancel(RightFence):
    """Suspension: the late Try reserves for ever."""

    caught_by = "late-try"
    empty_cancel = accepts


class RunsALateTry(RightFence):
    caught_by = "late-try"
    late_try = runs


class SaysOkToALateTry(RightFence):
    """Does not run it, but says that it did."""

    caught_by = "late-try"
    late_try = accepts


class ConfirmsWithoutATry(RightFence):
    caught_by = "confirm-without-try"
    confirm_without_try = runs


class SaysOkToAConfirmWithoutATry(RightFence):
    caught_by = "confirm-without-try"
    confirm_without_try = accepts


class ConfirmsWhatIsCancelled(RightFence):
    caught_by = "confirm-after-cancel"
    confirm_after_cancel = runs


class CancelsWhatIsConfirmed(RightFence):
    caught_by = "cancel-after-confirm"
    cancel_after_confirm = runs


class SaysOkToACancelOfWhatIsConfirmed(RightFence):
    caught_by = "cancel-after-confirm"
    cancel_after_confirm = accepts


class IgnoresNotAfter(RightFence):
    caught_by = "late-not-after"

    def check_time(self, call: FencedCall) -> None:
        pass


class CancelsWhatItRefused(RightFence):
    caught_by = "refusal-is-kept"
    cancel_of_refused = runs


class RefusesToCancelWhatItRefused(RightFence):
    caught_by = "refusal-is-kept"
    cancel_of_refused = refuses


class KeepsWhatItDidBeforeItRefused(RightFence):
    """A refusal that does not undo what came before it."""

    caught_by = "refusal-is-kept"

    def first_try(self, key: Any, handler: Handler) -> Answer:
        answer = super().first_try(key, handler)
        self.ledger["held"] += isinstance(answer, Refused)
        return answer


class RefusesForAnotherReasonEachTime(RightFence):
    caught_by = "refusal-is-kept"

    def on_try(self, key: Any, handler: Handler) -> Answer:
        answer = super().on_try(key, handler)
        return Refused(f"no {now_us()}") if isinstance(answer, Refused) else answer


class GluesKeysTogether(RightFence):
    caught_by = "keys-are-exact"

    def key(self, call: FencedCall) -> Any:
        return call.xid + call.branch_id


class ComparesKeysWithoutCase(RightFence):
    caught_by = "keys-are-exact"

    def key(self, call: FencedCall) -> Any:
        return call.xid.lower(), call.branch_id.lower()


class KnowsOnlyTheXid(RightFence):
    caught_by = "keys-are-exact"

    def key(self, call: FencedCall) -> Any:
        return call.xid


class KnowsOnlyTheBranch(RightFence):
    caught_by = "keys-are-exact"

    def key(self, call: FencedCall) -> Any:
        return call.branch_id


class DeliversTwice(RightFence):
    caught_by = "deliver-twice"

    def on_deliver(self, key: Any, handler: Handler) -> Answer:
        result = handler(self.ledger)
        assert isinstance(result, bytes)
        return Ok(result)


class RefusesARepeatedDelivery(RightFence):
    caught_by = "deliver-twice"

    def on_deliver(self, key: Any, handler: Handler) -> Answer:
        return Refused("no") if self.status(key) else super().on_deliver(key, handler)


class KeepsItsRowsInMemory(RightFence):
    caught_by = "crash-between"

    def crashed(self) -> None:
        self.rows.clear()


class ForgetsWhatIsConfirmed(RightFence):
    caught_by = "crash-after-confirm"

    def crashed(self) -> None:
        self.rows = {key: row for key, row in self.rows.items() if row[0] != "CONFIRMED"}


class ForgetsWhatIsDelivered(KeepsItsRowsInMemory):
    caught_by = "crash-after-delivery"


class HasEffectsOfItsOwn(RightFence):
    """Each statement of its handlers is committed at once, as over a connection in autocommit."""

    caught_by = "crash-during-try"
    undoes = False


class CancelsBesideItsTransaction(HasEffectsOfItsOwn):
    caught_by = "crash-during-cancel"


class ConfirmsBesideItsTransaction(HasEffectsOfItsOwn):
    caught_by = "crash-during-confirm"


class DeliversBesideItsTransaction(HasEffectsOfItsOwn):
    caught_by = "crash-during-delivery"


class _Meeting:
    """No lock at all: two calls that look at once both see what was there before."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2)

    def meet(self) -> None:
        try:
            self._barrier.wait(timeout=0.05)
        except threading.BrokenBarrierError:
            self._barrier.reset()


class LooksBeforeItWrites(RightFence):
    """Check, then act: what comes between them is not seen."""

    caught_by = "tries-at-once"
    meets: ClassVar[tuple[Operation, ...]] = (TRY,)
    # What is seen by those who meet: that nobody was here, or that it was tried.
    seen: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        self._meeting = _Meeting()

    def run(self, call: FencedCall, handler: Handler, /) -> Answer:
        key = self.key(call)
        with self.lock:
            self.check_time(call)
            meets = call.operation in self.meets and self.status(key) == self.seen
            seen = self.rows.get(key)
        if meets:
            self._meeting.meet()
        with self.lock:
            if meets and seen is None:
                self.rows.pop(key, None)
            elif meets and seen is not None:
                self.rows[key] = seen
            return self.transacted(call, handler)


class CancelsBesideATry(LooksBeforeItWrites):
    """The same, with the Try and its Cancel."""

    caught_by = "try-and-cancel-at-once"
    meets = (TRY, CANCEL)


class CancelsBesideACancel(LooksBeforeItWrites):
    """The same, with a Cancel that is sent again while the first still runs."""

    caught_by = "cancels-at-once"
    meets = (CANCEL,)
    seen = "TRIED"


class DeliversBesideADelivery(LooksBeforeItWrites):
    caught_by = "deliveries-at-once"
    meets = (DELIVER,)


def all_below(kind: type[RightFence]) -> list[type[RightFence]]:
    return [each for child in kind.__subclasses__() for each in (child, *all_below(child))]


WRONG = all_below(RightFence)


class Reserve:
    """Handlers that are right; what is wrong is the fence."""

    def try_(self, call: trypact.Call[Any], ledger: Counter[str]) -> dict[str, int]:
        if call.request["pieces"] > ledger["free"]:
            raise trypact.Refuse("sold_out")
        ledger["free"] -= call.request["pieces"]
        ledger["held"] += call.request["pieces"]
        return {"left": ledger["free"]}

    def confirm(self, call: trypact.Call[Any], ledger: Counter[str]) -> None:
        ledger["held"] -= call.request["pieces"]
        ledger["sold"] += call.request["pieces"]

    def cancel(self, call: trypact.Call[Any], ledger: Counter[str]) -> None:
        ledger["held"] -= call.request["pieces"]
        ledger["free"] += call.request["pieces"]


def tell(call: trypact.Call[Any], ledger: Counter[str]) -> int:
    ledger["told"] += 1
    return ledger["told"]


def shop_over(fence: RightFence) -> trypact.Participant:
    """Make the participant, as a new process over the same fence."""
    fence.crashed()
    participant = trypact.Participant("stock", fence=fence)
    participant.tcc("reserve")(Reserve())
    participant.message("tell")(tell)
    return participant
