"""What every page of the admin shares: superusers look, nobody edits."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from certs import selectors
from certs.templatetags.bindery import when
from certs.views.paging import Pages
from portal import clock

if TYPE_CHECKING:  # generic in the stubs only
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin, TabularInline = admin.ModelAdmin, admin.TabularInline


class LookOnly(ModelAdmin):
    """Superusers see; nobody adds, changes or deletes."""

    list_per_page = 50
    paginator = Pages
    show_full_result_count = False
    hidden: ClassVar[tuple[str, ...]] = ()

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(request.user.is_active and getattr(request.user, "is_superuser", False))

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return [field.name for field in self.opts.fields if field.name not in self.hidden]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        # So that not even the fields of a form are made.
        return self.get_fields(request, obj)


class Inline(TabularInline):
    """Rows that belong to the one shown."""

    extra = 0
    can_delete = False
    show_change_link = True

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(getattr(request.user, "is_superuser", False))

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def shown_moment(field: str, words: str = "") -> Callable[[Any], str]:
    """A column of a moment as people read it, sorted by the field."""

    @admin.display(description=words or field.removesuffix("_at").replace("_", " "), ordering=field)
    def column(row: Any) -> str:
        return str(when(getattr(row, field)))

    return column


class Expiry(admin.SimpleListFilter):
    """Of a certificate (by its current version) or of a version."""

    title = "expiry"
    parameter_name = "expiry"
    path = "not_after"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return (("expired", "expired"), ("soon", "within 21 days"), ("later", "later"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any] | None:
        moment = clock.now()
        soon = moment + selectors.SOON
        conditions = {
            "expired": Q(**{f"{self.path}__lte": moment}),
            "soon": Q(**{f"{self.path}__gt": moment, f"{self.path}__lte": soon}),
            "later": Q(**{f"{self.path}__gt": soon}),
        }
        condition = conditions.get(self.value() or "")
        return queryset.filter(condition) if condition is not None else queryset
