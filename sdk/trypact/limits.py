"""The limits a service meets on its own side; the coordinator checks them again at its door.

Sizes are bytes of UTF-8.
"""

PAYLOAD_BYTES_MAX = 256 * 1024
RESULT_BYTES_MAX = 64 * 1024
REASON_BYTES_MAX = 1024
BRANCH_ID_BYTES_MAX = 64
TOPIC_BYTES_MAX = 128
ATTEMPTS_MAX = 1000
TIMEOUT_S_MAX = 30 * 24 * 3600.0
DELAY_S_MAX = 365 * 24 * 3600.0
# How deep payloads may nest; keeps a hostile one from exhausting the interpreter's stack.
PAYLOAD_DEPTH_MAX = 64
# The longest wait a handler may ask for with RetryLater.
RETRY_AFTER_S_MAX = 3600.0


def shortened(text: str, bytes_max: int = REASON_BYTES_MAX) -> str:
    """Return the text, cut to at most that many bytes with an ellipsis at its end."""
    data = text.encode("utf-8", "replace")
    if len(data) <= bytes_max:
        return data.decode()
    return data[: bytes_max - len("…".encode())].decode("utf-8", "ignore") + "…"
