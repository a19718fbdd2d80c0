import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from certs.domain import states
from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.models import AuditEvent, JobEvent, Listener, NodeProcess, Rebind, User
from certs.services import listeners, rebinds
from certs.services.nodes import node_name
from portal import clock
from tests.harness.ports import free_port, free_ports

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _listener(settings):
    settings.HTTP_PORT, settings.HTTPS_PORT = free_ports(2)
    settings.HTTP_ADDRESSES = settings.HTTPS_ADDRESSES = ["0.0.0.0", "::"]
    settings.HTTPS_PORT_LOCKED = settings.HTTPS_ADDRESS_LOCKED = False
    listeners.listeners_ensure()


def request(addresses=("127.0.0.1",), port=None, actor="command line"):
    return rebinds.rebind_request(addresses=list(addresses), port=port or free_port(), actor=actor)


def awaiting(**given):
    rebind = request(**given)
    assert rebinds.rebind_move(rebind, states.OPENING)
    assert rebinds.rebind_move(rebind, states.AWAITING, confirm_within=60)
    return rebind


def test_a_wish_is_a_row_and_changes_nothing_yet():
    before = listeners.listener_get("https").port
    rebind = request()
    assert rebind.state == states.WISHED
    assert rebinds.rebind_open(node_name()) == rebind
    assert listeners.listener_get("https").port == before
    assert AuditEvent.objects.filter(action="listener.rebind").exists()
    assert JobEvent.objects.filter(job=rebind.pk).exists()


def test_the_binding_in_force_is_settled_at_once():
    listener = listeners.listener_get("https")
    rebind = request(reversed(listener.addresses), listener.port)
    assert rebind.state == states.SETTLED
    assert rebind.finished_at
    assert rebinds.rebind_open(node_name()) is None


def test_a_taken_port_is_refused_before_anything_changes():
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConflictError) as refused:
        request(port=other.getsockname()[1])
    assert "taken" in refused.value.message
    assert not Rebind.objects.exists()


def test_what_was_just_tried_may_be_asked_for_again_while_it_still_closes(monkeypatch):
    rebind = awaiting()
    with socket.create_server(("127.0.0.1", rebind.port)):  # this process: the portal's own, as far as we see
        with pytest.raises(ConflictError):
            rebinds._check_usable("127.0.0.1", rebind.port)
        rebinds.rebind_move(rebind, states.RETURNED, "Nobody confirmed the new address in time.")
        assert request(port=rebind.port).state == states.WISHED
        monkeypatch.setattr(rebinds, "port_holder", lambda *_: "a stranger")
        with pytest.raises(ConflictError):
            rebinds._check_usable("127.0.0.1", rebind.port)


@pytest.mark.parametrize("addresses", [["203.0.113.9"], ["localhost"], [], ["10.0.0.0/8"], ["127.0.0.1", "nonsense"]])
def test_what_is_no_address_of_this_machine_is_refused(addresses):
    with pytest.raises(InputError):
        request(addresses)
    assert not Rebind.objects.exists()


@pytest.mark.parametrize("port", [-1, 65536, 100000])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(InputError):
        request(port=port)


def test_the_port_of_plain_http_is_refused(settings):
    with pytest.raises(ConflictError) as refused:
        request(port=settings.HTTP_PORT)
    assert "plain HTTP" in refused.value.message


def test_what_the_environment_sets_is_locked(settings):
    settings.HTTPS_PORT_LOCKED = True
    with pytest.raises(ConflictError) as refused:
        request()
    assert "BINDERY_HTTPS_PORT" in refused.value.message
    assert request(port=settings.HTTPS_PORT).state == states.WISHED


def test_a_locked_address_still_lets_the_port_change(settings):
    settings.HTTPS_ADDRESS_LOCKED = True
    with pytest.raises(ConflictError):
        request()
    assert request(["::", "0.0.0.0"]).state == states.WISHED


def test_another_server_s_listener_is_not_moved():
    Listener.objects.filter(protocol="https").update(managed=False)
    with pytest.raises(ConflictError) as refused:
        request()
    assert refused.value.code == "not-managed"


def test_one_at_a_time():
    request()
    with pytest.raises(ConflictError):
        request()


