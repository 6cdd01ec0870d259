"""An action as a value: its name is checked where it is made."""

from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest
from trypact.action import Action


@dataclass
class Reserve:
    sku: str


def test_an_action_knows_its_participant_its_verb_and_its_types() -> None:
    action = Action("inventory.reserve", request=Reserve, result=int)

    assert (action.participant, action.verb) == ("inventory", "reserve")
    assert (action.request, action.result) == (Reserve, int)
    assert action == Action("inventory.reserve", request=Reserve, result=int)
    assert action != Action("inventory.reserve", request=Reserve)
    assert len({action, Action("inventory.reserve", request=Reserve, result=int)}) == 1


def test_an_action_without_a_result_answers_nothing() -> None:
    assert Action("inventory.reserve", request=Reserve).result is type(None)


def test_an_action_does_not_change() -> None:
    action: Any = Action("inventory.reserve", request=Reserve)
    with pytest.raises(FrozenInstanceError):
        action.name = "inventory.release"


@pytest.mark.parametrize("name", ["", "reserve", "Inventory.reserve", "a.b.c", "a.", ".b", 7])
def test_a_name_that_is_not_two_lower_case_words_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match=r"two lower-case words, 'participant\.verb'"):
        Action(name, request=Reserve)
