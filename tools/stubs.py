"""Generate the Python stubs from proto/: `python tools/stubs.py [--check]`.

The package path of a .proto is the package path of its Python module, so the generated imports
work as they are. `--check` generates into a temporary folder and compares with what is committed.
"""

import argparse
import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Folder of .proto files below proto/ -> the source root its stubs are committed under.
PACKAGES = {
    "trypact/v1": ROOT / "sdk",
    "trypact_shop/v1": ROOT / "participants",
}


def generate(package: str, out: Path) -> None:
    protos = sorted((ROOT / "proto" / package).glob("*.proto"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={ROOT / 'proto'}",
            f"--python_out={out}",
            f"--mypy_out=quiet:{out}",
            f"--grpc_python_out={out}",
            f"--mypy_grpc_out=quiet:{out}",
            *map(str, protos),
        ],
        check=True,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
    )


def stale(package: str, source_root: Path) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        generate(package, Path(scratch))
        fresh, kept = Path(scratch) / package, source_root / package
        names = {path.name for path in fresh.iterdir()}
        names |= {path.name for path in kept.glob("*_pb2*")}
        return [
            f"{kept.relative_to(ROOT)}/{name}"
            for name in sorted(names)
            if not (fresh / name).exists()
            or not (kept / name).exists()
            or not filecmp.cmp(fresh / name, kept / name, shallow=False)
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    check = parser.parse_args().check
    packages = {p: r for p, r in PACKAGES.items() if (ROOT / "proto" / p).is_dir()}
    if check:
        old = [name for package, root in packages.items() for name in stale(package, root)]
        for name in old:
            print(f"stale: {name}; run `make stubs`", file=sys.stderr)
        return 1 if old else 0
    for package, root in packages.items():
        for old_stub in (root / package).glob("*_pb2*"):
            old_stub.unlink()
        (root / package).mkdir(parents=True, exist_ok=True)
        generate(package, root)
        (root / package / "__init__.py").touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
