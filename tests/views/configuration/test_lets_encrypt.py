"""The form behind Configure: what is wrong is said at its field, what was typed stays, and nothing is stored."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from certs.acme.directories import DirectoryInfo
from certs.domain import states
from certs.domain.errors import AcmeRefused, AcmeRetry, ConflictError, InputError
from certs.forms import lets_encrypt as form_module
from certs.models import AcmeAccount, Binding, Certificate, ChallengeMethod, Listener, Order, Rebind, User
from certs.services import port80
from certs.services.addresses import LOOPBACK
from certs.services.bindings import binding_set
from certs.services.elsewhere import AWAY, Place, Target, Where
from certs.services.issue_options import IssueOptions, issue_options_of
from certs.services.listeners import local_addresses
from certs.services.nodes import node_name
from certs.services.portal_state import state_get, state_update
from certs.services.reachability import ReachResult
from certs.views.configuration import lets_encrypt as view_module
from tests import stock
from tests.harness import pki
from tests.harness.container_marks import VOLUME
from tests.standing import HOST, certificate_make, stand

PAGE = "/configuration/lets-encrypt/"
FORM = f"{PAGE}configure/"
TERMS = "https://ca.example.com/terms-v2"
OTHER = "https://ca.example.com/directory"
HMAC = "c2VjcmV0LW9mLWFuLWV4dGVybmFsLWFjY291bnQ"
Ask = Callable[..., DirectoryInfo]


@pytest.fixture(autouse=True)
def standing(alice: User) -> None:
    stand(url="http://192.0.2.1:8000", http=8000, https=8443)


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the CA says; `error` is raised instead, `asked` is how it was asked."""
    said: dict[str, object] = {"info": DirectoryInfo(TERMS, "", {}, False), "error": None, "asked": []}

    def read(url: str, **options: object) -> object:
        said["asked"].append((url, options))  # type: ignore[attr-defined]
        if said["error"]:
            raise said["error"]  # type: ignore[misc]
        return said["info"]

    monkeypatch.setattr(form_module, "directory_read", read)
    return said


