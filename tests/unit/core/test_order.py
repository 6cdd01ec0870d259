"""`after`, forwards and back."""

from hypothesis import given
from hypothesis import strategies as st
from trypact_coordinator.core.order import (
    comes_after,
    compensated_first,
    find_circle,
    registered,
    roles_of,
)
from trypact_coordinator.core.transaction import BranchSpec, Kind, Role


def chain(length: int) -> list[BranchSpec]:
    return [
        BranchSpec(f"b{n}", Kind.SAGA, "a.b", after=(f"b{n - 1}",) if n else ())
        for n in range(length)
    ]


def test_a_circle_is_found_and_named():
    specs = [*chain(3), BranchSpec("c", Kind.SAGA, "a.b", after=("d",))]
    specs.append(BranchSpec("d", Kind.SAGA, "a.b", after=("b2", "c")))
    circle = find_circle(specs)
    assert circle in (["c", "d", "c"], ["d", "c", "d"])


def test_a_branch_after_itself_is_a_circle():
    assert find_circle([BranchSpec("a", Kind.TCC, "a.b", after=("a",))]) == ["a", "a"]


def test_a_diamond_is_no_circle():
    specs = [
        BranchSpec("a", Kind.SAGA, "a.b"),
        BranchSpec("b", Kind.SAGA, "a.b", after=("a",)),
        BranchSpec("c", Kind.SAGA, "a.b", after=("a",)),
        BranchSpec("d", Kind.SAGA, "a.b", after=("b", "c")),
    ]
    assert find_circle(specs) == []
    first = compensated_first(registered(specs))
    assert first == {"a": {"b", "c", "d"}, "b": {"d"}, "c": {"d"}}


def test_a_chain_of_all_branches_does_not_exhaust_the_stack():
    specs = chain(5_000)
    assert find_circle(specs) == []
    specs[0] = BranchSpec("b0", Kind.SAGA, "a.b", after=("b4999",))
    assert len(find_circle(specs)) == 5_001


def test_branches_without_order_are_compensated_in_parallel():
    specs = [BranchSpec("a", Kind.SAGA, "a.b"), BranchSpec("b", Kind.TCC, "a.b", after=("a",))]
    assert compensated_first(registered(specs)) == {}


@given(st.data())
def test_compensation_is_the_transitive_reverse_of_after(data: st.DataObject):
    count = data.draw(st.integers(1, 7))
    specs = []
    for n in range(count):
        after = data.draw(st.sets(st.integers(0, n - 1))) if n else set()
        kind = data.draw(st.sampled_from([Kind.TCC, Kind.SAGA]))
        specs.append(BranchSpec(f"b{n}", kind, "a.b", after=tuple(f"b{m}" for m in sorted(after))))
    by_id = {spec.id: spec for spec in specs}

    def follows(later: str, earlier: str) -> bool:
        return any(n == earlier or follows(n, earlier) for n in by_id[later].after)

    for one in by_id:
        assert comes_after(one, specs) == {other for other in by_id if follows(other, one)}
    sagas = [spec.id for spec in specs if spec.kind is Kind.SAGA]
    expected = {
        one: {other for other in sagas if follows(other, one)}
        for one in sagas
        if any(follows(other, one) for other in sagas)
    }
    assert compensated_first(registered(specs)) == expected


def test_a_pivot_makes_the_saga_steps_after_it_go_forward():
    specs = [
        BranchSpec("far", Kind.SAGA, "a.b", after=("near",)),
        BranchSpec("near", Kind.SAGA, "a.b", after=("pivot",)),
        BranchSpec("pivot", Kind.SAGA, "a.b", after=("before", "seat"), pivot=True),
        BranchSpec("before", Kind.SAGA, "a.b"),
        BranchSpec("seat", Kind.TCC, "a.b"),
        BranchSpec("told", Kind.MESSAGE, "a.b", after=("far",)),
    ]
    assert roles_of(specs) == [
        Role.FORWARD,
        Role.FORWARD,
        Role.PIVOT,
        Role.SAGA,
        Role.TCC,
        Role.MESSAGE,
    ]
    assert [branch.role for branch in registered(specs)] == roles_of(specs)


def test_without_a_pivot_a_role_is_the_kind():
    specs = [*chain(2), *(BranchSpec(kind.name, kind, "a.b", after=("b0",)) for kind in Kind)]
    assert [role.name for role in roles_of(specs)] == [spec.kind.name for spec in specs]
