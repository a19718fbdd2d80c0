from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest


class ClosedAdapter(DefaultAccountAdapter):
    """Accounts are made by the one-time link and by administrators, never by signing up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False
