"""`python -m trypact_shop.demo`: play the demo; exit code 0 if everything adds up."""

import shutil
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import grpc
from rich.console import Console

from trypact_shop.demo.scenes import Demo
from trypact_shop.demo.show import Show
from trypact_shop.demo.world import DemoFailed, World
from trypact_shop.launcher import ChildFailed, Children

INTERRUPTED = 130


@click.command()
@click.option("--orders", type=click.IntRange(40, 10_000), default=240, show_default=True)
@click.option("--buyers", type=click.IntRange(4, 64), default=12, show_default=True)
@click.option("--keep", is_flag=True, help="Keep the databases and logs.")
def demo(orders: int, buyers: int, keep: bool) -> None:
    """Sell, refuse, crash twice, recover, and prove that everything adds up."""
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="trypact-demo-"))
    console.print("[bold]trypact[/]: all of it happens, or none of it does.")
    code = 1
    try:
        code = _play(console, folder, orders, buyers)
    except (DemoFailed, ChildFailed) as error:
        console.print(f"\n[bold red]The demo failed.[/] {error}", markup=True)
    except grpc.RpcError as error:
        call: Any = error
        console.print(f"\n[bold red]The demo failed.[/] {call.code().name}: {call.details()}")
    except KeyboardInterrupt:
        console.print("\ninterrupted; everything is stopped")
        code = INTERRUPTED
    finally:
        _leave(console, folder, kept=keep or code == 1)
    raise SystemExit(code)


def _play(console: Console, folder: Path, orders: int, buyers: int) -> int:
    with Children(folder) as children:
        world = World(children, folder)
        pool = ThreadPoolExecutor(buyers, "buyer")
        try:
            return 0 if Demo(world, Show(console), pool, buyers).run(orders) else 1
        finally:
            # Buyers who still wait get no answer any more once their channel is closed.
            world.close()
            pool.shutdown(wait=True, cancel_futures=True)


def _leave(console: Console, folder: Path, kept: bool) -> None:
    if kept:
        console.print(f"databases and logs are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    demo()
