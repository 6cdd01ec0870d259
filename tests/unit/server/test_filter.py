"""The filter of ListTransactions."""

import pytest
from trypact_coordinator.core.errors import InvalidArgument, LimitExceeded
from trypact_coordinator.core.transaction import State
from trypact_coordinator.ports import Query
from trypact_coordinator.server.filter import FILTER_BYTES_MAX, parse_filter

NOW = 10_000_000_000


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", Query()),
        ("   ", Query()),
        ("state=TRYING", Query(state=State.TRYING)),
        ("state = confirmed", Query(state=State.CONFIRMED)),
        ('name="order.submit"', Query(name="order.submit")),
        ("name=order.submit", Query(name="order.submit")),
        (r'name="a \"quoted\" \\ name"', Query(name='a "quoted" \\ name')),
        ('label.order="17"', Query(label=("order", "17"))),
        ('label.order=""', Query(label=("order", ""))),
        ('label."a=b c"="d e"', Query(label=("a=b c", "d e"))),
        ("participant=inventory", Query(participant="inventory")),
        ("stuck=true AND paused=false", Query(stuck=True, paused=False)),
        ("unfinished=true", Query(unfinished=True)),
        ("older_than=1h", Query(created_before=NOW - 3_600_000_000)),
        (
            "newer_than=1m30s AND older_than=500ms",
            Query(created_after=NOW - 90_000_000, created_before=NOW - 500_000),
        ),
        ('name="x AND y"AND stuck=true', Query(name="x AND y", stuck=True)),
    ],
)
def test_a_filter_becomes_a_query(text: str, query: Query) -> None:
    assert parse_filter(text, NOW) == query


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("state", "ends within a term"),
        ("state=", "ends within a term"),
        ("state=TRYING AND", "ends within a term"),
        ('label."x"', "ends within a term"),
        ("state=DONE", "'DONE' is no state; allowed: TRYING, CONFIRMING"),
        ("color=red", "no key 'color'; allowed: state, name"),
        ("stuck=yes", "'yes' is neither true nor false"),
        ("older_than=3", "'3' is not a duration"),
        ("older_than=-3s", "'-3s' is not a duration"),
        ("name=", "ends within a term"),
        ('name=""', "name: is empty"),
        ("state=TRYING state=TRYING", "has 'state' where AND was expected"),
        ("state=TRYING OR stuck=true", "has 'OR' where AND was expected"),
        ("state=TRYING AND state=TRYING", "has state twice"),
        ("label.a=1 AND label.b=2", "has label twice"),
        ("NOT stuck=true", "has 'stuck' where = was expected"),
        ("state!=TRYING", "has '!=' where = was expected"),
        ("older_than>3s", "has '>' where = was expected"),
        ("(stuck=true)", "has '(' where a key was expected"),
        ('name="never closed', "where the value of name was expected"),
        ('"state"=TRYING', "where a key was expected"),
        ("name=" + "x" * 129, "is longer than 128 bytes"),
    ],
)
def test_what_is_no_filter_is_named(text: str, complaint: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse_filter(text, NOW)

    assert raised.value.field == "filter"
    assert complaint in str(raised.value)


def test_a_filter_over_its_limit_is_refused_before_it_is_read() -> None:
    fits = 'name="' + "x" * 100 + '"'
    parse_filter(fits + " " * (FILTER_BYTES_MAX - len(fits)), NOW)

    with pytest.raises(LimitExceeded):
        parse_filter(fits + " " * (FILTER_BYTES_MAX - len(fits) + 1), NOW)
