"""`trypact shop ...` against the running shop, and against nothing at all."""

import json
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from trypact_coordinator.cli.main import main
from trypact_shop.demo.world import World, until
from trypact_shop.endpoints import ENDPOINTS, variable_of
from trypact_shop.launcher import Child

from tests.integration.shop.buying import Buyer

Run = Callable[..., tuple[int, str, str]]


pytestmark = pytest.mark.parametrize("world", ["sqlite"], indirect=True)


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `trypact shop WORDS`; returns the exit code and what was said."""
    for variable, endpoint in world.environment().items():
        monkeypatch.setenv(variable, endpoint)

    def run_it(*words: object) -> tuple[int, str, str]:
        code = main(["shop", *map(str, words)])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return code, said.out, said.err

    return run_it


@pytest.fixture
def buyer(world: World) -> Buyer:
    return Buyer(world)


def test_an_order_is_placed_shown_and_listed(buyer: Buyer, run: Run) -> None:
    code, out, _ = run(
        "place", f"{buyer.sku_id}:2", "--buyer", buyer.user_id, "--coupon", buyer.coupon_id
    )
    assert code == 0
    assert "price 16.00 - coupon 5.00 - balance 11.00 = to pay 0.00" in out
    order_id = out.split()[1]
    assert run("show", order_id) == (0, out, "")
    code, listed, _ = run("list", "--buyer", buyer.user_id)
    assert code == 0
    assert order_id in listed


def test_programs_get_numbers_and_words_as_json(buyer: Buyer, run: Run) -> None:
    words = ("place", buyer.sku_id, "--buyer", buyer.user_id, "--balance", 100, "-o", "json")
    code, out, _ = run(*words)
    order = json.loads(out)
    assert code == 0
    assert order["status"] == "created"
    assert (order["price_cents"], order["money_paid_cents"]) == (800, 100)
    code, out, _ = run("stock", buyer.sku_id, "-o", "json")
    (stock,) = json.loads(out)["stocks"]
    assert (stock["available"], stock["reserved"], stock["total"]) == (9, 1, 10)
    code, out, _ = run("accounts", buyer.user_id, "-o", "json")
    assert json.loads(out)["accounts"][0]["money_spent_cents"] == 100
    code, out, _ = run("coupons", "--owner", buyer.user_id, "-o", "json")
    assert json.loads(out)["coupons"][0]["state"] == "free"


def test_a_refused_order_says_who_why_and_what_to_do(buyer: Buyer, run: Run) -> None:
    code, out, err = run("place", f"{buyer.sku_id}:11", "--buyer", buyer.user_id)
    assert code == 1
    assert "refused by inventory: out_of_stock" in out
    what, why, todo = err.splitlines()
    assert what.startswith("error: order ")
    assert "inventory refused: out_of_stock: sku" in why
    assert todo == "   do: Ask for fewer pieces; `trypact shop stock` shows what is left."


def test_the_same_request_id_is_the_same_order_and_another_content_a_conflict(
    buyer: Buyer, run: Run
) -> None:
    words = ("--buyer", buyer.user_id, "--request-id", f"mine-{buyer.number}", "-o", "json")
    first = run("place", buyer.sku_id, *words)
    assert first[0] == 0
    assert run("place", buyer.sku_id, *words) == first
    code, _, err = run("place", f"{buyer.sku_id}:2", *words)
    assert code == 5
    assert len(err.splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("show", 17), 4, "there is no order 17"),
        (("show", 10**40), 2, "is not in the range"),
        (("place", 123456, "--buyer", 1), 4, "123456"),
        (("place", "tea", "--buyer", 1), 2, "'tea' is neither SKU nor SKU:QUANTITY"),
        (("place", "1:2:3", "--buyer", 1), 2, "neither SKU nor SKU:QUANTITY"),
        (("place", f"1:{10**12}", "--buyer", 1), 2, "too large"),
        (("place", 1, "--buyer", 10**40), 2, "is not in the range"),
        (("place", 1, "--buyer", 1, "--balance", 10**40), 2, "is not in the range"),
        (("place", 1), 2, "--buyer"),
        (("place", 1, "--buyer", 0), 2, "buyer_user_id: 0 is out of range"),
        (("place", 1, "--buyer", 1, "--request-id", "é"), 2, "visible ASCII"),
        (("list", "--limit", 0), 2, "--limit"),
        (("stock", "0"), 2, "0 is not in the range"),
        (("sell",), 2, "No such command"),
    ],
)
def test_what_is_wrong_is_said_in_three_lines(
    run: Run, words: tuple[object, ...], code: int, said: str
) -> None:
    got, out, err = run(*words)
    assert got == code
    assert said in err
    assert len(err.splitlines()) == 3
    assert out == ""


def test_goods_accounts_and_coupons_can_be_added_by_hand(buyer: Buyer, run: Run) -> None:
    number = 80_000 + buyer.number
    assert run("add-stock", number, 5, "--name", "cup", "--price", 100)[0] == 0
    assert run("deposit", number, 1000, "--coins", 5)[0] == 0
    assert run("issue-coupon", number, "--owner", number, "--worth", 30)[0] == 0
    assert run("issue-coupon", number, "--owner", number, "--worth", 31)[0] == 5
    assert run("place", f"{number}:5", "--buyer", number, "--coupon", number)[0] == 0
    assert run("block", number, "--reason", "enough")[0] == 0
    code, _, err = run("place", f"{number}:1", "--buyer", number)
    assert code == 1
    assert "refused" in err


def test_seed_fills_the_shop_so_that_one_can_buy(run: Run) -> None:
    assert run("seed", "--buyers", 2)[0] == 0
    assert run("place", "1002:2", 1003, "--buyer", 1, "--coupon", 101, "--interactive")[0] == 0


def test_a_shop_that_is_closed_is_said_so_in_three_lines(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ENDPOINTS:
        monkeypatch.setenv(variable_of(name), "127.0.0.1:1")
    for words in (("list",), ("stock",), ("accounts",), ("coupons",), ("seed",)):
        code, out, err = run(*words)
        assert (code, out) == (1, "")
        assert len(err.splitlines()) == 3
        assert "does not answer at 127.0.0.1:1" in err
        assert "trypact shop up" in err


def test_up_without_a_coordinator_says_so(run: Run, tmp_path: Path) -> None:
    words = ("up", "--coordinator", "127.0.0.1:1", "--data", tmp_path / "data")
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 3
    assert "the coordinator at 127.0.0.1:1 does not answer" in err
    assert not (tmp_path / "data").exists()


def test_up_runs_all_participants_until_it_is_told_to_stop_whichever_of_them_dies(
    world: World, tmp_path: Path
) -> None:
    trypact = world.coordinator.command[0]
    journal = f"sqlite:///{tmp_path / 'journal.db'}"
    coordinator = Child("c", [trypact, "serve", "--journal", journal], "127.0.0.1:0", tmp_path)
    coordinator.start()
    command = [trypact, "shop", "up", "--data", str(tmp_path / "data")]
    environment = {variable_of(name): "127.0.0.1:0" for name in ENDPOINTS}
    up = Child("up", [*command, "--coordinator", coordinator.endpoint], "", tmp_path)
    up.launch(environment)
    until("the shop is open", lambda: "The shop is open" in up.tail(), 30)
    assert up.tail().count("127.0.0.1:") == len(ENDPOINTS)

    os.kill(_process_of("trypact_shop.member", str(tmp_path)), signal.SIGKILL)
    until("it is told", lambda: "member ended with -9" in up.tail(), 30)
    (told,) = (line for line in up.tail().splitlines() if line.startswith("member ended"))
    again = shlex.split(told.partition("; again: ")[2])
    assert up.returncode is None
    start = next(i for i, word in enumerate(again) if not word.startswith("TRYPACT_"))
    member = Child("again", again[start:], "", tmp_path)
    member.start(dict(word.split("=", 1) for word in again[:start]))
    assert member.endpoint == again[-1]
    assert not member.endpoint.endswith(":0")
    member.stop()

    up.stop()
    coordinator.stop()
    assert up.returncode == 0
    assert "closing" in up.tail()


def _process_of(*words: str) -> int:
    """Find the process whose command line has these words in it."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if all(word in line for word in words):
            return int(folder.name)
    raise AssertionError(f"no process runs {words}")
