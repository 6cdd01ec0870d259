"""How the shop's tables look where there is little room."""

import pytest
from trypact_shop.cli.views import show_table


def test_no_cell_is_ever_cut_however_narrow_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    titles = ["order", "goods", "status", "refused by", "to pay"]
    row = ["2026112100000012345", "[tea] " + "x" * 60, "cancelled", "inventory: out_of_stock", "9"]

    show_table(titles, [row, row], right=["to pay"])

    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["ORDER", "GOODS", "STATUS", "REFUSED", "BY", "TO", "PAY"]
    assert len(lines) == 2
    for line in lines:
        for cell in row:
            assert cell in line
