import pytest

from certs.models import Order
from tests import stock
from tests.commands.running import run

pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("queue")
def test_by_name_only_the_ones_named() -> None:
    one, two = stock.issued("a.example"), stock.issued("b.example")
    stock.issued("c.example")
    ran = run("renew", "a.example", one.pk, two.pk)
    assert (ran.code, ran.last) == (0, "2 renewed.")
    assert "a.example: renewed. Asked for." in ran.out
    assert Order.objects.count() == 2


@pytest.mark.usefixtures("queue")
def test_due_and_all() -> None:
    stock.issued("due.example", age=80)
    stock.issued("fresh.example")
    stock.uploaded("own.example")
    assert run("renew", "--due").last == "1 renewed, 2 not due."
    Order.objects.all().delete()
    assert run("renew", "--due", "--force").last == "1 renewed, 2 not due."
    Order.objects.all().delete()
    assert run("renew", "--all").last == "2 renewed, 1 to be renewed by hand."


@pytest.mark.usefixtures("queue")
def test_the_brake_is_told_and_force_goes_past_it() -> None:
    stock.issued("a.example")
    assert run("renew", "a.example", "--exit-code").code == 10
    ran = run("renew", "a.example")
    assert ran.code == 4
    assert "held back. Held back until" in ran.out
    assert run("renew", "a.example", "--force", "--json").json["result"] == "renewed"


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), 4, "Give certificates by name, or --due, or --all."),
        (("a.example", "--due"), 4, "Give certificates by name"),
        (("--due", "--all"), 2, "not allowed with"),
        (("nothing.example",), 4, "No certificate is called “nothing.example”"),
        (("a.example", "nothing.example"), 4, "No certificate is called “nothing.example”"),
        (("",), 4, "No certificate is called"),
        (("--nonsense",), 2, "unrecognized"),
        (("a.example", "--timeout", "soon"), 2, "no number of seconds"),
    ],
)
def test_bad_input_is_a_clear_message_and_stores_nothing(words: tuple[str, ...], code: int, says: str) -> None:
    stock.issued("a.example")
    ran = run("renew", *words)
    assert ran.code == code
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert not Order.objects.exists()


@pytest.mark.usefixtures("no_worker")
def test_without_a_worker_it_ends_at_once() -> None:
    stock.issued("a.example")
    ran = run("renew", "a.example")
    assert (ran.code, "No worker is running" in ran.err) == (4, True)
    assert not Order.objects.exists()
