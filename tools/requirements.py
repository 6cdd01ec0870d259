"""Pin what we install, by version and hash: `python tools/requirements.py [--check]`.

`requirements/*.txt` are written by pip-tools from the extras of pyproject.toml, without any index
address, so that they mean the same from every mirror. `--check` reads only what is committed: each
requirement of each extra is pinned to a version that satisfies it, with hashes and nothing else.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
# File name -> the extra of pyproject.toml it installs; `build` is what builds the project itself.
EXTRAS = {"dev": "dev", "shop": "shop"}
# Hatchling's editable install asks for `editables`.
BUILD = ["hatchling>=1.27", "editables>=0.5"]
# What our requirements ask for on Python before 3.11.3 alone (redis does), which Debian 12 has; the
# files are compiled on one Python, whichever that is, and would leave it out on a newer one.
OLDER_PYTHON = {"redis": "async-timeout>=4.0.3"}
HEADER = """\
# Pinned from pyproject.toml by `make requirements`; not edited by hand.
"""
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)")
# Everything a line of these files may be: a pin, one of its hashes, a comment, or nothing.
LINE = re.compile(
    r"^([A-Za-z0-9._-]+==\S+( ;.*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|\s*#.*|)$"
)


def wanted(extra: str | None, project: dict[str, Any]) -> list[Requirement]:
    """Return the direct requirements of the project with an extra, its own extras unfolded."""
    found = [Requirement(line) for line in project["dependencies"]]
    queue, seen = [extra] if extra else [], set()
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        for line in project["optional-dependencies"][name]:
            requirement = Requirement(line)
            if requirement.name == project["name"]:
                queue.extend(requirement.extras)
            else:
                found.append(requirement)
                if older := OLDER_PYTHON.get(requirement.name):
                    found.append(Requirement(older))
    return found


def compile_all() -> None:
    project = read_project()
    # Nothing of this machine's package sources may leak into the files.
    environment = {k: v for k, v in os.environ.items() if k != "PIP_FIND_LINKS"}
    with tempfile.TemporaryDirectory() as scratch:
        tool, source = Path(scratch) / "venv", Path(scratch) / "wanted.in"
        venv.create(tool, with_pip=True)
        pip = [str(tool / "bin/python"), "-m", "pip", "install", "--quiet", "pip-tools"]
        subprocess.run(pip, check=True, env=environment)
        pinned: Path | None = None
        for name in (*EXTRAS, "build"):
            lines = BUILD if name == "build" else map(str, wanted(EXTRAS[name], project))
            source.write_text("\n".join(lines) + "\n")
            # One version of each package over all files: the first file constrains the others.
            constraint = [f"--constraint={pinned}"] if pinned else []
            target = FOLDER / f"{name}.txt"
            command = [
                str(tool / "bin/python"),
                *("-m", "piptools", "compile", "--quiet", "--generate-hashes", "--allow-unsafe"),
                *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
                *("--no-emit-trusted-host", "--strip-extras", "--upgrade", *constraint),
                f"--output-file={target}",
                str(source),
            ]
            subprocess.run(command, check=True, env=environment, cwd=scratch)
            target.write_text(HEADER + target.read_text())
            pinned = pinned or target
            print(f"{target.relative_to(ROOT)}: {len(pins(target))} packages")


def pins(path: Path) -> dict[str, str]:
    found = (PIN.match(line) for line in path.read_text().splitlines())
    return {canonicalize_name(pin["name"]): pin["version"] for pin in found if pin}


def problems() -> list[str]:
    project = read_project()
    wrong = []
    for name in (*EXTRAS, "build"):
        path = FOLDER / f"{name}.txt"
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not LINE.match(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: not a pin with hashes: {line}")
        have = pins(path)
        need = map(Requirement, BUILD) if name == "build" else wanted(EXTRAS[name], project)
        for requirement in need:
            version = have.get(canonicalize_name(requirement.name))
            if version is None or version not in requirement.specifier:
                wrong.append(
                    f"{path.relative_to(ROOT)}: has {version or 'nothing'} for `{requirement}`; "
                    "run `make requirements`"
                )
    return wrong


def read_project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say what is not as it should")
    if not parser.parse_args().check:
        FOLDER.mkdir(exist_ok=True)
        compile_all()
    wrong = problems()
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
