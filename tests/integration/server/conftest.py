"""A coordinator with its server and one participant, for each test."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.server.house import House, keep_house


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    async with keep_house() as kept:
        yield kept
