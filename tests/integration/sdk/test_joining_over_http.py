"""Ordinary web services join a transaction: real coordinator, real servers, real HTTP."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import flask
import pytest
import trypact
from trypact import errors
from werkzeug.serving import make_server

from tests.integration.sdk.conftest import World


@contextlib.contextmanager
def serving(world: World, **views: Callable[[trypact.SyncClient], Any]) -> Iterator[str]:
    """A web service, with a view for each path; each may join with a client."""
    app = flask.Flask("seller")
    with trypact.SyncClient(world.endpoint, patience=5.0) as client:
        for name, view in views.items():
            app.add_url_rule(f"/{name}", name, lambda view=view: view(client), methods=["POST"])
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.port}"
        finally:
            server.shutdown()
            thread.join()


def post(url: str, amount: int, headers: dict[str, str]) -> int:
    """Ask a service, and return the status of its answer."""
    headers = {**headers, "Content-Type": "application/json"}
    try:
        with urlopen(Request(url, json.dumps(amount).encode(), headers)) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code


def sell(client: trypact.SyncClient) -> Any:
    """Freeze what is asked for, in the caller's transaction."""
    with client.joined(flask.request.headers.items()) as tx:
        return tx.try_("bank.freeze", {"amount": flask.request.json})


async def test_a_call_over_http_inside_the_block_is_a_branch_that_is_confirmed(
    world: World, client: trypact.Client
) -> None:
    with serving(world, sell=sell) as seller:
        async with client.transaction("order") as tx:
            for amount in (30, 5):
                call = await tx.outgoing("seller/sell")
                call.answered(await asyncio.to_thread(post, f"{seller}/sell", amount, call.headers))
                await tx.try_("bank.freeze", {"amount": 1})

    ids = ["sell/freeze", "freeze", "sell-2/freeze", "freeze-2"]
    assert [branch.id for branch in tx.outcome.branches] == ids
    assert tx.outcome.confirmed
    assert world.bank.account == (63, 0)


async def test_what_was_joined_over_http_is_rolled_back_with_the_block(
    world: World, client: trypact.Client
) -> None:
    with serving(world, sell=sell) as seller:
        with pytest.raises(KeyError):
            async with client.transaction("order", xid="17") as tx:
                call = await tx.outgoing("sell")
                call.answered(await asyncio.to_thread(post, f"{seller}/sell", 30, call.headers))
                raise KeyError("price")
        assert (await client.wait("17")).cancelled

    assert world.bank.account == (100, 0)


async def test_a_call_over_http_of_whose_answer_nobody_told_keeps_the_block_from_confirming(
    world: World, client: trypact.Client
) -> None:
    with serving(world, sell=sell) as seller:
        with pytest.raises(errors.TryUnsettled, match="the call sell of seller/sell has no answer"):
            async with client.transaction("order", xid="17") as tx:
                call = await tx.outgoing("seller/sell")
                assert await asyncio.to_thread(post, f"{seller}/sell", 30, call.headers) == 200

        assert (await client.wait("17")).cancelled
    assert world.bank.account == (100, 0)


async def test_a_call_over_http_is_repeated_with_its_headers_until_it_has_an_answer(
    world: World, client: trypact.Client
) -> None:
    failing = iter([True, False])

    def sell_and_fail(client: trypact.SyncClient) -> Any:
        sold = sell(client)
        return ("lost on the way", 504) if next(failing) else sold

    with serving(world, sell=sell_and_fail) as seller:
        async with client.transaction("order") as tx:
            call = await tx.outgoing("sell")
            for answer in (504, 200):
                status = await asyncio.to_thread(post, f"{seller}/sell", 30, call.headers)
                assert status == answer
                call.answered(status)

    assert [branch.id for branch in tx.outcome.branches] == ["sell/freeze"]
    assert world.bank.account == (70, 0)


async def test_services_without_an_event_loop_take_a_transaction_on_over_http(
    world: World,
) -> None:
    def work() -> None:
        with serving(world, sell=sell) as seller:

            def order(client: trypact.SyncClient) -> Any:
                with client.joined(flask.request.headers.items()) as tx:
                    call = tx.outgoing("seller/sell")
                    call.answered(post(f"{seller}/sell", flask.request.json, call.headers))
                return {}

            def forget(client: trypact.SyncClient) -> Any:
                with client.joined(flask.request.headers.items()) as tx:
                    tx.outgoing("seller/sell")
                return {}

            with (
                serving(world, order=order, forget=forget) as office,
                trypact.SyncClient(world.endpoint, patience=5.0) as client,
            ):
                with client.transaction("order") as tx:
                    call = tx.outgoing("office/order")
                    call.answered(post(f"{office}/order", 30, call.headers))
                assert [branch.id for branch in tx.outcome.branches] == ["order/sell/freeze"]

                with pytest.raises(errors.TryUnsettled), client.transaction("order") as tx:
                    call = tx.outgoing("office/forget")
                    call.answered(post(f"{office}/forget", 30, call.headers))

    await asyncio.to_thread(work)
    assert world.bank.account == (70, 0)


async def test_a_call_over_http_leaves_from_inside_of_a_block_only(client: trypact.Client) -> None:
    block = client.transaction("order", xid="17")
    with pytest.raises(errors.InvalidRequest, match="not entered yet; allowed: sell inside it"):
        await block.outgoing("sell")
    async with block as tx:
        pass
    with pytest.raises(errors.InvalidRequest, match="is left; allowed: sell inside it"):
        await tx.outgoing("sell")
    with pytest.raises(errors.UnknownTransaction):
        await client.get("17")
