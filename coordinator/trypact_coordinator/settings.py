"""Everything a coordinator can be told: flags, TRYPACT_* environment variables, a TOML file.

A flag wins over the environment, the environment over the file, the file over the default. One
table, the fields of `Settings`, is where all three come from. Every error names the key and
where its value stood.
"""

import dataclasses
import os
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trypact_coordinator.core.errors import CoordinatorError
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.durations import parse_ms, write_ms
from trypact_coordinator.runtime.settings import RuntimeSettings

ENVIRONMENT_PREFIX = "TRYPACT_"
# Where `trypact dev` keeps its journal, unless it is told otherwise.
DEV_JOURNAL = "sqlite:///trypact-dev.db"
# Where `trypact dev` serves HTTP, unless it is told otherwise.
DEV_HTTP_LISTEN = "127.0.0.1:7080"
# What `http-listen` says for no HTTP at all.
OFF = "off"
LOG_LEVELS = ("debug", "info", "warning", "error")


class BadSetting(CoordinatorError):
    """A setting has a value that cannot be used."""

    status = "INVALID_ARGUMENT"
    reason = "BAD_SETTING"

    def __init__(self, key: str, source: str, why: str) -> None:
        self.key = key
        super().__init__(f"{key} ({source}): {why}")


def _duration(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} has no unit; write it as text, such as '5s'")
    milliseconds = parse_ms(value)
    if milliseconds < 1:
        raise ValueError("must be at least 1ms")
    return milliseconds


