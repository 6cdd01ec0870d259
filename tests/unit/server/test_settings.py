"""Settings: flag over environment over file over default, and errors that name the key."""

from pathlib import Path

import pytest
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.runtime.settings import RuntimeSettings
from trypact_coordinator.settings import BadSetting, Settings, load_settings


def write(path: Path, text: str) -> Path:
    file = path / "trypact.toml"
    file.write_text(text)
    return file


def test_nothing_given_is_the_defaults() -> None:
    settings = load_settings({}, {})

    assert settings == Settings()
    assert settings.policy == Policy()
    assert settings.runtime == RuntimeSettings()


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, 'call-timeout = "1s"\nslow_retry = "2s"\nbackoff-base = "3ms"\n')
    environment = {"TRYPACT_CALL_TIMEOUT": "4s", "TRYPACT_SLOW_RETRY": "5s"}

    settings = load_settings({"call_timeout_ms": "6s", "listen": None}, environment, file)

    assert settings.call_timeout_ms == 6_000
    assert settings.slow_retry_ms == 5_000
    assert settings.backoff_base_ms == 3
    assert settings.policy.call_timeout_ms == 6_000


@pytest.mark.parametrize(
    ("flags", "environment", "complaint"),
    [
        ({"call_timeout_ms": "5"}, {}, "call-timeout (--call-timeout): '5' is not a duration"),
        ({"call_timeout_ms": "0s"}, {}, "call-timeout (--call-timeout): must be at least 1ms"),
        ({}, {"TRYPACT_SLOW_RETRY": "soon"}, "slow-retry (TRYPACT_SLOW_RETRY): 'soon' is not"),
        ({}, {"TRYPACT_INSECURE": "maybe"}, "insecure (TRYPACT_INSECURE): 'maybe' is neither"),
        ({"attempts_until_stuck": "many"}, {}, "attempts-until-stuck (--attempts-until-stuck)"),
        ({"notice_attempts": "0"}, {}, "notice-attempts (--notice-attempts): '0' is not a number"),
        ({"log_level": "loud"}, {}, "log-level (--log-level): 'loud' is not one of debug"),
        ({"lapse_after_ms": "1s"}, {}, "is not above renew-every"),
        ({"backoff_base_ms": "1m", "backoff_cap_ms": "1s"}, {}, "is above backoff-cap"),
    ],
)
def test_a_bad_value_names_its_key_and_where_it_stood(
    flags: dict[str, object], environment: dict[str, str], complaint: str
) -> None:
    with pytest.raises(BadSetting) as raised:
        load_settings(flags, environment)

    assert complaint in str(raised.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("colour = 1", "colour ("),
        ("call-timeout = 5", "5 has no unit; write it as text"),
        ("listen = true", "True is not a text"),
        ("= =", "is no TOML"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    file = write(tmp_path, text)

    with pytest.raises(BadSetting) as raised:
        load_settings({}, {}, file)

    assert complaint in str(raised.value)
    assert str(file) in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="No such file or directory"):
        load_settings({}, {}, tmp_path / "absent.toml")
