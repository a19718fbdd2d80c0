from collections.abc import Callable

import pytest

from certs.models import AuditEvent, Certificate, Order, PrivateKey
from certs.services.portal_state import state_get
from tests import stock
from tests.commands.running import run

pytestmark = pytest.mark.django_db
Queue = Callable[..., None]


@pytest.mark.usefixtures("worker")
def test_nothing_due() -> None:
    stock.issued("a.example")
    ran = run("check_certificates")
    assert ran.code == 0
    assert ran.out.startswith("a.example: not due. Not due: renewal begins on")
    assert ran.last == "None due."
    assert run("check_certificates", "--exit-code").code == 0
    assert run("check_certificates", "--json").json["result"] == "none due"


@pytest.mark.usefixtures("worker")
def test_no_certificates_at_all() -> None:
    ran = run("check_certificates")
    assert (ran.code, ran.last) == (0, "None due.")
    assert run("check_certificates", "--json").json["certificates"] == []


@pytest.mark.usefixtures("queue")
def test_what_is_due_is_renewed_and_waited_for() -> None:
    stock.issued("due.example", age=80)
    stock.issued("fresh.example")
    ran = run("check_certificates")
    assert ran.code == 0
    assert "due.example: renewed. It expires on" in ran.out
    assert ran.last == "1 renewed, 1 not due."


@pytest.mark.parametrize(
    ("ending", "code", "result", "says"),
    [
        ({}, 10, "renewed", "renewed"),
        ({"served": True}, 10, "renewed", "renewed"),
        (
            {"served": False, "error_code": "not-served", "error_message": "One process is behind."},
            3,
            "not-served",
            "renewed but not served. One process is behind.",
        ),
        (
            {"served": None, "error_code": "not-checked", "error_message": "Nobody could be asked."},
            3,
            "not-served",
            "renewed but not served. Nobody could be asked.",
        ),
        (
            {"state": "failed", "error_code": "x", "error_message": "The CA said no.", "error_advice": "Do this."},
            4,
            "failed",
            "failed. The CA said no. Do this.",
        ),
        ({"state": "cancelled"}, 4, "failed", "The order was cancelled."),
        ({"state": "challenged", "finished_at": None}, 5, "busy", "still being validated"),
    ],
)
def test_the_outcomes_are_told_apart(
    queue: Queue, ending: dict[str, object], code: int, result: str, says: str
) -> None:
    stock.issued("due.example", age=80)
    queue(**ending)
    ran = run("check_certificates", "--exit-code", "--json", "--timeout", "0.05")
    assert ran.code == code
    assert (ran.json["result"], ran.json["exit_code"]) == (result, code)
    (certificate,) = ran.json["certificates"]
    assert certificate["decision"] == "due-date"
    assert certificate["order"] == str(Order.objects.get().pk)
    Order.objects.all().delete()
    assert says in run("check_certificates", "--timeout", "0.05").out


@pytest.mark.usefixtures("worker")
def test_an_open_order_is_busy() -> None:
    stock.issued("due.example", age=80)
    run("check_certificates", "--timeout", "0.01")
    ran = run("check_certificates")
    assert (ran.code, ran.last) == (5, "1 busy.")


@pytest.mark.usefixtures("worker")
def test_expired_or_keyless_without_a_ca_is_a_failure() -> None:
    own = stock.uploaded("own.example")
    PrivateKey.objects.filter(versions__certificate=own).update(sealed="")
    ran = run("check_certificates")
    assert ran.code == 4
    assert "own.example: failed. Its private key is expected here but is missing. Import its successor" in ran.out


@pytest.mark.usefixtures("no_worker")
def test_a_dry_run_needs_no_worker_and_stores_nothing() -> None:
    stock.issued("due.example", age=80)
    events = AuditEvent.objects.count()
    ran = run("check_certificates", "--dry-run", "--exit-code")
    assert (ran.code, ran.last) == (0, "1 due.")
    assert run("check_certificates", "--dry-run", "--json").json["result"] == "due"
    assert not Order.objects.exists()
    assert AuditEvent.objects.count() == events
    assert state_get().sweep_finished_at is None
    assert Certificate.objects.get().last_decision == ""


@pytest.mark.usefixtures("no_worker")
def test_without_a_worker_it_ends_at_once_saying_so() -> None:
    stock.issued("due.example", age=80)
    ran = run("check_certificates")
    assert ran.code == 4
    assert "No worker is running" in ran.err
    assert "--inline" in ran.err
    assert ran.out == ""
    assert not Order.objects.exists()


@pytest.mark.parametrize("timeout", ["0", "-1", "x", "1e9", "nan"])
def test_a_senseless_timeout_is_a_usage_error(timeout: str) -> None:
    ran = run("check_certificates", "--timeout", timeout)
    assert ran.code == 2
    assert "no number of seconds" in ran.err
