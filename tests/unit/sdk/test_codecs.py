"""Models of other libraries as payloads: there and back, and what is wrong by its path."""

import contextlib
import dataclasses
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pydantic
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import BytesValue, DoubleValue, Int32Value, StringValue
from hypothesis import given
from hypothesis import strategies as st
from trypact.errors import PayloadError
from trypact.payload import decode, encode
from trypact.v1 import transaction_pb2

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
moments = st.datetimes(timezones=st.just(UTC))


class StructLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sku: str
    quantity: Annotated[int, msgspec.Meta(ge=1)] = 1


class StructOrder(msgspec.Struct, frozen=True, rename="camel"):
    order_id: UUID
    lines: list[StructLine]
    total: Decimal
    placed: datetime
    notes: dict[str, bytes] = {}


class ModelLine(pydantic.BaseModel):
    sku: str
    quantity: int = pydantic.Field(default=1, ge=1)


class ModelOrder(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    order_id: UUID = pydantic.Field(alias="orderId")
    lines: list[ModelLine]
    total: Decimal
    placed: datetime
    price: float = 0.0
    pair: tuple[int, str] = (1, "a")

    @pydantic.computed_field
    def size(self) -> int:
        return len(self.lines)


class StructTags(msgspec.Struct):
    tags: set[str]


class ModelTags(pydantic.BaseModel):
    tags: frozenset[str]
    pages: dict[str, list[set[int]]] = {}


@dataclasses.dataclass
class Parcel:
    struct: StructLine
    model: ModelLine
    message: transaction_pb2.Branch
    more: list[StructLine | ModelLine] = dataclasses.field(default_factory=list)


@given(
    st.builds(
        StructOrder,
        lines=st.lists(st.builds(StructLine, sku=texts, quantity=st.integers(1, 2**63 - 1))),
        total=decimals,
        placed=moments,
        notes=st.dictionaries(texts, st.binary()),
    )
)
def test_a_struct_comes_back_as_it_was(order: StructOrder) -> None:
    assert decode(encode(order), StructOrder) == order


@given(
    st.builds(
        ModelOrder,
        orderId=st.uuids(),
        lines=st.lists(st.builds(ModelLine, sku=texts, quantity=st.integers(1))),
        total=decimals,
        placed=moments,
        price=st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_a_pydantic_model_comes_back_as_it_was(order: ModelOrder) -> None:
    assert decode(encode(order), ModelOrder) == order


branches = st.builds(
    transaction_pb2.Branch,
    id=texts,
    kind=st.sampled_from(transaction_pb2.BranchKind.values()),
    payload=st.binary(),
    after=st.lists(texts),
    delay_ms=st.integers(-(2**63), 2**63 - 1),
)


@given(branches)
def test_a_message_comes_back_as_it_was(branch: transaction_pb2.Branch) -> None:
    assert decode(encode(branch), transaction_pb2.Branch) == branch


models = [StructOrder, ModelOrder, transaction_pb2.TransactionOutcome]
# Those of protobuf's own whose JSON is not an object of their fields.
specials = [Int32Value, StringValue, BytesValue, DoubleValue, AnyMessage, Struct, ListValue, Value]


@given(st.sampled_from([*models, *specials]), st.data())
def test_whatever_json_says_is_read_or_refused_by_name(model: Any, data: st.DataObject) -> None:
    names = st.sampled_from(
        ["lines", "orderId", "total", "branches", "xid", "id", "state", "@type"]
    )
    value = data.draw(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner),
            max_leaves=8,
        )
    )
    with contextlib.suppress(PayloadError):
        assert isinstance(decode(json.dumps(value).encode(), model), model)


def test_models_nest_in_a_dataclass_and_in_one_another() -> None:
    parcel = Parcel(
        StructLine("a"),
        ModelLine(sku="b", quantity=2),
        transaction_pb2.Branch(id="c", after=["d"]),
        [StructLine("e", 3)],
    )

    assert decode(encode(parcel), Parcel) == parcel
    assert decode(encode([parcel.struct]), list[StructLine]) == [parcel.struct]
    assert decode(encode({"x": parcel.message}), dict[str, transaction_pb2.Branch]) == {
        "x": parcel.message
    }


def test_a_message_is_json_with_the_names_of_its_proto_file() -> None:
    branch = transaction_pb2.Branch(id="stock", delay_ms=5, after=["a"])

    assert encode(branch) == b'{"after":["a"],"delay_ms":"5","id":"stock"}'
    assert decode(b'{"delayMs": 5}', transaction_pb2.Branch).delay_ms == 5


def test_a_message_whose_json_is_a_string_is_read_from_one() -> None:
    moment = Timestamp(seconds=5)

    assert encode(moment) == b'"1970-01-01T00:00:05Z"'
    assert decode(encode(moment), Timestamp) == moment


LINES = (
    b'{"orderId": "0190d1c2-0000-7000-8000-000000000000", "total": "1", '
    b'"placed": "2026-01-01T00:00:00Z", '
)


@pytest.mark.parametrize(
    ("data", "as_type", "field", "why"),
    [
        (LINES + b'"lines": [{"sku": 1}]}', StructOrder, "lines[0].sku", "got `int`"),
        (LINES + b'"lines": [{}]}', StructOrder, "lines[0]", "missing required field `sku`"),
        (b'{"struct": {}}', dict[str, StructLine], "struct", "missing required field `sku`"),
        (b'{"struct": {"sku": 1}}', dict[str, StructLine], "struct.sku", "Expected `str`"),
        (b"[]", StructLine, "", "Expected `object`, got `array`"),
        (LINES + b'"lines": [{"sku": 1}]}', ModelOrder, "lines[0].sku", "valid string"),
        (LINES + b'"lines": [], "size": 0}', ModelOrder, "size", "Extra inputs"),
        (b'[{"sku": "a", "quantity": 0}]', list[ModelLine], "[0].quantity", "greater than"),
        (b'{"nope": 1}', transaction_pb2.Branch, "nope", "is no field of Branch"),
        (b'{"id": 1}', transaction_pb2.Branch, "id", "expected string"),
        (b"3", transaction_pb2.Branch, "", "is no object of Branch's fields"),
        (
            b'{"branches": [{"id": "a"}, {"zip": 1}]}',
            transaction_pb2.TransactionOutcome,
            "branches[1].zip",
            "is no field of BranchOutcome",
        ),
        (
            b'{"branches": [{"kind": "X"}]}',
            transaction_pb2.TransactionOutcome,
            "branches[0].kind",
            "Invalid enum value X",
        ),
        (b'{"branches": 4}', transaction_pb2.TransactionOutcome, "branches", "must be in"),
        (b'{"m": {"id": []}}', dict[str, transaction_pb2.Branch], "m.id", ""),
        (b'"x"', Int32Value, "", "is no Int32Value"),
        (b"1e300", Int32Value, "", "is no Int32Value"),
        (b'{"m": 7}', dict[str, BytesValue], "m", "is no BytesValue"),
        (b'{"@type": 4}', AnyMessage, "", "is no Any"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_field(
    data: bytes, as_type: Any, field: str, why: str
) -> None:
    with pytest.raises(PayloadError) as caught:
        decode(data, as_type)

    assert caught.value.field == field
    assert why in caught.value.why


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"order": ModelOrder.model_construct(price=float("nan"), lines=[])}, "order.price"),
        ({"line": StructLine(object())}, "line"),  # type: ignore[arg-type]
        ([ModelLine.model_construct(sku=object())], "[0]"),
    ],
)
def test_a_model_that_cannot_be_written_is_named_by_its_field(value: Any, field: str) -> None:
    with pytest.raises(PayloadError) as caught:
        encode(value)

    assert caught.value.field == field


def test_equal_sets_are_equal_bytes_in_every_process() -> None:
    # Their own order depends on the process, or on what they once held.
    words = {f"tag {number}" for number in range(50)}
    in_order = json.dumps(sorted(words), separators=(",", ":"))

    assert encode(StructTags(words)) == f'{{"tags":{in_order}}}'.encode()
    for tags in (StructTags(words), ModelTags(tags=frozenset(words), pages={"a": [{300, 5}]})):
        assert in_order.encode() in encode(tags)
        assert decode(encode(tags), type(tags)) == tags
