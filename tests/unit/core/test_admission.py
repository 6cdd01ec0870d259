"""The door: every limit at its exact edge, every refusal naming its field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from trypact_coordinator.core import limits
from trypact_coordinator.core.admission import (
    check_branches,
    check_participant,
    check_size,
    check_spec,
    check_xid,
    fingerprint,
)
from trypact_coordinator.core.errors import InvalidArgument, LimitExceeded
from trypact_coordinator.core.transaction import BranchSpec, Kind, On, Spec

SPEC = Spec(xid="x", name="order.submit", timeout_ms=1000, fingerprint=b"")
STOCK = BranchSpec(id="stock", kind=Kind.TCC, action="inventory.reserve")


def refused(error: type[InvalidArgument], field: str, check, *args) -> None:
    with pytest.raises(error) as caught:
        check(*args)
    assert type(caught.value) is error
    assert caught.value.field == field


@pytest.mark.parametrize(
    "xid", ["", " ", "a b", "a\nb", "a\x00b", "naïve", "a\u200bb", "\t", "a\x7f"], ids=repr
)
def test_an_xid_is_visible_ascii(xid: str):
    refused(InvalidArgument, "xid", check_xid, xid)


def test_quotes_and_prefixes_are_fine_in_an_xid():
    for xid in ("'", '"', "';--", "order:1", "order:10", "%s", "{}", "../.."):
        check_xid(xid)


def test_an_xid_at_its_limit_and_one_byte_over():
    check_xid("x" * limits.XID_BYTES_MAX)
    refused(LimitExceeded, "xid", check_xid, "x" * (limits.XID_BYTES_MAX + 1))
    refused(LimitExceeded, "xid", check_xid, "x" * 4096)


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("name", limits.NAME_BYTES_MAX),
        ("trace_parent", limits.TRACE_PARENT_BYTES_MAX),
        ("nonce", limits.NONCE_BYTES_MAX),
    ],
)
def test_a_text_at_its_limit_and_one_byte_over(field: str, most: int):
    check_spec(replace(SPEC, **{field: "x" * most}))
    refused(LimitExceeded, field, check_spec, replace(SPEC, **{field: "x" * (most + 1)}))
    # Sizes are bytes, not characters.
    refused(LimitExceeded, field, check_spec, replace(SPEC, **{field: "ü" * (most // 2 + 1)}))


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m"], ids=repr)
def test_a_name_can_be_printed(name: str):
    refused(InvalidArgument, "name", check_spec, replace(SPEC, name=name))


def test_a_timeout_at_its_limits_and_beyond():
    for timeout_ms in (limits.TIMEOUT_MS_MIN, limits.TIMEOUT_MS_MAX):
        check_spec(replace(SPEC, timeout_ms=timeout_ms))
    for timeout_ms in (-1, 0, limits.TIMEOUT_MS_MAX + 1):
        refused(InvalidArgument, "timeout_ms", check_spec, replace(SPEC, timeout_ms=timeout_ms))


def test_labels_at_their_limits_and_beyond():
    full = tuple((f"k{n}", "v") for n in range(limits.LABELS_MAX))
    check_spec(replace(SPEC, labels=full))
    refused(LimitExceeded, "labels", check_spec, replace(SPEC, labels=(*full, ("k", "v"))))
    key, value = "k" * limits.LABEL_KEY_BYTES_MAX, "v" * limits.LABEL_VALUE_BYTES_MAX
    check_spec(replace(SPEC, labels=((key, value),)))
    refused(LimitExceeded, "labels", check_spec, replace(SPEC, labels=((key + "k", value),)))
    refused(LimitExceeded, "labels[k]", check_spec, replace(SPEC, labels=(("k", value + "v"),)))
    refused(InvalidArgument, "labels", check_spec, replace(SPEC, labels=(("a b", "v"),)))


def many(count: int, start: int = 0) -> tuple[BranchSpec, ...]:
    return tuple(replace(STOCK, id=f"b{n}") for n in range(start, start + count))


def test_the_number_of_branches_at_its_limit_and_one_over():
    check_branches(many(limits.BRANCHES_MAX))
    refused(LimitExceeded, "branches", check_branches, many(limits.BRANCHES_MAX + 1))
    check_branches(many(1, limits.BRANCHES_MAX - 1), many(limits.BRANCHES_MAX - 1))
    refused(LimitExceeded, "branches", check_branches, many(1, 999), many(limits.BRANCHES_MAX))


def test_a_branch_id_at_its_limit_and_one_byte_over():
    check_branches([replace(STOCK, id="b" * limits.BRANCH_ID_BYTES_MAX)])
    over = replace(STOCK, id="b" * (limits.BRANCH_ID_BYTES_MAX + 1))
    refused(LimitExceeded, "branches[0].id", check_branches, [over])
    refused(InvalidArgument, "branches[1].id", check_branches, [STOCK, replace(STOCK, id="")])
    refused(InvalidArgument, "branches[1].id", check_branches, [STOCK, STOCK])
    refused(InvalidArgument, "branches[0].id", check_branches, [STOCK], [STOCK])


def test_a_payload_at_its_limit_and_one_byte_over():
    check_branches([replace(STOCK, payload=bytes(limits.PAYLOAD_BYTES_MAX))])
    over = replace(STOCK, payload=bytes(limits.PAYLOAD_BYTES_MAX + 1))
    refused(LimitExceeded, "branches[0].payload", check_branches, [over])


def test_all_payloads_together_at_their_limit_and_one_byte_over():
    count = limits.TRANSACTION_BYTES_MAX // limits.PAYLOAD_BYTES_MAX
    full = [replace(b, payload=bytes(limits.PAYLOAD_BYTES_MAX)) for b in many(count)]
    check_branches(full)
    refused(
        LimitExceeded, "branches.payload", check_branches, [*full, replace(STOCK, payload=b"1")]
    )
    refused(LimitExceeded, "branches.payload", check_branches, [replace(STOCK, payload=b"1")], full)


def test_an_action_at_its_limit_and_one_byte_over():
    half = "a" * limits.ACTION_HALF_BYTES_MAX
    check_branches([replace(STOCK, action=f"{half}.{half}")])
    over = replace(STOCK, action=f"{half}.{half}a")
    refused(LimitExceeded, "branches[0].action", check_branches, [over])


@pytest.mark.parametrize(
    "action", ["", "a", "a.", ".b", "a.b.c", "A.b", "a.B", "1a.b", "a-b.c", "a.b\n", "ä.b", "a. b"]
)
def test_an_action_is_participant_dot_verb(action: str):
    refused(InvalidArgument, "branches[0].action", check_branches, [replace(STOCK, action=action)])


def test_a_delay_at_its_limits_and_beyond():
    notice = replace(STOCK, kind=Kind.NOTICE)
    check_branches([replace(notice, delay_ms=limits.DELAY_MS_MAX)])
    for delay_ms in (-1, limits.DELAY_MS_MAX + 1):
        over = replace(notice, delay_ms=delay_ms)
        refused(InvalidArgument, "branches[0].delay_ms", check_branches, [over])


@pytest.mark.parametrize("kind", [Kind.TCC, Kind.SAGA])
def test_on_and_delay_are_for_deliveries(kind: Kind):
    on_cancel = replace(STOCK, kind=kind, on=On.CANCEL)
    refused(InvalidArgument, "branches[0].on", check_branches, [on_cancel])
    delayed = replace(STOCK, kind=kind, delay_ms=1)
    refused(InvalidArgument, "branches[0].delay_ms", check_branches, [delayed])


def test_after_names_branches_that_exist_once_and_come_before():
    notice = replace(STOCK, id="sms", kind=Kind.NOTICE)
    for after in (("nobody",), ("stock", "stock"), ("sms",), ("money",)):
        money = replace(STOCK, id="money", after=after)
        with pytest.raises(InvalidArgument) as caught:
            check_branches([money], [STOCK, notice])
        assert caught.value.field in ("branches[0].after", "branches.after")
    check_branches([replace(notice, id="mail", after=("sms", "stock"))], [STOCK, notice])


def test_a_participant_name_is_a_lower_case_word_within_its_limit():
    check_participant("a" * limits.ACTION_HALF_BYTES_MAX)
    refused(
        LimitExceeded, "participant", check_participant, "a" * (limits.ACTION_HALF_BYTES_MAX + 1)
    )
    for name in ("", "A", "a.b", "a b", "1"):
        refused(InvalidArgument, "participant", check_participant, name)


def test_free_text_may_be_anything_within_its_limit():
    check_size("reason", "FAILURE\n ONGOING ' \"", limits.REASON_BYTES_MAX)
    refused(LimitExceeded, "reason", check_size, "reason", "ü" * 513, limits.REASON_BYTES_MAX)


ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=4)
specs = st.builds(
    BranchSpec,
    id=ids,
    kind=st.sampled_from(Kind),
    action=st.sampled_from(["a.b", "a.bb", "aa.b"]),
    payload=st.binary(max_size=6),
    after=st.lists(ids, max_size=3).map(tuple),
    on=st.sampled_from(On),
    delay_ms=st.integers(0, 300),
)
contents = st.tuples(st.text(max_size=4), st.integers(1, 300), st.lists(specs, max_size=3))


@given(contents, contents)
def test_two_contents_have_the_same_fingerprint_only_if_they_are_equal(one, other):
    assert (fingerprint(*one) == fingerprint(*other)) == (one == other)


@given(st.binary(min_size=1, max_size=12), st.data())
def test_bytes_that_move_across_a_border_change_the_fingerprint(blob: bytes, data: st.DataObject):
    """Without lengths, `ab` + `c` and `a` + `bc` would be one content."""
    cuts = [data.draw(st.integers(0, len(blob))) for _ in range(2)]
    one, other = (
        fingerprint(
            "n", 1, [replace(STOCK, payload=blob[:cut]), replace(STOCK, payload=blob[cut:])]
        )
        for cut in cuts
    )
    assert (one == other) == (cuts[0] == cuts[1])


def test_labels_and_trace_are_not_in_the_fingerprint():
    assert fingerprint("n", 1, [STOCK]) == fingerprint("n", 1, [replace(STOCK)])
    assert len(fingerprint("n", 1, [])) == 16
