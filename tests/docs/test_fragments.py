"""The pieces of code that pages show without a whole program around them, run in one that is.

A fragment leaves out what its reader has: an engine, a client, a participant. The test of its page
gives it those, runs it as it stands, and looks whether it did what the page says.
"""

import ast
import asyncio
import inspect
import json
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import sqlalchemy as sa
import structlog
import trypact
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection
from trypact import Call, fence, inbox, outbox
from trypact.call import FencedCall, Ok
from trypact.fence import SqlAlchemyFence
from trypact.testing import Environment

from tests.docs import inventory as generated
from tests.docs.pages import Block, files, sections
from tests.docs.test_blocks import shown
from tests.servers.redis import RedisServer


def exported(module: Any) -> dict[str, Any]:
    return {name: getattr(module, name) for name in module.__all__}


NAMES = {
    **exported(trypact),
    **exported(fence),
    **exported(inbox),
    **exported(outbox),
    "trypact": trypact,
    "grpc": grpc,
    "logging": logging,
    "structlog": structlog,
    "MetaData": sa.MetaData,
    "Connection": Connection,
    "AsyncConnection": AsyncConnection,
}


def fragments(page: str, heading: str) -> list[str]:
    """The fragments of Python below a heading of a page, as they stand."""
    return [block.text for block in sections(page)[heading] if is_fragment(block)]


def is_fragment(block: Block) -> bool:
    return block.language == "python" and not files([block])


async def play(fragment: str, names: dict[str, Any]) -> None:
    """Run a fragment, `await` and all, among these names."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    waiting = eval(compile(fragment, "<fragment>", "exec", flags, dont_inherit=True), names)
    if inspect.iscoroutine(waiting):
        await waiting


@dataclass
class Reserve:
    """A request of several pages, by whatever name they give it."""

    sku: str


@dataclass
class Held:
    """And its result."""

    sku: str
    pieces: int


class Handlers:
    """What a fragment does not show of its handlers."""

    def try_(self, call: Call[Reserve], connection: Connection) -> Held:
        return Held(call.request.sku, 2)

    def confirm(self, call: Call[Reserve], connection: Connection) -> None: ...

    def cancel(self, call: Call[Reserve], connection: Connection) -> None: ...


class Anything:
    """The same, whatever is sent."""

    def try_(self, call: Call[Any], connection: Connection) -> None: ...

    confirm = cancel = try_


def taking(*actions: str, rows: SqlAlchemyFence) -> Iterator[trypact.Participant]:
    """A participant for each action, which takes whatever it is sent."""
    for name, _, verb in (action.partition(".") for action in actions):
        participant = trypact.Participant(name, fence=rows)
        participant.tcc(verb)(Anything)
        yield participant


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An empty database, in the folder where fragments make theirs."""
    monkeypatch.chdir(tmp_path)
    engine = fence.sqlite_engine("shop.db")
    yield engine
    engine.dispose()


@pytest.fixture
def rows(engine: Engine) -> SqlAlchemyFence:
    """A fence in it."""
    made = SqlAlchemyFence(engine)
    made.create_tables()
    return made


@contextmanager
def unconfigured() -> Iterator[list[logging.Handler]]:
    """The handlers of the root logger as a program finds it that has just begun: none."""
    root = logging.getLogger()
    kept, root.handlers = root.handlers, []
    try:
        yield root.handlers
    finally:
        root.handlers = kept


def formatted(handlers: list[logging.Handler], context: trypact.context.Context) -> str:
    """What the root logger's only handler makes of a line that is logged there."""
    (handler,) = handlers
    record = logging.makeLogRecord({"msg": "looking"})
    with trypact.context.bound(context):
        handler.filter(record)
    return handler.format(record)


def test_every_fragment_of_every_page_is_played() -> None:
    played = " ".join(Path(__file__).read_text().split())
    # The README's is a whole program, with a test of its own.
    pages = {page for page, block in shown() if is_fragment(block)} - {"README.md"}
    left = [
        (page, heading)
        for page in pages
        for heading, blocks in sections(page).items()
        if any(map(is_fragment, blocks)) and f'"{page}", "{heading}"' not in played
    ]

    assert left == []


# ---------------------------------------------------------------- who opens transactions


