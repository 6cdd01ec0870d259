"""What the words mean with which services answer their callers, where these are no coordinator's.

A service of the Python SDK that joins a transaction tells its caller what went wrong in the details
of a status, by the reason of the coordinator or by one of these.
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
            "The service added a branch to the transaction of its caller, and the participant said "
            "no. Its reason stands at the end. A caller that catches the status cannot save the "
            "transaction, for the refusal has decided it.",
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
            "Repeat the call under its own name, or let the transaction end.",
            "The service added a branch to the transaction of its caller, and did not hear in time "
            "how its Try ended. Nobody knows what the call did, so the caller's block does not "
            "confirm before it has been repeated with an answer.",
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
            "Start the coordinator, or correct the address that the service was given.",
            "The service could not reach its coordinator to add a branch, for as long as its "
            "client's patience lasted. Nothing is known of the call, so the caller's block does "
            "not confirm before it has been repeated with an answer.",
            "the coordinator at 127.0.0.1:7000 does not answer (connection refused)",
            "CoordinatorUnavailable",
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
