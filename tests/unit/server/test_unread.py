"""Whether a stream's messages come faster than they are read, in turns of the event loop."""

import asyncio

from trypact_coordinator.server.unread import Unread


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_messages_that_had_come_already_add_up_to_a_backlog() -> None:
    unread = Unread()
    unread.ask()
    assert unread.came() == 0
    lasted = []
    for _ in range(5):
        unread.ask()
        await turns(2)
        lasted.append(unread.came())
    assert lasted == sorted(lasted)
    assert lasted[-1] > 0


async def test_one_that_had_to_be_waited_for_ends_it() -> None:
    unread = Unread()
    unread.ask()
    unread.came()
    for _ in range(5):
        unread.ask()
        await turns(10)
        assert unread.came() == 0


async def test_the_turns_of_an_earlier_reading_do_not_count_for_a_later_one() -> None:
    unread = Unread()
    unread.ask()
    unread.came()
    for _ in range(50):
        unread.ask()
        unread.came()
    unread.ask()
    await turns(1)
    assert unread.came() > 0


async def test_what_came_while_the_reader_itself_waited_is_no_backlog() -> None:
    unread = Unread()
    unread.ask()
    unread.came()
    unread.held_up()
    unread.ask()
    await turns(1)
    assert unread.came() == 0
