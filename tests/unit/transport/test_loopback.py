"""The loopback keeps the Transport port's contract."""

import asyncio

from trypact_coordinator.core.events import Answer, Ok, Unknown
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.core.transaction import BranchSpec, Decision, Kind, Operation
from trypact_coordinator.transport.loopback import LoopbackTransport


def a_call(timeout_ms: int = 5_000) -> Call:
    branch = BranchSpec("b", Kind.TCC, "shop.do")
    return Call("x", branch, Operation.TRY, 1, Decision.UNDECIDED, timeout_ms, 1)


async def sent(
    transport: LoopbackTransport, endpoint: str = "shop", timeout_ms: int = 5_000
) -> list[Answer]:
    """Send one call; return its answers once there is one and the loop had some turns more."""
    answers: list[Answer] = []
    answered = asyncio.Event()

    def done(_call: Call, answer: Answer) -> None:
        answers.append(answer)
        answered.set()

    transport.send(a_call(timeout_ms), endpoint, done)
    assert answers == [], "never before send returns"
    await answered.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    return answers


async def test_the_answer_of_the_endpoint_comes_once():
    async def serve(call: Call) -> Answer:
        return Ok(call.branch.id.encode())

    assert await sent(LoopbackTransport({"shop": serve})) == [Ok(b"b")]


async def test_an_endpoint_that_is_not_there_is_unknown():
    (answer,) = await sent(LoopbackTransport({}))
    assert answer == Unknown("nothing serves shop")


async def test_an_endpoint_that_raises_is_unknown():
    async def serve(call: Call) -> Answer:
        raise ValueError("broken")

    (answer,) = await sent(LoopbackTransport({"shop": serve}))
    assert answer == Unknown("ValueError: broken")


async def test_a_late_call_is_unknown_here_and_goes_on_there():
    released, finished = asyncio.Event(), asyncio.Event()

    async def serve(call: Call) -> Answer:
        await released.wait()
        finished.set()
        return Ok()

    answers = await sent(LoopbackTransport({"shop": serve}), "shop", 1)
    assert answers == [Unknown("no answer within 1 ms")]
    released.set()
    await finished.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(answers) == 1


async def test_closing_makes_what_is_in_flight_unknown():
    async def serve(call: Call) -> Answer:
        await asyncio.Event().wait()
        return Ok()

    transport = LoopbackTransport({"shop": serve})
    answers: list[Answer] = []
    transport.send(a_call(), "shop", lambda _, answer: answers.append(answer))
    await transport.close()
    assert answers == [Unknown("the transport was closed")]


async def test_ping_tells_whether_anything_serves():
    async def serve(call: Call) -> Answer:
        return Ok()

    transport = LoopbackTransport({"shop": serve})
    assert await transport.ping("shop", 100) == "SERVING"
    assert "nothing serves" in await transport.ping("elsewhere", 100)
