"""People: name, state and password, each through its service."""

from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from certs import models
from certs.admin.base import LookOnly, shown_moment
from certs.domain.errors import BinderyError
from certs.services.users import user_check, user_set_password, user_update
from certs.views.access import actor_of

if TYPE_CHECKING:  # generic in the stubs only
    ModelForm = forms.ModelForm[models.User]
    BaseUserAdmin = DjangoUserAdmin[models.User]
    BasePasswordForm = AdminPasswordChangeForm[models.User]
else:
    ModelForm, BaseUserAdmin, BasePasswordForm = forms.ModelForm, DjangoUserAdmin, AdminPasswordChangeForm


class UserForm(ModelForm):
    class Meta:
        model = models.User
        fields = ("name", "is_active")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        try:
            user_check(self.instance, is_active=bool(cleaned.get("is_active")))
        except BinderyError as error:
            self.add_error("is_active", str(error))
        return cleaned


class PasswordForm(BasePasswordForm):
    """Sets a password, through the service; taking it away would only be another way to lock out."""

    def __init__(self, user: models.User, *args: Any, actor: models.User, **options: Any) -> None:
        super().__init__(user, *args, **options)
        self.fields.pop("usable_password", None)
        self._actor = actor

    def save(self, commit: bool = True) -> models.User:
        user_set_password(self.user, self.cleaned_data["password1"], actor=self._actor)
        return self.user


@admin.register(models.User)
class UserAdmin(LookOnly, BaseUserAdmin):
    """Name and state by `user_update`, the password by `user_set_password`; accounts and roles: on the pages."""

    form = UserForm
    list_display = ("email", "name", "is_active", "is_superuser", "joined", "last_seen")
    list_filter = ("is_active", "is_superuser")
    search_fields = ("email", "name")
    ordering = ("email",)
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("email", "name", "is_active", "roles", "password_link")}),
        ("Known", {"fields": ("is_superuser", "last_login", "date_joined")}),
    )
    joined = staticmethod(shown_moment("date_joined", "since"))
    last_seen = staticmethod(shown_moment("last_login", "last log-in"))

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_view_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return ("email", "roles", "password_link", "is_superuser", "last_login", "date_joined")

    @admin.display(description="roles")
    def roles(self, row: models.User) -> SafeString:
        """To look at; Configuration ➜ People gives and takes them."""
        grants = row.grants.select_related("organization", "department__organization")
        held = [f"{grant.role} ({grant.department or grant.organization or 'everywhere'})" for grant in grants]
        link = reverse("person", args=[row.pk])
        return format_html('{} <a href="{}">People</a>', ", ".join(held) or "none of their own", link)

    @admin.display(description="password")
    def password_link(self, row: models.User) -> SafeString:
        return format_html('<a href="{}">Set a new password</a>', "../password/")

    def save_model(self, request: HttpRequest, obj: models.User, form: Any, change: bool) -> None:
        user_update(obj, name=obj.name, is_active=obj.is_active, actor=actor_of(request))

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        # A copy for this request, since the form must know who asks and the admin is shared by all threads.
        own = copy(self)
        own.change_password_form = partial(PasswordForm, actor=actor_of(request))
        return super(UserAdmin, own).user_change_password(request, id, form_url)
