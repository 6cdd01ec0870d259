"""What the words mean with which a participant's fence refuses, where these are no coordinator's.

An operator meets them as the reason of a branch that is stuck, or of a transaction that is
cancelled. Those of a fence in another language may be others.
"""

from trypact_coordinator.cli.advice import Advice

# Reason -> what it means, advice.
FENCE_ADVICE = {
    "NOT_TRIED": (
        "A Confirm came to a participant in whose database there is no Try to confirm.",
        Advice(
            "participant",
            "Give all its instances one database, or bring its fence's rows back; then `trypact tx "
            "retry XID`.",
            "The coordinator asks for Confirm only after the Try was answered with OK, so the row "
            "that the Try left has been here, or is in another database: instances of the "
            "participant do not share theirs, it was restored from a copy, or somebody emptied "
            "the fence's table. Nothing was done, and the branch is stuck.",
            "confirm refused by the fence, there is no Try to confirm in this database; do all "
            "instances of the participant share one?",
        ),
    ),
    "KEY_IN_USE": (
        "The fence knows this branch by another action or another kind.",
        Advice(
            "participant",
            "Give each participant a fence's table of its own, and an action the name back that it "
            "had; then `trypact tx retry XID`.",
            "A fence's row is found by transaction and branch, and its action and kind never "
            "change. Two participants share one table without sharing their branches, or an "
            "action has got another name while transactions were open. Nothing was done.",
            "try refused by the fence, this branch is inventory.reserve by tcc for this "
            "participant",
        ),
    ),
}
