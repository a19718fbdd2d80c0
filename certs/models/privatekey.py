import uuid

from django.db import models

from portal import clock


class PrivateKey(models.Model):
    """A private key, or the knowledge that one is held elsewhere. It goes only when nothing points at it; of one that
    is compromised the hash stays for good.

    `sealed` is the PKCS#8 DER inside an envelope bound to `PURPOSE:id`; empty when the key is held elsewhere. Of a
    `locked` key it is the encrypted PKCS#8 DER, whose passphrase only a person knows.
    """

    PURPOSE = "private-key"

    class Held(models.TextChoices):
        HERE = "here", "here"
        ENDPOINT = "endpoint", "on the endpoint"
        OUTSIDE = "outside", "outside"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key_type = models.CharField(max_length=20)  # a key of domain.keys.KEY_TYPES
    spki_sha256 = models.CharField(max_length=64, unique=True)  # hex, of the DER SubjectPublicKeyInfo
    sealed = models.TextField(blank=True)
    held = models.CharField(max_length=10, choices=Held.choices, default=Held.HERE)
    locked = models.BooleanField(default=False)
    compromised_at = models.DateTimeField(null=True, blank=True)  # reported so: never used for a new certificate
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["id"], condition=models.Q(held="here", sealed=""), name="key_lost")]

    def __str__(self) -> str:
        return f"{self.key_type} {self.spki_sha256[:12]}"