def _count(value: object) -> int:
    try:
        number = value if isinstance(value, int) else int(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is no number") from None
    if isinstance(value, bool) or not 1 <= number <= 1_000_000:
        raise ValueError(f"{value!r} is not a number from 1 to 1000000")
    return number


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("1", "true", "yes", "on"):
        return True
    if str(value).lower() in ("0", "false", "no", "off", ""):
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is not a text")
    return value.strip()


def _level(value: object) -> str:
    if str(value).lower() not in LOG_LEVELS:
        raise ValueError(f"{value!r} is not one of {', '.join(LOG_LEVELS)}")
    return str(value).lower()


def _setting(read: Callable[[object], Any], default: Any, about: str) -> Any:
    return field(default=default, metadata={"read": read, "about": about})


_POLICY = Policy()
_RUNTIME = RuntimeSettings()


@dataclass(frozen=True)
class Settings:
    """What a coordinator runs with. Durations are milliseconds; people write them as `5s`."""

    listen: str = _setting(_text, "127.0.0.1:7000", "Address to serve on, HOST:PORT.")
    http_listen: str = _setting(
        _text, OFF, "Address for /metrics and /healthz over HTTP, HOST:PORT, or off."
    )
    journal: str = _setting(
        _text, "sqlite:///trypact.db", "Journal: sqlite:///PATH, postgresql://..., or memory:."
    )
    insecure: bool = _setting(
        _flag, False, "Serve addresses others can reach, without TLS and tokens."
    )
    owner: str = _setting(_text, "", "Names this coordinator in the journal; default HOST:PID.")
    log_level: str = _setting(_level, "info", "debug, info, warning or error.")

    call_timeout_ms: int = _setting(
        _duration, _POLICY.call_timeout_ms, "How long one call of a participant may take."
    )
    default_timeout_ms: int = _setting(
        _duration, _POLICY.default_timeout_ms, "Deadline of transactions that name none."
    )
    backoff_base_ms: int = _setting(
        _duration, _POLICY.backoff_base_ms, "First wait before a failed call is repeated."
    )
    backoff_cap_ms: int = _setting(
        _duration, _POLICY.backoff_cap_ms, "Longest wait before a failed call is repeated."
    )
    slow_retry_ms: int = _setting(
        _duration, _POLICY.slow_retry_ms, "How often a stuck branch is still asked."
    )
    attempts_until_stuck: int = _setting(
        _count, _POLICY.attempts_until_stuck, "Failed calls after which a branch is stuck."
    )
    notice_attempts: int = _setting(
        _count, _POLICY.notice_attempts, "Calls after which a notice is given up."
    )
    pending_poll_ms: int = _setting(
        _duration, _POLICY.pending_poll_ms, "How often a PENDING operation is asked about."
    )

    retention_ms: int = _setting(
        _duration, _RUNTIME.retention_ms, "How long outcomes and timelines are kept."
    )
    renew_every_ms: int = _setting(
        _duration, _RUNTIME.renew_every_ms, "How often participants renew their registration."
    )
    lapse_after_ms: int = _setting(
        _duration, _RUNTIME.lapse_after_ms, "Silence after which an instance gets no new work."
    )
    calls_max: int = _setting(
        _count, _RUNTIME.lane_calls_max, "Calls to one participant at once; 2 at least."
    )
    transactions_max: int = _setting(
        _count,
        _RUNTIME.transactions_in_memory_max,
        "Transactions in memory above which new ones are refused.",
    )

    stop_grace_ms: int = _setting(_duration, 10_000, "How long a stop waits for what is in flight.")
    rpcs_max: int = _setting(_count, 50_000, "Calls served at once; further ones are refused.")

    @property
    def policy(self) -> Policy:
        """The core's share."""
        names = Policy.__struct_fields__
        return Policy(**{name: getattr(self, name) for name in names})

    @property
    def runtime(self) -> RuntimeSettings:
        """The runtime's share; a quarter of a participant's calls is kept for decided work."""
        return RuntimeSettings(
            transactions_in_memory_max=self.transactions_max,
            retention_ms=self.retention_ms,
            lane_calls_max=self.calls_max,
            lane_reserved=self.calls_max // 4,
            renew_every_ms=self.renew_every_ms,
            lapse_after_ms=self.lapse_after_ms,
        )

    @property
    def owner_name(self) -> str:
        """The owner, as the journal records it."""
        return self.owner or f"{socket.gethostname()}:{os.getpid()}"


FIELDS = {one.name: one for one in dataclasses.fields(Settings)}


def key_of(name: str) -> str:
    """Return how a field is written in flags and files: `call_timeout_ms` is `call-timeout`."""
    return name.removesuffix("_ms").replace("_", "-")


def variable_of(name: str) -> str:
    """Return a field's environment variable."""
    return ENVIRONMENT_PREFIX + name.removesuffix("_ms").upper()


def written_default(name: str) -> str:
    """Return a field's default as people write it."""
    default: Any = FIELDS[name].default
    if isinstance(default, bool):
        return str(default).lower()
    return write_ms(default) if name.endswith("_ms") else str(default)


def load_settings(
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    path: Path | None = None,
    defaults: Mapping[str, object] | None = None,
) -> Settings:
    """Put the settings together.

    Args:
        flags: by field name; None means not given.
        environment: usually os.environ.
        path: a TOML file whose keys are those of the flags, if there is one.
        defaults: by field name; stand in for those of the table.

    Raises BadSetting naming the key and where it stood.
    """
    from_file = _read_file(path) if path else {}
    values: dict[str, Any] = {}
    for name, one in FIELDS.items():
        key, variable = key_of(name), variable_of(name)
        candidates = (
            (flags.get(name), f"--{key}"),
            (environment.get(variable) or None, variable),
            (from_file.get(name), f"{path}"),
            ((defaults or {}).get(name), "default"),
        )
        for value, source in candidates:
            if value is not None:
                values[name] = _read(one.metadata["read"], value, key, source)
                break
    settings = Settings(**values)
    if settings.backoff_base_ms > settings.backoff_cap_ms:
        raise BadSetting("backoff-base", "with backoff-cap", "is above backoff-cap")
    if settings.lapse_after_ms <= settings.renew_every_ms:
        raise BadSetting("lapse-after", "with renew-every", "is not above renew-every")
    return settings


def _read(read: Callable[[object], Any], value: object, key: str, source: str) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise BadSetting(key, source, str(error)) from None


def _read_file(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            written = tomllib.load(file)
    except OSError as error:
        raise BadSetting("config", str(path), error.strerror or str(error)) from None
    except ValueError as error:
        raise BadSetting("config", str(path), f"is no TOML: {error}") from None
    known = {key_of(name): name for name in FIELDS}
    for key in written:
        if key.replace("_", "-") not in known:
            raise BadSetting(key, str(path), f"is no setting; known: {', '.join(known)}")
    return {known[key.replace("_", "-")]: value for key, value in written.items()}
