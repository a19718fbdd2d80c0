"""Configuration ➜ People: who may log in, which roles they hold and where, and the organizations there are."""

from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs.domain.roles import Right, Role
from certs.forms.people import GrantForm, OrganizationForm, PersonForm
from certs.models import Department, Organization, RoleGrant, User
from certs.services.organizations import (
    department_create,
    department_rename,
    organization_create,
    organization_rename,
)
from certs.services.users import grant_set, user_create, user_export_set, user_may_export, user_update
from certs.views.access import actor_of, right_required

people_required = right_required(Right.PERSON)


@people_required
@require_safe
def people(request: HttpRequest) -> HttpResponse:
    return _list(request, PersonForm(), OrganizationForm())


@people_required
@sensitive_post_parameters("password")
@require_POST
def person_new(request: HttpRequest) -> HttpResponse:
    form = PersonForm(request.POST)
    if form.is_valid():
        made = form.attempt(lambda: user_create(**form.cleaned_data, actor=actor_of(request)))
        if made is not None:
            messages.success(request, f"{made} may log in. Give them a role: without one they see nothing.")
            return redirect("person", pk=made.pk)
    return _list(request, form, OrganizationForm())


@people_required
@require_http_methods(["GET", "HEAD", "POST"])
def person(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The roles of one person; a post gives one more, or changes the one that is held there."""
    row = get_object_or_404(User, pk=pk)
    organizations = list(Organization.objects.order_by("name"))
    form = GrantForm(request.POST if request.method == "POST" else None, organizations=organizations)
    if form.is_valid():
        role = Role(form.cleaned_data["role"])
        form.attempt(
            lambda: grant_set(
                row, role, organization=form.organization, department=form.department, actor=actor_of(request)
            )
        )
        if not form.errors:
            place = form.department or form.organization or "everywhere"
            messages.success(request, f"{row} holds the role {role.label}: {place}.")
            return redirect("person", pk=pk)
        row.refresh_from_db()
    context = {
        "person": row,
        "form": form,
        "grants": row.grants.select_related("organization", "department__organization").order_by("pk"),
        "may_export": user_may_export(row),
        "is_self": row.pk == actor_of(request).pk,
    }
    return render(request, "configuration/person.html", context)


@people_required
@require_POST
def grant_remove(request: HttpRequest, pk: UUID, grant: int) -> HttpResponse:
    """`grant` 0 is the role of an administrator of everything."""
    row = get_object_or_404(User, pk=pk)
    held = get_object_or_404(row.grants, pk=grant) if grant else RoleGrant()
    grant_set(row, None, organization=held.organization, department=held.department, actor=actor_of(request))
    messages.success(request, "The role is taken away.")
    return redirect("person", pk=pk)


@people_required
@require_POST
def person_export(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = get_object_or_404(User, pk=pk)
    on = request.POST.get("wish") == "on"
    user_export_set(row, on=on, actor=actor_of(request))
    messages.success(request, f"{row} may {'' if on else 'not '}export private keys.")
    return redirect("person", pk=pk)


@people_required
@require_POST
def person_active(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = get_object_or_404(User, pk=pk)
    on = request.POST.get("wish") == "on"
    user_update(row, name=row.name, is_active=on, actor=actor_of(request))
    messages.success(request, f"{row} may log in." if on else f"{row} is locked out, and so are their tokens.")
    return redirect("person", pk=pk)


@people_required
@require_POST
def organization_new(request: HttpRequest) -> HttpResponse:
    form = OrganizationForm(request.POST)
    if form.is_valid():
        made = form.attempt(lambda: organization_create(form.cleaned_data["name"], actor=actor_of(request)))
        if made is not None:
            messages.success(request, f"{made} is there.")
            return redirect("organization", pk=made.pk)
    return _list(request, PersonForm(), form)


@people_required
@require_http_methods(["GET", "HEAD", "POST"])
def organization(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Its name and departments; a post renames it."""
    row = get_object_or_404(Organization, pk=pk)
    form = OrganizationForm(request.POST if request.method == "POST" else None, initial={"name": row.name})
    if form.is_valid():
        form.attempt(lambda: organization_rename(row, form.cleaned_data["name"], actor=actor_of(request)))
        if not form.errors:
            messages.success(request, "Renamed.")
            return redirect("organization", pk=pk)
        row.refresh_from_db()
    return _organization(request, row, form, OrganizationForm(prefix="new"))


@people_required
@require_POST
def department_new(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = get_object_or_404(Organization, pk=pk)
    form = OrganizationForm(request.POST, prefix="new")
    if form.is_valid():
        made = form.attempt(lambda: department_create(row, form.cleaned_data["name"], actor=actor_of(request)))
        if made is not None:
            messages.success(request, f"{made} is there.")
            return redirect("organization", pk=pk)
    return _organization(request, row, OrganizationForm(initial={"name": row.name}), form)


@people_required
@require_http_methods(["GET", "HEAD", "POST"])
def department(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = get_object_or_404(Department.objects.select_related("organization"), pk=pk)
    form = OrganizationForm(request.POST if request.method == "POST" else None, initial={"name": row.name})
    if form.is_valid():
        form.attempt(lambda: department_rename(row, form.cleaned_data["name"], actor=actor_of(request)))
        if not form.errors:
            messages.success(request, "Renamed.")
            return redirect("organization", pk=row.organization_id)
        row.refresh_from_db()
    return render(request, "configuration/department.html", {"department": row, "form": form})


def _organization(
    request: HttpRequest, row: Organization, form: OrganizationForm, department_form: OrganizationForm
) -> HttpResponse:
    departments: QuerySet[Department] = row.departments.order_by("name")
    context = {"organization": row, "departments": departments, "form": form, "department_form": department_form}
    return render(request, "configuration/organization.html", context)


def _list(request: HttpRequest, person_form: PersonForm, organization_form: OrganizationForm) -> HttpResponse:
    rows = User.objects.prefetch_related("grants__organization", "grants__department__organization")
    context = {
        "people": rows.order_by("-is_active", "email"),
        "organizations": Organization.objects.prefetch_related("departments").order_by("name"),
        "person_form": person_form,
        "organization_form": organization_form,
    }
    return render(request, "configuration/people.html", context)
