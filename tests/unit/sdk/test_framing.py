"""What a fence keeps is what was put in, whatever a service's own bytes look like."""

from hypothesis import example, given
from hypothesis import strategies as st
from trypact._framing import _MARK, framed, unframed
from trypact.payload import encode


@given(st.binary(), st.integers(0, 2**63 - 1))
@example(_MARK, 0)
@example(_MARK + b"\0" * 8, 7)
def test_a_result_comes_back_with_its_instant(result: bytes, expires_at_us: int) -> None:
    assert unframed(framed(result, expires_at_us)) == (result, expires_at_us)


@given(st.text() | st.integers() | st.none())
def test_a_result_that_does_not_expire_is_kept_as_it_is(value: str | int | None) -> None:
    assert framed(encode(value)) == encode(value)
