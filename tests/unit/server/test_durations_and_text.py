"""Durations as people write them, and text that is cut to a size."""

import pytest
from trypact_coordinator.durations import briefly, in_words, parse_ms, write_ms
from trypact_coordinator.text import one_line, shorten


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("250ms", 250), ("5s", 5_000), ("1.5s", 1_500), ("10m", 600_000), ("1h30m", 5_400_000),
        ("2d", 172_800_000), (" 5s ", 5_000), ("0s", 0),
    ],
)  # fmt: skip
def test_a_written_duration_is_read(text: str, milliseconds: int) -> None:
    assert parse_ms(text) == milliseconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "5x", "5s!", "1e3s", "٥s5", "5S"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as"):
        parse_ms(text)


@pytest.mark.parametrize("milliseconds", [0, 1, 999, 5_000, 60_000, 90_061_001])
def test_a_written_duration_reads_back(milliseconds: int) -> None:
    assert parse_ms(write_ms(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("microseconds", "words", "brief"),
    [
        (0, "0 ms", "0ms"),
        (999_999, "999 ms", "999ms"),
        (1_000_000, "1 second", "1s"),
        (59_900_000, "59 seconds", "59s"),
        (60_000_000, "1 minute", "1m"),
        (3_900_000_000, "1 hour 5 minutes", "1h"),
        (90_000_000_000, "1 day 1 hour", "1d"),
    ],
)
def test_a_duration_is_said_in_the_units_that_matter(
    microseconds: int, words: str, brief: str
) -> None:
    assert (in_words(microseconds), briefly(microseconds)) == (words, brief)


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("abc", 3, "abc"),
        ("abcdef", 5, "ab…"),
        ("äöü", 6, "äöü"),
        ("äöüä", 6, "ä…"),
        ("a\ud800b", 10, "a?b"),
    ],
)
def test_a_long_text_is_cut_with_an_ellipsis(text: str, most: int, short: str) -> None:
    assert shorten(text, most) == short
    assert len(shorten(text, most).encode()) <= most


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("two\nlines\tand\r\n more", "two lines and more"),
        ("\x1b[2Jgone\x07", "\ufffd[2Jgone\ufffd"),
        ("漢字 ok", "漢字 ok"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(text: str, line: str) -> None:
    assert one_line(text) == line
