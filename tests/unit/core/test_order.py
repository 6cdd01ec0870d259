"""`after`, forwards and back."""

from hypothesis import given
from hypothesis import strategies as st
from trypact_coordinator.core.order import compensated_first, find_circle
from trypact_coordinator.core.transaction import Branch, BranchSpec, Kind


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
    first = compensated_first([Branch(spec=spec) for spec in specs])
    assert first == {"a": {"b", "c", "d"}, "b": {"d"}, "c": {"d"}}


def test_a_chain_of_all_branches_does_not_exhaust_the_stack():
    specs = chain(5_000)
    assert find_circle(specs) == []
    specs[0] = BranchSpec("b0", Kind.SAGA, "a.b", after=("b4999",))
    assert len(find_circle(specs)) == 5_001


def test_branches_without_order_are_compensated_in_parallel():
    specs = [BranchSpec("a", Kind.SAGA, "a.b"), BranchSpec("b", Kind.TCC, "a.b", after=("a",))]
    assert compensated_first([Branch(spec=spec) for spec in specs]) == {}


@given(st.data())
def test_compensation_is_the_transitive_reverse_of_after(data: st.DataObject):
    count = data.draw(st.integers(1, 7))
    specs = []
    for n in range(count):
        after = data.draw(st.sets(st.integers(0, n - 1))) if n else set()
        kind = data.draw(st.sampled_from([Kind.TCC, Kind.SAGA]))
        specs.append(BranchSpec(f"b{n}", kind, "a.b", after=tuple(f"b{m}" for m in sorted(after))))
    by_id = {spec.id: spec for spec in specs}

    def comes_after(later: str, earlier: str) -> bool:
        return any(n == earlier or comes_after(n, earlier) for n in by_id[later].after)

    sagas = [spec.id for spec in specs if spec.kind is Kind.SAGA]
    expected = {
        one: {other for other in sagas if comes_after(other, one)}
        for one in sagas
        if any(comes_after(other, one) for other in sagas)
    }
    assert compensated_first([Branch(spec=spec) for spec in specs]) == expected