@pytest.fixture(autouse=True)
def reached(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the probe finds: outcome by name, "ok" where nothing is said."""
    outcomes: dict[str, str] = {}

    def look(names: list[str], **_: object) -> list[Where]:
        return [
            Where(
                name,
                (Place("203.0.113.7", AWAY, _result(name, outcomes.get(name, "ok"))),),
                Target("http://bindery.example.net", proven=True),
                "192.0.2.1:8080",
                "127.0.0.1:8080",
            )
            for name in names
        ]

    monkeypatch.setattr(view_module, "names_look", look)
    return outcomes


def _result(name: str, outcome: str) -> ReachResult:
    return ReachResult(name, outcome, f"http://{name}/.well-known/acme-challenge/x", "Told.", 404, "nginx")


def given(**changes: object) -> dict[str, object]:
    return {
        "directory": "letsencrypt",
        "dns_names": HOST,
        "email": "alice@example.com",
        "accept_terms": "on",
        "terms_seen": TERMS,
        "ip_address": "0.0.0.0",
        "port": "8443",
        "form_id": "one",
        **changes,
    }


def other(**changes: object) -> dict[str, object]:
    return given(directory="other", directory_url=OTHER, **changes)


def stored() -> int:
    return AcmeAccount.objects.count() + Certificate.objects.count() + Order.objects.count()


def test_the_summary_leads_to_the_form(client: Client, onlooker: Client) -> None:
    page = client.get(PAGE).content.decode()
    assert "not configured" in page
    assert f'href="{FORM}">Configure</a>' in page
    assert "Configure</a>" not in onlooker.get(PAGE).content.decode()


def test_the_form_carries_the_warnings_with_the_own_name(client: Client) -> None:
    stand(url=f"https://{HOST}:8443", http=8000, https=8443)
    page = client.get(FORM).content.decode()
    assert f"http://<span data-name>{HOST}</span>/.well-known/acme-challenge/" in page
    assert "over HTTP on port 80" in page
    assert "takes the port on every one of them" in page
    assert f">{HOST}</textarea>" in page.replace("\n", "")
    assert 'value="8443"' in page


def test_register_makes_one_order_and_shows_its_steps(client: Client) -> None:
    for _ in range(2):
        response = client.post(FORM, given(), follow=True)
    order = Order.objects.get()
    assert response.redirect_chain[-1][0] == PAGE
    page = response.content.decode()
    for step in ("Account", "Order", "Challenge", "Validation", "Certificate", "Binding", "Check"):
        assert step in page
    assert reverse("lets-encrypt-watch", args=[order.pk]) in page
    assert (order.names, order.bind, order.reason) == ([HOST], True, "asked")
    assert order.account.terms_url == TERMS
    assert order.account.directory_url == "https://acme-v02.api.letsencrypt.org/directory"


def test_another_directory_with_its_roots(client: Client, directory: dict[str, object]) -> None:
    root = pki.authority().pem
    client.post(FORM, other(ca_bundle=root, allow_private_ca="on"))
    account = AcmeAccount.objects.get()
    assert (account.directory_url, account.allow_private) == (OTHER, True)
    assert account.ca_bundle.strip() == root.strip()
    assert directory["asked"] == [(OTHER, {"ca_bundle": root, "allow_private": True})]


def test_the_roots_may_be_a_file(client: Client) -> None:
    root = pki.authority().pem
    client.post(FORM, other(ca_bundle_file=SimpleUploadedFile("root.pem", root.encode())))
    assert AcmeAccount.objects.get().ca_bundle.strip() == root.strip()


def test_a_file_is_not_lost_when_the_form_is_shown_again(client: Client) -> None:
    root = pki.authority().pem
    page = client.post(
        FORM, other(ca_bundle_file=SimpleUploadedFile("root.pem", root.encode()), dns_names="http://x")
    ).content.decode()
    assert root.strip().splitlines()[1] in page


def test_what_was_typed_for_another_directory_does_not_belong_to_a_known_one(
    client: Client, directory: dict[str, object]
) -> None:
    client.post(FORM, given(directory_url=OTHER, ca_bundle=pki.authority().pem, allow_private_ca="on"))
    assert directory["asked"] == [
        ("https://acme-v02.api.letsencrypt.org/directory", {"ca_bundle": "", "allow_private": False})
    ]


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"dns_names": ""}, "dns_names", "Type at least one"),
        ({"dns_names": f"https://{HOST}"}, "dns_names", f"Type just the name, for example {HOST}"),
        ({"dns_names": f"http://{HOST}/x"}, "dns_names", "without http://"),
        ({"dns_names": f"{HOST}/path"}, "dns_names", "contains a path"),
        ({"dns_names": "a b.example.com"}, "dns_names", "contains a space"),
        ({"dns_names": "-x.example.com"}, "dns_names", "hyphen"),
        ({"dns_names": "*.example.com"}, "dns_names", "DNS challenge"),
        ({"dns_names": "192.0.2.1"}, "dns_names", "profile"),
        ({"email": "alice"}, "email", "valid email address"),
        ({"port": "0"}, "port", "from 1 to 65535"),
        ({"port": "65536"}, "port", "from 1 to 65535"),
        ({"port": "https"}, "port", "whole number"),
        ({"port": "8000"}, "port", "plain HTTP"),
        ({"ip_address": "192.0.2.99"}, "ip_address", "not one of the available choices"),
        ({"directory": "nowhere"}, "directory", "not one of the available choices"),
        ({"directory": "other"}, "directory_url", "Type the address"),
        ({"directory": "other", "directory_url": "http://ca.example.com/dir"}, "directory_url", "https://"),
        ({"directory": "other", "directory_url": OTHER, "ca_bundle": "no PEM"}, "ca_bundle", "not a certificate"),
        ({"accept_terms": ""}, "accept_terms", TERMS),
        ({"terms_seen": "https://ca.example.com/terms-v1"}, "accept_terms", "have changed"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_stored(
    client: Client, changes: dict[str, object], field: str, words: str
) -> None:
    page = client.post(FORM, given(**changes)).content.decode()
    found = page.split(f'id="id_{field}_error"')
    assert len(found) == 2, "no message at the field"
    assert words in found[1].split("</div></div>")[0].replace("&#x27;", "'")
    assert stored() == 0
    assert "alice" in page  # the value is kept


def test_a_server_certificate_is_no_root(client: Client) -> None:
    page = client.post(FORM, other(ca_bundle=pki.leaf(pki.authority(), ["ca.example.com"]).pem)).content.decode()
    assert "a root is needed" in page
    assert stored() == 0


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (AcmeRetry("ca.example.com cannot be reached: refused.", code="acme-unreachable"), "directory_url"),
        (AcmeRetry("The host cannot be found.", code="acme-host"), "directory_url"),
        (AcmeRefused("This is not an ACME directory.", code="acme-directory"), "directory_url"),
        (AcmeRefused("Its certificate is not trusted here.", code="acme-untrusted"), "ca_bundle"),
        (InputError("It is at 10.0.0.1.", code="private-address"), "allow_private_ca"),
    ],
)
def test_a_directory_that_cannot_be_used_is_said(
    client: Client, directory: dict[str, object], error: Exception, field: str
) -> None:
    directory["error"] = error
    page = client.post(FORM, other()).content.decode()
    assert str(error) in page.split(f'id="id_{field}_error"')[1]
    assert stored() == 0


def test_a_ca_that_wants_accounts_made_elsewhere_is_said(client: Client, directory: dict[str, object]) -> None:
    directory["info"] = DirectoryInfo(TERMS, "", {}, True)
    assert "copy the key ID and the HMAC key" in client.post(FORM, other()).content.decode()
    for wrong in ({"eab_hmac": "!"}, {"eab_hmac": ""}, {"eab_kid": "", "eab_hmac": HMAC}):
        assert client.post(FORM, other(**{"eab_kid": "kid-1", **wrong})).status_code == 200
        assert stored() == 0
    assert client.post(FORM, other(eab_kid="kid-1", eab_hmac=HMAC)).status_code == 302
    account = AcmeAccount.objects.get()
    assert account.eab_kid == "kid-1"
    assert account.eab_sealed
    assert HMAC not in account.eab_sealed
    page = client.get(FORM).content.decode()
    assert HMAC not in page  # write-only


def test_what_is_chosen_under_more_is_kept_and_shown_again(client: Client) -> None:
    method = stock.method(name="Our zone")
    fields = {
        "dns_names": "*.example.com",
        "challenge": str(method.pk),
        "key_type": "rsa-3072",
        "reuse_key": "on",
        "preferred_chain": "ISRG Root X1",
    }
    assert client.post(FORM, given(**fields)).status_code == 302
    order = Order.objects.get()
    assert order.challenge_kind == method.kind
    assert (order.certificate.key_type, order.certificate.reuse_key) == ("rsa-3072", True)
    page = client.get(FORM).content.decode()
    assert f'<option value="{method.pk}" selected>Our zone</option>' in page
    assert 'value="ISRG Root X1"' in page
    assert '<details class="more panel" id="more" open>' in page


def test_more_is_closed_and_its_defaults_are_those_of_before(client: Client) -> None:
    assert '<details class="more panel" id="more">' in client.get(FORM).content.decode()
    client.post(FORM, given())
    assert issue_options_of(Order.objects.get().certificate) == IssueOptions()


def test_a_challenge_is_set_up_on_the_way(client: Client) -> None:
    new = {"challenge": "new:dns01_rfc2136", "dns_names": "*.example.com, example.com"}
    options = {"server": "ns.example.com", "key": "bindery", "secret": "c2VjcmV0LW9mLXRoaXMtdGVzdA=="}
    wrong = client.post(FORM, given(**new)).content.decode()
    assert "is needed" in wrong
    assert not ChallengeMethod.objects.exists()
    fields = {f"dns01_rfc2136-{name}": value for name, value in options.items()}
    assert client.post(FORM, given(**new, **fields)).status_code == 302
    method = ChallengeMethod.objects.get()
    assert method.options["server"] == "ns.example.com"
    assert "c2VjcmV0" not in str(method.options) + method.sealed
    assert Order.objects.get().certificate.challenge_method == method


def test_what_is_refused_leaves_no_challenge_behind(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConflictError("Not now.")

    monkeypatch.setattr("certs.services.lets_encrypt.order_ask", refuse)
    page = client.post(FORM, given(challenge="new:dns01_manual", dns_names="*.example.com")).content.decode()
    assert "Not now." in page
    assert not ChallengeMethod.objects.exists()
    assert not Certificate.objects.exists()


def test_the_same_form_sent_twice_sets_up_one_challenge(client: Client) -> None:
    new = given(challenge="new:dns01_manual", dns_names="*.example.com", form_id="twice")
    assert client.post(FORM, new).status_code == client.post(FORM, new).status_code == 302
    assert (ChallengeMethod.objects.count(), Order.objects.count()) == (1, 1)


def test_a_profile_is_checked_against_the_cas_own_list(client: Client, directory: dict[str, object]) -> None:
    directory["info"] = DirectoryInfo(TERMS, "", {"classic": "90 days", "shortlived": "6 days"}, False)
    page = client.post(FORM, given(profile="weekly")).content.decode()
    assert "has no profile “weekly”. It offers classic, shortlived." in page
    assert '<option value="shortlived">6 days</option>' in page
    assert stored() == 0
    client.post(FORM, given(profile="shortlived"))
    assert Order.objects.get().profile == "shortlived"


def test_a_ca_without_terms_needs_no_consent(client: Client, directory: dict[str, object]) -> None:
    directory["info"] = DirectoryInfo("", "", {}, False)
    client.post(FORM, other(accept_terms="", terms_seen=""))
    assert Order.objects.count() == 1


def test_without_script_the_terms_are_shown_after_the_first_press(client: Client) -> None:
    page = client.post(FORM, given(accept_terms="", terms_seen="")).content.decode()
    assert f'<a href="{TERMS}"' in page
    assert f'name="terms_seen" value="{TERMS}"' in page
    client.post(FORM, given())
    assert Order.objects.count() == 1


def test_the_terms_are_loaded_for_the_directory_just_chosen(client: Client, directory: dict[str, object]) -> None:
    page = client.post(f"{PAGE}terms/", {"directory": "other", "directory_url": OTHER}).content.decode()
    assert f'<a href="{TERMS}"' in page
    assert "<html" not in page
    directory["error"] = AcmeRetry("ca.example.com cannot be reached.")
    page = client.post(f"{PAGE}terms/", {"directory": "letsencrypt"}).content.decode()
    assert "cannot be reached" in page
    assert "Type the address" in client.post(f"{PAGE}terms/", {"directory": "other"}).content.decode()
    assert stored() == 0


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,<script>alert(1)</script>"])
def test_terms_that_are_no_web_page_are_no_link(client: Client, directory: dict[str, object], address: str) -> None:
    directory["info"] = DirectoryInfo(address, "", {}, False)
    page = client.post(f"{PAGE}terms/", {"directory": "other", "directory_url": OTHER}).content.decode()
    assert "href" not in page
    assert "<script>" not in page


@pytest.fixture(autouse=True)
def _started_from_a_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever runs these tests, and whoever has port 80 of this machine."""
    monkeypatch.setattr(port80, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(port80, "port_holder", lambda address, port: "")


def test_a_listener_on_several_addresses_keeps_them(client: Client) -> None:
    Listener.objects.filter(protocol="https").update(addresses=["127.0.0.1", "::1"])
    assert "As it is: 127.0.0.1, ::1" in client.get(FORM).content.decode()
    client.post(FORM, given(ip_address="keep"))
    assert Order.objects.get().bind_address == ""


def test_names_that_do_not_lead_here_are_asked_about_but_never_barred(client: Client, reached: dict[str, str]) -> None:
    reached[HOST] = "other"
    page = client.post(FORM, given()).content.decode()
    assert stored() == 0
    for words in (
        "Register anyway",
        "this server, through its DNS",
        "nginx",
        f"http://{HOST}/.well-known/acme-challenge/x",
    ):
        assert words in page
    for recipe in (
        "proxy_pass",
        "RewriteRule",
        "return 302 http://bindery.example.net$request_uri",
        "http-request redirect code 302 prefix http://bindery.example.net if",
        "use_backend",
        "&lt;rule name=",
        "BINDERY_HTTP_PORT=80 make run",
        "--to-ports 8000",
    ):
        assert recipe in page
    client.post(FORM, given(anyway="1"))
    assert Order.objects.count() == 1


@pytest.mark.parametrize(
    ("kubernetes", "words"),
    [
        (False, ['- "80:8000"', "to port 80 of the machine that runs this container"]),
        (True, ["- {name: http, port: 80, targetPort: 8000}", "to port 80 of the Service"]),
    ],
)
def test_in_a_container_no_forward_to_an_address_inside_is_shown(
    client: Client, reached: dict[str, str], in_container: Callable[..., None], kubernetes: bool, words: list[str]
) -> None:
    in_container(VOLUME, environment={"KUBERNETES_SERVICE_HOST": "10.96.0.1"} if kubernetes else None)
    reached[HOST] = "other"
    page = unescape(client.post(FORM, given()).content.decode())
    recipes = page.split("If the address is this machine's")[1].split("</section>")[0]
    for right in words:
        assert right in recipes
    for wrong in ("iptables", "make run", *(one for one in local_addresses() if one not in LOOPBACK)):
        assert wrong not in recipes


def test_the_form_says_that_port_80_is_not_the_portals_and_what_mends_it(client: Client) -> None:
    page = client.get(FORM).content.decode()
    assert "nothing on this machine listens on port 80" in page
    assert "BINDERY_HTTP_PORT=80 make run" in page
    Listener.objects.filter(protocol="http").update(port=80)
    assert "make run" not in client.get(FORM).content.decode()


def test_under_another_server_and_behind_a_front_nothing_is_said_of_port_80(client: Client, settings: Settings) -> None:
    settings.TLS_IN_FRONT, settings.TLS_IN_FRONT_LOCKED = True, True
    assert "make run" not in client.get(FORM).content.decode()
    settings.TLS_IN_FRONT = False
    assert "make run" in client.get(FORM).content.decode()
    Listener.objects.filter(protocol="http").update(managed=False)
    assert "make run" not in client.get(FORM).content.decode()


def test_a_taken_port_is_refused_naming_its_holder(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        page = client.post(FORM, given(ip_address="127.0.0.1", port=str(port))).content.decode()
    assert f"Port {port} is taken" in page.split('id="id_port_error"')[1]
    assert stored() == 0


def test_locked_fields_say_what_sets_them(client: Client, settings: Settings) -> None:
    settings.HTTPS_PORT_LOCKED = settings.HTTPS_ADDRESS_LOCKED = True
    page = client.get(FORM).content.decode()
    assert "Set by BINDERY_HTTPS_PORT" in page
    assert "Set by BINDERY_HTTPS_ADDRESS" in page
    client.post(FORM, given(port="9999", ip_address="127.0.0.1"))
    order = Order.objects.get()
    assert (order.bind_address, order.bind_port) == ("", None)


def test_under_another_server_the_listener_is_left_alone(client: Client) -> None:
    Listener.objects.update(managed=False)
    assert "Another server owns the listener" in client.get(FORM).content.decode()
    client.post(FORM, given(port="9999"))
    assert Order.objects.get().bind_port is None


def test_a_failure_leads_back_to_the_form_with_all_that_was_typed(client: Client) -> None:
    client.post(FORM, other(ca_bundle=pki.authority().pem, dns_names=f"{HOST}, www.example.com", port="9443"))
    Order.objects.update(state=states.FAILED, finished_at="2026-11-21T00:00:00Z", error_message="It was refused.")
    page = client.get(PAGE).content.decode()
    assert "It was refused." in page
    assert "Back to the form" in page
    form = client.get(FORM).content.decode()
    for words in (OTHER, f"{HOST}, www.example.com", 'value="9443"', "alice@example.com", "BEGIN CERTIFICATE"):
        assert words in form
    assert '<option value="other" selected>' in form


def test_the_summary_shows_the_certificate_and_its_buttons(client: Client, onlooker: Client) -> None:
    certificate = stock.issued(HOST)
    binding_set("", certificate, actor="test")
    state_update(portal_certificate=certificate)
    page = client.get(PAGE).content.decode()
    for words in (
        "HTTPS address",
        f"https://{HOST}:8443",
        "Issuer",
        "Last renewed",
        "Due to expire",
        "Next check",
        "Renew now",
    ):
        assert words in page
    assert "will warn" in page
    assert "Reconfigure" in page
    assert "Now for real" not in page
    assert "Renew now" not in onlooker.get(PAGE).content.decode()


def test_a_test_certificate_is_named_one_with_the_way_to_a_real_one(client: Client) -> None:
    certificate = stock.issued(HOST, is_test=True)
    state_update(portal_certificate=certificate)
    page = client.get(PAGE).content.decode()
    assert page.count("test certificate") >= 2
    assert f'href="{FORM}?ca=real">Now for real' in page
    form = client.get(f"{FORM}?ca=real").content.decode()
    assert '<option value="letsencrypt" selected>' in form
    assert HOST in form


def test_renew_now_makes_an_order(client: Client) -> None:
    certificate = stock.issued(HOST, age=60)
    state_update(portal_certificate=certificate)
    client.post(reverse("lets-encrypt-renew"))
    assert Order.objects.get().certificate == certificate


def test_stop_keeps_or_goes_back(client: Client) -> None:
    own = certificate_make(None, [HOST], source="uploaded")
    certificate = stock.issued(HOST)
    binding_set("", certificate, actor="test")
    state_update(portal_certificate=certificate)
    assert f"Go back to {HOST} (uploaded)" in client.get(PAGE).content.decode()
    assert client.post(reverse("lets-encrypt-stop"), {"instead": "nonsense"}).status_code == 302
    assert state_get().portal_certificate == certificate
    client.post(reverse("lets-encrypt-stop"), {"instead": str(own.pk)})
    assert Binding.objects.get().certificate == own
    assert "not configured" in client.get(PAGE).content.decode()


def test_the_page_is_loaded_anew_when_the_order_has_ended(client: Client) -> None:
    client.post(FORM, given())
    order = Order.objects.get()
    address = reverse("lets-encrypt-watch", args=[order.pk])
    assert client.get(address).status_code == 204
    Order.objects.update(state=states.DONE, finished_at="2026-11-21T00:00:00Z")
    assert client.get(address)["HX-Refresh"] == "true"
    assert client.get(reverse("lets-encrypt-watch", args=["00000000-0000-4000-8000-00000000000f"])).status_code == 404


def test_another_port_on_trial_is_shown_at_once_with_the_way_there(client: Client) -> None:
    client.post(FORM, given())
    order = Order.objects.get()
    address = reverse("lets-encrypt-watch", args=[order.pk])
    Rebind.objects.create(
        node=node_name(),
        addresses=["0.0.0.0"],
        port=9443,
        old_port=8443,
        state=states.AWAITING,
        deadline=datetime.now(UTC) + timedelta(seconds=60),
    )
    assert client.get(address)["HX-Refresh"] == "true"
    state_update(extra_hosts=[HOST])
    page = client.get(PAGE).content.decode()
    assert f"Go to https://{HOST}:9443" in page
    assert f"{address}?trial" in page
    assert client.get(f"{address}?trial").status_code == 204
    going = client.post(reverse("bindings-go"), {"host": HOST}).content.decode()
    assert f'href="https://{HOST}:9443/session/' in going
    assert "evil" not in client.post(reverse("bindings-go"), {"host": "evil.example.org"}).content.decode()


def test_a_secret_that_comes_back_empty_is_asked_for_again(client: Client) -> None:
    again = "Type it again: what is secret is not sent back."
    assert again not in client.get(FORM).content.decode()
    page = client.post(FORM, given(eab_kid="kid-1", eab_hmac=HMAC, dns_names="")).content.decode()
    assert HMAC not in page
    assert page.count(again) == 1
    assert again not in client.post(FORM, given(dns_names="")).content.decode()


def test_an_option_that_its_challenge_needs_is_not_called_optional(client: Client) -> None:
    page = client.get(FORM).content.decode()
    label = page.split('for="id_dns01_rfc2136-server">')[1].split("</label>")[0]
    assert label == "Name server"
    label = page.split('for="id_dns01_rfc2136-zone">')[1].split("</label>")[0]
    assert "optional" in label


@pytest.mark.parametrize(
    ("challenge", "asked"), [("", True), ("new:http01_webroot", True), ("new:dns01_manual", False)]
)
def test_port_80_is_spoken_of_only_where_the_ca_asks_it(client: Client, challenge: str, asked: bool) -> None:
    page = client.post(FORM, given(dns_names="", challenge=challenge)).content.decode()
    notice = page.split("data-port-asked-for=")[1].split(">")[0]
    assert notice.endswith(" hidden") != asked


def test_in_a_container_without_a_volume_it_asks_before_the_ca_is(
    client: Client, directory: dict[str, object], in_container: Callable[..., None]
) -> None:
    assert "No volume" not in client.get(FORM).content.decode()
    in_container()
    page = client.get(FORM).content.decode()
    assert "is part of this container, and goes with it" in page
    assert "docker run -v bindery:" in page
    directory["asked"] = []
    page = client.post(FORM, given()).content.decode()
    assert "To go on all the same, tick the box" in page
    assert HOST in page  # what was typed stays
    assert directory["asked"] == []
    assert stored() == 0
    assert client.post(FORM, given(without_volume="on")).status_code == 302
    assert Order.objects.count() == 1
    assert "Not on a volume." in client.get(PAGE).content.decode()