async def test_a_branch_in_another_language_stands_beside_one_in_python(
    rows: SqlAlchemyFence,
) -> None:
    (execute,) = fragments("docs/how-to/another-language.md", "Beside a Python one")

    async with Environment([*taking("stalls.book", "purse.pay", rows=rows)]) as env:
        await play(execute, {**NAMES, "client": env})
        (tx,) = env.transactions()
    assert [branch.spec.action for branch in tx.branches] == ["stalls.book", "purse.pay"]
    assert tx.decision.name == "CONFIRM"


async def test_topics_have_subscribers_and_a_delayed_message_is_a_timer(
    rows: SqlAlchemyFence,
) -> None:
    (subscribing,) = fragments("docs/how-to/branches.md", "A message to whoever it concerns")
    (closing,) = fragments("docs/how-to/branches.md", "A message as a timer")
    points, order = (trypact.Participant(name, fence=rows) for name in ("points", "order"))
    closed: list[Any] = []
    order.message("close_unless_paid")(lambda call, connection: closed.append(call.request))
    names = {**NAMES, "points": points}
    await play(subscribing, names)
    await play(f"closing = {closing}", names)

    async with Environment([points, order]) as env:
        paid = trypact.message(topic="order.paid")
        outcome = await env.execute("order", [paid, names["closing"]])
        assert outcome.branches[0].action == "points.add_points"
        await env.advance(minutes=29)
        assert closed == []
        await env.advance(minutes=2)
    assert closed == [{"order": "17"}]


async def test_payloads_are_of_the_types_that_an_action_names(rows: SqlAlchemyFence) -> None:
    (trying,) = fragments("docs/how-to/payloads.md", "")
    inventory = trypact.Participant("inventory", fence=rows)
    inventory.tcc("reserve")(Handlers)

    async with Environment([inventory]) as env, env.transaction("order") as tx:
        names = {**NAMES, "tx": tx, "Reserve": Reserve, "Held": Held}
        await play(trying, names)
    assert names["held"] == Held("sku-1", 2)


async def test_a_web_application_says_for_which_transaction_its_log_lines_are(
    rows: SqlAlchemyFence,
) -> None:
    logs, traces = fragments("docs/how-to/frameworks.md", "Logs and traces")
    names = {**NAMES, "fence": rows}
    with unconfigured() as handlers:
        await play(logs, names)
    await play(traces, names)
    await names["client"].close()

    context = trypact.context.Context("order-17", "pay")
    assert formatted(handlers, context) == "order-17 pay looking"


# ---------------------------------------------------------------- who takes part


async def test_coroutines_take_part(engine: Engine) -> None:
    (serving,) = fragments("docs/how-to/asynchronous.md", "Coroutines as handlers")
    (traces,) = fragments("docs/how-to/asynchronous.md", "Traces")
    names = {**NAMES, "Hold": Reserve}
    await play(serving, names)
    await names["fence"].create_tables()

    async with Environment([names["purse"]]) as env:
        outcome = await env.execute("order", [trypact.tcc("purse.hold", Reserve("sku-1"))])
    assert outcome.state is trypact.State.CONFIRMED
    await play(traces, names)
    await names["engine"].dispose()


async def test_handlers_say_for_which_transaction_their_log_lines_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs, structured = fragments(
        "docs/how-to/asynchronous.md", "Which transaction a log line is about"
    )
    context = trypact.context.Context("order-17", "hold", "purse.hold", trypact.Operation.TRY)
    with unconfigured() as handlers:
        await play(logs, NAMES.copy())
    assert formatted(handlers, context).endswith(" order-17 purse.hold try looking")

    await play(structured, NAMES.copy())
    with trypact.context.bound(context):
        structlog.get_logger().info("looking")
    structlog.reset_defaults()
    assert json.loads(capsys.readouterr().out)["xid"] == "order-17"


async def test_actions_are_functions_and_values_too(rows: SqlAlchemyFence) -> None:
    functions, action = fragments(
        "docs/how-to/participants.md", "Actions as functions, and as values"
    )
    loans = trypact.Participant("loans", fence=rows)
    names = {**NAMES, "loans": loans, "Advice": Held}
    await play(functions, {**names, "Wanted": Reserve})
    assert loans.actions["advise"] == (trypact.Kind.SAGA,)

    # The page shows no handlers here.
    action = action.replace("class Lend: ...", "class Lend(Handlers): ...")
    action = action.replace('Wanted("Ada", 5_000)', 'Wanted("Ada")')
    names |= {"Handlers": Handlers, "Wanted": Reserve, "Offer": Held}
    serving, trying = action.split("offer =")
    await play(serving, names)
    async with Environment([loans]) as env, env.transaction("loan") as names["tx"]:
        await play(f"offer ={trying}", names)
    assert names["offer"] == Held("Ada", 2)


