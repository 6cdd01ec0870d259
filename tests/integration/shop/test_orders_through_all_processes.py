"""Orders through a coordinator and six participants, each a process with its own database."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from trypact_shop.demo.world import World
from trypact_shop.v1 import order_pb2

from tests.integration.shop.buying import TIMEOUT, Buyer

ONE_SHOT = order_pb2.SUBMIT_FORM_ONE_SHOT
INTERACTIVE = order_pb2.SUBMIT_FORM_INTERACTIVE


@pytest.fixture(params=[ONE_SHOT, INTERACTIVE], ids=["one-shot", "interactive"])
def form(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def buyer(world: World) -> Buyer:
    return Buyer(world)


def test_a_confirmed_order_takes_stock_coupon_and_money_and_earns_points(
    buyer: Buyer, form: Any
) -> None:
    order = buyer.submit(buyer.request(quantity=3, form=form))
    assert order.status == order_pb2.ORDER_STATUS_CREATED
    assert (order.price_cents, order.promotion_amount_cents) == (2400, 500)
    assert (order.money_paid_cents, order.pay_amount_cents) == (1900, 0)
    assert buyer.stock() == (7, 3, 0)
    assert buyer.money() == (8100, 0, 1900)
    assert buyer.coupon() == ("COUPON_STATE_USED", order.order_id)
    points = buyer.points()
    assert (points.deliveries, points.points, points.points_logged) == (1, 19, 19)


def test_an_order_may_leave_a_part_to_be_paid_later(buyer: Buyer, form: Any) -> None:
    order = buyer.submit(buyer.request(money_paid_cents=100, coupon_id=0, form=form))
    assert (order.price_cents, order.money_paid_cents, order.pay_amount_cents) == (1600, 100, 1500)
    assert buyer.money() == (9900, 0, 100)


def test_an_order_without_balance_opens_no_branch_for_it(buyer: Buyer, form: Any) -> None:
    order = buyer.submit(buyer.request(money_paid_cents=0, form=form))
    assert order.status == order_pb2.ORDER_STATUS_CREATED
    (shown,) = buyer.world.transactions("show", order.xid)
    assert {branch["id"] for branch in shown["branches"]} == {
        "order", "stock", "coupon", "points", "sms",
    }  # fmt: skip
    assert buyer.money() == (10_000, 0, 0)


def test_a_coupon_worth_more_than_the_goods_takes_off_only_their_price(
    world: World, form: Any
) -> None:
    buyer = Buyer(world, price_cents=300)
    order = buyer.submit(buyer.request(quantity=1, form=form))
    assert (order.promotion_amount_cents, order.money_paid_cents) == (300, 0)
    assert order.pay_amount_cents == 0
    assert buyer.money() == (10_000, 0, 0)


def _sold_out(buyer: Buyer, form: Any) -> order_pb2.SubmitOrderRequest:
    return buyer.request(quantity=11, form=form)


def _used_coupon(buyer: Buyer, form: Any) -> order_pb2.SubmitOrderRequest:
    other = Buyer(buyer.world)
    return buyer.request(coupon_id=other.coupon_id, form=form)


def _short(buyer: Buyer, form: Any) -> order_pb2.SubmitOrderRequest:
    dear = Buyer(buyer.world, pieces=100)
    request = buyer.request(form=form)
    request.lines[0].sku_id, request.lines[0].quantity = dear.sku_id, 50
    return request


def _blocked(buyer: Buyer, form: Any) -> order_pb2.SubmitOrderRequest:
    blocking = order_pb2.BlockBuyerRequest(user_id=buyer.user_id, reason="returned bricks")
    buyer.world.order.BlockBuyer(blocking, timeout=TIMEOUT)
    return buyer.request(form=form)


@pytest.mark.parametrize(
    ("refused", "participant", "code"),
    [
        (_sold_out, "inventory", "out_of_stock"),
        (_used_coupon, "coupon", "foreign_coupon"),
        (_short, "balance", "balance_short"),
        (_blocked, "order", "buyer_blocked"),
    ],
)
def test_a_refusal_by_any_participant_gives_everything_back_and_says_why(
    buyer: Buyer,
    form: Any,
    refused: Callable[[Buyer, Any], order_pb2.SubmitOrderRequest],
    participant: str,
    code: str,
) -> None:
    order = buyer.submit(refused(buyer, form))
    assert order.status == order_pb2.ORDER_STATUS_CANCELLED
    assert (order.refusal.participant, order.refusal.code) == (participant, code)
    assert order.refusal.reason.startswith(f"{code}: ")
    assert buyer.holds_nothing()


def test_a_repeated_request_is_the_same_order(buyer: Buyer, form: Any) -> None:
    request = buyer.request(form=form)
    first = buyer.submit(request)
    assert buyer.submit(request) == first
    assert buyer.money() == (8900, 0, 1100)


def test_a_repeated_request_repeats_its_refusal(buyer: Buyer, form: Any) -> None:
    request = buyer.request(quantity=11, form=form)
    assert buyer.submit(request) == buyer.submit(request)


def test_one_request_sent_by_many_at_once_is_one_order(buyer: Buyer, form: Any) -> None:
    request = buyer.request(form=form)
    with ThreadPoolExecutor(6) as pool:
        orders = list(pool.map(lambda _: buyer.submit(request), range(6)))
    assert {order.order_id for order in orders} == {orders[0].order_id}
    assert {order.status for order in orders} == {order_pb2.ORDER_STATUS_CREATED}
    assert buyer.stock() == (8, 2, 0)
    assert buyer.money() == (8900, 0, 1100)


def test_a_request_id_with_other_content_is_a_conflict(buyer: Buyer) -> None:
    request = buyer.request()
    order = buyer.submit(request)
    request.lines[0].quantity = 3
    with pytest.raises(grpc.RpcError) as raised:
        buyer.submit(request)
    assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert str(order.order_id) in raised.value.details()


def test_the_last_pieces_go_to_as_many_buyers_as_there_are_pieces(world: World) -> None:
    seller = Buyer(world, pieces=5)
    buyers = [Buyer(world) for _ in range(8)]
    requests = [buyer.request() for buyer in buyers]
    for request in requests:
        request.lines[0].sku_id, request.lines[0].quantity = seller.sku_id, 1
    with ThreadPoolExecutor(8) as pool:
        orders = list(pool.map(seller.submit, requests))
    confirmed = [o.status == order_pb2.ORDER_STATUS_CREATED for o in orders]
    assert confirmed.count(True) == 5
    assert seller.stock() == (0, 5, 0)
    for buyer, got_one in zip(buyers, confirmed, strict=True):
        assert buyer.holds_nothing() is not got_one


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"request_id": ""}, "request_id: 0 characters; allowed: a text of 1 to 64 characters"),
        ({"request_id": "x" * 65}, "request_id: 65 characters"),
        ({"request_id": "é"}, "request_id: 'é'; allowed: visible ASCII characters"),
        ({"buyer_user_id": 0}, "buyer_user_id: 0 is out of range"),
        ({"buyer_user_id": -1}, "buyer_user_id: -1 is out of range"),
        ({"coupon_id": -5}, "coupon_id: -5 is out of range"),
        ({"money_paid_cents": -1}, "money_paid_cents: -1 is out of range"),
        ({"money_paid_cents": 10**13}, "money_paid_cents: 10000000000000 is out of range"),
        ({"money_paid_cents": 1101}, "money_paid_cents: coupon and balance are 1 more than"),
    ],
)
def test_an_invalid_request_names_the_field_and_what_is_allowed(
    buyer: Buyer, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        buyer.submit(buyer.request(**fields))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in raised.value.details()
    assert buyer.holds_nothing()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([(1, 0)], "quantity: 0 is out of range"),
        ([(1, -1)], "quantity: -1 is out of range"),
        ([(1, 10_001)], "quantity: 10001 is out of range"),
        ([(0, 1)], "sku_id: 0 is out of range"),
        ([(1, 1), (1, 1)], "lines.sku_id: 1 is named twice"),
        ([(sku_id, 1) for sku_id in range(1, 52)], "lines (how many): 51 is out of range"),
    ],
)
def test_invalid_lines_name_the_field_and_what_is_allowed(
    buyer: Buyer, lines: list[tuple[int, int]], said: str
) -> None:
    wanted = [order_pb2.SubmitOrderLine(sku_id=sku, quantity=n) for sku, n in lines]
    with pytest.raises(grpc.RpcError) as raised:
        buyer.submit(buyer.request(lines=wanted))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in raised.value.details()


def test_goods_and_coupons_that_do_not_exist_are_not_found(buyer: Buyer) -> None:
    nothing = order_pb2.SubmitOrderLine(sku_id=123456, quantity=1)
    for request in (buyer.request(lines=[nothing]), buyer.request(coupon_id=123456)):
        with pytest.raises(grpc.RpcError) as raised:
            buyer.submit(request)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert "123456" in raised.value.details()
    with pytest.raises(grpc.RpcError) as raised:
        buyer.world.order.GetOrder(order_pb2.GetOrderRequest(order_id=17), timeout=TIMEOUT)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_orders_are_listed_newest_first_page_by_page(buyer: Buyer) -> None:
    placed = [buyer.submit(buyer.request(coupon_id=0, quantity=1)).order_id for _ in range(5)]
    found, token = [], ""
    while True:
        page = buyer.world.order.ListOrders(
            order_pb2.ListOrdersRequest(buyer_user_id=buyer.user_id, page_size=2, page_token=token),
            timeout=TIMEOUT,
        )
        found += [order.order_id for order in page.orders]
        assert len(page.orders) <= 2
        token = page.next_page_token
        if not token:
            break
    assert found == placed[::-1]


@pytest.mark.parametrize("name", ["inventory", "coupon", "balance", "order"])
def test_a_participant_that_dies_between_its_commit_and_its_answer_acts_once(
    buyer: Buyer, name: str
) -> None:
    verbs = {"inventory": "reserve", "coupon": "use", "balance": "freeze", "order": "create"}
    world, child = buyer.world, buyer.world.participants[name]
    for operation in ("try", "confirm"):
        failpoint = {"TRYPACT_SHOP_FAILPOINT": f"{name}.{verbs[name]}:{operation}:committed"}
        child.stop()
        child.start(world.environment() | failpoint)
        unlucky = Buyer(world)
        request = unlucky.request()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(unlucky.submit_until_answered, request)
            child.wait_killed(TIMEOUT)
            child.start(world.environment())
            order = answer.result(TIMEOUT)
        assert order.status == order_pb2.ORDER_STATUS_CREATED
        assert unlucky.stock() == (8, 2, 0)
        assert unlucky.money() == (8900, 0, 1100)
        assert unlucky.coupon() == ("COUPON_STATE_USED", order.order_id)
        assert unlucky.points().deliveries == 1
