"""How a certificate is asked for: the fields under “More”, the same on every page that asks a CA for something."""

from typing import Any

from django import forms

from certs.acme.directories import directory_label
from certs.domain.keys import KEY_TYPES
from certs.domain.options import OptionRefused, options_of, options_read
from certs.domain.roles import Right
from certs.forms.base import PortalForm
from certs.forms.options import option_fields, option_values
from certs.models import AcmeAccount, ChallengeMethod
from certs.selectors import accounts_usable, methods_visible_to
from certs.services.access import Actor, may
from certs.services.challenges import solver_kinds
from certs.services.issue_options import CA_KEY_TYPES, IssueOptions
from certs.services.methods import NewMethod

_PLAIN = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
FALLBACKS = ("fallback_1", "fallback_2", "fallback_3")
NEW = "new:"  # before a kind: it is set up with this form


class IssueOptionsForm(PortalForm):
    """`issue_options` after validation. Choices are read from the database when the form is made."""

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
        help_text="Asked in turn when that CA refuses or fails.",
    )
    fallback_2 = forms.ChoiceField(label="Then", required=False)
    fallback_3 = forms.ChoiceField(label="Then", required=False)

    def __init__(self, *args: Any, actor: Actor = "", **kwargs: Any) -> None:
        """Offers the `actor` what is theirs to use; new challenge methods with options of their own to who may make
        them."""
        super().__init__(*args, **kwargs)
        self._methods = {str(row.pk): row for row in methods_visible_to(actor)}
        self.accounts = {str(row.pk): row for row in accounts_usable(actor).order_by("directory_url", "email")}
        all_kinds = may(actor, Right.ACCOUNT)
        self._kinds = {
            kind: solver
            for kind, solver in solver_kinds().items()
            if not solver.chooser and (all_kinds or not options_of(solver.Options))
        }
        for kind, solver in self._kinds.items():
            self.fields.update(option_fields(solver.Options, prefix=_prefix(kind)))
        new = [(f"{NEW}{kind}", f"New: {solver.label}") for kind, solver in self._kinds.items()]
        self.offer("challenge", [("", "By itself: HTTP first, then TLS"), *self.method_choices(), *new])
        for name in FALLBACKS:
            self.offer(name, [("", "nobody"), *self.account_choices()])

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
        return self.kind in ("", "http01")

    @property
    def port_80_choices(self) -> list[str]:
        """Of the choices of `challenge`, those for which the CA asks port 80."""
        kinds = {"": "http01", **{pk: row.kind for pk, row in self._methods.items()}}
        kinds |= {f"{NEW}{kind}": kind for kind in self._kinds}
        return [choice for choice, kind in kinds.items() if kind.startswith("http01")]

    @property
    def is_port_80_asked(self) -> bool:
        return str(self["challenge"].value() or "") in self.port_80_choices

    @property
    def kind(self) -> str:
        """The kind of challenge that is chosen; "" where the portal chooses."""
        chosen = str(self["challenge"].value() or "")
        if chosen.startswith(NEW):
            return chosen.removeprefix(NEW) if chosen.removeprefix(NEW) in self._kinds else ""
        return self.method.kind if self.method else ""

    @property
    def method_parts(self) -> list[dict[str, Any]]:
        """The options of each kind that can be set up here, for the template."""
        return [
            {
                "choice": f"{NEW}{kind}",
                "label": solver.label,
                # No field is required for the browser, since it counts only where its kind is chosen.
                "fields": [
                    (self[f"{_prefix(kind)}{each.name}"], each.may_be_empty) for each in options_of(solver.Options)
                ],
            }
            for kind, solver in self._kinds.items()
            if options_of(solver.Options)
        ]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if (cleaned.get("challenge") or "").startswith(NEW) and self.kind:
            solver = self._kinds[self.kind]
            try:
                options_read(solver.Options, option_values(solver.Options, cleaned, prefix=_prefix(self.kind)))
            except OptionRefused as error:
                self.add_error(f"{_prefix(self.kind)}{error.field}", str(error))
        return cleaned

    @property
    def issue_options(self) -> IssueOptions:
        given = self.cleaned_data
        return IssueOptions(
            key_type=given["key_type"] or "ec-p256",
            profile=given["profile"].strip(),
            preferred_chain=given["preferred_chain"].strip(),
            reuse_key=given["reuse_key"],
            challenge_method=self.method,
            new_method=self._new_method(),
            fallbacks=tuple(self.accounts[given[name]] for name in FALLBACKS if given[name]),
        )

    def _new_method(self) -> NewMethod | None:
        if not self.cleaned_data["challenge"].startswith(NEW):
            return None
        options = self._kinds[self.kind].Options
        return NewMethod(self.kind, option_values(options, self.cleaned_data, prefix=_prefix(self.kind)))

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
        options = [field.name for part in self.method_parts for field, _ in part["fields"]]
        wrong = self.is_bound and any(name in self.errors for name in (*names, *options, "key_type"))
        return wrong or any(self[name].value() for name in names) or self["key_type"].value() not in (None, "ec-p256")


def _account_label(account: AcmeAccount) -> str:
    label = directory_label(account.directory_url)
    return f"{label} ({account.email})" if account.email else label


def _prefix(kind: str) -> str:
    return f"{kind}-"
