"""Write the reference pages that repeat the code: `python tools/reference.py [--check]`.

`docs/reference/errors.md` and a page for each error come from the catalogue of errors, `limits.md`
from `core/limits.py`, `configuration.md` from the table of settings, `metrics.md` from the table of
metrics. An error without its advice in `cli/advice.py` or a limit without its sentence below is a
failure here, so neither can be added without telling its reader what it means and what to do.
"""

import sys

from pages import GENERATED, written_or_checked
from trypact_coordinator import settings
from trypact_coordinator.cli.catalogue import Entry, Speaker, entries
from trypact_coordinator.core import limits
from trypact_coordinator.durations import write_ms
from trypact_coordinator.server.metrics_table import METRICS

ERRORS_HEAD = """\
# Errors

Every error of the coordinator travels as one gRPC status with a `google.rpc.ErrorInfo`, whose
`reason` is the stable name below and whose `domain` is `trypact`. Match on the reason, never on
the message: messages get better, reasons stay. Each has a page, which `trypact explain REASON`
prints too.

*Whose* says who can mend it: the **caller** who sent the request, **nobody** (it passes; ask
again), the **operator** of the coordinator or its journal, or **us** (a bug).

"""

SERVICES_HEAD = """
## What services say

A service that [joins](../how-to/joining.md) the transaction of its caller tells it what went wrong
as a status whose details begin with a reason: one of those above, or one of these. The **business**
has said no; that is an answer, and nothing is to be mended.

"""

FENCES_HEAD = """
## What fences say

A participant's fence refuses what cannot be right, and then the reason of the refusal begins with
`ALREADY_CONFIRMED`, `ALREADY_CANCELLED`, or one of these. The **participant** has to be mended. All
other reasons of refusals are the handlers' own words.

"""

LIMITS_HEAD = """\
# Limits

Everything a caller can send and everything that can grow has a bound. Beyond it the request is
refused with `LIMIT_EXCEEDED` and the name of the field, and nothing has happened. Sizes are bytes
of UTF-8.

"""

# Which limit bounds what.
BOUNDS = {
    "XID_BYTES_MAX": "A transaction's id; visible ASCII",
    "BRANCH_ID_BYTES_MAX": "A branch's id; visible ASCII",
    "NAME_BYTES_MAX": "A transaction's name",
    "ACTION_HALF_BYTES_MAX": "A participant's name, and an action's verb",
    "BRANCHES_MAX": "Branches of one transaction",
    "PAYLOAD_BYTES_MAX": "The payload of one branch",
    "TRANSACTION_BYTES_MAX": "All payloads of one transaction together",
    "RESULT_BYTES_MAX": "What a Try or Deliver may answer",
    "REASON_BYTES_MAX": "The reason of a refusal, of a rollback, of an operator's act",
    "ACTOR_BYTES_MAX": "Who an operator says they are",
    "LABELS_MAX": "Labels of one transaction",
    "LABEL_KEY_BYTES_MAX": "The key of a label; visible ASCII",
    "LABEL_VALUE_BYTES_MAX": "The value of a label",
    "TRACE_PARENT_BYTES_MAX": "The W3C traceparent of the caller",
    "NONCE_BYTES_MAX": "The nonce that tells one interactive Begin from another",
    "TIMEOUT_MS_MIN": "The shortest time a transaction may stay undecided",
    "TIMEOUT_MS_MAX": "The longest time a transaction may stay undecided",
    "DELAY_MS_MAX": "The longest delay of a message or notice after the decision",
    "TOPIC_BYTES_MAX": "A topic",
    "TOPIC_BRANCH_ID_BYTES_MAX": "The id of a message to a topic",
    "ATTEMPTS_MAX": "Calls that the budget of one branch may allow",
    "RETRY_AFTER_MS_MAX": "The longest wait a participant may ask for with RETRY",
    "TIMELINE_ENTRIES_MAX": "Lines of one transaction's timeline; later ones replace the middle",
    "PAGE_SIZE_MAX": "Transactions on one page of a search",
    "ENDPOINT_BYTES_MAX": "A participant's endpoint",
    "INSTANCE_BYTES_MAX": "The name of a participant's instance",
    "INSTANCES_MAX": "Instances of one participant",
    "PARTICIPANTS_MAX": "Participants of one coordinator",
    "ACTIONS_MAX": "Actions of one participant",
}


