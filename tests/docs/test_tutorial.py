"""The tutorial, followed to the letter: its files, its commands, its output."""

import asyncio

from tests.docs.conftest import Desk
from tests.docs.pages import sections

REGISTERED = "is registered with the coordinator"


async def test_every_command_of_the_tutorial_does_what_it_says(desk: Desk) -> None:
    page = sections("docs/tutorial/first-transaction.md")
    coordinator = desk.start_coordinator()

    *_, start, listing = page["A participant"]
    desk.save(page["A participant"])
    stock, account = (desk.terminal(line, REGISTERED) for line in start.text.splitlines())
    listed = desk.run(listing.text)
    assert "stock" in listed
    assert "account" in listed

    blocks = page["A transaction"]
    desk.save(blocks)
    for command, output in zip(blocks[1::2], blocks[2::2], strict=True):
        assert desk.run(command.text) == output.text

    listing, explaining = page["Looking inside"]
    assert "order-1" in desk.run(listing.text.splitlines()[0])
    assert "too_little" in desk.run(listing.text.splitlines()[1])
    assert "order-1" in desk.run(explaining.text)

    order, looking, confirmed, counting, counted = page["Breaking it"]
    account.kill()
    waiting = asyncio.create_task(asyncio.to_thread(desk.run, order.text))
    stuck, explain = looking.text.splitlines()
    await asyncio.to_thread(desk.run_until, explain, "account.freeze")
    desk.run(stuck)
    coordinator.kill()
    desk.start_coordinator()
    desk.terminal(start.text.splitlines()[1], REGISTERED)

    assert await waiting == confirmed.text
    assert desk.run(counting.text) == counted.text

    examining, examined = page["Is it right?"]
    served_at = stock.wait_for(r"stock-1 is served at (\S+)")[1]
    assert desk.run(examining.text.replace("127.0.0.1:7020", served_at)) == examined.text
