import uuid

from django.conf import settings
from django.db import models

from certs.models.account import AcmeAccount
from certs.models.certificate import Certificate
from portal import clock


class PortalState(models.Model):
    """The settings a person changes on the pages, and what the portal must remember of itself. One row, pk 1."""

    public_url = models.CharField(max_length=300, blank=True)  # scheme://host[:port], no path; empty until confirmed
    extra_hosts = models.JSONField(default=list)  # accepted host names added on the page
    # Serving: every process follows this number.
    generation = models.PositiveBigIntegerField(default=1)
    placeholder = models.ForeignKey(Certificate, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    # Configuration ➜ Let's Encrypt manages this certificate for the portal itself.
    portal_certificate = models.ForeignKey(
        Certificate, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    # The certificate that `portal_certificate` is to take over from; it stays bound and renewed until then.
    portal_replaces = models.ForeignKey(Certificate, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    # Configuration ➜ HTTPS.
    force_ssl = models.BooleanField(default=False)
    force_ssl_confirm_by = models.DateTimeField(null=True, blank=True)  # set: on trial, off by itself after this
    hsts = models.BooleanField(default=False)
    hsts_host = models.CharField(max_length=255, blank=True)  # the host it was switched on for
    hsts_step = models.PositiveSmallIntegerField(default=0)  # index into domain.hsts.STEPS
    hsts_limit = models.PositiveSmallIntegerField(default=3)  # highest step allowed (a private CA: one day)
    hsts_step_since = models.DateTimeField(null=True, blank=True)  # every check since then was healthy
    hsts_checked_at = models.DateTimeField(null=True, blank=True)  # the last healthy one
    hsts_clearing_until = models.DateTimeField(null=True, blank=True)  # after switching off: max-age=0 until then
    # Configuration ➜ Trust: whether our own listener asks for client certificates.
    client_auth = models.CharField(max_length=10, default="off")  # domain.client_auth.Mode
    client_auth_before = models.CharField(max_length=10, blank=True)  # returns unless the change is confirmed
    client_auth_confirm_by = models.DateTimeField(null=True, blank=True)  # set: the change is on trial until then
    # Configuration ➜ TLS in front.
    tls_in_front = models.BooleanField(default=False)
    trusted_proxies = models.JSONField(default=list, blank=True)  # addresses and networks
    front_before = models.JSONField(null=True, blank=True)  # {"on", "proxies"}: returns unless the change is confirmed
    front_confirm_by = models.DateTimeField(null=True, blank=True)  # set: the change is on trial until then
    front_noticed = models.JSONField(default=dict, blank=True)  # peer -> {"headers", "at", "dismissed"}
    front_silent_at = models.DateTimeField(null=True, blank=True)  # a trusted proxy last sent no X-Forwarded-Proto
    front_seen = models.JSONField(default=dict, blank=True)  # the last look at the public address
    # Configuration ➜ Renewal.
    renew_before_days = models.PositiveSmallIntegerField(default=21)
    check_hours = models.PositiveSmallIntegerField(default=24)
    sweep_started_at = models.DateTimeField(null=True, blank=True)
    sweep_finished_at = models.DateTimeField(null=True, blank=True)
    sweep_summary = models.JSONField(default=dict)  # decision code -> count
    # Configuration ➜ On demand: the first TLS connection to one of these names starts its issuance.
    on_demand = models.BooleanField(default=False)
    on_demand_hosts = models.JSONField(default=list, blank=True)  # names, or *.example.com for its direct children
    on_demand_account = models.ForeignKey(
        AcmeAccount, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    # Export to acme/ under BINDERY_HOME.
    export = models.BooleanField(default=False)
    export_owner = models.CharField(max_length=64, blank=True)
    export_group = models.CharField(max_length=64, blank=True)
    export_mode = models.CharField(max_length=4, default="0600")
    # The internal CA. The address stands in every certificate that it signs, so it is confirmed before the first.
    pki_base_url = models.CharField(max_length=300, blank=True)  # http://host[:port], no path
    pki_base_url_confirmed_at = models.DateTimeField(null=True, blank=True)
    pki_addresses = models.JSONField(default=list, blank=True)  # in the order of their use, with the last look at each
    jwks_overlap_days = models.PositiveSmallIntegerField(default=7)  # how long a replaced key stays in the JWKS
    fetch_issuers = models.BooleanField(default=True)  # missing intermediates may be fetched where the leaf says (AIA)
    # ACME client -> when its certificates were taken over: while its own timer is at work, both would renew them.
    moved_from = models.JSONField(default=dict, blank=True)
    # First start.
    ring_saved_at = models.DateTimeField(null=True, blank=True)  # the operator said that a copy of the ring is safe
    imported_fingerprints = models.JSONField(default=list)  # server.crt is imported once per fingerprint
    import_offer = models.ForeignKey(Certificate, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    import_error = models.TextField(blank=True)  # why server.crt and server.key could not be taken

    class Meta:
        verbose_name = verbose_name_plural = "portal settings"
        permissions = [("export_keys", "Can have private keys written to files by the export")]

    def __str__(self) -> str:
        return "portal state"


class NodeExport(models.Model):
    """How the last export on one node went; `trouble` tells what could not be written there, and why."""

    node = models.CharField(max_length=100, unique=True)
    place = models.CharField(max_length=500)
    count = models.PositiveIntegerField(default=0)  # certificates that are there as they should be
    trouble = models.TextField(blank=True)
    finished_at = models.DateTimeField(default=clock.now)

    def __str__(self) -> str:
        return f"{self.count} certificates on {self.node}"


class OneTimeLink(models.Model):
    """A single-use secret in a link; only its SHA-256 is kept."""

    class Purpose(models.TextChoices):
        SETUP = "setup", "create the first administrator"
        SESSION = "session", "carry a session to the new address"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    purpose = models.CharField(max_length=10, choices=Purpose.choices)
    digest = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    # Of a session: the path to go to, always on this portal. Of a set-up: the node that printed it.
    target = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.purpose} until {self.expires_at:%H:%M}"
