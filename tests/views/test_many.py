"""Many certificates at once: chosen on the list, shown before anything is done, then done by the queue."""

import csv
from io import StringIO
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from certs.domain.roles import Role
from certs.models import BulkJob, Certificate, Department, Organization, RoleGrant, User
from certs.services.bulk import bulk_ask, bulk_run
from certs.services.certificate_changes import certificate_tags_set, certificate_update
from certs.services.certificate_properties import certificate_tags
from tests import stock
from tests.harness import own_ca
from tests.views.conftest import Browser

MANY = reverse("certificates-many")


@pytest.fixture
def three(alice: User) -> list[Certificate]:
    return [stock.uploaded(f"{name}.example") for name in ("one", "two", "three")]


def ticked(rows: list[Certificate]) -> list[str]:
    return [str(row.pk) for row in rows]


def confirmed(client: Client, given: dict[str, Any], **more: str) -> Any:
    """The preview, then its confirmation with all that the page sent along."""
    shown = client.post(MANY, {**given, "step": "look"})
    return client.post(MANY, {**given, "step": "do", "digest": shown.context["digest"], **more})


def test_the_list_offers_a_box_for_each_and_what_can_be_done(client: Client, three: list[Certificate]) -> None:
    page = client.get(reverse("certificates")).content.decode()
    for row in three:
        assert f'name="ticked" value="{row.pk}" form="many"' in page
    assert "All 3 certificates" in page
    assert "All 1 found" in client.get(reverse("certificates"), {"q": "two"}).content.decode()
    for action in ("renew", "tag", "revoke", "delete", "export"):
        assert f'name="action" value="{action}"' in page


def test_tags_are_changed_after_a_look(client: Client, three: list[Certificate]) -> None:
    given = {"action": "tag", "which": "ticked", "ticked": ticked(three[:2]), "query": "q=x"}
    asked = client.post(MANY, given).content.decode()
    assert "Change the tags of 2 certificates" in asked
    assert "field-error" not in asked
    given |= {"add": " Shop, production ", "remove": ""}
    shown = client.post(MANY, {**given, "step": "look"}).content.decode()
    assert shown.count("Its tags would be: production, shop.") == 2
    assert not BulkJob.objects.exists()
    answer = confirmed(client, given)
    job = BulkJob.objects.get()
    assert answer["Location"] == reverse("job", args=[job.pk])
    assert "waiting for the worker" in client.get(answer["Location"]).content.decode()
    assert bulk_run(job.pk)
    assert [certificate_tags(row) for row in three] == [["production", "shop"]] * 2 + [[]]
    done = client.get(answer["Location"]).content.decode()
    assert "2 of 2: 2 done, 0 refused." in done
    assert "hx-get" not in done
    assert client.get(reverse("job-steps", args=[job.pk])).status_code == 200
    assert "Change the tags of 2 certificates" in client.get(reverse("jobs-many")).content.decode()


def test_all_that_the_search_finds(client: Client, three: list[Certificate]) -> None:
    given = {"action": "delete", "which": "found", "query": "q=o.example"}  # two.example
    shown = client.post(MANY, given).content.decode()
    assert "Delete 1 certificate<" in shown
    assert "two.example" in shown
    assert "one.example" not in shown
    assert confirmed(client, given, typed="1").status_code == 302
    assert bulk_run(BulkJob.objects.get().pk)
    assert {row.name for row in Certificate.objects.filter(deleted_at=None)} == {"one.example", "three.example"}


def test_what_cannot_be_undone_asks_for_the_number(client: Client, three: list[Certificate]) -> None:
    given = {"action": "delete", "which": "ticked", "ticked": ticked(three)}
    for typed in ("", "2"):
        page = confirmed(client, given, typed=typed)
        assert page.status_code == 200
        assert "field-error" in page.content.decode()
    assert not BulkJob.objects.exists()


@pytest.mark.parametrize("change", ["another", "tags", "digest"])
def test_only_what_was_shown_is_done(client: Client, three: list[Certificate], change: str) -> None:
    given = {"action": "tag", "which": "found", "query": "q=example", "add": "a"}
    digest = client.post(MANY, {**given, "step": "look"}).context["digest"]
    if change == "another":
        stock.uploaded("four.example")
    given |= {"add": "b"} if change == "tags" else {}
    page = client.post(MANY, {**given, "step": "do", "digest": "" if change == "digest" else digest})
    assert "This is not what was shown." in page.content.decode()
    assert not BulkJob.objects.exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"which": "ticked"}, "No certificate was ticked."),
        ({"which": "ticked", "ticked": ["x", "' OR 1"]}, "No certificate was ticked."),
        ({"which": "found", "query": "q=nowhere"}, "No certificate is found any more."),
        ({"which": "found", "query": "state=odd"}, "is no state"),
        ({"which": "found", "query": "cursor=%00"}, "No certificate is found any more."),
    ],
)
def test_a_choice_of_nothing_leads_back_to_the_list(client: Client, given: dict[str, Any], says: str) -> None:
    answer = client.post(MANY, {"action": "renew", **given})
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("certificates"))
    assert says in client.get(reverse("home"), follow=True).content.decode()


def test_bad_input_is_said_at_its_field(client: Client, three: list[Certificate]) -> None:
    given = {"which": "ticked", "ticked": ticked(three)}
    for more, says in (
        ({"action": "tag", "add": "", "remove": " , "}, "No tag was named."),
        ({"action": "tag", "add": "x" * 101}, "cannot be a tag"),
        ({"action": "revoke", "reason": "boredom"}, "Select a valid choice"),
    ):
        page = client.post(MANY, {**given, **more, "step": "look"}).content.decode()
        assert says in page
        assert "Nothing is done yet" not in page
    for action in ("", "import", "sign", "\x00"):
        assert client.post(MANY, {**given, "action": action}).status_code == 302
    assert client.get(MANY).status_code == 302
    assert not BulkJob.objects.exists()


