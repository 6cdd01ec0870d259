"""Which SQL a handler may not run while its neighbours are not done yet."""

import pytest
from trypact.fence.connections import ending_in


@pytest.mark.parametrize(
    ("statement", "ending"),
    [
        ("COMMIT", "COMMIT"),
        (" ;\n\tcommit work", "COMMIT"),
        ("-- why\n/* and */ End;", "END"),
        ("ABORT", "ABORT"),
        ("begin immediate", "BEGIN"),
        ("START TRANSACTION READ ONLY", "START TRANSACTION"),
        ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION"),
        ("ROLLBACK", "ROLLBACK"),
        ("ROLLBACK AND CHAIN", "ROLLBACK"),
        ("UPDATE stock SET sold = 1; COMMIT", "COMMIT"),
        ("SELECT 'it''s; here'; /* ; */ ROLLBACK; SELECT 1", "ROLLBACK"),
        ("ROLLBACK TO SAVEPOINT mine; COMMIT", "COMMIT"),
    ],
)
def test_what_begins_or_ends_a_transaction_is_found(statement: str, ending: str) -> None:
    assert ending_in(statement) == ending


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "SELECT 1",
        "UPDATE notes SET text = '; COMMIT'",
        'SELECT "a; ROLLBACK" FROM t; SELECT 1',
        "DO $body$ BEGIN PERFORM 1; END $body$",
        "SELECT 1 -- ; COMMIT",
        "ROLLBACK TO mine",
        "rollback work to savepoint mine",
        "ROLLBACK TRANSACTION TO SAVEPOINT mine",
        "COMMITMENTS",
        "PREPARE plan AS SELECT 1",
    ],
)
def test_everything_else_is_left_alone(statement: str) -> None:
    assert ending_in(statement) is None
