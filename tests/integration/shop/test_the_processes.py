"""What a participant's process says when it cannot start, and what its failpoints are."""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue

import pytest
from trypact import Kind, Operation
from trypact.call import FencedCall
from trypact.fence import SqlAlchemyFence
from trypact_shop.database import open_database
from trypact_shop.endpoints import ENDPOINTS
from trypact_shop.errors import Invalid
from trypact_shop.failpoint import Failpoint
from trypact_shop.inventory.tables import metadata
from trypact_shop.launcher import Child, ChildFailed


def _run(tmp_path: Path, *words: str, **environment: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "trypact_shop.inventory", "--coordinator", "127.0.0.1:1"]
    if "--database" not in words:
        command += ["--database", f"sqlite:///{tmp_path / 'inventory.db'}"]
    done = subprocess.run(
        [*command, *words], env=environment, capture_output=True, text=True, timeout=30
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("nonsense", 2, "'nonsense' is not an URL; allowed: sqlite:///FILE or postgresql://"),
        ("mysql://x/y", 2, "mysql is not supported"),
        ("sqlite://", 2, "in memory nothing lasts"),
        ("sqlite:////no/such/folder/x.db", 1, "the database cannot be used"),
        ("postgresql://nobody@127.0.0.1:1/x", 1, "the database cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_said_so(
    tmp_path: Path, url: str, code: int, said: str
) -> None:
    got, err = _run(tmp_path, "--database", url, "--listen", "127.0.0.1:0")
    assert got == code
    assert said in err


def test_an_address_that_is_taken_is_said_so(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        code, err = _run(tmp_path, "--listen", address)
    assert code == 1
    assert f"cannot listen on {address}" in err


def test_a_failpoint_that_does_not_exist_is_said_so(tmp_path: Path) -> None:
    words = ("--listen", "127.0.0.1:0")
    code, err = _run(tmp_path, *words, TRYPACT_SHOP_FAILPOINT="inventory.reserve:explode")
    assert code == 2
    assert "ACTION:OPERATION[:committed]" in err


@pytest.mark.parametrize("name", list(ENDPOINTS))
def test_every_participant_explains_its_flags(name: str) -> None:
    command = [sys.executable, "-m", f"trypact_shop.{name}", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    for flag in ("--listen", "--advertise", "--database", "--coordinator", "--instance"):
        assert flag in done.stdout


@pytest.mark.parametrize("armed", ["", ":", "a", "a:b", "a:try:", "a:try:soon", ":try"])
def test_only_whole_failpoints_can_be_armed(tmp_path: Path, armed: str) -> None:
    fence = SqlAlchemyFence(open_database(f"sqlite:///{tmp_path / 'x.db'}", metadata))
    if armed == "a:try:":
        Failpoint(fence, armed)
        return
    with pytest.raises(Invalid):
        Failpoint(fence, armed)


def test_an_armed_failpoint_lets_every_other_operation_through(tmp_path: Path) -> None:
    fence = SqlAlchemyFence(open_database(f"sqlite:///{tmp_path / 'x.db'}", metadata))
    fence.create_tables()
    armed = Failpoint(fence, "inventory.reserve:confirm")
    call = FencedCall("x", "b", "inventory.reserve", Kind.TCC, Operation.TRY)
    assert armed.run(call, lambda connection: b"1") == fence.run(call, lambda connection: b"2")


def test_a_child_that_ends_at_once_is_told_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no money')"]
    child = Child("poor", command, "", tmp_path)
    with pytest.raises(ChildFailed, match=r"(?s)poor did not start: it ended with 1.*no money"):
        child.start()


def test_a_child_that_dies_right_after_it_listens_was_ready_and_its_next_run_starts_anew(
    tmp_path: Path,
) -> None:
    ended: SimpleQueue[str] = SimpleQueue()
    first = tmp_path / "first"
    program = (
        "import os, pathlib, signal, sys\n"
        f"first = pathlib.Path({str(first)!r})\n"
        "if first.exists(): sys.exit(3)\n"
        "first.touch()\n"
        "print('listening on 127.0.0.1:5', file=sys.stderr, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    child = Child("brief", [sys.executable, "-c", program], "", tmp_path, ended.put)
    child.launch()
    assert ended.get(timeout=30) == "brief"

    child.wait_ready()

    assert (child.endpoint, child.returncode) == ("127.0.0.1:5", -signal.SIGKILL)
    with pytest.raises(ChildFailed, match="it ended with 3"):
        child.start()
