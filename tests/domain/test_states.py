import pytest

from certs.domain import states


@pytest.mark.parametrize("machine", [states.ORDER, states.REBIND])
def test_every_move_leads_to_a_known_state_and_every_flow_can_end(machine: states.Machine) -> None:
    for name in machine.states:
        reached, todo = set[str](), {name}
        while todo:
            current = todo.pop()
            reached.add(current)
            todo |= set(machine.states[current].after) - reached
        assert any(machine.is_final(state) for state in reached), name


def test_an_issued_certificate_can_no_longer_fail() -> None:
    for name in (states.ISSUED, states.BOUND):
        assert states.FAILED not in states.ORDER.states[name].after


def test_each_open_order_state_belongs_to_exactly_one_step() -> None:
    shown = [state for _, _, members in states.ORDER_STEPS for state in members]
    assert sorted(shown) == sorted(states.ORDER.open)
