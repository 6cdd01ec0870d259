"""Whose each stable reason is to mend, and how: said by the command line and by the reference."""

from typing import NamedTuple


class Advice(NamedTuple):
    """What the reader of an error needs besides its message.

    `whose` is "caller", "nobody" (it passes), "operator" or "us" (a bug); `todo` is a sentence.
    """

    whose: str
    todo: str


_REPORT = "Report it with the output of `trypact tx show XID -o json`."
_CHECK_ACTION = "`trypact participant list` shows every action and its kinds. Nothing was begun."
_ANOTHER_XID = "Use a new xid, or send exactly what was sent first; see `trypact tx show XID`."
_NEVER_CHANGES = "A decision never changes: see `trypact tx explain XID`, or begin a new one."
_ASK_AGAIN = "Ask again in a moment with the same xid; the SDK does so by itself."

# Reason -> advice.
ADVICE = {
    "INVALID_ARGUMENT": Advice("caller", "Correct what the message names, and try again."),
    "LIMIT_EXCEEDED": Advice("caller", "Send less; the reference has a page of all limits."),
    "FAILED_PRECONDITION": Advice("caller", "Read the message: the state does not allow this."),
    "UNKNOWN_PARTICIPANT": Advice(
        "caller",
        "Check the spelling with `trypact participant list`; start the participant. Nothing was "
        "begun.",
    ),
    "UNKNOWN_ACTION": Advice("caller", _CHECK_ACTION),
    "KIND_NOT_SERVED": Advice("caller", _CHECK_ACTION),
    "UNKNOWN_TRANSACTION": Advice(
        "caller",
        "Look for it with `trypact tx list`; outcomes are kept for some days. A program that acts "
        "on its absence asks GetDecision with `settle`.",
    ),
    "UNKNOWN_BRANCH": Advice("caller", "`trypact tx show XID` lists the branches."),
    "XID_CONFLICT": Advice("caller", _ANOTHER_XID),
    "XID_IN_USE": Advice("caller", "Let the process that owns it finish, or use a new xid."),
    "BRANCH_CONFLICT": Advice(
        "caller",
        "Use a new branch id, or send exactly what was sent first; `trypact tx show XID` lists "
        "the branches.",
    ),
    "ALREADY_CONFIRMED": Advice("caller", _NEVER_CHANGES),
    "ALREADY_CANCELLED": Advice("caller", _NEVER_CHANGES),
    "NOT_DECIDED": Advice(
        "caller", "Decide first (`trypact tx cancel XID --reason ...`), or wait for the deadline."
    ),
    "TRANSACTION_FROZEN": Advice("us", f"Nothing more happens to it by itself. {_REPORT}"),
    "TRY_UNSETTLED": Advice(
        "caller", "Wait until every Try is OK, or cancel it: `trypact tx cancel XID --reason ...`."
    ),
    "PIVOT_SENT": Advice(
        "caller",
        "Wait for the pivot's answer: `trypact tx explain XID` says who is asked. Neither the "
        "deadline nor an operator decides before.",
    ),
    "BRANCH_SETTLED": Advice(
        "caller", "Nothing is left to do for this branch; see `trypact tx show XID`."
    ),
    "PARTICIPANT_UNAVAILABLE": Advice(
        "nobody",
        "Start the participant, or wait until `trypact participant list` shows it live. Nothing "
        "was begun.",
    ),
    "OVERLOADED": Advice("nobody", _ASK_AGAIN),
    "STARTING": Advice("nobody", _ASK_AGAIN),
    "SHUTTING_DOWN": Advice("nobody", _ASK_AGAIN),
    "JOURNAL_UNAVAILABLE": Advice(
        "operator", "See that its database or folder is there, answers and can be written."
    ),
    "JOURNAL_LOCKED": Advice(
        "operator", "Stop the other coordinator, or give this one a journal of its own."
    ),
    "SCHEMA_MISMATCH": Advice(
        "operator", "Run `trypact journal migrate` if it is older, or a newer trypact if not."
    ),
    "NOT_A_JOURNAL": Advice("operator", "Name another file or database with --journal."),
    "OWNERSHIP_LOST": Advice(
        "operator", "Find out who started the other coordinator; it goes on with the transactions."
    ),
    "BAD_SETTING": Advice("operator", "Correct it; `trypact serve --help` lists every setting."),
    "CANNOT_LISTEN": Advice(
        "operator", "Choose another address (--listen, --http-listen), or stop what uses it."
    ),
    "NOT_LOOPBACK": Advice(
        "operator",
        "Use 127.0.0.1:PORT for it (--http-listen if it says so, else --listen), or --insecure in "
        "a network you trust.",
    ),
    "UNREADABLE_ROW": Advice(
        "operator", "Keep a copy of the journal, run `trypact journal verify`, and report it."
    ),
    "RECORD_REJECTED": Advice(
        "us", "Report it with the coordinator's log, which names the record and says why."
    ),
    "INVARIANT_VIOLATED": Advice("us", f"The transaction is frozen and safe. {_REPORT}"),
    "INTERNAL": Advice("us", "Report it with the coordinator's log."),
}


def todo(reason: str) -> str:
    """Say what to do about a reason; one of a newer coordinator gets what is always true."""
    known = ADVICE.get(reason)
    return known.todo if known else "See the coordinator's log."
