"""Certificates and their versions, orders, accounts and bindings, with what superusers may do to several at once."""

from collections.abc import Callable

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from certs import models, selectors
from certs.admin.base import Expiry, Inline, LookOnly, shown_moment
from certs.domain.errors import BinderyError
from certs.domain.names import name_display
from certs.domain.renewal import Code
from certs.services.account_changes import account_register_now, account_rollover, account_trouble
from certs.services.bindings import binding_set
from certs.services.filters import SIZE_LIMIT
from certs.services.queue import worker_alive
from certs.services.search import certificates_matching, version_condition
from certs.services.sweeps import FAILED, SweepLine, sweep_run
from certs.templatetags.bindery import expires_in
from certs.views.access import actor_of

_TOLD = 20  # lines of a result that become messages of their own


class CertificateExpiry(Expiry):
    path = "expires_at"


class LastDecision(admin.SimpleListFilter):
    """By the codes that there are: asking the rows for theirs reads all of them."""

    title = "last decision"
    parameter_name = "last_decision"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [(code, code.replace("-", " ")) for code in (*Code, FAILED)]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[models.Certificate]
    ) -> QuerySet[models.Certificate] | None:
        return queryset.filter(last_decision=self.value()) if self.value() else queryset


class BindForm(ActionForm):
    server_name = forms.CharField(required=False, label="Server name for Bind (empty: the default)", max_length=255)


class VersionInline(Inline):
    model = models.CertificateVersion
    fk_name = "certificate"
    fields = ("fingerprint_sha256", "issuer", "not_before", "not_after", "is_test", "created_at")
    readonly_fields = fields


class OrderInline(Inline):
    model = models.Order
    fields = ("state", "reason", "error_message", "created_at", "finished_at")
    readonly_fields = fields


@admin.register(models.Certificate)
class CertificateAdmin(LookOnly):
    list_display = ("name", "expiry", "is_bound", "last_decision", "next_look", "auto_renew", "source", "names_shown")
    list_filter = ("source", CertificateExpiry, LastDecision, "auto_renew")
    sortable_by = ("name", "expiry", "next_look")  # by these there is an index
    search_fields = ("name",)
    search_help_text = f"A part of a name, or a whole fingerprint or serial number; the first {SIZE_LIMIT} are shown."
    inlines = (VersionInline, OrderInline)
    actions = ("renew_now", "check_now", "bind")
    action_form = BindForm
    next_look = staticmethod(shown_moment("next_check_at", "next check"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Certificate]:
        return selectors.certificates_visible_to(actor_of(request)).prefetch_related("bindings")

    @admin.display(description="DNS names")
    def names_shown(self, row: models.Certificate) -> str:
        return selectors.names_shown(row.names)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[models.Certificate], search_term: str
    ) -> tuple[QuerySet[models.Certificate], bool]:
        """As the pages search, by the same indexes."""
        word = search_term.strip()
        if word:
            queryset = queryset.filter(pk__in=certificates_matching(actor_of(request), word))
        return queryset, False

    @admin.display(description="expiry", ordering="expires_at")
    def expiry(self, row: models.Certificate) -> str:
        return expires_in(row.current.not_after) if row.current else "not issued yet"

    @admin.display(description="bound", boolean=True)
    def is_bound(self, row: models.Certificate) -> bool:
        return bool(row.bindings.all())

    @admin.action(description="Renew now")
    def renew_now(self, request: HttpRequest, queryset: QuerySet[models.Certificate]) -> None:
        self._tell(request, sweep_run(only=list(queryset), actor=actor_of(request)))

    @admin.action(description="Check now")
    def check_now(self, request: HttpRequest, queryset: QuerySet[models.Certificate]) -> None:
        self._tell(request, sweep_run(only=list(queryset), asked=False, actor=actor_of(request)))

    @admin.action(description="Bind")
    def bind(self, request: HttpRequest, queryset: QuerySet[models.Certificate]) -> None:
        chosen = list(queryset[:2])
        if len(chosen) != 1:
            messages.error(request, "One name is answered by one certificate: choose just one to bind.")
            return
        try:
            binding = binding_set(request.POST.get("server_name", ""), chosen[0], actor=actor_of(request))
        except BinderyError as error:
            messages.error(request, str(error))
            return
        messages.success(request, f"{chosen[0].name} answers for {_server_name(binding)}.")

    def _tell(self, request: HttpRequest, lines: list[SweepLine]) -> None:
        for line in lines[:_TOLD]:
            ordered = " An order was made." if line.order and line.due else ""
            messages.add_message(request, _level(line), f"{line.name}: {line.text}{ordered}")
        if len(lines) > _TOLD:
            messages.info(request, f"And {len(lines) - _TOLD} more; each certificate shows its last decision.")
        if any(line.order for line in lines) and not worker_alive():
            messages.warning(request, "No worker is running: the orders wait until one is.")


def _level(line: SweepLine) -> int:
    if line.failed:
        return messages.ERROR
    if line.due:
        return messages.SUCCESS
    return messages.INFO if line.code == "not-due" else messages.WARNING