def test_only_a_confirmed_one_reaches_the_listener():
    user = User.objects.create_superuser("ann@example.org", "pw")
    rebind = awaiting(actor=user)
    before = listeners.listener_get("https").port
    assert before != rebind.port
    rebinds.rebind_confirm(rebind, actor=user)
    after = listeners.listener_get("https")
    assert (after.addresses, after.port, after.source) == (["127.0.0.1"], rebind.port, "page")
    assert rebind.state == states.CONFIRMED
    rebinds.rebind_confirm(rebind, actor=user)  # a second click


def test_confirming_too_late_changes_nothing():
    rebind = awaiting()
    Rebind.objects.update(deadline=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(NotAllowed):
        rebinds.rebind_confirm(rebind, actor="command line")
    assert listeners.listener_get("https").port != rebind.port


def test_confirming_before_it_answers_is_refused():
    rebind = request()
    with pytest.raises(NotAllowed):
        rebinds.rebind_confirm(rebind, actor="command line")


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_either_the_confirmation_or_the_return_wins_never_both():
    rebind = awaiting()
    seen_by_supervisor = Rebind.objects.get()
    outcomes: list[str] = []

    def confirm() -> None:
        try:
            rebinds.rebind_confirm(rebind, actor="command line")
            outcomes.append("confirmed")
        except NotAllowed:
            outcomes.append("late")
        finally:
            connection.close()

    thread = threading.Thread(target=confirm)
    thread.start()
    returned = rebinds.rebind_move(seen_by_supervisor, states.RETURNED)
    thread.join()
    assert outcomes == (["late"] if returned else ["confirmed"])
    moved = listeners.listener_get("https").port == rebind.port
    assert moved is not returned


def test_a_move_the_table_does_not_know_is_a_fault():
    rebind = request()
    with pytest.raises(ValueError, match="does not go"):
        rebinds.rebind_move(rebind, states.SETTLED)


def test_a_wish_that_no_supervisor_takes_up_does_not_wait_for_ever():
    rebind = request()
    Rebind.objects.update(created_at=clock.now() - timedelta(seconds=rebinds.WISH_SECONDS + 1))
    assert rebinds.rebind_open(node_name()) is None
    rebind.refresh_from_db()
    assert rebind.state == states.REFUSED
    assert request().state == states.WISHED


@pytest.mark.parametrize(
    ("steps", "end"),
    [
        ((), states.REFUSED),
        ((states.OPENING,), states.REFUSED),
        ((states.OPENING, states.AWAITING), states.RETURNED),
        ((states.OPENING, states.AWAITING, states.CONFIRMED), states.SETTLED),
    ],
)
def test_a_restart_in_the_middle_closes_the_row_honestly(steps, end):
    rebind = request()
    for step in steps:
        rebinds.rebind_move(rebind, step)
    rebinds.rebinds_close_interrupted()
    rebind.refresh_from_db()
    assert rebind.state == end
    assert rebind.finished_at
    assert "restarted" in rebind.message


def serves(node, *, source=Listener.Source.DEFAULT):
    """A node with a listener and a live process, elsewhere."""
    NodeProcess.objects.create(node=node, pid=1, seen_at=clock.real())
    return Listener.objects.create(node=node, protocol="https", addresses=["0.0.0.0"], port=443, source=source)


def test_where_this_node_listens_nowhere_the_wish_goes_to_the_one_that_serves():
    Listener.objects.all().delete()
    there = serves("web-1")
    assert rebinds.rebind_listener() == there
    rebind = rebinds.rebind_request(addresses=["192.0.2.1"], port=8443, actor="schedule", listener=there)
    assert (rebind.node, rebind.state, rebind.old_port) == ("web-1", states.WISHED, 443)
    with pytest.raises(InputError, match="not an address of this machine"):
        rebinds.rebind_judge(rebind)  # as its supervisor does, before it opens anything


def test_where_several_nodes_serve_no_order_moves_one_of_them():
    serves("web-1")
    serves("web-2")
    with pytest.raises(ConflictError, match=r"Several nodes serve HTTPS \(web-1, web-2\)"):
        rebinds.rebind_listener()


def test_a_node_that_has_ended_is_asked_for_nothing():
    serves("web-1")
    serves("web-2")
    NodeProcess.objects.filter(node="web-2").update(seen_at=clock.real() - timedelta(minutes=1))
    Listener.objects.filter(node=node_name()).delete()
    assert rebinds.rebind_listener().node == "web-1"


def test_the_supervisor_judges_by_its_own_environment(settings):
    rebind = request()
    settings.HTTPS_PORT_LOCKED = True
    with pytest.raises(ConflictError, match="BINDERY_HTTPS_PORT"):
        rebinds.rebind_judge(rebind)
