"""/api/profiles: the rules that our CAs issue by. The built-in ones stay as they are; the operator's own are changed
here. The id is what `profile` names elsewhere."""

import re
from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from certs.api.base import Endpoint
from certs.api.etags import document_answer, document_made, unchanged
from certs.api.fields import Flag, Query, Strict, Text, Whole, Word, body_read, query_read, words
from certs.api.paging import page_answer, page_kind, size_of
from certs.api.problems import refuse
from certs.api.schema import operation
from certs.domain.hosts import HostKind
from certs.domain.keys import OWN_KEY_TYPES
from certs.domain.profiles import LONGEST_DAYS, USAGES, Profile
from certs.domain.roles import Right
from certs.domain.subjects import SHORT_NAMES
from certs.models import IssuanceProfile
from certs.services.access import PORTAL, require
from certs.services.profiles import profile_change, profile_create, profile_delete, profiles_all

EXAMPLE = {
    "id": "kiosk",
    "name": "Kiosk terminals",
    "rules": {
        "usages": ["server"],
        "usualDays": 30,
        "longestDays": 90,
        "keyTypes": ["ec-p256"],
        "hosts": ["kiosk.example.com"],
    },
}


def _some(choices: Any, help_text: str) -> serializers.ListField:
    return serializers.ListField(
        child=Word(choices=list(choices)), required=False, max_length=len(choices), help_text=help_text
    )


class Rules(Strict):
    """Empty lists of limits mean: no limit of that kind."""

    help = Text(required=False, max_length=1000, help_text="What it is for.")
    isCa = Flag(required=False, help_text="It makes CAs.")
    pathLength = Whole(required=False, allow_null=True, min_value=0, max_value=20, help_text="The longest; null: any.")
    usages = _some(USAGES, "Put in where a wish names none.")
    usagesAllowed = _some(USAGES, "Besides `usages`.")
    usualDays = Whole(required=False, min_value=1, max_value=LONGEST_DAYS, help_text="90 where nothing is said.")
    longestDays = Whole(required=False, min_value=1, max_value=LONGEST_DAYS, help_text="825 where nothing is said.")
    keyTypes = _some(OWN_KEY_TYPES, "Only these.")
    hostKinds = _some([kind.value for kind in HostKind], "Only these kinds of host.")
    hosts = words(required=False, max_length=500, help_text="Only within these: domains, networks, email:, uri:.")
    needsHost = Flag(required=False)
    commonName = Flag(required=False, help_text="Without a subject, the first host becomes the common name.")
    subjectRequired = _some(SHORT_NAMES, "Parts that the subject must have.")
    subjectFixed = words(required=False, max_length=50, help_text="As they must read, such as O=Example Ltd.")
    publicStyle = Flag(required=False, help_text="Held to the CA/Browser Forum's rules too.")


# As they are called here -> as `Profile` calls them.
_COLUMNS = {re.sub("_(.)", lambda found: found[1].upper(), name): name for name in Profile("", "").as_json()}


class ProfileDocument(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    builtIn = serializers.BooleanField()
    rules = Rules()


def profile_document(profile: Profile) -> dict[str, Any]:
    kept = profile.as_json()
    return {
        "id": profile.name,
        "name": profile.label,
        "builtIn": profile.built_in,
        "rules": {name: kept[column] for name, column in _COLUMNS.items()},
    }


def row_document(row: IssuanceProfile) -> dict[str, Any]:
    return profile_document(Profile.from_json(row.name, row.label, row.rules))


class ProfileGiven(Strict):
    id = Text(required=False, max_length=60, help_text="Letters, digits and hyphens; made of the name without one.")
    name = Text(max_length=120, allow_blank=False)
    rules = Rules(required=False)


class ProfileChange(Strict):
    name = Text(required=False, max_length=120, allow_blank=False)
    rules = Rules(required=False, help_text="Those that are left out stay.")


class Profiles(Endpoint):
    @operation(
        "profile_list", "List issuance profiles", query=Query, answers={200: page_kind(ProfileDocument)}, tag="profiles"
    )
    def get(self, request: Request) -> Response:
        require(self.actor, Right.READ)
        after, size = query_read(request, Query).get("cursor", ""), size_of(request)
        found = sorted((each for each in profiles_all().values() if each.name > after), key=lambda each: each.name)
        items = [profile_document(each) for each in found[:size]]
        return page_answer(request, items, items[-1]["id"] if len(found) > size else "")

    @operation(
        "profile_create",
        "Make a profile",
        body=ProfileGiven,
        answers={201: ProfileDocument},
        tag="profiles",
        example=EXAMPLE,
    )
    def post(self, request: Request) -> Response:
        given = body_read(request.data, ProfileGiven)
        rules = _rules(given.get("rules", {}))
        row = profile_create(given["name"], rules, name=given.get("id", ""), actor=self.actor)
        return document_made(row_document(row), f"/api/profiles/{row.name}")


class ProfileItem(Endpoint):
    has_etag = True

    @operation("profile_get", "One profile", answers={200: ProfileDocument}, tag="profiles")
    def get(self, request: Request, id: str) -> Response:
        require(self.actor, Right.READ)
        found = profiles_all().get(id)
        if found is None:
            raise IssuanceProfile.DoesNotExist
        return document_answer(request, profile_document(found))

    @operation(
        "profile_change",
        "Change a profile",
        body=ProfileChange,
        answers={200: ProfileDocument},
        tag="profiles",
        description="It holds for what is issued and renewed from now on.",
        example={"rules": {"longestDays": 60}},
    )
    def patch(self, request: Request, id: str) -> Response:
        given = body_read(request.data, ProfileChange)
        self._own(id)
        with unchanged(request, IssuanceProfile.objects.filter(name=id), row_document) as row:
            rules = {**row.rules, **_rules(given.get("rules", {}))}
            profile_change(row, label=given.get("name", row.label), rules=rules, actor=self.actor)
        return document_answer(request, row_document(row))

    @operation(
        "profile_delete",
        "Delete a profile",
        answers={204: None},
        tag="profiles",
        description="409 while certificates are renewed by it, or a CA signs by it.",
    )
    def delete(self, request: Request, id: str) -> Response:
        self._own(id)
        with unchanged(request, IssuanceProfile.objects.filter(name=id), row_document) as row:
            profile_delete(row, actor=self.actor)
        return Response(status=204)

    def _own(self, id: str) -> None:
        require(self.actor, Right.AUTHORITY, PORTAL)
        found = profiles_all().get(id)
        if found is not None and found.built_in:
            raise refuse(409, "built-in", f"The profile “{id}” is built in.", advice="Make one of your own like it.")


def _rules(given: Mapping[str, Any]) -> dict[str, Any]:
    return {_COLUMNS[name]: value for name, value in given.items()}
