"""One-time passwords (SPEC HE-07, A-141, A-142) and TOTP (RFC 6238)."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

import atila.was
from atila import Atila
from atila.security import otp
from atila.security.otp import TOTP
from skitai.testing import Client

Make = Callable[..., Client]

KEY = 'ds8fdsflksdjf9879dsf;?<>Asda'


class Clock:
    """The time, set by a test."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1_700_000_000.0
        patch.setattr(time, 'time', lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


# -- between programs (HE-07) ----------------------------------------------------------------------


def checking_app(key: Any = KEY) -> Atila:
    app = Atila('app')
    app.securekey = key

    def check_otp(was):
        if not was.verify_otp(was.request.get_header('x-otp')):
            raise was.Error('403 Unauthorized')

    @app.route('/admin-task')
    @app.testpass_required(check_otp)
    def task(was):
        return 'done'

    @app.route('/make')
    def make(was):
        mine, other = was.generate_otp(), was.generate_otp('other')
        return was.API(
            mine=mine,
            other=other,
            verified=[was.verify_otp(mine), was.verify_otp(other), was.verify_otp(other, 'other')],
        )

    return app


def test_a_task_behind_a_password(client_for: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A-141, A-142: 403 without it, the client's own function makes it; nothing of it is shown or logged."""
    client = client_for(checking_app())
    password = atila.was.generate_otp(KEY)
    wrong = atila.was.generate_otp('x')
    assert client.get('/admin-task').status_code == 403
    for bad in (wrong, '', 'x', 'ä'.encode(), password[:-1], password + '0', password.upper()):
        response = client.get('/admin-task', headers={'X-OTP': bad})
        assert response.status_code == 403
        assert password not in response.text
    assert client.get('/admin-task', headers={'X-OTP': password}).text == 'done'
    assert not caplog.records


def test_another_secret(client_for: Make) -> None:
    """HE-07: `salt` stands for the key."""
    data = client_for(checking_app()).get('/make').data
    assert data['verified'] == [True, False, True]
    assert data['mine'] != data['other']


def test_keys_are_rotated() -> None:
    assert otp.verify(otp.generate('old'), ['new', 'old'])
    assert otp.verify(otp.generate(['new', 'old']), 'new')


@pytest.mark.parametrize('key', [None, '', []])
def test_without_a_key(client_for: Make, caplog: pytest.LogCaptureFixture, key: Any) -> None:
    with pytest.raises(RuntimeError, match='securekey'):
        atila.was.generate_otp(key)
    assert client_for(checking_app(key)).get('/admin-task').status_code == 500
    assert 'Secret key is not configured' in caplog.text


@given(made=st.floats(1e9, 2e9), apart=st.floats(-20, 20))
def test_always_accepted_within_20_seconds(made: float, apart: float) -> None:
    """HE-07."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        clock.now = made
        password = otp.generate(KEY)
        clock.now = made + apart
        assert otp.verify(password, KEY)


@given(made=st.floats(1e9, 2e9), apart=st.floats(40, 1e6) | st.floats(-1e6, -40))
def test_never_accepted_beyond_40_seconds(made: float, apart: float) -> None:
    """HE-07."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        clock.now = made
        password = otp.generate(KEY)
        clock.now = made + apart
        assert not otp.verify(password, KEY)


@given(st.none() | st.text() | st.binary() | st.integers() | st.lists(st.text()))
def test_anything_else_is_no_password(value: Any) -> None:
    assert otp.verify(value, KEY) is False


# -- TOTP ------------------------------------------------------------------------------------------

#: RFC 6238, appendix B: the secrets have the length of their hash.
SECRETS = {
    'SHA1': b'12345678901234567890',
    'SHA256': b'12345678901234567890123456789012',
    'SHA512': b'1234567890123456789012345678901234567890123456789012345678901234',
}
VECTORS = [
    (59, '94287082', '46119246', '90693936'),
    (1111111109, '07081804', '68084774', '25091201'),
    (1111111111, '14050471', '67062674', '99943326'),
    (1234567890, '89005924', '91819424', '93441116'),
    (2000000000, '69279037', '90698825', '38618901'),
    (20000000000, '65353130', '77737706', '47863826'),
]


@pytest.mark.parametrize(
    ('moment', 'algorithm', 'code'),
    [(moment, name, code) for moment, *codes in VECTORS for name, code in zip(SECRETS, codes, strict=True)],
)
def test_vectors_of_rfc_6238(clock: Clock, moment: int, algorithm: str, code: str) -> None:
    clock.now = moment
    secret = base64.b32encode(SECRETS[algorithm]).decode()
    for totp in (TOTP(secret, 8, algorithm), TOTP(SECRETS[algorithm], 8, algorithm.lower())):
        assert totp.now() == totp.at(moment) == code
        assert totp.verify(code)
    assert TOTP(secret, algorithm=algorithm).now() == code[2:]


def test_the_window(clock: Clock) -> None:
    totp = TOTP(otp.generate_secret())
    clock.now = 1_700_000_010.0
    code, step = totp.now(), totp.step_of(totp.now())
    for ahead, window, good in ((29, 0, False), (29, 1, True), (60, 1, False), (60, 2, True), (-29, 1, True)):
        clock.now = 1_700_000_010.0 + ahead
        assert totp.verify(code, window) is good or totp.now() == code
        assert totp.step_of(code, 3) == step


@given(st.none() | st.text() | st.integers() | st.binary())
def test_any_code_is_true_or_false(value: Any) -> None:
    totp = TOTP(SECRETS['SHA1'])
    assert totp.verify(value) is (isinstance(value, str) and value.replace(' ', '') in codes_about_now(totp))


def codes_about_now(totp: TOTP) -> list[str]:
    return [totp.at(time.time() + 30 * step) for step in (-1, 0, 1)]


def test_a_code_as_people_type_it(clock: Clock) -> None:
    totp = TOTP('gezd gnbv gy3t qojq gezd gnbv gy3t qojq')
    assert totp.at(59) == '287082'
    clock.now = 59
    assert totp.verify('287 082')
    assert not totp.verify('\uff12\uff18\uff17\uff10\uff18\uff12')  # digits, but of another script


@given(st.text(), st.text())
def test_the_provisioning_uri(account: str, issuer: str) -> None:
    """It is read back by the standard library, and gives the same codes."""
    totp = TOTP(otp.generate_secret(), 8, 'SHA256', 60)
    try:
        uri = totp.provisioning_uri(account, issuer)
    except ValueError:
        assert not account or not issuer or ':' in account + issuer or not is_unicode(account + issuer)
        return
    parts = urlsplit(uri)
    values = {name: found[0] for name, found in parse_qs(parts.query).items()}
    assert (parts.scheme, parts.netloc) == ('otpauth', 'totp')
    assert [unquote(part) for part in parts.path[1:].split(':')] == [issuer, account]
    assert values['issuer'] == issuer
    assert (values['algorithm'], values['digits'], values['period']) == ('SHA256', '8', '60')
    assert TOTP(values['secret'], 8, 'SHA256', 60).at(59) == totp.at(59)


def is_unicode(text: str) -> bool:
    return not any('\ud800' <= character <= '\udfff' for character in text)


def test_secrets() -> None:
    secrets = {otp.generate_secret() for _ in range(50)}
    assert len(secrets) == 50
    assert {len(base64.b32decode(secret)) for secret in secrets} == {20}
    with pytest.raises(ValueError, match='16 bytes'):
        otp.generate_secret(10)


@pytest.mark.parametrize(
    'options',
    [
        {'secret': 'not base32!'},
        {'secret': 'é'},
        {'secret': ''},
        {'secret': 'GEZDGNBV', 'digits': 5},
        {'secret': 'GEZDGNBV', 'algorithm': 'MD5'},
        {'secret': 'GEZDGNBV', 'period': 0},
    ],
)
def test_what_is_wrong_is_said_without_the_secret(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as failure:
        TOTP(**options)
    assert not options['secret'] or options['secret'] not in str(failure.value)
    assert 'GEZDGNBV' not in repr(TOTP('GEZDGNBV'))