def test_too_many_are_refused_before_anything(client: Client, three: list[Certificate], monkeypatch: Any) -> None:
    monkeypatch.setattr("certs.views.many.MOST", 2)
    client.post(MANY, {"action": "renew", "which": "found", "query": ""})
    assert "more than 2 certificates" in client.get(reverse("certificates")).content.decode()


def test_where_all_would_be_refused_there_is_nothing_to_press(client: Client, three: list[Certificate]) -> None:
    page = client.post(MANY, {"action": "renew", "which": "ticked", "ticked": ticked(three)}).content.decode()
    assert "Every one would be refused" in page  # nobody renews what was uploaded
    assert 'value="do"' not in page


def test_who_only_reads_exports_the_list_and_nothing_else(
    client: Client, onlooker: Client, three: list[Certificate]
) -> None:
    page = onlooker.get(reverse("certificates")).content.decode()
    assert 'value="export"' in page
    assert 'value="revoke"' not in page
    given = {"which": "ticked", "ticked": ticked(three)}
    assert onlooker.post(MANY, {**given, "action": "export"})["Content-Type"].startswith("text/csv")
    shown = onlooker.post(MANY, {**given, "action": "tag", "add": "a", "step": "look"})
    assert "Nothing is done yet" not in shown.content.decode()
    assert confirmed_without_preview(onlooker, {**given, "action": "tag", "add": "a"})
    assert not BulkJob.objects.exists()


def confirmed_without_preview(browser: Client, given: dict[str, Any]) -> bool:
    return browser.post(MANY, {**given, "step": "do", "digest": ""}).status_code == 200


def test_what_one_may_not_change_is_refused_and_the_rest_is_done(three: list[Certificate]) -> None:
    place = Organization.objects.get(pk=three[0].organization_id)
    web = Department.objects.create(name="Web", organization=place)
    certificate_update(three[0], department=web, actor="test")
    person = User.objects.create_user("web@example.com", "x", role=Role.VIEWER)
    RoleGrant.objects.create(user=person, role=Role.OPERATOR, department=web)
    browser = Browser()
    browser.force_login(person)
    given = {"action": "tag", "which": "ticked", "ticked": ticked(three), "add": "a"}
    shown = browser.post(MANY, {**given, "step": "look"})
    assert shown.context["bad"] == 2
    assert all(f"<td>{row.name}</td>" in shown.content.decode() for row in three)
    confirmed(browser, given)
    job = BulkJob.objects.get()
    assert bulk_run(job.pk)
    assert [certificate_tags(row) for row in three] == [["a"], [], []]
    page = browser.get(reverse("job", args=[job.pk])).content.decode()
    assert "1 done, 2 refused" in page
    refused = browser.get(reverse("job", args=[job.pk]), {"only": "failed"})
    assert [line["ok"] for line in refused.context["page"]] == [False, False]


def test_a_job_is_its_owners(client: Client, onlooker: Client, three: list[Certificate], alice: User) -> None:
    job = bulk_ask("tag", [three[0].pk], options={"add": ["a"]}, actor=alice)
    for path in (reverse("job", args=[job.pk]), reverse("job-steps", args=[job.pk])):
        assert client.get(path).status_code == 200
        assert onlooker.get(path).status_code == 404
    assert str(job.pk) not in onlooker.get(reverse("jobs-many")).content.decode()


def test_the_list_as_a_file(client: Client, three: list[Certificate]) -> None:
    certificate_update(three[0], name="=cmd|'/c calc'!A1", actor="test")
    certificate_tags_set(three[1], ["a", "b"], actor="test")
    stock.wanted("bücher.example")
    answer = client.post(MANY, {"action": "export", "which": "found", "query": "sort=created"})
    assert "attachment" in answer["Content-Disposition"]
    rows = list(csv.DictReader(StringIO(answer.content.decode())))
    assert [row["name"] for row in rows][:3] == ["'=cmd|'/c calc'!A1", "two.example", "three.example"]
    assert rows[1]["tags"] == "a, b"
    assert rows[1]["SHA-256"] == three[1].current.fingerprint_sha256  # type: ignore[union-attr]
    assert rows[3]["names"] == "bücher.example"
    assert rows[3]["state"] == "not issued yet"


def test_responders_are_in_no_list_but_the_one_that_asks_for_them(client: Client) -> None:
    root = own_ca.root()
    below = own_ca.below(root)
    listed = client.get(reverse("certificates")).content.decode()
    assert "OCSP of" not in listed
    assert "All 2 certificates" in listed
    asked = client.get(reverse("certificates"), {"kind": "responder"}).content.decode()
    assert "OCSP of Example Root" in asked
    assert "All 2 found" in asked
    assert root.responder is not None
    assert root.responder.current is not None
    fingerprint = {"fingerprint": root.responder.current.fingerprint_sha256}
    assert "OCSP of Example Root" in client.get(reverse("certificates"), fingerprint).content.decode()
    page = client.get(reverse("authority", args=[below.pk])).content.decode()
    assert reverse("certificate", args=[below.responder_id]) in page
    assert "<dt>Certificates</dt><dd>0 living" in page
    assert "OCSP of" not in client.get(reverse("bindings")).content.decode()
    page = client.get(reverse("authorities")).content.decode()
    assert page.count('data-label="Living certificates">1<') == 1  # the intermediate
    assert page.count('data-label="Living certificates">0<') == 1
