"""A strict reader of systemd unit files: every section, directive and shape is known, or wrong.

systemd itself only warns about a misspelt directive and goes on without it, which for a hardening
directive means running unprotected. `systemd-analyze verify` says so, but is not on every machine.
"""

import re

KNOWN = {
    "Unit": {"Description", "Documentation", "Wants", "Requires", "After", "Before", "PartOf"},
    "Install": {"WantedBy", "RequiredBy", "Alias", "Also"},
    "Service": {
        "Type", "ExecStart", "ExecStartPre", "ExecStop", "ExecReload", "Restart", "RestartSec",
        "TimeoutStartSec", "TimeoutStopSec", "KillSignal", "KillMode", "LimitNOFILE", "User",
        "Group", "DynamicUser", "StateDirectory", "StateDirectoryMode", "WorkingDirectory",
        "UMask", "Environment", "EnvironmentFile", "AmbientCapabilities", "CapabilityBoundingSet",
        "LockPersonality", "MemoryDenyWriteExecute", "NoNewPrivileges", "PrivateDevices",
        "PrivateTmp", "PrivateUsers", "PrivateNetwork", "ProcSubset", "ProtectClock",
        "ProtectControlGroups", "ProtectHome", "ProtectHostname", "ProtectKernelLogs",
        "ProtectKernelModules", "ProtectKernelTunables", "ProtectProc", "ProtectSystem",
        "RemoveIPC", "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime",
        "RestrictSUIDSGID", "SystemCallArchitectures", "SystemCallErrorNumber",
        "SystemCallFilter",
    },
}  # fmt: skip
# May stand more than once in a section; each adds to the ones before.
REPEATABLE = {"SystemCallFilter", "ExecStartPre", "Environment", "After", "Wants"}
VALUES = {
    "Type": r"exec|simple|notify",
    "Restart": r"on-failure|always|no",
    "ProtectSystem": r"strict|full|yes",
    "ProtectProc": r"invisible|noaccess|ptraceable|default",
    "ProcSubset": r"pid|all",
    "ProtectHome": r"yes|read-only|tmpfs|no",
    "UMask": r"[0-7]{4}",
    "StateDirectoryMode": r"[0-7]{4}",
    "LimitNOFILE": r"\d+",
    "RestartSec": r"\d+(ms|s)?",
    "TimeoutStopSec": r"\d+(s|min)?",
    "KillSignal": r"SIG[A-Z]+",
}
SWITCHES = {
    name
    for name in KNOWN["Service"]
    if re.match(r"(Lock|Memory|NoNew|Private|Protect(?!Proc|System|Home)|Remove|Dynamic)", name)
} | {"RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID"}


class BadUnit(Exception):
    """A line of a unit file that systemd would not take as it is meant."""


def parse(text: str) -> dict[str, dict[str, list[str]]]:
    """Return section -> directive -> values. Raises BadUnit naming the line."""
    unit: dict[str, dict[str, list[str]]] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith(("#", ";")):
            continue
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section = heading[1]
            if section not in KNOWN or section in unit:
                raise BadUnit(f"line {number}: no section of its own: {line}")
            unit[section] = {}
            continue
        name, equals, value = line.partition("=")
        if not equals or name not in KNOWN.get(section, ()):
            raise BadUnit(f"line {number}: [{section}] has no directive {name!r}")
        if not re.fullmatch(VALUES.get(name, "yes|no" if name in SWITCHES else ".*"), value):
            raise BadUnit(f"line {number}: {name} cannot be {value!r}")
        if name in unit[section] and name not in REPEATABLE:
            raise BadUnit(f"line {number}: {name} stands twice")
        unit[section].setdefault(name, []).append(value)
    return unit