def errors_page() -> str:
    coordinators, services, fences = (errors_table(speaker) for speaker in Speaker)
    page = GENERATED + ERRORS_HEAD + coordinators + SERVICES_HEAD + services
    return page + FENCES_HEAD + fences


def errors_table(speaker: Speaker) -> str:
    status = "answer" if speaker is Speaker.FENCE else "gRPC status"
    head = f"| reason | {status} | whose | what |\n| --- | --- | --- | --- |\n"
    rows = [
        f"| [`{entry.reason}`](errors/{entry.reason}.md) | `{entry.status}` "
        f"| {entry.advice.whose} | {entry.what} |"
        for entry in entries().values()
        if entry.speaker is speaker
    ]
    return head + "\n".join(rows) + "\n"


def error_page(entry: Entry) -> str:
    told = "\n\n".join(f"**{title}.** {text}" for title, text in entry.paragraphs())
    return f"{GENERATED}# {entry.reason}\n\n{entry.what}\n\n{told}\n\n[All errors](../errors.md)\n"


def bound(name: str) -> str:
    if name not in BOUNDS:
        sys.exit(f"{name} has no sentence yet: add it to BOUNDS in tools/reference.py")
    return BOUNDS[name]


def limits_page() -> str:
    rows = []
    for name, value in vars(limits).items():
        if name.isupper():
            rows.append(f"| `{name}` | {readable(name, value)} | {bound(name)} |")
    head = "| limit | value | what it bounds |\n| --- | --- | --- |\n"
    return GENERATED + LIMITS_HEAD + head + "\n".join(rows) + "\n"


def readable(name: str, value: int) -> str:
    if "_BYTES_" in name:
        for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value >= size and value % size == 0:
                return f"{value // size} {unit}"
        return f"{value} bytes"
    if "_MS_" in name:
        return write_ms(value)
    return f"{value:,}"


CONFIGURATION_HEAD = """\
# Configuration

A coordinator is told what to do by flags of `trypact serve` and `trypact dev`, by environment
variables, and by a TOML file (`--config FILE`). `dev` keeps its journal in
`sqlite:///trypact-dev.db` and serves HTTP at `127.0.0.1:7080` by default; all else is the same for
both. A flag wins over the environment, the environment over the file, the file over the default.
The keys of the file are the flags without their dashes;
[deploy/coordinator.toml](../../deploy/coordinator.toml) is an example. Durations are written with
their unit: `250ms`, `5s`, `1h`.

"""


def configuration_page() -> str:
    rows = []
    for name, field in settings.FIELDS.items():
        default = settings.written_default(name)
        shown = f"`{default}`" if default else "-"
        about = field.metadata["about"]
        key, variable = settings.key_of(name), settings.variable_of(name)
        rows.append(f"| `--{key}` | `{variable}` | {shown} | {about} |")
    head = "| flag | variable | default | meaning |\n| --- | --- | --- | --- |\n"
    return GENERATED + CONFIGURATION_HEAD + head + "\n".join(rows) + "\n"


METRICS_HEAD = """\
# Metrics

What `/metrics` serves for Prometheus; [watching a coordinator](../how-to/watch.md) says how to get
there, and what to look at first. Counters start at 0 with the process. Instants and ages are those
of the journal's clock. No label is ever an xid, or anything else that grows with the traffic. The
`process_` metrics of every Prometheus client are there too.

"""


def metrics_page() -> str:
    rows = []
    for name, metric in METRICS.items():
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
        rows.append(f"| `{name}` | {metric.kind.value} | {labels} | {metric.about} |")
    head = "| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n"
    return GENERATED + METRICS_HEAD + head + "\n".join(rows) + "\n"


def pages() -> dict[str, str]:
    written = {
        "errors.md": errors_page(),
        "limits.md": limits_page(),
        "configuration.md": configuration_page(),
        "metrics.md": metrics_page(),
    }
    return written | {
        f"errors/{entry.reason}.md": error_page(entry) for entry in entries().values()
    }


if __name__ == "__main__":
    sys.exit(written_or_checked(__doc__, "docs/reference", pages(), whole="errors/*.md"))
