"""How a transaction that is carried from service to service names what is added to it."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from trypact import errors, tcc
from trypact._carried import CALL_ID_BYTES_MAX, Carried, arriving, carrying, here
from trypact.limits import BRANCH_ID_BYTES_MAX
from trypact.outgoing import OutgoingCall

RESERVE = "/shop.Inventory/Reserve"


def test_calls_and_branches_have_ids_of_their_own() -> None:
    carried = Carried("17")

    assert carried.named(tcc("stock.reserve")).id == "reserve"
    assert [carried.leaving(RESERVE) for _ in range(3)] == ["Reserve", "Reserve-2", "Reserve-3"]
    assert carried.leaving(RESERVE, "first") == carried.leaving(RESERVE, "first") == "first"
    assert carried.leaving(RESERVE, "Reserve-4") == "Reserve-4"
    assert carried.leaving(RESERVE) == "Reserve-5"


def test_what_a_call_adds_is_below_it_and_orders_itself() -> None:
    arrived = Carried("17", "Reserve")
    one, two = arrived.named(tcc("a.hold")), arrived.named(tcc("a.hold", after=["hold"]))

    assert (one.id, two.id, two.after) == ("Reserve/hold", "Reserve/hold-2", ("Reserve/hold",))
    assert arrived.named(tcc("a.hold", id="fee")).id == "Reserve/fee"
    assert arrived.leaving(RESERVE) == "Reserve/Reserve"
    assert arrived.leaving(RESERVE, "first") == "Reserve/first"


def test_an_id_that_is_used_twice_in_a_call_is_refused() -> None:
    arrived = Carried("17", "Reserve")
    arrived.named(tcc("a.hold", id="fee"))

    with pytest.raises(errors.BranchConflict, match="Reserve/fee"):
        arrived.named(tcc("a.hold", id="fee"))


def test_ids_stay_within_their_limit_however_far_a_call_goes_and_however_it_is_called() -> None:
    call_id, ids = "", []
    for _ in range(20):
        call_id = Carried("17", call_id).leaving(RESERVE)
        ids.append(call_id)
        named = Carried("17", call_id).named(tcc(f"a.{'v' * 64}"))
        assert len(call_id) <= CALL_ID_BYTES_MAX
        assert len(named.id) <= BRANCH_ID_BYTES_MAX

    assert len(set(ids)) == 20
    # Another process finds the same ones.
    again = Carried("17", ids[-2]).leaving(RESERVE)
    assert again == ids[-1]


def test_threads_that_add_at_once_get_ids_of_their_own() -> None:
    carried, started = Carried("17"), threading.Barrier(8)

    def add(_: int) -> list[str]:
        started.wait(10)
        return [carried.named(tcc("stock.reserve")).id for _ in range(100)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            ids = [each for added in threads.map(add, range(8)) for each in added]
    finally:
        sys.setswitchinterval(interval)

    assert len(set(ids)) == len(ids) == 800


def test_what_a_call_brings_is_found_however_its_headers_are_written() -> None:
    carried = arriving([("Trypact-Xid", "17"), ("Trypact-Call", "first"), ("Host", "shop")])

    assert carried is not None
    assert (carried.xid, carried.call_id) == ("17", "first")


def test_a_call_is_settled_by_whatever_tells_what_it_did() -> None:
    carried = Carried("17")
    first = carried.leaving(RESERVE)
    carried.answered(first, "UNAVAILABLE")

    assert carried.unsettled == {
        first: "the call Reserve of /shop.Inventory/Reserve has no answer (UNAVAILABLE)"
    }
    carried.answered(first, "NOT_FOUND")
    assert carried.unsettled == {}
    carried.answered(first, "UNAVAILABLE")  # of the same call, sent twice at once
    assert list(carried.unsettled) == [first]


@pytest.mark.parametrize("status", [200, 204, 303, 400, 404, 409, 429, 499])
def test_an_answer_over_http_that_says_what_a_call_did_settles_it(status: int) -> None:
    carried = Carried("17")
    OutgoingCall(carried, "inventory/reserve").answered(status)

    assert carried.unsettled == {}


@pytest.mark.parametrize("status", [0, 100, 408, 500, 502, 503, 504, 599, 999])
def test_an_answer_over_http_that_leaves_open_what_a_call_did_settles_nothing(status: int) -> None:
    carried = Carried("17")
    call = OutgoingCall(carried, "inventory/reserve")
    call.answered(status)

    why = f"the call reserve of inventory/reserve has no answer ({status})"
    assert carried.unsettled == {"reserve": why}
    call.answered(200)
    assert carried.unsettled == {}


def test_what_is_no_status_is_no_answer() -> None:
    carried = Carried("17")
    call: Any = OutgoingCall(carried, "reserve")
    for response in (None, object()):
        with pytest.raises(TypeError):
            call.answered(response)

    assert list(carried.unsettled) == ["reserve"]


def test_calls_over_http_are_named_as_all_others_and_below_the_call_they_are_made_in() -> None:
    arrived = Carried("17", "Order")
    first = OutgoingCall(arrived, "https://inventory/reserve")

    assert first.headers == {"trypact-xid": "17", "trypact-call": "Order/reserve"}
    assert OutgoingCall(arrived, "reserve").headers["trypact-call"] == "Order/reserve-2"
    assert repr(first) == "<OutgoingCall Order/reserve of 17>"


@pytest.mark.parametrize("name", ["", "inventory/", "two words", "line\r\nbreak", "größe", "\t"])
def test_a_call_over_http_whose_name_fits_no_header_is_refused(name: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"name: is .*; allowed: "):
        OutgoingCall(Carried("17"), name)


def test_what_a_call_brings_is_read_from_its_metadata() -> None:
    brought = arriving([("other", b"x"), ("trypact-xid", "17"), ("trypact-call", "Reserve")])

    assert brought is not None
    assert (brought.xid, brought.call_id) == ("17", "Reserve")
    assert arriving([("trypact-call", "Reserve")]) is None
    assert arriving(None) is None
    with pytest.raises(errors.InvalidRequest, match="without a trypact-call"):
        arriving([("trypact-xid", "17")])


def test_a_block_inside_another_hides_it_until_it_is_left() -> None:
    outer, inner = Carried("17"), Carried("18")
    with carrying(outer):
        with carrying(inner):
            assert here() is inner
        with carrying(None):
            assert here() is None
        assert here() is outer
    assert here() is None
