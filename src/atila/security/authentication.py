"""Stub: replaced within minutes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import HTTPError


class Authentication:
    def __init__(self, app: Any) -> None:
        self.app = app

    def set_authorization_handler(self, handler: Callable[..., Any]) -> None: ...

    def set_bearer_handler(self, handler: Callable[..., Any]) -> None: ...

    def check_kind(self, value: Any) -> str | None:
        if value is None or value is False:
            return None
        if value is True:
            return self.app.authenticate or 'digest'
        kind = str(value).lower()
        assert kind in ('basic', 'digest', 'bearer'), f'authenticate = {value!r}'
        return kind

    def authenticate(self, was: Any, kind: str) -> None:
        raise HTTPError('401 Unauthorized', headers=[(b'www-authenticate', b'Basic realm="App"')])
