"""What the words mean with which services answer their callers, where these are no coordinator's.

A service of the Python SDK that joins a transaction tells its caller what went wrong in the details
of a status, by the reason of the coordinator or by one of these, as a participant tells the
coordinator of its handlers. Where an initiator meets the same error, its case stands first.
"""

from trypact_coordinator.cli.advice import Advice

_SEE_WHY = "See who said no and why with `trypact tx explain XID`; nothing is left to be done."

# Reason -> gRPC status, what it means, advice.
SERVICE_ADVICE = {
    "TRANSACTION_CANCELLED": (
        "FAILED_PRECONDITION",
        "The transaction was cancelled: whatever was reserved is given back.",
        Advice(
            "business",
            _SEE_WHY,
            "The service wanted to add a branch to the transaction of its caller, and that was "
            "decided before: a participant refused, its deadline passed, somebody cancelled it, or "
            "its initiator rolled it back.",
            "transaction order-17 was cancelled: the deadline passed",
            "TransactionCancelled",
        ),
    ),
    "BRANCH_REFUSED": (
        "FAILED_PRECONDITION",
        "A participant refused the Try of a branch; the transaction is being cancelled.",
        Advice(
            "business",
            _SEE_WHY,
            "A participant refused a Try, as it may; its own reason stands at the end. In your "
            "block it is raised by `try_`, and leaving the block gives back what the other "
            "branches reserved. From a service that joined your transaction it comes as a status. "
            "Who catches it cannot save the transaction, for the refusal has decided it.",
            "inventory.reserve refused branch 'Reserve/reserve' of transaction order-17: "
            "out_of_stock",
            "BranchRefused",
        ),
    ),
    "OUTCOME_UNKNOWN": (
        "DEADLINE_EXCEEDED",
        "The transaction may be confirmed, cancelled, running, or never begun.",
        Advice(
            "nobody",
            "Ask again with the same xid, never with a fresh one; `trypact tx explain XID` says "
            "what it waits for.",
            "A client's patience ended before it was told how the transaction ended, which may "
            "still happen: the same `execute`, `wait(xid)` or `get(xid)` tells, and "
            "`decision(xid, settle=True)` makes sure that what was not begun never is. A service "
            "that joined a transaction says it to its caller where its Try has no answer; the "
            "caller's block does not confirm before that call has been repeated under its own "
            "name.",
            "the outcome of transaction order-17 is unknown: it did not answer within 30 s; ask "
            "again with this xid",
            "OutcomeUnknown",
        ),
    ),
    "COORDINATOR_UNAVAILABLE": (
        "UNAVAILABLE",
        "The coordinator does not answer.",
        Advice(
            "operator",
            "Start the coordinator, or correct the address that the client was given.",
            "A client could not reach its coordinator for as long as its patience lasted. Where "
            "the message says so, nothing was begun; otherwise a request may have arrived, so ask "
            "again with the same xid. A service that joined a transaction says it to its caller, "
            "whose block does not confirm before that call has been repeated with an answer.",
            "the coordinator at 127.0.0.1:7000 does not answer (connection refused)",
            "CoordinatorUnavailable",
        ),
    ),
    "HANDLER_FAILED": (
        "INTERNAL",
        "A participant's handler raised what is no answer; the call is made again.",
        Advice(
            "participant",
            "Read the participant's log, which has the exception, and mend the handler; the next "
            "call goes on by itself.",
            "A handler says no by `raise Refuse(reason)`, and not now by RetryLater. Any other "
            "exception may be over at the next call, so the coordinator asks again, later and "
            "later: a Try until the deadline cancels, a Confirm or a Cancel until it is done. "
            "What the handler did in its local transaction was rolled back.",
            "wallet.charge cancel: the handler raised KeyError; its log says more",
        ),
    ),
    "NO_TRANSACTION": (
        "FAILED_PRECONDITION",
        "The call belongs to no transaction, and this is only possible in one.",
        Advice(
            "caller",
            "Call it in the block of a transaction, through a channel with the interceptor.",
            "The method was made with `required=True`, or joins by itself, and the call brought no "
            "`trypact-xid`. Either the caller has opened no transaction, or its channel lacks the "
            "interceptor that takes the transaction along.",
            "this method only works inside a transaction; call it in the block of one, through "
            "trypact.interceptors.ClientInterceptor",
            "NoTransaction",
        ),
    ),
    "PAYLOAD_ERROR": (
        "INTERNAL",
        "A payload cannot be written or read.",
        Advice(
            "caller",
            "Make the types of the method and of its action the same.",
            "The request of the method could not be written as the payload of its branch, or the "
            "result of the branch's Try not be read as the response of the method. The path names "
            "the field.",
            "payload.lines[0].price: is nan, which JSON cannot carry",
            "PayloadError",
        ),
    ),
}
