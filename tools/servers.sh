#!/usr/bin/env bash
# Makes sure that what the tests start for themselves is installed: PostgreSQL, MariaDB, Redis,
# NATS, Node with the packages of its participant, and promtool. The tests run throw-away instances
# on free ports; nothing is left running by this.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
    missing+=(postgresql)
command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ] || missing+=(mariadb-server)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v nats-server >/dev/null || missing+=(nats-server)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v curl >/dev/null || missing+=(curl)

install_missing() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "error: the tests need ${missing[*]}; on Debian or Ubuntu:" >&2
        echo "    sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
    echo "==> installing ${missing[*]} (apt-get)" >&2
    if ! [ -e /usr/sbin/policy-rc.d ]; then
        # The packages would start a server each; the tests start their own.
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Of Debian's Prometheus only the tool that checks rules: the rest is several times as large.
fetch_promtool() {
    local scratch
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        echo "error: the tests need promtool, which comes with Prometheus; put it on the path" >&2
        exit 1
    fi
    echo "==> fetching promtool (apt-get download)" >&2
    [ "$(id -u)" != 0 ] || apt-get update -qq
    scratch="$(mktemp -d)"
    (cd "$scratch" && apt-get download -qq -o APT::Sandbox::User=root prometheus)
    dpkg-deb --fsys-tarfile "$scratch"/prometheus_*.deb |
        tar --extract --to-stdout ./usr/bin/promtool >"$scratch/promtool"
    install -D --mode=0755 "$scratch/promtool" .venv/bin/promtool
    rm -r "$scratch"
}

[ "${#missing[@]}" -eq 0 ] || install_missing
[ -x .venv/bin/promtool ] || command -v promtool >/dev/null || fetch_promtool

# Installed again when the lock changes; npm notes in this file what is there.
packages=tests/integration/node
if ! [ "$packages/node_modules/.package-lock.json" -nt "$packages/package-lock.json" ]; then
    echo "==> installing the packages of $packages (npm ci)" >&2
    npm ci --prefix "$packages" --silent --no-audit --no-fund
    touch "$packages/node_modules/.package-lock.json"
fi
