"""A limit on everything a caller can send or that can grow. Documented in docs/reference/limits.md.

Sizes are bytes of UTF-8, durations milliseconds, unless the name says otherwise.
"""

XID_BYTES_MAX = 128
BRANCH_ID_BYTES_MAX = 64
NAME_BYTES_MAX = 128
ACTION_HALF_BYTES_MAX = 64
TOPIC_BYTES_MAX = 128
# The id of a message to a topic leaves room for what tells its subscribers apart.
TOPIC_BRANCH_ID_BYTES_MAX = BRANCH_ID_BYTES_MAX - 4
BRANCHES_MAX = 256
PAYLOAD_BYTES_MAX = 256 * 1024
# All payloads of one transaction together; well under gRPC's 4 MiB message.
TRANSACTION_BYTES_MAX = 2 * 1024 * 1024
RESULT_BYTES_MAX = 64 * 1024
REASON_BYTES_MAX = 1024
ACTOR_BYTES_MAX = 128
LABELS_MAX = 16
LABEL_KEY_BYTES_MAX = 64
LABEL_VALUE_BYTES_MAX = 256
TRACE_PARENT_BYTES_MAX = 64
NONCE_BYTES_MAX = 64

TIMEOUT_MS_MIN = 1
TIMEOUT_MS_MAX = 30 * 24 * 3600 * 1000
# A participant that asks to be asked later than this is asked now and then all the same.
RETRY_AFTER_MS_MAX = 3600 * 1000
DELAY_MS_MAX = 365 * 24 * 3600 * 1000
# Calls that a branch's own budget can allow; it needs none to be asked for ever.
ATTEMPTS_MAX = 1000

TIMELINE_ENTRIES_MAX = 1024
PAGE_SIZE_MAX = 1000

ENDPOINT_BYTES_MAX = 256
INSTANCE_BYTES_MAX = 128
INSTANCES_MAX = 256
PARTICIPANTS_MAX = 1024
ACTIONS_MAX = 256
