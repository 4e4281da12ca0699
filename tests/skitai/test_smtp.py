"""`skitai.set_smtp` (SPEC B.15); sending is in tests/atila/test_mail.py."""

from __future__ import annotations

from typing import Any

import pytest

from skitai import smtp


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, '_server', None)


@pytest.mark.parametrize(
    ('server', 'ssl', 'host', 'port'),
    [
        ('mail.example.com', False, 'mail.example.com', 25),
        ('mail.example.com', 'starttls', 'mail.example.com', 587),
        ('mail.example.com', True, 'mail.example.com', 465),
        ('mail.example.com:2525', True, 'mail.example.com', 2525),
        ('[::1]:2525', False, '::1', 2525),
        ('[::1]', False, '::1', 25),
        ('::1', False, '::1', 25),
    ],
)
def test_addresses(server: str, ssl: Any, host: str, port: int) -> None:
    """B.15: the usual port where none is given."""
    smtp.set_smtp(server, ssl=ssl)
    found = smtp.configured()
    assert (found.host, found.port, found.ssl) == (host, port, ssl)


@pytest.mark.parametrize(
    ('arguments', 'word'),
    [
        (('',), 'no mail server'),
        (('mail:x',), 'no mail server'),
        (('mail:0',), 'no mail server'),
        (('mail:70000',), 'no mail server'),
        (('ma il',), 'no mail server'),
        (('mail\r\nX',), 'no mail server'),
        (('mail', 'ann'), 'user and password'),
        (('mail', None, 'secret'), 'user and password'),
        (('mail', 'ann', 'secret'), 'in the clear'),
        (('192.0.2.1', 'ann', 'secret'), 'in the clear'),
        (('mail', None, None, 'tls'), 'ssl is'),
        (('mail', None, None, 1), 'ssl is'),
        (('mail', None, None, False, 0), 'timeout'),
    ],
)
def test_mistakes(arguments: tuple[Any, ...], word: str) -> None:
    """B.15: nothing is set then."""
    with pytest.raises(ValueError, match=word):
        smtp.set_smtp(*arguments)
    with pytest.raises(RuntimeError, match='set_smtp'):
        smtp.configured()


def test_the_password_is_not_shown() -> None:
    smtp.set_smtp('localhost', 'ann', 'secret')
    assert 'secret' not in repr(smtp.configured())
