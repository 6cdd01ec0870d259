"""What bounds the runtime: everything that may queue, pile up or be looked at has a number."""

import msgspec


class RuntimeSettings(msgspec.Struct, frozen=True):
    """Limits and intervals of the driver, the dispatcher, the registry and the sweeper."""

    # Transactions in memory above which new ones are refused (known ones never are).
    transactions_in_memory_max: int = 20_000
    # A transaction that waits longer than this for time alone leaves memory for the journal.
    evict_after_ms: int = 1_000
    sweep_every_ms: int = 250
    sweep_page_size: int = 256
    # How often the sweeper also looks for what no timer would ever show (a belt to the braces).
    audit_every_ms: int = 60_000
    # How long the outcome and the timeline of a finished transaction are kept.
    retention_ms: int = 7 * 24 * 3600 * 1000

    # Calls in flight to one participant, and how many of them only Confirm, Cancel and Deliver
    # may use.
    lane_calls_max: int = 256
    lane_reserved: int = 64
    lane_queue_max: int = 100_000
    # Consecutive unknown answers that open a participant's breaker, and how long it stays open.
    breaker_failures: int = 8
    breaker_open_ms: int = 1_000

    # Participants renew this often; one that is silent for `lapse_after_ms` gets no new work.
    renew_every_ms: int = 5_000
    lapse_after_ms: int = 15_000

    records_in_batch_max: int = 512
    bytes_in_batch_max: int = 8 * 1024 * 1024
