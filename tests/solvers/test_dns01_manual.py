"""Records put into DNS by a person: nothing is done, everything is looked at."""

from collections.abc import Iterator

import pytest

from certs.domain.options import options_read
from certs.solvers.base import Site, Task
from certs.solvers.dns import ACCOUNT, DNS, digest
from certs.solvers.dns01_manual import Dns01Manual
from certs.solvers.dns01_rfc2136 import Dns01Rfc2136
from tests.harness.bind import KEY, SECRET, Bind
from tests.harness.need import need

TASK = Task("www.one.test", "token", "token.thumb", type=DNS, account_url="https://ca.test/1")
ALIAS = Task("alias.one.test", "token", "token.thumb", type=DNS, account_url="https://ca.test/1")
RECORD = "_acme-challenge.www.one.test"


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    need("named")
    with Bind(records={"one.test": ["_acme-challenge.alias CNAME alias.acme.two.test."]}) as server:
        yield server


class Person:
    """Edits the zone, by whatever means."""

    def __init__(self, bind: Bind) -> None:
        given = {"server": bind.address, "key": KEY, "secret": SECRET}
        self._zone = Dns01Rfc2136(options_read(Dns01Rfc2136.Options, given))

    def add(self, zone: str, name: str, value: str) -> None:
        self._zone.record_add(zone, name, value, 60)


def solver(bind: Bind, **given: object) -> Dns01Manual:
    return Dns01Manual(options_read(Dns01Manual.Options, given), Site(authorities=(bind.address,)))


def test_the_record_is_named_with_its_value_and_awaited_until_it_is_there(bind: Bind) -> None:
    one, person = solver(bind), Person(bind)
    assert one.present(TASK) == {}
    (instruction,) = one.instructions(TASK)
    assert (instruction.what, instruction.name) == ("TXT record", RECORD)
    assert instruction.value == digest("token.thumb")
    assert not instruction.done
    assert [(sight.right, sight.words) for sight in instruction.sights] == [(False, "does not show it yet")]
    assert RECORD in one.awaited(TASK)
    assert instruction.value in one.awaited(TASK), "a command line shows no page"
    person.add("one.test", RECORD, "something else")
    assert RECORD in one.awaited(TASK)
    assert one.instructions(TASK)[0].sights[0].words == "shows another value"
    person.add("one.test", RECORD, instruction.value)
    assert one.awaited(TASK) == ""
    (instruction,) = one.instructions(TASK)
    assert instruction.done
    assert instruction.sights[0].right
    assert one.look(TASK).right


def test_it_asks_for_the_record_where_an_alias_leads(bind: Bind) -> None:
    one = solver(bind)
    (instruction,) = one.instructions(ALIAS)
    assert instruction.name == "alias.acme.two.test"
    assert instruction.alias == "_acme-challenge.alias.one.test"
    Person(bind).add("two.test", "alias.acme.two.test", instruction.value)
    assert one.awaited(ALIAS) == ""


def test_presenting_and_cleaning_ask_nobody() -> None:
    one = Dns01Manual(Dns01Manual.Options(), Site(authorities=("127.0.0.1:1",)))
    assert one.present(TASK) == {}
    one.clean(TASK, {})


def test_the_label_of_an_account_is_part_of_the_name(bind: Bind) -> None:
    one = solver(bind, challenge=ACCOUNT)
    task = Task("www.one.test", "token", "token.thumb", type=ACCOUNT, account_url="https://ca.test/1")
    (instruction,) = one.instructions(task)
    assert instruction.name.endswith("._acme-challenge.www.one.test")


def test_it_is_by_hand_and_needs_nothing() -> None:
    assert Dns01Manual.by_hand
    assert Dns01Manual.wildcards
    assert options_read(Dns01Manual.Options, {}).challenge == DNS


def test_without_an_answer_the_record_is_named_all_the_same() -> None:
    one = Dns01Manual(Dns01Manual.Options(), Site(authorities=("127.0.0.1:1",)))
    (instruction,) = one.instructions(TASK)
    assert (instruction.name, instruction.done) == (RECORD, False)
    assert "could not be asked" in instruction.trouble
