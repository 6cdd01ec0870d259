"""Runs text transcripts over the pure core.

A transcript is blocks separated by blank lines: a command, indented branch lines if it takes any,
a line `----`, and what the core answered. Lines before the first command that start with `#` say
what the transcript shows. `pytest tests/scenarios --rewrite` writes the answers anew; then read
the diff as you would read code.

    policy call_timeout_ms=5s attempts_until_stuck=2
    begin NAME [timeout=10s] [interactive]      + branch lines
        ID KIND [ACTION] [after=A,B] [on=confirm|cancel|any] [delay=5s] [pivot]
                         [attempts=3] [retry_for=30s] [topic=order.paid]
    subscribe TOPIC [ACTION ...]                who takes a topic's messages from now on
    answer ID OPERATION ok [until=30s] [RESULT] | refused REASON | retry 2s | pending
                        | unknown [ERROR]
    answer ID OPERATION #ATTEMPT ...            (an older call's answer)
    report ID OPERATION ok [RESULT] | refused REASON
    register                                    + one branch line
    commit                                      + delivery lines
    rollback [REASON]                           + delivery lines
    tick 5s                                     time passes; every wake on the way is stepped
    resume-term [lost-lazy] [down=2s]           a new term loads the last (forced) record
    pause | unpause | retry | decide confirm|cancel | skip ID
    freeze WHY | tombstone XID | timeline

In an answer, `*` marks a branch with a call in flight, `!` a stuck one, `>` when its next call is
due, and `?` until when a Try of unknown outcome may still be running.
"""

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace
from trypact_coordinator.core.admission import fingerprint
from trypact_coordinator.core.errors import CoordinatorError
from trypact_coordinator.core.events import (
    Answer,
    Answered,
    CommitAsked,
    DecideAct,
    Event,
    Ok,
    PauseAct,
    Pending,
    Refused,
    Registered,
    Reported,
    ResumeAct,
    Resumed,
    Retry,
    RetryAct,
    RollbackAsked,
    SkipAct,
    TimePassed,
    Unknown,
)
from trypact_coordinator.core.outcome import Outcome, Record
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.core.step import begin, freeze, step, tombstone
from trypact_coordinator.core.topics import fan_out
from trypact_coordinator.core.transaction import (
    IN_FLIGHT,
    PARKED,
    SETTLED,
    Branch,
    BranchSpec,
    BranchState,
    Decision,
    Kind,
    On,
    Operation,
    Spec,
    Transaction,
)

START = 1_800_000_000_000_000
DIVIDER = "----"
_UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}


class Block(NamedTuple):
    """One command with what is expected below it."""

    comments: tuple[str, ...]
    command: str
    branches: tuple[str, ...]
    expected: tuple[str, ...]


def parse(text: str) -> list[Block]:
    """Split a transcript into blocks."""
    blocks = []
    for chunk in text.strip("\n").split("\n\n"):
        lines = chunk.strip("\n").splitlines()
        comments = tuple(line for line in lines if line.startswith("#"))
        lines = [line for line in lines if not line.startswith("#")]
        if not lines:
            blocks.append(Block(comments, "", (), ()))
            continue
        end = lines.index(DIVIDER) if DIVIDER in lines else len(lines)
        branches = tuple(line.strip() for line in lines[1:end])
        blocks.append(Block(comments, lines[0], branches, tuple(lines[end + 1 :])))
    return blocks


def render(blocks: list[Block]) -> str:
    """Write blocks as a transcript."""
    chunks = []
    for block in blocks:
        lines = list(block.comments)
        if block.command:
            lines.append(block.command)
            lines += [f"  {line}" for line in block.branches]
            lines += [DIVIDER, *block.expected]
        chunks.append("\n".join(lines))
    return "\n\n".join(chunks) + "\n"


def run(text: str) -> str:
    """Return the transcript with the core's own answers."""
    scene = Scene()
    return render(
        [
            block._replace(expected=tuple(scene.do(block.command, block.branches)))
            if block.command
            else block
            for block in parse(text)
        ]
    )


def duration_us(text: str) -> int:
    """Read a duration such as 5s or 200ms."""
    number = text.rstrip("mshu")
    return int(float(number) * _UNITS[text[len(number) :]])


def instant(at: int) -> str:
    """Write an instant as seconds since the transcript began."""
    return f"+{(at - START) / 1e6:g}s"


