"""Passwords as they are kept (SPEC WAS-05)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from hypothesis import given, settings
from hypothesis import strategies as st

from atila import Atila
from atila.security import passwords
from atila.security.passwords import hash_password, needs_rehash, verify_password
from skitai.testing import Client


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The costs of a test."""
    monkeypatch.setattr(passwords, 'LOG_N', 4)
    monkeypatch.setattr(passwords, 'P', 1)


def test_a_record() -> None:
    record = hash_password('correct horse')
    assert record.startswith('scrypt$14$8$5$')
    assert verify_password('correct horse', record)
    assert not verify_password('correct hors', record)
    assert not verify_password('', record)
    assert hash_password('correct horse') != record
    assert 'horse' not in record


def test_it_is_scrypt() -> None:
    """By another implementation."""
    name, log_n, r, p, salt, digest = hash_password(b'secret').split('$')
    kdf = Scrypt(passwords.base64.urlsafe_b64decode(salt + '=='), 32, 2 ** int(log_n), int(r), int(p))
    assert name == 'scrypt'
    kdf.verify(b'secret', passwords.base64.urlsafe_b64decode(digest + '='))


def test_members_of_was(client_for: Callable[..., Client], caplog: pytest.LogCaptureFixture) -> None:
    """WAS-05: a salt and a signature, both text; without a securekey."""
    app = Atila('app')

    @app.route('/')
    def index(was):
        salt, sig = was.encrypt_password('pa55')
        again = was.encrypt_password('pa55')
        return was.API(
            kept=[salt, sig],
            differs=again[0] != salt and again[1] != sig,
            verified=[
                was.verify_password('pa55', salt, sig),
                was.verify_password('pa56', salt, sig),
                was.verify_password('pa55', again[0], sig),
                was.verify_password(None, salt, sig),
                was.verify_password('pa55', None, None),
            ],
        )

    data = client_for(app).get('/').data
    assert data['differs']
    assert data['verified'] == [True, False, False, False, False]
    assert all(isinstance(part, str) and 'pa55' not in part for part in data['kept'])
    assert not caplog.records


def test_one_text_typed_in_two_ways(cheap: None) -> None:
    """RFC 8265, 4.2: composed or not."""
    assert verify_password('cafe\u0301', hash_password('caf\u00e9'))


@pytest.mark.parametrize(
    'record',
    [
        None,
        '',
        'secret',
        '$2b$12$' + 'x' * 53,
        'scrypt$99$8$1$' + 'A' * 22 + '$' + 'A' * 43,
        'scrypt$20$999$99$' + 'A' * 22 + '$' + 'A' * 43,
        'scrypt$0$8$1$' + 'A' * 22 + '$' + 'A' * 43,
        'scrypt$4$0$1$' + 'A' * 22 + '$' + 'A' * 43,
        'scrypt$4$8$0$' + 'A' * 22 + '$' + 'A' * 43,
        'scrypt$4$8$1$' + 'A' * 21 + '$' + 'A' * 43,
        'scrypt$4$8$1$' + 'A' * 22 + '$',
        'scrypt$4$8$1$' + 'A' * 22 + '$' + 'A' * 44,
    ],
)
def test_what_is_no_record_is_false(record: Any, cheap: None) -> None:
    """Nor may it take the memory away."""
    assert verify_password('secret', record) is False


def test_an_unknown_user_takes_as_long() -> None:
    record = hash_password('secret')

    def seconds(record: str | None) -> float:
        began = time.perf_counter()
        verify_password('guess', record)
        return time.perf_counter() - began

    # Of the order only: a shared machine is not quiet. Without the work it is a thousandth.
    assert min(seconds(None) for _ in range(3)) > min(seconds(record) for _ in range(3)) / 5


def test_costs_of_old_records(cheap: None) -> None:
    """They go on being good, and are known to be old."""
    record = hash_password('secret')
    assert not needs_rehash(record)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, 'LOG_N', 5)
        assert needs_rehash(record)
        assert verify_password('secret', record)


@pytest.mark.parametrize('value', [None, 1, ['x']])
def test_only_text(value: Any) -> None:
    with pytest.raises(TypeError, match='a password is'):
        hash_password(value)
    assert verify_password(value, 'x') is False


@settings(deadline=None, max_examples=50)
@given(st.text(), st.text())
def test_any_password(one: str, other: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, 'LOG_N', 2)
        patch.setattr(passwords, 'P', 1)
        record = hash_password(one)
        assert verify_password(one, record)
        same = passwords._bytes(one) == passwords._bytes(other)
        assert verify_password(other, record) is same


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_any_record_is_false(record: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, '_NOBODY', 'scrypt$2$1$1$' + 'A' * 22)
        assert verify_password('secret', record) is False
