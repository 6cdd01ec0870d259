#!/usr/bin/env bash
# Makes .venv and installs trypact into it: `tools/setup.sh shop|dev`.
# `shop` is what the demo runs on; `dev` adds what tests, linters and generators need. Everything
# is pinned by version and hash (requirements/), and the project itself is installed editable.
set -euo pipefail
cd "$(dirname "$0")/.."
extra="${1:?shop or dev}"
venv=.venv

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

apt_install() {
    command -v apt-get >/dev/null || die "please install $* with your package manager"
    [ "$(id -u)" = 0 ] || die "please run: sudo apt-get install $*"
    say "installing $* (apt-get)"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

if ! [ -x "$venv/bin/python" ] || ! new_enough "$venv/bin/python"; then
    if ! python="$(find_python)"; then
        apt_install python3 python3-venv
        python="$(find_python)" || die "trypact needs Python 3.11 or newer; set PYTHON=/path/to/it"
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        minor="$("$python" -c 'import sys; print(sys.version_info[1])')"
        apt_install python3-venv "python3.$minor-venv"
    fi
    say "creating $venv with $("$python" --version)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi

pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }
say "installing the pinned packages of requirements/$extra.txt"
pip install --quiet --require-hashes --only-binary :all: \
    -r requirements/build.txt -r "requirements/$extra.txt"
say "installing trypact itself, editable"
pip install --quiet --no-deps --no-build-isolation --editable .
touch "$venv/.shop"
[ "$extra" != dev ] || touch "$venv/.dev"
