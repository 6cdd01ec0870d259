"""Free text that comes from outside, cut to a size."""


def shorten(text: str, bytes_max: int) -> str:
    """Return the text, or its beginning and an ellipsis that together fit into `bytes_max`."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= bytes_max:
        return encoded.decode()
    ellipsis = "…".encode()
    return encoded[: bytes_max - len(ellipsis)].decode(errors="ignore") + ellipsis.decode()
