"""trypact: business transactions across services, where all of it happens or none of it does.

Initiators use `Client` (or `SyncClient`) with branches described by `tcc`, `saga`, `message` and
`notice`. Services that take part are a `Participant` with handlers and a fence. Importing this
imports neither SQLAlchemy nor the coordinator.

    >>> async with trypact.Client("127.0.0.1:7000") as client:
    ...     outcome = await client.execute("order", [tcc("inventory.reserve", {"pieces": 2})])
    >>> print(outcome.state)
    confirmed
"""

from trypact import context, errors, fence, interceptors
from trypact._handlers import many
from trypact.action import Action
from trypact.branches import Branch, message, notice, saga, tcc
from trypact.call import PENDING, Call, Reserved
from trypact.client import Client
from trypact.errors import (
    BranchRefused,
    CoordinatorUnavailable,
    NoTransaction,
    OutcomeUnknown,
    Overloaded,
    PayloadError,
    Refuse,
    RequestRefused,
    RetryLater,
    TransactionCancelled,
    TrypactError,
)
from trypact.ids import new_xid
from trypact.joining import joins
from trypact.kinds import BranchState, Decision, Kind, On, Operation, State
from trypact.outcome import BranchOutcome, Outcome, Reported, Standing
from trypact.outgoing import OutgoingCall
from trypact.participant import Participant
from trypact.sync_client import SyncClient
from trypact.sync_transaction import SyncJoinedTransaction, SyncTransaction
from trypact.transaction import JoinedTransaction, Transaction

__all__ = [
    "PENDING",
    "Action",
    "Branch",
    "BranchOutcome",
    "BranchRefused",
    "BranchState",
    "Call",
    "Client",
    "CoordinatorUnavailable",
    "Decision",
    "JoinedTransaction",
    "Kind",
    "NoTransaction",
    "On",
    "Operation",
    "Outcome",
    "OutcomeUnknown",
    "OutgoingCall",
    "Overloaded",
    "Participant",
    "PayloadError",
    "Refuse",
    "Reported",
    "RequestRefused",
    "Reserved",
    "RetryLater",
    "Standing",
    "State",
    "SyncClient",
    "SyncJoinedTransaction",
    "SyncTransaction",
    "Transaction",
    "TransactionCancelled",
    "TrypactError",
    "context",
    "errors",
    "fence",
    "interceptors",
    "joins",
    "many",
    "message",
    "new_xid",
    "notice",
    "saga",
    "tcc",
]
