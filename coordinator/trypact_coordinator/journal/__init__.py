"""Durable memory: transactions with their timelines, and the registry of participants.

One contract (`ports.Journal`), three keepers: memory, an SQLite file, a PostgreSQL database.
"""

from trypact_coordinator.journal.url import open_journal

__all__ = ["open_journal"]
