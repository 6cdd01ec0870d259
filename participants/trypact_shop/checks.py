"""Checks of what callers send; a failed one says which field, why, and what is allowed."""

from collections.abc import Sequence

from trypact_shop.errors import Invalid

# Limits on what can be asked of the shop at all; business rules (such as how many pieces one
# order may have) are settings of the participant that owns them.
ID_MAX = 2**53 - 1
CENTS_MAX = 10**12
QUANTITY_MAX = 10_000
# Pieces added to a warehouse at once.
STOCK_MAX = 10**7
LINES_MAX = 50
TEXT_CHARACTERS_MAX = 255


def whole(field: str, value: object, least: int, most: int) -> None:
    """Raise Invalid unless the value is a whole number between `least` and `most`."""
    allowed = f"a whole number from {least} to {most}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(field, f"{value!r} is not a whole number", allowed)
    if not least <= value <= most:
        raise Invalid(field, f"{value} is out of range", allowed)


def identity(field: str, value: object) -> None:
    """Raise Invalid unless the value can be an id."""
    whole(field, value, 1, ID_MAX)


def cents(field: str, value: object, least: int = 1) -> None:
    """Raise Invalid unless the value is an amount of money in cents."""
    whole(field, value, least, CENTS_MAX)


def quantity(field: str, value: object) -> None:
    """Raise Invalid unless the value is a number of pieces."""
    whole(field, value, 1, QUANTITY_MAX)


def text(field: str, value: object, least: int = 1, most: int = TEXT_CHARACTERS_MAX) -> None:
    """Raise Invalid unless the value is a text of `least` to `most` characters."""
    allowed = f"a text of {least} to {most} characters"
    if not isinstance(value, str):
        raise Invalid(field, f"{value!r} is not a text", allowed)
    if not least <= len(value) <= most:
        raise Invalid(field, f"{len(value)} characters", allowed)
    if "\0" in value:
        raise Invalid(field, "contains a NUL character", allowed)


def distinct(field: str, values: Sequence[int]) -> None:
    """Raise Invalid if the same id is named twice."""
    seen: set[int] = set()
    for value in values:
        if value in seen:
            raise Invalid(field, f"{value} is named twice", "each id once")
        seen.add(value)
