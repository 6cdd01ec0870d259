"""What `import trypact` offers, and what it must not drag in."""

import subprocess
import sys

import trypact

NAMES = [
    "PENDING", "Action", "Branch", "BranchOutcome", "BranchRefused", "BranchState", "Call",
    "Client", "CoordinatorUnavailable", "Decision", "JoinedTransaction", "Kind", "NoTransaction",
    "On", "Operation", "Outcome", "OutcomeUnknown", "OutgoingCall", "Overloaded", "Participant",
    "PayloadError", "Refuse", "Reported", "RequestRefused", "Reserved", "RetryLater", "Standing",
    "State", "SyncClient", "SyncJoinedTransaction", "SyncTransaction", "Transaction",
    "TransactionCancelled", "TrypactError", "context", "errors", "fence", "interceptors", "joins",
    "many", "message", "new_xid", "notice", "saga", "tcc",
]  # fmt: skip
# Optional, the coordinator's, or a test's; a service pays for what it uses itself.
NOT_IMPORTED = {
    "alembic", "click", "msgspec", "nats", "opentelemetry", "psycopg", "pydantic", "pytest",
    "redis", "rich", "sqlalchemy", "starlette", "structlog", "trypact_coordinator", "uvicorn",
}  # fmt: skip
# One of them costs several milliseconds, of the 250 that an import may take.
NOT_IMPORTED_MODULES = {"google.protobuf.json_format", "trypact.otel", "trypact.testing"}
# Of 41 modules at the time of writing; room for a few more of the same size.
MODULES_MAX = 50


def test_the_exported_names_are_these_and_no_others() -> None:
    assert sorted(trypact.__all__) == sorted(NAMES)
    assert [name for name in NAMES if not hasattr(trypact, name)] == []


def test_every_exported_name_says_what_it_is() -> None:
    undocumented = [name for name in NAMES if not getattr(trypact, name).__doc__]

    assert undocumented == []


def modules_after(statements: str) -> set[str]:
    """The modules that a fresh interpreter has after these statements."""
    command = [sys.executable, "-c", f"import sys; {statements}; print(*sys.modules)"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def test_importing_trypact_imports_nothing_optional_and_little_of_its_own() -> None:
    modules = modules_after("import trypact")

    assert {name.partition(".")[0] for name in modules} & NOT_IMPORTED == set()
    assert modules & NOT_IMPORTED_MODULES == set()
    assert len([name for name in modules if name.startswith("trypact")]) <= MODULES_MAX


def test_a_fence_brings_its_library_when_it_is_asked_for() -> None:
    assert "sqlalchemy" in modules_after("import trypact; trypact.fence.SqlAlchemyFence")
