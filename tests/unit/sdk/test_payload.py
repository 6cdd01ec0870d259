"""Payloads: values there and back, and a clear word for what cannot be."""

import contextlib
import dataclasses
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trypact.errors import PayloadError
from trypact.payload import decode, encode


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclasses.dataclass(frozen=True)
class Line:
    sku: str
    quantity: int = 1


@dataclasses.dataclass(frozen=True)
class Order:
    id: UUID
    lines: list[Line]
    total: Decimal
    placed: datetime
    due: date | None = None
    size: Size = Size.SMALL
    how: Literal["card", "cash"] = "card"
    notes: dict[str, str] = dataclasses.field(default_factory=dict)
    pair: tuple[int, str] = (1, "a")
    many: tuple[float, ...] = ()
    gift: bool = False
    anything: Any = None


@dataclasses.dataclass(frozen=True)
class Tree:
    value: int
    children: list["Tree"] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Positive:
    amount: int

    def __post_init__(self) -> None:
        if self.amount <= 0:
            raise ValueError(f"amount: {self.amount} is not positive")


ORDER = Order(
    id=UUID(int=7),
    lines=[Line("a", 2), Line("b")],
    total=Decimal("12.30"),
    placed=datetime(2026, 11, 20, 12, 0, tzinfo=UTC),
    due=date(2026, 12, 1),
    size=Size.LARGE,
    how="cash",
    notes={"é": "ü"},
    pair=(2, "b"),
    many=(1.0, 2.5),
    gift=True,
    anything=[1, {"x": None}],
)


def test_a_dataclass_comes_back_as_it_was() -> None:
    assert decode(encode(ORDER), Order) == ORDER


def test_a_dataclass_may_contain_itself() -> None:
    tree = Tree(1, [Tree(2), Tree(3, [Tree(4)])])

    assert decode(encode(tree), Tree) == tree


def test_defaults_fill_what_is_left_out() -> None:
    assert decode(b'{"sku":"a"}', Line) == Line("a", 1)


def test_equal_values_are_equal_bytes() -> None:
    assert encode({"b": 1, "a": [1.5, None, True]}) == b'{"a":[1.5,null,true],"b":1}'
    assert encode({"b": 1, "a": 2}) == encode({"a": 2, "b": 1})


def test_bytes_and_nothing_travel_as_they_are() -> None:
    assert (encode(b"\x00\xff"), encode(None)) == (b"\x00\xff", b"")
    assert decode(b"\x00\xff", bytes) == b"\x00\xff"
    assert decode(b"", dict) == {}
    assert decode(b"", Any) is None
    assert decode(b"", int | None) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(json_values)
def test_what_json_can_say_comes_back(value: Any) -> None:
    assert decode(encode({"v": value}), dict) == {"v": value}


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused_by_name(data: bytes) -> None:
    for wanted in (Order, Line, dict, int, list[int]):
        with contextlib.suppress(PayloadError):
            decode(data, wanted)


@pytest.mark.parametrize(
    ("data", "wanted", "field", "why"),
    [
        (b"{", Line, "", "is not JSON"),
        (b"[1]", Line, "", "is an array, not an object of quantity, sku"),
        (b"{}", Line, "sku", "is missing"),
        (b'{"sku":1}', Line, "sku", "is an integer, not a string"),
        (b'{"sku":null}', Line, "sku", "is null, not a string"),
        (b'{"sku":"a","quantity":true}', Line, "quantity", "is a boolean, not an integer"),
        (b'{"sku":"a","quantity":1.0}', Line, "quantity", "is a number, not an integer"),
        (b'{"sku":"a","x":1}', Line, "x", "is no field of Line"),
        (b'[{"sku":"a"},{"sku":2}]', list[Line], "[1].sku", "is an integer, not a string"),
        (b'{"value":1,"children":[{}]}', Tree, "children[0].value", "is missing"),
        (b'{"a":{"sku":[]}}', dict[str, Line], "a.sku", "is an array, not a string"),
        (b'"x"', Size, "", "is none of 's', 'l'"),
        (b'"x"', Literal["a", "b"], "", "is none of 'a', 'b'"),
        (b"true", Literal[1], "", "is none of 1"),
        (b"[1]", tuple[int, int], "", "is an array, not an array of 2"),
        (b'"x"', Decimal, "", "is no decimal number"),
        (b"1.5", Decimal, "", "is a number, not a decimal number in a string"),
        (b'"x"', UUID, "", "is no UUID"),
        (b'"x"', datetime, "", "is no date and time"),
        (b'"x"', date, "", "is no date"),
        (b'"x"', int | None, "", "is a string, not an integer"),
        (b"[]", int | str, "", "is an array, not an integer; or is an array, not a string"),
        (b'{"amount":-1}', Positive, "", "amount: -1 is not positive"),
        (b"NaN", float, "", "is not JSON"),
        (b"1" + b"0" * 400, float, "", "is too large for a number"),
        (b"1" * 5000, int, "", "is not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, dict, "", "is not JSON"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(
    data: bytes, wanted: Any, field: str, why: str
) -> None:
    with pytest.raises(PayloadError) as caught:
        decode(data, wanted)

    assert caught.value.field == field
    assert caught.value.why.startswith(why)


def test_an_integer_will_do_where_a_number_is_wanted() -> None:
    assert decode(b"2", float) == 2.0


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "field", "why"),
    [
        ({"when": object()}, "when", "is object, which has no form in JSON"),
        ({"lines": [Line("a"), {1, 2}]}, "lines[1]", "is set, which has no form in JSON"),
        ({"rate": float("nan")}, "rate", "is nan, which JSON cannot carry"),
        ({1: "a"}, "", "has the key 1, and JSON's keys are strings"),
        (Line, "", "is type, which has no form in JSON"),
        ({"a": b"x"}, "a", "is bytes, which has no form in JSON"),
    ],
)
def test_what_cannot_be_written_is_named_by_its_field(value: Any, field: str, why: str) -> None:
    with pytest.raises(PayloadError) as caught:
        encode(value)

    assert (caught.value.field, caught.value.why) == (field, why)


def test_what_is_nested_too_deeply_is_refused() -> None:
    encode(deep(64))
    with pytest.raises(PayloadError, match="nested deeper than 64 levels"):
        encode(deep(65))


def test_a_type_that_json_does_not_have_is_the_programmers_mistake() -> None:
    with pytest.raises(TypeError, match="cannot be read from JSON"):
        decode(b"1", set)
