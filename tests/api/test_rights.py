"""Every address and method of the API: as who may, who may only read, who is elsewhere, and who is nobody any more."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.db.models import Model

from certs import models
from certs.api.urls import urlpatterns
from certs.domain.alarms import Level, Trouble
from certs.domain.roles import Role
from certs.models import ApiToken, AuditEvent, Certificate, Organization
from certs.services.alarms import alarm_raise
from certs.services.bindings import binding_set
from certs.services.certificate_changes import certificate_update
from certs.services.channels import channel_create
from certs.services.deletion import certificate_delete
from certs.services.orders import order_create
from certs.services.organizations import department_create
from certs.services.profiles import profile_create
from certs.services.tokens import token_create, token_revoke
from certs.services.trusted import trusted_set
from tests import stock
from tests.api.conftest import Program, token
from tests.harness import own_ca

pytestmark = pytest.mark.django_db

OPEN = {"schema", "docs/"}
# All that writes, and what is sent; a test below finds what is missing here.
LEAF = {"issuer": "{authority}", "hosts": ["x.example"]}
WRITES = {
    "POST certificates": {"chain": "", "privateKey": "", "name": "x"},
    "POST certificates/_renew": {},
    "POST certificates/_bulk": {"action": "renew", "ids": ["{certificate}"]},
    "POST certificates/_letsencrypt": {"hosts": ["x.example"], "account": "{account}"},
    "POST certificates/_create": LEAF,
    "POST certificates/_selfsigned": {"hosts": ["x.example"]},
    "POST certificates/_keypair": {},
    "POST certificates/_csr": {"hosts": ["x.example"]},
    "POST certificates/_import": {"files": [{"data": "eA=="}]},
    "PUT certificates/<str:id>": {"name": "x"},
    "PATCH certificates/<str:id>": {"name": "x"},
    "DELETE certificates/<str:id>": None,
    "POST certificates/<str:id>/csr": {},
    "DELETE certificates/<str:id>/csr": None,
    "PATCH certificates/<str:id>/options": {"renewBeforeDays": 5},
    "POST certificates/<str:id>/_rehearse": {},
    "POST certificates/<str:id>/_move": {"organization": "{organization}"},
    "POST certificates/<str:id>/_answer": {"chain": "x"},
    "POST certificates/<str:id>/_renew": {},
    "POST certificates/<str:id>/_revoke": {"reason": "superseded"},
    "POST certificates/<str:id>/_release": {},
    "POST certificates/<str:id>/_restore": {},
    "POST certificates/<str:id>/_export": {"format": "key"},
    "POST certificates/<str:id>/versions/<uuid:version>/_use": {},
    "POST certificates/<str:id>/versions/<uuid:version>/_revoke": {"reason": "superseded"},
    "POST authorities": {"subject": "CN=X", "days": 10},
    "POST authorities/_import": {"chain": "x", "privateKey": "x"},
    "PATCH authorities/<str:id>": {"includeAia": False},
    "POST authorities/<str:id>/_renew": {},
    "POST authorities/<str:id>/_retire": {},
    "POST authorities/<str:id>/_publish": {},
    "POST authorities/<str:id>/issued/<str:serial>/_revoke": {"reason": "superseded"},
    "POST authorities/<str:id>/issued/<str:serial>/_release": {},
    "POST crls/<uuid:id>/_sign": {},
    "POST certificates/_truststore": {"ids": ["{authority_certificate}"], "options": {"password": "changeit"}},
    "POST profiles": {"name": "Mine", "rules": {"usages": ["server"]}},
    "PATCH profiles/<str:id>": {"name": "Theirs"},
    "DELETE profiles/<str:id>": None,
    "POST trusted": {"chain": stock.CA.pem, "outbound": True},
    "PUT trusted/<str:id>": {"clients": True},
    "DELETE trusted/<str:id>": None,
    "PATCH client-auth": {"mode": "want"},
    "POST accounts": {"directory": stock.DIRECTORY},
    "PATCH accounts/<uuid:id>": {"email": "x@example.com"},
    "PATCH accounts/<uuid:id>/directory": {"staging": "https://acme.example/staging"},
    "POST accounts/<uuid:id>/_terms": {"terms": "https://acme.example/t2"},
    "POST accounts/<uuid:id>/_external": {"eabKid": "kid-1", "eabHmacKey": "c2l4dGVlbiBieXRlcyBhbmQgbW9yZQ"},
    "POST accounts/<uuid:id>/_register": {},
    "POST accounts/<uuid:id>/_rollover": {},
    "POST accounts/<uuid:id>/_deactivate": {},
    "POST migrations": {"client": "certbot", "place": "/etc/letsencrypt", "dryRun": True},
    "POST orders/<uuid:id>/_cancel": {},
    "POST orders/<uuid:id>/_retry": {},
    "POST challenge-methods": {"kind": "http01", "name": "Ours"},
    "PATCH challenge-methods/<uuid:id>": {"name": "Theirs"},
    "POST challenge-methods/<uuid:id>/_test": {"name": "a.example"},
    "DELETE challenge-methods/<uuid:id>": None,
    "POST channels": {"kind": "webhook", "name": "W", "options": {"url": "https://127.0.0.1:9/"}, "allowPrivate": True},
    "PATCH channels/<uuid:id>": {"enabled": False},
    "POST channels/<uuid:id>/_test": {},
    "DELETE channels/<uuid:id>": None,
    "POST alarms/_seen": {},
    "POST alarms/<uuid:id>/_seen": {},
    "POST organizations": {"name": "More"},
    "PATCH organizations/<uuid:id>": {"name": "Theirs"},
    "POST departments": {"organization": "{organization}", "name": "More"},
    "PATCH departments/<uuid:id>": {"name": "Theirs"},
    "POST people": {"email": "more@example.com", "password": "a long pass phrase"},
    "PATCH people/<uuid:id>": {"active": False},
    "PUT people/<uuid:id>/grants/<str:place>": {"role": "admin"},
    "DELETE people/<uuid:id>/grants/<str:place>": None,
    "PUT bindings/<str:name>": {"certificate": "{certificate}"},
    "DELETE bindings/<str:name>": None,
    "PATCH settings": {"renewBeforeDays": 5},
    "POST tokens": {"name": "more", "role": "operator"},
    "DELETE tokens/<uuid:id>": None,
}


ADMINISTRATORS = (
    *("authorities", "crls", "accounts", "settings", "profiles", "trusted", "client-auth", "challenge-methods"),
    *("channels", "organizations", "departments", "people", "migrations"),
)
# They give a file and change nothing: for readers too.
FILES = {"POST certificates/_truststore"}
# Of the portal as a whole; and what a token may not give to another token.
WIDER = {"POST alarms/_seen", "POST tokens"}
# Of the portal as a whole: whoever may read anything reads it.
SHARED = {"profiles/<str:id>"}


def _operations() -> Iterator[tuple[str, str]]:
    for pattern in urlpatterns:
        route = str(pattern.pattern)
        kind = getattr(pattern.callback, "cls", None)
        if route in OPEN or kind is None:
            continue
        for method in ("get", "post", "put", "patch", "delete"):
            if hasattr(kind, method):
                yield method.upper(), route


OPERATIONS = list(_operations())
READS = [route for method, route in OPERATIONS if method == "GET"]


def test_every_method_that_writes_is_in_the_table() -> None:
    writes = {f"{method} {route}" for method, route in OPERATIONS if method != "GET"}
    assert writes == WRITES.keys()


class World:
    """One of everything in the default organization."""

    def __init__(self) -> None:
        certificate, gone, wanted = stock.uploaded("a.example"), stock.uploaded("b.example"), stock.wanted("c.example")
        certificate_update(certificate, tags=["web"], actor="test")
        certificate_delete(gone, actor="test")
        authority = own_ca.root()
        binding_set("a.example", certificate, actor="test")
        assert certificate.current is not None
        self.secret_of_another = token_create("machine-7", "viewer", actor="test")
        here = certificate.organization
        trusted_set(authority.certificate, outbound=True, actor="test")
        profile_create("Mine", {"usages": ["server"]}, name="mine", actor="test")
        mail = {"server": "127.0.0.1", "port": 9, "sender": "a@example.com", "to": "b@example.com"}
        trouble = Trouble(f"expiry:{certificate.pk}", Level.URGENT, "a.example", "It expires.")
        ids = {
            "certificate": certificate.pk,
            "deleted": gone.pk,
            "version": certificate.current.pk,
            "authority": authority.pk,
            "serial": models.IssuedCertificate.objects.values_list("serial", flat=True)[0],
            "account": stock.account().pk,
            "order": order_create(wanted, reason="test", actor="test").pk,
            "token": self.secret_of_another[0].pk,
            "event": AuditEvent.objects.filter(certificate=certificate).values_list("pk", flat=True)[0],
            "job": uuid4(),
            "binding": "a.example",
            "profile": "mine",
            "trusted": authority.certificate_id,
            "authority_certificate": authority.certificate_id,
            "method": stock.method("http01_webroot").pk,
            "channel": channel_create("mail", name="Mail", values=mail, allow_private=True, actor="test").pk,
            "alarm": getattr(alarm_raise(trouble), "pk", None),
            "organization": here.pk,
            "department": department_create(here, "Web", actor="test").pk,
            "person": models.User.objects.get().pk,
        }
        self.ids = {name: str(value) for name, value in ids.items()}

    def path(self, route: str) -> str:
        kinds = {"authorities": "authority", "crls": "authority", "challenge-methods": "method", "people": "person"}
        first = route.partition("/")[0]
        own = self.ids.get(kinds.get(first, first.removesuffix("s")), "")
        own = self.ids["deleted"] if route.endswith("_restore") else own
        filled = route.replace("<str:id>", own).replace("<uuid:id>", own).replace("<int:id>", own)
        filled = filled.replace("<str:name>", own).replace("<uuid:version>", self.ids["version"])
        filled = filled.replace("<str:place>", "everywhere")
        return f"/api/{filled.replace('<str:serial>', self.ids['serial'])}"

    def body(self, name: str) -> Any:
        def fill(value: Any) -> Any:
            if isinstance(value, str):
                return value.format(**self.ids) if value.startswith("{") else value
            if isinstance(value, list):
                return [fill(each) for each in value]
            return {key: fill(each) for key, each in value.items()} if isinstance(value, dict) else value

        return fill(WRITES[name])


@pytest.fixture
def world(db: None) -> World:
    stock.administrator()
    return World()


_TABLES: list[type[Model]] = [
    models.Certificate,
    models.CertificateVersion,
    models.CertificateTag,
    models.Authority,
    models.IssuedCertificate,
    models.AcmeAccount,
    models.AcmeDirectory,
    models.Order,
    models.Binding,
    models.PortalState,
    models.BulkJob,
    models.PrivateKey,
    models.IssuanceProfile,
    models.TrustedAuthority,
    models.ChallengeMethod,
    models.Channel,
    models.Alarm,
    models.Organization,
    models.Department,
    models.User,
    models.RoleGrant,
]


def _state() -> dict[str, Any]:
    """Everything that the API could have changed, by its table, but for when a token was last used."""
    rows = {kind.__name__: sorted(map(repr, kind._default_manager.values())) for kind in _TABLES}
    tokens = sorted(map(repr, ApiToken.objects.values("pk", "role", "revoked_at", "tags")))
    return rows | {"ApiToken": tokens, "AuditEvent": AuditEvent.objects.exclude(result="refused").count()}


def _writes_refused(world: World, program: Program, allowed: set[int]) -> None:
    before, wrong = _state(), []
    for name in WRITES:
        method, _, route = name.partition(" ")
        answer = program.send(method, world.path(route), world.body(name), If_Match="*")
        if answer.status_code not in (allowed | {200} if name in FILES else allowed):
            wrong.append(f"{name}: {answer.status_code} {answer.content[:200]!r}")
    assert not wrong, "\n".join(wrong)
    assert _state() == before


def test_a_reader_writes_nothing(world: World) -> None:
    _writes_refused(world, token("viewer"), {403, 404})  # 404: the token of another, and people, are not theirs to see


def test_an_outsider_writes_nothing_of_ours(world: World) -> None:
    program = token("admin", organization=Organization.objects.create(name="Elsewhere"))
    before = _state()
    for name in WRITES:
        method, _, route = name.partition(" ")
        if "<" in route:
            answer = program.send(method, world.path(route), world.body(name), If_Match="*")
            assert answer.status_code == (403 if route in SHARED else 404), (name, answer.content)
    assert _state() == before


def test_a_token_of_other_tags_writes_nothing_of_ours(world: World) -> None:
    program, before = token("operator", tags=["mail"]), _state()
    for name in WRITES:
        method, _, route = name.partition(" ")
        if route.startswith(("certificates/<", "orders/<", "bindings/<")):
            answer = program.send(method, world.path(route), world.body(name), If_Match="*")
            assert answer.status_code == 404, (name, answer.content)
    assert _state() == before


def test_an_owner_is_refused_nothing_of_their_own(world: World) -> None:
    """What is theirs may stand against them (409), or have nothing to be done with (404), never their rights."""
    owner, wrong, done = token("operator", can_export=True), [], 0
    for name in sorted(WRITES, key=lambda each: each.startswith("DELETE")):
        method, _, route = name.partition(" ")
        if route.startswith(ADMINISTRATORS) or name in WIDER:
            continue
        answer = owner.send(method, world.path(route), world.body(name), If_Match="*")
        done += answer.status_code < 300
        if answer.status_code in {401, 403}:
            wrong.append(f"{name}: {answer.content!r}")
    assert not wrong, wrong
    assert done >= 18


def test_an_operator_does_nothing_of_an_administrator(world: World) -> None:
    program, before = token("operator"), _state()
    for name in WRITES:
        method, _, route = name.partition(" ")
        if route.startswith(ADMINISTRATORS):
            answer = program.send(method, world.path(route), world.body(name), If_Match="*")
            hidden = route.startswith("people/")  # who may not change people does not see them
            assert answer.status_code == (404 if hidden else 403), (name, answer.content)
    assert _state() == before


def test_what_an_outsider_reads_holds_nothing_of_ours(world: World) -> None:
    elsewhere = Organization.objects.create(name="Elsewhere")
    outsider, reader = token("admin", organization=elsewhere), token("viewer")
    for route in READS:
        path = world.path(route)
        if "versions/_compare" in route:
            path += f"?first={world.ids['version']}"
        theirs = outsider.get(path)
        if "<" in route and route not in SHARED:
            assert theirs.status_code == 404, (route, theirs.content)
            continue
        assert theirs.status_code in (200, 403), (route, theirs.content)
        for word in ("a.example", "b.example", "c.example", "Example Root", "acme.example", "machine-7"):
            assert word not in theirs.content.decode(), route
        assert reader.get(path).status_code in (200, 403), route


def test_an_id_that_is_hidden_answers_like_one_that_is_not_there(world: World) -> None:
    outsider = token("admin", organization=Organization.objects.create(name="Elsewhere"))

    def said(path: str) -> tuple[int, Any]:
        answer = outsider.get(path)
        return answer.status_code, {**answer.json(), "quote": ""}

    hidden = world.ids["certificate"]
    nothing = str(uuid4())
    status, words = said(f"/api/certificates/{hidden}")
    assert (status, str(words).replace(hidden, "")) == (
        404,
        str(said(f"/api/certificates/{nothing}")[1]).replace(nothing, ""),
    )


def test_a_token_that_is_over_opens_nothing(world: World) -> None:
    revoked, secret = token_create("revoked", "admin", can_export=True, actor="test")
    token_revoke(revoked, actor="test")
    owner = stock.administrator("left@example.com")
    _, of_owner = token_create("left", "admin", actor=owner)
    owner.is_active = False
    owner.save()
    programs = [Program(), Program("bnd_wrong"), Program(secret), Program(of_owner), Program("")]
    before, wrong = _state(), []
    for method, route in OPERATIONS:
        for program in programs if route.startswith("certificates") else programs[2:3]:
            body = None if method == "GET" else world.body(f"{method} {route}")
            answer = program.send(method, world.path(route), body)
            if answer.status_code != 401 or "WWW-Authenticate" not in answer.headers:
                wrong.append(f"{method} {route}: {answer.status_code}")
    assert not wrong, wrong
    assert _state() == before


def test_a_session_is_no_token_and_needs_the_secret_of_its_forms(world: World) -> None:
    person = models.User.objects.create_user("bob@example.com", "x", role=Role.OPERATOR)
    browser = Program(enforce_csrf_checks=True)
    browser.force_login(person, "allauth.account.auth_backends.AuthenticationBackend")
    answer = browser.send("DELETE", f"/api/certificates/{world.ids['certificate']}", If_Match="*")
    assert answer.status_code in (401, 403)
    assert Certificate.objects.get(pk=world.ids["certificate"]).deleted_at is None


@pytest.mark.parametrize("can_export", [True, False])
def test_keys_are_told_to_those_who_may_only(world: World, can_export: bool) -> None:
    program = token("viewer", can_export=can_export)
    path = f"/api/certificates/{world.ids['certificate']}"
    told = [program.get(path), program.get("/api/certificates"), program.get(f"{path}/versions/{world.ids['version']}")]
    assert all(answer.status_code == 200 for answer in told)
    assert any(b"PRIVATE KEY" in answer.content for answer in told) is can_export
    if can_export:
        assert "no-store" in told[0]["Cache-Control"]


def test_who_has_read_something_else_is_told_and_changes_nothing(world: World) -> None:
    """Every change of what has a tag; `unchanged` and its like compare it under the lock."""
    program, before, tried = token("admin"), _state(), 0
    for pattern in urlpatterns:
        route, kind = str(pattern.pattern), getattr(pattern.callback, "cls", None)
        for method in ("PUT", "PATCH", "DELETE") if getattr(kind, "has_etag", False) else ():
            if hasattr(kind, method.lower()):
                answer = program.send(method, world.path(route), world.body(f"{method} {route}"), If_Match='"old"')
                assert answer.status_code == 412, (method, route, answer.content)
                tried += 1
    assert tried > 20
    assert _state() == before