def _server_name(binding: models.Binding) -> str:
    return name_display(binding.server_name) or "every name without a binding of its own"


@admin.register(models.CertificateVersion)
class CertificateVersionAdmin(LookOnly):
    list_display = ("certificate", "fingerprint_sha256", "issuer", "expiry", "is_test", "made", "key_kind")
    list_filter = (Expiry, "is_test", "self_signed")
    list_select_related = ("certificate", "key")
    ordering = ("-not_after",)
    sortable_by = ("expiry",)
    search_fields = ("serial",)
    search_help_text = "A whole fingerprint or serial number; names are searched among the certificates."
    actions = ("revoke",)
    made = staticmethod(shown_moment("created_at", "added"))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[models.CertificateVersion], search_term: str
    ) -> tuple[QuerySet[models.CertificateVersion], bool]:
        return (queryset.filter(version_condition(search_term)) if search_term.strip() else queryset), False

    @admin.display(description="expiry", ordering="not_after")
    def expiry(self, row: models.CertificateVersion) -> str:
        return expires_in(row.not_after)

    @admin.action(description="Revoke")
    def revoke(self, request: HttpRequest, queryset: QuerySet[models.CertificateVersion]) -> HttpResponse | None:
        """On the page that asks for the reason and has the name typed."""
        chosen = list(queryset[:2])
        if len(chosen) != 1:
            messages.error(request, "Each is revoked by itself, with its own reason: choose just one.")
            return None
        return redirect("certificate-revoke", pk=chosen[0].certificate_id, version=chosen[0].pk)

    @admin.display(description="key")
    def key_kind(self, row: models.CertificateVersion) -> str:
        return str(row.key) if row.key else "not here"


@admin.register(models.Order)
class OrderAdmin(LookOnly):
    list_display = ("names_shown", "state", "reason", "account", "made", "ended", "error_message", "log")
    list_filter = ("state", "reason", "served", "account__directory_url")
    list_select_related = ("account", "certificate")
    search_fields = ("certificate__name", "names", "order_url", "error_message")
    hidden = ("lease_owner",)
    made = staticmethod(shown_moment("created_at", "asked for"))
    ended = staticmethod(shown_moment("finished_at", "ended"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Order]:
        return selectors.orders_visible_to(actor_of(request))

    @admin.display(description="DNS names")
    def names_shown(self, row: models.Order) -> str:
        return selectors.names_shown(row.names)

    @admin.display(description="log")
    def log(self, row: models.Order) -> SafeString:
        return format_html('<a href="{}">steps and log</a>', reverse("job", args=[row.pk]))


@admin.register(models.AcmeAccount)
class AcmeAccountAdmin(LookOnly):
    list_display = ("directory_url", "email", "account_url", "terms", "trouble", "made", "page")
    list_filter = ("directory_url",)
    search_fields = ("directory_url", "email", "account_url", "eab_kid")
    list_select_related = ("key",)
    hidden = ("eab_sealed",)
    actions = ("register", "change_key")
    terms = staticmethod(shown_moment("terms_agreed_at", "terms accepted"))
    made = staticmethod(shown_moment("created_at", "made"))

    @admin.display(description="to look at")
    def trouble(self, row: models.AcmeAccount) -> str:
        return "given up" if row.deactivated_at else account_trouble(row)

    @admin.display(description="page")
    def page(self, row: models.AcmeAccount) -> SafeString:
        return format_html('<a href="{}">all actions</a>', reverse("ca-account", args=[row.pk]))

    @admin.action(description="Ask the CA")
    def register(self, request: HttpRequest, queryset: QuerySet[models.AcmeAccount]) -> None:
        self._each(request, queryset, lambda row: account_register_now(row, actor=actor_of(request)), "is registered")

    @admin.action(description="Change the key")
    def change_key(self, request: HttpRequest, queryset: QuerySet[models.AcmeAccount]) -> None:
        self._each(request, queryset, lambda row: account_rollover(row, actor=actor_of(request)), "gets a new key")

    def _each(
        self,
        request: HttpRequest,
        queryset: QuerySet[models.AcmeAccount],
        act: Callable[[models.AcmeAccount], object],
        done: str,
    ) -> None:
        """Network: one after the other, each with its own result."""
        for row in queryset[:_TOLD]:
            try:
                act(row)
            except BinderyError as error:
                messages.error(request, f"{row}: {error}")
            else:
                messages.success(request, f"{row} {done}.")


@admin.register(models.Binding)
class BindingAdmin(LookOnly):
    list_display = ("name", "certificate", "expiry", "changed")
    list_select_related = ("certificate__current",)
    search_fields = ("server_name", "certificate__name")
    changed = staticmethod(shown_moment("updated_at", "changed"))

    @admin.display(description="server name", ordering="server_name")
    def name(self, row: models.Binding) -> str:
        return name_display(row.server_name) or "default"

    @admin.display(description="expiry", ordering="certificate__current__not_after")
    def expiry(self, row: models.Binding) -> str:
        return expires_in(row.certificate.current.not_after) if row.certificate.current else ""
