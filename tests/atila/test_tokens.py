"""Bearer tokens as a request sees them (SPEC RQ-20, HE-06), made by PyJWT."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atila import Atila
from atila.security import tokens

KEY = 'k' * 64
OLD_KEY = 'o' * 64


def in_an_hour() -> int:
    return int(time.time()) + 3600


@pytest.fixture
def ask(client_for: Callable[..., Any]) -> Callable[..., Any]:
    """`ask (authorization)`: what `was.request.JWT` is for that header."""
    app = Atila('app')
    app.securekey = [KEY, OLD_KEY]

    @app.route('/')
    def index(was):
        return was.API(was.request.JWT)

    client = client_for(app)

    def get(authorization: str | None = None) -> Any:
        response = client.get('/', headers={'Authorization': authorization} if authorization else {})
        assert response.status_code == 200
        return response.data

    return get


@pytest.mark.parametrize('algorithm', ['HS256', 'HS384', 'HS512'])
@pytest.mark.parametrize('key', [KEY, OLD_KEY])
def test_claims_of_a_good_token(ask: Callable[..., Any], algorithm: str, key: str) -> None:
    """RQ-20; older keys of a rotation are still accepted."""
    claims = {'username': 'hans', 'exp': in_an_hour()}
    assert ask('Bearer ' + jwt.encode(claims, key, algorithm)) == claims


def test_what_is_wrong_is_said(ask: Callable[..., Any]) -> None:
    """RQ-20, HE-06: a reason, never an exception."""
    late = jwt.encode({'exp': 1}, KEY)
    early = jwt.encode({'exp': in_an_hour(), 'nbf': in_an_hour()}, KEY)
    forged = jwt.encode({'exp': in_an_hour()}, 'x' * 64)
    unsigned = jwt.encode({'exp': in_an_hour()}, None, 'none')
    assert ask() == ask('Basic abc') == ask('Bearer') == {'err': 'no bearer token'}
    assert ask('Bearer ' + late) == {'err': 'token expired'}
    assert ask('Bearer ' + early) == {'err': 'token not activated yet'}
    assert ask('Bearer ' + forged) == {'err': 'invalid signature'}
    for bad in (unsigned, 'a.b.c', 'garbage', late[:-4] + 'AAAA.x', '...'):
        assert ask('Bearer ' + bad) == {'err': 'invalid token'}


@given(st.binary())
def test_any_field_gives_a_dict(field: bytes) -> None:
    assert tokens.decode(tokens.bearer_token(field), KEY).keys() == {'err'}


def test_without_a_key_it_is_our_fault() -> None:
    with pytest.raises(RuntimeError, match='securekey'):
        tokens.decode('a.b.c', None)
