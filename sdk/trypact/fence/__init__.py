"""Fences: what makes a participant's calls idempotent, whatever order they arrive in.

A fence keeps one row for each branch in the participant's own database, written in the same local
transaction as the business rows: duplicates get the first answer, a Cancel without a Try
succeeds, and a Try after its Cancel is refused for ever.

`SqlAlchemyFence` and `sqlite_engine` need the extra `trypact[sqlalchemy]`; they are imported when
they are first asked for, so that `import trypact` stays light.
"""

from typing import TYPE_CHECKING, Any

from trypact.fence.contract import AsyncFence, Fence
from trypact.fence.rules import Status

if TYPE_CHECKING:
    from trypact.fence.sql import SqlAlchemyFence
    from trypact.fence.sqlite import sqlite_engine
    from trypact.fence.statements import fence_table

__all__ = ["AsyncFence", "Fence", "SqlAlchemyFence", "Status", "fence_table", "sqlite_engine"]

_LAZY = {
    "SqlAlchemyFence": "trypact.fence.sql",
    "fence_table": "trypact.fence.statements",
    "sqlite_engine": "trypact.fence.sqlite",
}


def __getattr__(name: str) -> Any:
    """Import what needs SQLAlchemy when it is first asked for."""
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name)
