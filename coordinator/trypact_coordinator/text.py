"""Free text that comes from outside: cut to a size, and made fit to be shown."""


def shorten(text: str, bytes_max: int) -> str:
    """Return the text, or its beginning and an ellipsis that together fit into `bytes_max`."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= bytes_max:
        return encoded.decode()
    ellipsis = "…".encode()
    return encoded[: bytes_max - len(ellipsis)].decode(errors="ignore") + ellipsis.decode()


def one_line(text: str) -> str:
    """Return a text on one line, without what a terminal would take for a command."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else "\ufffd" for c in line)
