"""Programs that ask the API: each with a token of its own, and what it holds."""

import json
from typing import Any

import pytest
from django.test import Client

from certs.models import ApiToken
from certs.services.tokens import token_create
from tests import stock


class Program(Client):
    """Sends JSON with its token; `.json()` of an answer is what it says."""

    def __init__(self, secret: str = "", **defaults: Any) -> None:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        super().__init__(headers=headers, **defaults)

    def send(self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **headers: str) -> Any:
        data = body if isinstance(body, bytes | str) else json.dumps(body) if body is not None else ""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.generic(method, path, data, content_type=kind, headers=named)


def token(role: str, **fields: Any) -> Program:
    _, secret = token_create(f"{role} {ApiToken.objects.count()}", role, actor="test", **fields)
    return Program(secret)


@pytest.fixture
def program(db: None) -> Program:
    """An administrator's, without the right to export keys."""
    stock.administrator()
    return token("admin")