async def test_a_participant_subscribes_and_stays_out_of_batches(rows: SqlAlchemyFence) -> None:
    (subscribing,) = fragments("docs/how-to/participants.md", "Messages that anybody may take")
    (alone,) = fragments("docs/how-to/participants.md", "Many calls at once")
    points, payments = (trypact.Participant(name, fence=rows) for name in ("points", "payments"))
    names = {**NAMES, "points": points, "payments": payments, "Handlers": Handlers}
    names |= {"Paid": Reserve, "Charge": Reserve}
    await play(subscribing, names)
    await play(f"{alone}class Charges(Handlers): ...", names)

    assert dict(points.topics) == {"order.paid": "add_points"}
    assert payments.actions["charge"] == (trypact.Kind.TCC,)


RESERVE = trypact.Action(
    "inventory.reserve",
    request=generated.ReserveRequest,
    result=generated.ReserveResponse,
)


class Reserving:
    """The participant's side of the service."""

    def try_(self, call: Call[Any], connection: Connection) -> Any:
        return generated.ReserveResponse(pieces=len(call.request.sku))

    def confirm(self, call: Call[Any], connection: Connection) -> None: ...

    def cancel(self, call: Call[Any], connection: Connection) -> None: ...


@asynccontextmanager
async def served(method: Any, server: grpc.aio.Server) -> AsyncIterator[str]:
    """Serve the inventory's only method; gives the address."""
    servicer = generated.InventoryServicer()
    servicer.Reserve = method
    generated.add_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(grace=None)


async def test_a_service_joins_the_transaction_of_its_caller(rows: SqlAlchemyFence) -> None:
    calling, decorated, by_itself = fragments("docs/how-to/joining.md", "Who does what")
    participant = trypact.Participant("inventory", fence=rows)
    participant.tcc(RESERVE)(Reserving)
    participant.tcc("insure")(Anything)

    async with Environment([participant]) as env:
        names = {**NAMES, **vars(generated), "client": env}
        await play(decorated, names)
        method = names["Inventory"]().Reserve
        async with served(method, grpc.aio.server()) as names["target"]:
            await play(calling, names)
        assert (names["held"].pieces, actions(names["tx"])) == (5, ["inventory.reserve"])

        await play(by_itself, names)

        async def reserve(request: Any, context: Any) -> Any:
            return await names["Reserve"](None, request, context)

        async with served(reserve, names["server"]) as names["target"]:
            await play(calling, names)
        assert actions(names["tx"]) == ["inventory.reserve", "inventory.insure"]
        await names["channel"].close()


class Http:
    """A library for HTTP, and a service behind it that plays the page's fragment."""

    def __init__(self, service: str, names: dict[str, Any], status_code: int = 200) -> None:
        self.service = service
        self.names = names
        self.status_code = status_code

    async def post(self, url: str, json: Any, headers: dict[str, str]) -> Any:
        self.headers = {key.title(): value for key, value in headers.items()}
        await play(self.service, {**self.names, "request": self, "wanted": json})
        return self


async def test_a_service_joins_a_transaction_that_comes_over_http(rows: SqlAlchemyFence) -> None:
    calling, joining = fragments("docs/how-to/joining.md", "Over HTTP")
    participant = trypact.Participant("inventory", fence=rows)
    participant.tcc("reserve")(Anything)

    async with Environment([participant]) as env:
        names = {**NAMES, "client": env, "url": "https://inventory/reserve", "wanted": {}}
        names["http"] = Http(joining, names)
        await play(calling, names)
        assert [branch.id for branch in names["tx"].outcome.branches] == ["reserve/reserve"]

        names["http"] = Http(joining, names, status_code=504)
        with pytest.raises(trypact.errors.TryUnsettled):
            await play(calling, names)


def actions(tx: trypact.Transaction) -> list[str]:
    return [branch.action for branch in tx.outcome.branches]


# ---------------------------------------------------------------- fences


