"""The root of the tree of errors; see `trypact.errors`."""

from typing import ClassVar


class TrypactError(Exception):
    """Something did not work.

    >>> try:
    ...     await client.get("never-heard-of")
    ... except TrypactError as error:
    ...     print(error.code)
    UNKNOWN_TRANSACTION
    """

    # The stable google.rpc.ErrorInfo reason; empty for what never crosses the wire.
    code: ClassVar[str] = ""

    def __init__(self, message: str = "") -> None:
        said = (type(self).__doc__ or "").partition("\n\n")[0]
        super().__init__(message or " ".join(said.split()))
