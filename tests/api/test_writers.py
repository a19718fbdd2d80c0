"""Of many who change what they have read at the same moment, one does, and the others are told to look again.

`tests/e2e/test_api_writers.py` has the same on PostgreSQL.
"""

from typing import Any

import pytest
from django.db import connection

from certs.models import Binding
from tests import stock
from tests.api import writers
from tests.api.conftest import Program, token
from tests.api.test_rights import OPERATIONS, READS, World


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_many_at_once_one_wins(db: None) -> None:
    stock.administrator()
    headers = token("admin").defaults

    def send(method: str, path: str, body: Any, more: dict[str, str]) -> tuple[int, str]:
        caller = Program()
        caller.defaults.update(headers)
        try:
            named = {name.replace("-", "_"): value for name, value in more.items()}
            answer = caller.send(method, path, body, **named)
            return answer.status_code, answer.headers.get("ETag", "")
        finally:
            connection.close()

    found = {name: writers.run(send, race) for name, race in writers.races(send).items()}
    assert all(map(writers.one_won, found.values())), found


@pytest.mark.django_db
def test_every_change_of_an_item_looks_at_its_condition(program: Program) -> None:
    world, kinds = World(), ("PUT", "PATCH", "DELETE")
    asked = [(method, route) for method, route in OPERATIONS if method in kinds]
    assert len(asked) >= 9
    for method, route in asked:
        item = route if route in READS else "/".join(route.split("/")[:-2])  # a part of the item has the item's tag
        read = program.get(world.path(item))
        if read.status_code == 200:  # else there is no such part of it
            same = program.send("GET", world.path(item), If_None_Match=read["ETag"])
            assert same.status_code == 304, (method, route)
        answer = program.send(method, world.path(route), world.body(f"{method} {route}"), If_Match='"another"')
        assert (answer.status_code, answer.json()["code"]) == (412, "changed"), (method, route, answer.content)


@pytest.mark.django_db
def test_what_is_not_there_has_no_tag_and_is_made_without_one(program: Program, settings: Any) -> None:
    settings.API_IF_MATCH = True
    row = stock.uploaded("a.example")
    body = {"certificate": str(row.pk)}
    assert program.send("PUT", "/api/bindings/a.example", body, If_Match="*").status_code == 412
    assert not Binding.objects.exists()
    made = program.send("PUT", "/api/bindings/a.example", body)
    assert made.status_code == 200
    assert program.send("PUT", "/api/bindings/a.example", body).status_code == 428
    assert program.send("PUT", "/api/bindings/a.example", body, If_Match=made["ETag"]).status_code == 200