def read_branch(line: str) -> BranchSpec:
    """Read a branch line."""
    branch_id, kind, *rest = line.split()
    action = "" if "topic=" in line else f"{branch_id}.do"
    if rest and "=" not in rest[0] and rest[0] != "pivot":
        action = rest.pop(0)
    options = dict(option.split("=") for option in rest if "=" in option)
    return BranchSpec(
        id=branch_id,
        kind=Kind[kind.upper()],
        action=action,
        after=tuple(options.get("after", "").split(",")) if "after" in options else (),
        on=On[options.get("on", "confirm").upper()],
        delay_ms=duration_us(options.get("delay", "0s")) // 1000,
        pivot="pivot" in rest,
        attempts_max=int(options.get("attempts", "0")),
        retry_for_ms=duration_us(options.get("retry_for", "0s")) // 1000,
        topic=options.get("topic", ""),
    )


def read_answer(words: list[str], now: int) -> Answer:
    """Read an answer: its name and what comes with it."""
    name, rest = words[0], " ".join(words[1:])
    match name:
        case "ok" if rest.startswith("until="):
            until, _, rest = rest.removeprefix("until=").partition(" ")
            return Ok(rest.encode(), now + duration_us(until))
        case "ok":
            return Ok(rest.encode())
        case "refused":
            return Refused(rest)
        case "retry":
            return Retry(duration_us(rest) // 1000)
        case "pending":
            return Pending()
        case "unknown":
            return Unknown(rest or "no answer")
    raise ValueError(f"no answer is called {name!r}")


class Scene:
    """One transaction, its clock, and what of it is durable."""

    def __init__(self) -> None:
        self.now = START
        self.epoch = 1
        self.policy = Policy()
        self.wake_at: int | None = None
        self.tx: Transaction | None = None
        self.durable: Record | None = None
        self.durable_forced: Record | None = None
        self.subscriptions: dict[str, list[str]] = {}

    def _subscribers(self, topic: str) -> list[str]:
        return self.subscriptions.get(topic, [])

    def do(self, command: str, branches: tuple[str, ...]) -> list[str]:
        """Carry out one command; return what came of it."""
        try:
            specs = fan_out(tuple(map(read_branch, branches)), self._subscribers)
            return list(self._do(command.split(), specs))
        except CoordinatorError as error:
            return [f"error {error.reason}: {error}"]

    def _do(self, words: list[str], branches: tuple[BranchSpec, ...]) -> Iterator[str]:
        match words:
            case ["policy", *settings]:
                pairs = (setting.split("=") for setting in settings)
                self.policy = replace(self.policy, **{k: _setting(k, v) for k, v in pairs})
                yield "ok"
            case ["subscribe", topic, *actions]:
                self.subscriptions[topic] = actions
                yield "ok"
            case ["begin", name, *options]:
                yield from self._begin(name, options, branches)
            case ["tombstone", xid]:
                yield from self._took(tombstone(xid, self.now, self.epoch, self.policy))
            case ["freeze", *why]:
                yield from self._took(freeze(self._tx, " ".join(why), self.now, self.policy))
            case ["tick", span]:
                yield from self._tick(duration_us(span))
            case ["resume-term", *how]:
                yield from self._resume_term(how)
            case ["timeline"]:
                for entry in self._tx.timeline:
                    words = [instant(entry.at), entry.event, entry.branch_id, entry.detail]
                    yield " ".join(filter(None, words))
            case _:
                yield from self._step(self._event(words, branches))

    @property
    def _tx(self) -> Transaction:
        assert self.tx is not None, "begin first"
        return self.tx

    def _event(self, words: list[str], branches: tuple[BranchSpec, ...]) -> Event:
        actor = {"actor": "ops", "reason": "by hand"}
        match words:
            case ["answer", branch_id, operation, *answer]:
                branch = self._tx.branch(branch_id)
                attempt = branch.attempt if branch else 1
                if answer[0].startswith("#"):
                    attempt = int(answer.pop(0)[1:])
                kind = Operation[operation.upper()]
                return Answered(branch_id, kind, attempt, read_answer(answer, self.now))
            case ["report", branch_id, operation, *answer]:
                told = read_answer(answer, self.now)
                assert isinstance(told, Ok | Refused)
                return Reported(branch_id, Operation[operation.upper()], told)
            case ["register"]:
                return Registered(branches[0])
            case ["commit"]:
                return CommitAsked(branches)
            case ["rollback", *reason]:
                return RollbackAsked(" ".join(reason), branches)
            case ["pause"]:
                return PauseAct(**actor)
            case ["unpause"]:
                return ResumeAct(**actor)
            case ["retry"]:
                return RetryAct(**actor)
            case ["decide", decision]:
                return DecideAct(**actor, decision=Decision[decision.upper()])
            case ["skip", branch_id]:
                return SkipAct(**actor, branch_id=branch_id)
        raise ValueError(f"no command: {' '.join(words)}")

    def _begin(
        self, name: str, options: list[str], branches: tuple[BranchSpec, ...]
    ) -> Iterator[str]:
        settings = dict(option.split("=") for option in options if "=" in option)
        timeout_ms = duration_us(settings.get("timeout", "60s")) // 1000
        spec = Spec(
            xid="x1",
            name=name,
            timeout_ms=timeout_ms,
            fingerprint=fingerprint(name, timeout_ms, branches),
            interactive="interactive" in options,
        )
        return self._took(begin(spec, branches, self.now, self.epoch, self.policy))

    def _step(self, event: Event) -> Iterator[str]:
        return self._took(step(self._tx, event, self.now, self.policy))

    def _tick(self, span: int) -> Iterator[str]:
        until = self.now + span
        woke = False
        while self.wake_at is not None and self.wake_at <= until:
            self.now = max(self.now, self.wake_at)
            woke = True
            yield f"at {instant(self.now)}"
            yield from self._step(TimePassed())
        self.now = until
        if not woke:
            yield "nothing"

    def _resume_term(self, how: list[str]) -> Iterator[str]:
        record = self.durable_forced if "lost-lazy" in how else self.durable
        self.now += sum(duration_us(word[5:]) for word in how if word.startswith("down="))
        assert record is not None, "nothing is durable"
        self.durable = self.durable_forced = record
        self.tx = record.transaction
        self.epoch += 1
        return self._step(Resumed(self.epoch))

    def _took(self, outcome: Outcome) -> Iterator[str]:
        self.tx, self.wake_at = outcome.transaction, outcome.wake_at
        record = outcome.record
        if record is not None:
            if record.admits:
                addressed = [b.spec for b in outcome.transaction.branches if b.spec.topic]
                yield from (f"to {spec.id}: {spec.action}" for spec in addressed)
            self.durable = record
            if record.forced:
                self.durable_forced = record
            force = "forced" if record.forced else "lazy"
            admits = ", admits" if record.admits else ""
            version = record.transaction.version
            yield f"record {version} {force}, due {_due(record.due_at)}{admits}"
        for call in outcome.calls:
            decision = f" after {call.decision.name.lower()}" if not call.not_after else ""
            until = f" not after {instant(call.not_after)}" if call.not_after else ""
            operation = call.operation.name.lower()
            yield f"call {operation} {call.branch_id} #{call.attempt}{decision}{until}"
        if outcome.replies:
            yield "reply " + ", ".join(reply.name.lower() for reply in outcome.replies)
        yield self._states()
        if self.wake_at is not None:
            yield f"wake {instant(self.wake_at)}"

    def _states(self) -> str:
        tx = self._tx
        marks = "".join(
            [
                " paused" if tx.paused else "",
                f" FROZEN ({tx.frozen})" if tx.frozen else "",
                f" ({tx.reason})" if tx.reason else "",
            ]
        )
        branches = ", ".join(self._branch(branch) for branch in tx.branches)
        return f"{tx.state.name}{marks}" + (f": {branches}" if branches else "")

    def _branch(self, branch: Branch) -> str:
        marks = "*" if branch.in_flight else ""
        marks += "!" if branch.stuck else ""
        if branch.state not in SETTLED:
            waits = branch.due_at > self.now and not branch.in_flight
            marks += f" >{instant(branch.due_at)}" if waits else ""
            quiet = branch.state is BranchState.TRYING and branch.quiet_at > self.now
            quiet = quiet and not branch.in_flight
            marks += f" ?{instant(branch.quiet_at)}" if quiet else ""
        detail = f" ({branch.reason})" if branch.reason else ""
        detail += f" = {branch.result.decode()}" if branch.result else ""
        return f"{branch.spec.id} {branch.state.name}{marks}{detail}"


def _setting(name: str, value: str) -> int:
    return duration_us(value) // 1000 if name.endswith("_ms") else int(value)


def _due(due_at: int | None) -> str:
    if due_at is None:
        return "never"
    return {IN_FLIGHT: "in flight", PARKED: "parked"}.get(due_at) or instant(due_at)