async def test_the_table_of_a_fence_is_one_of_the_service(engine: Engine) -> None:
    (table,) = fragments("docs/how-to/fences.md", "The table")
    names = {**NAMES, "engine": engine}
    await play(table, names)
    names["metadata"].create_all(engine)

    assert sa.inspect(engine).get_table_names() == ["trypact_fence"]


async def test_pending_in_redis_is_completed_with_what_is_written(
    redis_server: RedisServer,
) -> None:
    (completing,) = fragments("docs/how-to/fences.md", "Redis")
    redis = Redis.from_url(redis_server.url)
    kept = fence.RedisFence(redis, prefix="page")
    trying = trypact.Kind.TCC, trypact.Operation.TRY
    call = FencedCall("order-17", "ship", "post.ship", *trying)
    kept.run(call, lambda pipeline: trypact.PENDING)
    redis.delete("parcels")
    names = {"xid": "order-17", "branch_id": "ship", "result": {"parcel": 1}}
    await play(completing, {**NAMES, **names, "fence": kept})

    assert isinstance(kept.run(call, lambda pipeline: trypact.PENDING), Ok)
    assert redis.get("parcels") == b"1"
    redis.close()


async def test_a_collector_collects(rows: SqlAlchemyFence) -> None:
    by_itself, by_hand = fragments("docs/how-to/fences.md", "Forget what is over")
    names = {**NAMES, "fence": rows}
    await play(by_itself, names)
    with trypact.SyncClient("127.0.0.1:1") as names["client"]:
        await play(by_hand, names)

    assert names["collected"] == fence.Collected(removed=0, kept=0, unknown=0)


# ---------------------------------------------------------------- outbox and inbox


class Noticed(outbox.BranchPublisher):
    """A publisher that tells when it has published."""

    published = asyncio.Event()

    async def publish(self, messages: Sequence[outbox.Message], /) -> list[outbox.Published]:
        said = await super().publish(messages)
        self.published.set()
        return said


async def test_what_is_committed_with_an_order_is_published(
    engine: Engine, rows: SqlAlchemyFence
) -> None:
    (adding,) = fragments("docs/how-to/outbox.md", "")
    (publishing,) = fragments("docs/how-to/outbox.md", "Publish")
    told: list[Any] = []
    order = trypact.Participant("order", fence=rows)
    order.message("paid")(lambda call, connection: told.append(call.request))
    with engine.begin() as connection:
        outbox.Outbox().create_tables(connection)
        connection.execute(sa.text("CREATE TABLE orders (id INTEGER)"))
    names = {**NAMES, "engine": engine, "insert_order": sa.text("INSERT INTO orders VALUES (17)")}
    await play(adding, names)

    async with Environment([order]) as names["client"]:
        names |= {"BranchPublisher": Noticed, "published": Noticed.published}
        await play(publishing.replace("...  # serve", "await published.wait()"), names)
        await names["client"].settle()
    assert told == [{"order": 17}]


async def test_the_table_of_an_outbox_is_one_of_the_service(engine: Engine) -> None:
    (table,) = fragments("docs/how-to/outbox.md", "Create the table")
    names = {**NAMES, "metadata": sa.MetaData()}
    await play(table, names)
    names["metadata"].create_all(engine)

    with engine.begin() as connection:
        assert names["outbox"].counts(connection) == []


async def first_of(*subscribed: Any) -> AsyncIterator[outbox.RedisDelivery]:
    """A subscription that ends with the first message."""
    async for delivery in outbox.RedisSubscription(*subscribed):
        yield delivery
        return


async def test_what_a_broker_delivers_has_its_effects(
    engine: Engine, redis_server: RedisServer
) -> None:
    (consuming,) = fragments("docs/how-to/outbox.md", "Receive with effects once")
    with engine.begin() as connection:
        inbox.Inbox("warehouse").create_tables(connection)
        connection.execute(sa.text("CREATE TABLE parcels (id INTEGER)"))
    async with AsyncRedis.from_url(redis_server.url) as redis:
        await outbox.RedisPublisher(redis).publish([outbox.Message("order.paid", {"order": 17})])
        names = {**NAMES, "engine": engine, "redis": redis, "RedisSubscription": first_of}
        names["insert_parcel"] = sa.text("INSERT INTO parcels VALUES (:order)")
        await play(consuming, names)

    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT id FROM parcels")).scalars().all() == [17]
