"""What the examination takes for a death in a handler leaves nothing behind in any database."""

from typing import Any, NoReturn

import pytest
from trypact.call import Ok
from trypact.testing.doomed import Killed

from tests.conformance.fence.conftest import ALL_ALONE, PLACES, Shop

pytestmark = pytest.mark.parametrize(
    "shop", [pytest.param((place, ALL_ALONE), id=place) for place in PLACES], indirect=True
)


@pytest.mark.parametrize("operation", ["try", "confirm", "cancel"])
def test_who_dies_before_the_commit_leaves_nothing_and_the_next_attempt_is_the_first(
    shop: Shop, operation: str
) -> None:
    if operation != "try":
        shop.run("try")
    before, stock = shop.status, shop.stock

    def dies(handle: Any) -> NoReturn:
        getattr(shop, f"move_{operation}")(handle)
        raise Killed

    with pytest.raises(Killed):
        shop.run(operation, dies)

    assert (shop.status, shop.stock) == (before, stock)
    assert isinstance(shop.run(operation), Ok)
    assert shop.stock != stock
