"""What callers give, checked where it is given, by the name and in the unit it was given in."""

from trypact.errors import InvalidRequest


def require_text(name: str, value: object) -> None:
    """Check what must be a text that can travel. Raises InvalidRequest."""
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}: is {value!r}; allowed: a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{name}: is {value!r}: {error}") from None


def require_number(name: str, value: object, least: float, most: float, unit: str = "") -> None:
    """Check what must be a number between two others. Raises InvalidRequest."""
    # To Python, True is a number.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:  # type: ignore[operator]
        of_unit = f" {unit}" if unit else ""
        raise InvalidRequest(f"{name}: is {value!r}; allowed: {least:g} to {most:.9g}{of_unit}")
