"""What each stable reason means to its reader: when it happens, whose it is to mend, and how.

`trypact explain`, the three lines of a command that fails, and the error pages of the reference
say what stands here, so that there is one answer to each error.
"""

from typing import NamedTuple


class Advice(NamedTuple):
    """What the reader of an error needs besides its message.

    `whose` is "caller", "nobody" (it passes), "operator", "participant", "us" (a bug) or "business"
    (a participant said no, as it may); `todo` and `when` are sentences, `todo` short enough for a
    terminal's line; `example` is a message as it is said; `raises` is the class of `trypact.errors`
    that a service of the Python SDK meets, "" for what no call of it raises.
    """

    whose: str
    todo: str
    when: str
    example: str
    raises: str = ""


_REPORT = "Report it with the output of `trypact tx show XID -o json`."
_CHECK_ACTION = "`trypact participant list` shows every action and its kinds. Nothing was begun."
_ANOTHER_XID = "Use a new xid, or send exactly what was sent first; see `trypact tx show XID`."
_NEVER_CHANGES = "A decision never changes: see `trypact tx explain XID`, or begin a new one."
_ASK_AGAIN = "Ask again in a moment with the same xid; the SDK does so by itself."

# Reason -> advice.
ADVICE = {
    "INVALID_ARGUMENT": Advice(
        "caller",
        "Correct what the message names, and try again.",
        "Every field of a request is looked at before anything happens. The status carries a "
        "google.rpc.BadRequest with the field; the message says what is wrong with it and what is "
        "allowed. Nothing has happened.",
        "branches.after: goes in a circle: ship -> ship",
        "InvalidRequest",
    ),
    "LIMIT_EXCEEDED": Advice(
        "caller",
        "Send less; the reference has a page of all limits.",
        "Everything a caller can send has a bound, and this was beyond it: a payload, the number "
        "of branches, the length of a name. The message names the field and its limit. What is "
        "larger belongs in a store of your own, with its key in the payload. Nothing has happened.",
        "branches[0].payload: is 262145 bytes long; allowed: at most 262144",
        "LimitExceeded",
    ),
    "UNKNOWN_PARTICIPANT": Advice(
        "caller",
        "Check the spelling with `trypact participant list`; start the participant. Nothing was "
        "begun.",
        "The half of an action before its dot names a participant that has never registered with "
        "this coordinator. The coordinator calls nobody it does not know, so it refuses the "
        "transaction before it begins. A participant that has registered once stays known when "
        "it stops.",
        "branch 'reserve': no participant 'inventry' is registered (is 'inventory' meant?); "
        "registered: inventory",
        "UnknownParticipant",
    ),
    "UNKNOWN_ACTION": Advice(
        "caller",
        _CHECK_ACTION,
        "The participant is known, but not for what stands after the dot. Either it is misspelt, "
        "or the participant that runs is of a version that does not have it yet.",
        "branch 'reserve': participant 'inventory' has no action 'reserv' (is 'reserve' meant?); "
        "it has: reserve, tell",
        "UnknownAction",
    ),
    "KIND_NOT_SERVED": Advice(
        "caller",
        _CHECK_ACTION,
        "An action serves the kinds it was declared with: `@participant.tcc` has a Try, a Confirm "
        "and a Cancel, `@participant.message` only a Deliver. The branch asks for another kind.",
        "branch 'notify': inventory.reserve serves no message branches; it serves: saga, tcc",
        "KindNotServed",
    ),
    "UNKNOWN_TRANSACTION": Advice(
        "caller",
        "Look for it with `trypact tx list`; outcomes are kept for some days. A program that acts "
        "on its absence asks GetDecision with `settle`.",
        "No transaction of that xid is in the journal. That is not a Cancel: the request that "
        "begins it may still be on its way. Settling makes sure, by a durable CANCELLED for the "
        "xid, before it answers.",
        "no transaction order-17 is known",
        "UnknownTransaction",
    ),
    "UNKNOWN_BRANCH": Advice(
        "caller",
        "`trypact tx show XID` lists the branches.",
        "The transaction is known, and none of its branches has that id. Ids are compared as they "
        "are, case included.",
        "transaction order-17 has no branch 'reserv'",
        "UnknownBranch",
    ),
    "XID_CONFLICT": Advice(
        "caller",
        _ANOTHER_XID,
        "A transaction is what was sent first under its xid: its name, branches, payloads and "
        "order, or being interactive. The same xid came with something else. Answering with the "
        "first outcome would look like success for the second, so this is refused. Most often two "
        "different pieces of business were given the same id. The message names the first thing "
        "that differs.",
        "transaction order-17 exists with other content: branch 'reserve' had another payload",
        "XidConflict",
    ),
    "XID_IN_USE": Advice(
        "caller",
        "Let the process that owns it finish, or use a new xid.",
        "An interactive transaction belongs to the process that began it, which is told by the "
        "nonce of its Begin. Another process began one with the same xid: were it let in, two "
        "programs would add branches without knowing of each other.",
        "another process has begun transaction order-17",
        "XidInUse",
    ),
    "BRANCH_CONFLICT": Advice(
        "caller",
        "Use a new branch id, or send exactly what was sent first; `trypact tx show XID` lists "
        "the branches.",
        "A Try that is repeated with its branch id gets the answer it got first. This one came "
        "with another action or another payload under an id that is taken.",
        "This branch id already names a branch with other content.",
        "BranchConflict",
    ),
    "ALREADY_CONFIRMED": Advice(
        "caller",
        _NEVER_CHANGES,
        "The transaction was to be cancelled, or added to, and it is confirmed. Several may want "
        "to decide at once (the last OK, the deadline, an operator), and the first one does. What "
        "must not stand after all is undone by another transaction. A fence refuses the Cancel of "
        "a branch that is confirmed with the same word.",
        "The decision is Confirm, and a decision never changes.",
        "AlreadyConfirmed",
    ),
    "ALREADY_CANCELLED": Advice(
        "caller",
        _NEVER_CHANGES,
        "The transaction was to be confirmed, or added to, and it is cancelled: by a refusal, by "
        "its deadline, by an operator, or before it was begun, because somebody asked for its "
        "decision with `settle`. Whatever was reserved is given back. A fence refuses a late Try "
        "or the Confirm of a branch that is cancelled with the same word.",
        "transaction order-17 was cancelled before it was begun",
        "AlreadyCancelled",
    ),
    "NOT_DECIDED": Advice(
        "caller",
        "Decide first (`trypact tx cancel XID --reason ...`), or wait for the deadline.",
        "A branch can be marked as settled by hand only after the decision, because only then is "
        "it known what its participant would have been asked for.",
        "The transaction is not decided yet, and this is only possible after the decision.",
        "NotDecided",
    ),
    "TRANSACTION_FROZEN": Advice(
        "us",
        f"Nothing more happens to it by itself. {_REPORT}",
        "Something that must always hold did not hold for this transaction. Rather than guess, "
        "the coordinator stopped touching it; all others go on. The message names what did not "
        "hold.",
        "transaction order-17 is frozen: Confirm was decided before every Try was OK",
        "TransactionFrozen",
    ),
    "TRY_UNSETTLED": Advice(
        "caller",
        "Wait until every Try is OK, or cancel it: `trypact tx cancel XID --reason ...`.",
        "Confirm promises that every reservation is there, so it needs an OK from every Try, "
        "durable. One was not asked yet, has not answered, or its answer was lost and it is asked "
        "again. A block says it too of a call that took the transaction along: it had no answer, "
        "or one that does not tell what it did, or `answered` was not told.",
        "A Try of this transaction has no OK yet, so it cannot be confirmed.",
        "TryUnsettled",
    ),
    "UNKNOWN_TOPIC": Advice(
        "caller",
        "Check the spelling with `trypact participant list`; start a participant that subscribes. "
        "Nothing was begun.",
        "A message was sent to a topic to which no participant has ever subscribed, or all have "
        "registered without it since. A message has to arrive, so it is not taken for nobody.",
        "branch 'paid': nobody has subscribed to 'order.payed'",
        "UnknownTopic",
    ),
    "PIVOT_SENT": Advice(
        "caller",
        "Wait for the pivot's answer: `trypact tx explain XID` says who is asked. Neither the "
        "deadline nor an operator decides before.",
        "A pivot is the saga step that cannot be compensated, so its answer is the decision. It "
        "was sent and may have happened; whoever cancelled now would cancel what is done.",
        "The pivot was sent, so nothing but its answer decides this transaction any more.",
        "PivotSent",
    ),
    "BRANCH_SETTLED": Advice(
        "caller",
        "Nothing is left to do for this branch; see `trypact tx show XID`.",
        "The branch was to be skipped, and it is settled already: its participant answered "
        "meanwhile, or somebody skipped it before.",
        "The branch is settled already.",
        "BranchSettled",
    ),
    "PARTICIPANT_UNAVAILABLE": Advice(
        "nobody",
        "Start the participant, or wait until `trypact participant list` shows it live. Nothing "
        "was begun.",
        "The participant is known, and none of its instances has renewed its registration in "
        "time, or all of them have signed off. A transaction begun now would only wait for its "
        "deadline, so it is refused at once. Those that were begun go on.",
        "branch 'reserve': no instance of 'inventory' has renewed within 15000 ms",
        "ParticipantUnavailable",
    ),
    "OVERLOADED": Advice(
        "nobody",
        _ASK_AGAIN,
        "New transactions are turned away while the coordinator's own queues wait too long, or "
        "while one that they name is far behind. The status carries a google.rpc.RetryInfo with "
        "the delay. What was begun before is never turned away.",
        "More comes than this coordinator can do. Nothing was begun; ask again a little later.",
        "Overloaded",
    ),
    "STARTING": Advice(
        "nobody",
        _ASK_AGAIN,
        "The coordinator listens before it has read what its journal holds, so that it can say "
        "so. It takes no work until then.",
        "This coordinator is starting and takes no work yet. Ask again in a moment.",
        "Starting",
    ),
    "SHUTTING_DOWN": Advice(
        "nobody",
        _ASK_AGAIN,
        "The coordinator was asked to stop. It writes down what it has and answers nobody else; "
        "the next one on its journal goes on with every transaction.",
        "This coordinator is stopping and takes no new work. Ask again, or ask another one.",
        "ShuttingDown",
    ),
    "JOURNAL_UNAVAILABLE": Advice(
        "operator",
        "See that its database or folder is there, answers and can be written.",
        "Nothing leaves the coordinator before it is in the journal, and the journal cannot be "
        "read or written. Whether the record of this request was written may be unknown: only "
        "asking again with the same xid tells.",
        "the journal postgresql://trypact@db/journal cannot be reached: connection refused",
        "JournalUnavailable",
    ),
    "JOURNAL_LOCKED": Advice(
        "operator",
        "Stop the other coordinator, or give this one a journal of its own.",
        "A journal belongs to one coordinator at a time, which holds a lock of its database. "
        "Another one holds it. Two on one journal would send everything twice.",
        "the journal trypact.db is owned by another coordinator (host-1 pid 4711). Stop it first, "
        "or use another journal.",
        "JournalLocked",
    ),
    "SCHEMA_MISMATCH": Advice(
        "operator",
        "Run `trypact journal migrate` if it is older, or a newer trypact if not.",
        "The journal's tables are of another version than this trypact reads. `trypact serve` "
        "changes no tables by itself, so that a new version cannot shut out the old one by "
        "accident.",
        "the journal trypact.db has schema version 1, and this trypact needs version 2. Run "
        "`trypact journal migrate`.",
        "SchemaMismatch",
    ),
    "NOT_A_JOURNAL": Advice(
        "operator",
        "Name another file or database with --journal.",
        "The file or database that was named as the journal holds tables of something else. "
        "Nothing was written into it.",
        "shop.db holds tables that are no journal's. Give the journal a database of its own.",
    ),
    "OWNERSHIP_LOST": Advice(
        "operator",
        "Find out who started the other coordinator; it goes on with the transactions.",
        "Each start on a journal raises its epoch, and a write under an older one is refused. A "
        "newer coordinator has taken the journal, or the journal went back in time (restored, or "
        "failed over to an older copy). This coordinator stops, because what it knows is no "
        "longer true.",
        "host-2 owns this journal now, under epoch 8 (ours was 7); this coordinator stops",
        "OwnershipLost",
    ),
    "BAD_SETTING": Advice(
        "operator",
        "Correct it; `trypact serve --help` lists every setting.",
        "A flag, an environment variable or a key of the configuration file has a value that "
        "cannot be used. The message names the key and where it was set.",
        "deadline (TRYPACT_DEADLINE): '5' is not a duration",
    ),
    "CANNOT_LISTEN": Advice(
        "operator",
        "Choose another address (--listen, --http-listen), or stop what uses it.",
        "The address is written wrongly, is of no interface of this machine, or is taken.",
        "127.0.0.1:7000 cannot be listened on: Address already in use.",
    ),
    "NOT_LOOPBACK": Advice(
        "operator",
        "Use 127.0.0.1:PORT for it (--http-listen if it says so, else --listen), or --insecure in "
        "a network you trust.",
        "Whoever reaches the coordinator may begin and cancel transactions, and there are no TLS "
        "and no tokens yet. So it serves only its own machine, unless it is told that the "
        "network itself keeps others out.",
        "0.0.0.0:7000 can be reached from other machines, and there are no TLS and no tokens yet",
    ),
    "UNREADABLE_ROW": Advice(
        "operator",
        "Keep a copy of the journal, run `trypact journal verify`, and report it.",
        "A row of the journal is damaged, or was written by a newer trypact. Only that "
        "transaction is held up.",
        "the row of transaction order-17 is damaged: Input data was truncated",
        "UnreadableRow",
    ),
    "RECORD_REJECTED": Advice(
        "us",
        "Report it with the coordinator's log, which names the record and says why.",
        "The database refuses what the coordinator wants to write, for a reason that asking again "
        "cannot change: a constraint, a value it does not store. Nothing of it was written.",
        "The journal's database refuses this record for good. Nothing of it was written.",
        "RecordRejected",
    ),
    "INVARIANT_VIOLATED": Advice(
        "us",
        f"The transaction is frozen and safe. {_REPORT}",
        "A step of the coordinator found that something which must always hold does not. It wrote "
        "nothing of that step but the freeze, and the others go on.",
        "Confirm was decided before every Try was OK",
        "InvariantViolated",
    ),
    "INTERNAL": Advice(
        "us",
        "If a participant said it, read the participant's log; else report it with the "
        "coordinator's log.",
        "As the last error of a branch, it is the gRPC status that the branch's participant "
        "answered with, most often `INTERNAL: HANDLER_FAILED: ...`, and its log says why. From the "
        "coordinator, it is an exception that nobody foresaw. The message has a reference, and so "
        "has the coordinator's log, with all there is to know. The outcome of what was asked is "
        "unknown: ask again with the same xid.",
        "The coordinator failed unexpectedly; its log says more under 5f2c9a10.",
        "CoordinatorFault",
    ),
}


def todo(reason: str) -> str:
    """Say what to do about a reason; one of a newer coordinator gets what is always true."""
    known = ADVICE.get(reason)
    return known.todo if known else "See the coordinator's log."
