"""The Django admin: everything to look at, for superusers. What it changes goes through a service.

There is no generic edit: nothing can be added, changed or deleted here, except the name, state and password of users.
Secrets stay where they are: sealed columns, digests and password hashes are in no list and no form.
"""

from allauth.account.models import EmailAddress
from django.contrib import admin
from django.contrib.auth.models import Group
from django_q.models import Failure, OrmQ, Schedule, Success

from certs.admin import certificates, records, users

__all__ = ["certificates", "records", "users"]

# A schedule row is code execution; the others are of no use here.
for needless in (Schedule, Success, Failure, OrmQ, EmailAddress, Group):
    if admin.site.is_registered(needless):
        admin.site.unregister(needless)

admin.site.site_header = admin.site.site_title = "Bindery administration"
admin.site.index_title = "What the portal knows"
