"""How a certificate is asked for: the fields under “More”, the same on every page that asks a CA for something."""

from typing import Any, cast

from django import forms

from certs.acme.directories import directory_label
from certs.domain.keys import KEY_TYPES
from certs.forms.base import PortalForm
from certs.models import AcmeAccount, ChallengeMethod
from certs.services.issue_options import CA_KEY_TYPES, IssueOptions

_PLAIN = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
FALLBACKS = ("fallback_1", "fallback_2", "fallback_3")


class IssueOptionsForm(PortalForm):
    """`issue_options()` after validation. Choices are read from the database when the form is made."""

    challenge = forms.ChoiceField(
        label="Challenge",
        required=False,
        help_text="How the CA is shown that the names are yours. A wildcard needs a DNS challenge.",
    )
    key_type = forms.ChoiceField(
        label="Key",
        choices=[(kind, f"{KEY_TYPES[kind].label} — {KEY_TYPES[kind].help}") for kind in CA_KEY_TYPES],
        initial="ec-p256",
        required=False,
    )
    reuse_key = forms.BooleanField(
        label="Keep the private key at renewals",
        required=False,
        help_text="Only where something pins the key (DANE, an app). Otherwise each renewal brings a new one.",
    )
    profile = forms.CharField(
        label="Profile",
        required=False,
        max_length=100,
        help_text="One of those that the CA offers, such as a shorter life. Empty: the CA's usual one.",
        widget=forms.TextInput(attrs={**_PLAIN, "list": "profiles"}),
    )
    preferred_chain = forms.CharField(
        label="Preferred chain",
        required=False,
        max_length=255,
        help_text="The common name of the root that the chain is to end at, where the CA offers several. "
        "Empty, or not offered: the CA's usual chain.",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    fallback_1 = forms.ChoiceField(
        label="If that CA cannot give it, ask",
        required=False,
        help_text="Accounts are made under Configuration ➜ CA accounts.",
    )
    fallback_2 = forms.ChoiceField(label="Then", required=False)
    fallback_3 = forms.ChoiceField(label="Then", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._methods = {str(row.pk): row for row in ChallengeMethod.objects.all()}
        usable = AcmeAccount.objects.filter(deactivated_at=None).exclude(terms_agreed_at=None)
        self.accounts = {str(row.pk): row for row in usable.order_by("directory_url", "email")}
        self._choices("challenge", [("", "By itself: HTTP first, then TLS"), *self.method_choices()])
        for name in FALLBACKS:
            self._choices(name, [("", "nobody"), *self.account_choices()])

    def method_choices(self) -> list[tuple[str, str]]:
        return [(pk, row.name) for pk, row in self._methods.items()]

    def account_choices(self) -> list[tuple[str, str]]:
        return [(pk, _account_label(row)) for pk, row in self.accounts.items()]

    @property
    def method(self) -> ChallengeMethod | None:
        """The one that is chosen, cleaned or not."""
        return self._methods.get(str(self["challenge"].value() or ""))

    @property
    def asks_port_80(self) -> bool:
        return self.method is None or self.method.kind == "http01"

    def issue_options(self) -> IssueOptions:
        given = self.cleaned_data
        return IssueOptions(
            key_type=given["key_type"] or "ec-p256",
            profile=given["profile"].strip(),
            preferred_chain=given["preferred_chain"].strip(),
            reuse_key=given["reuse_key"],
            challenge_method=self._methods.get(given["challenge"]),
            fallbacks=tuple(self.accounts[given[name]] for name in FALLBACKS if given[name]),
        )

    @staticmethod
    def issue_initial(options: IssueOptions) -> dict[str, Any]:
        return {
            "challenge": str(options.challenge_method.pk) if options.challenge_method else "",
            "key_type": options.key_type,
            "reuse_key": options.reuse_key,
            "profile": options.profile,
            "preferred_chain": options.preferred_chain,
            **{name: str(account.pk) for name, account in zip(FALLBACKS, options.fallbacks, strict=False)},
        }

    @property
    def has_issue_options(self) -> bool:
        """Whether anything is other than a newcomer would leave it, or wrong: then “More” is shown open."""
        names = ("challenge", "reuse_key", "profile", "preferred_chain", *FALLBACKS)
        wrong = any(name in self.errors for name in (*names, "key_type")) if self.is_bound else False
        return wrong or any(self[name].value() for name in names) or self["key_type"].value() not in (None, "ec-p256")

    def _choices(self, name: str, choices: list[tuple[str, str]]) -> None:
        cast(forms.ChoiceField, self.fields[name]).choices = choices


def _account_label(account: AcmeAccount) -> str:
    label = directory_label(account.directory_url)
    return f"{label} ({account.email})" if account.email else label
