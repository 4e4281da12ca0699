"""One-time tokens (SPEC HE-08, A-143, A-144)."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atila import Atila
from atila.security import ott
from atila.was import OffRequest
from skitai.testing import Client

Make = Callable[..., Client]

KEY = 'ds8fdsflksdjf9879dsf;?<>Asda'

values = st.recursive(
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Clock:
    """The time, which a test moves."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        now = time.time
        patch.setattr(time, 'time', lambda: now() + self.ahead)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def app_of(*steps: Callable[..., Any], key: Any = KEY) -> Atila:
    """An app that answers '/name' with what the function of that name gives; '?token=' is passed to it."""
    app = Atila('app')
    app.securekey = key
    known = {step.__name__: step for step in steps}

    @app.route('/<name>')
    def service(was, name, **values):
        return was.API(answer=known[name](was, **values))

    return app


def ask(client: Client, name: str, token: str | None = None) -> Any:
    response = client.get('/' + name, {'token': token} if token is not None else {})
    assert response.status_code == 200, response.text
    return response.data['answer']


def issue(was: Any) -> Any:
    return was.encode_ott('hans', 3600, 'rset')


def plain(was: Any) -> Any:
    return was.encode_ott({'user': 'hans'}, 60)


def redeem(was: Any, token: str) -> Any:
    return was.decode_ott(token)


def revoke(was: Any, token: str) -> Any:
    return was.revoke_ott(token)


def off(key: Any = KEY) -> Any:
    app = Atila('app')
    app.securekey = key
    return OffRequest(app)


def test_a_password_reset(client_for: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A-143: the link survives `urlfor`, as a query and as a part of the path."""
    app = Atila('app')
    app.securekey = KEY

    @app.route('/password-reset')
    def password_reset(was, username=None):
        if was.request.args.get('username'):
            token = was.encode_ott('hans', 3600, 'pwrset')
            return was.API(urls=[was.urlfor('reset_password', token), was.urlfor('reset_by_path', token)])
        return 'form'

    @app.route('/reset')
    def reset_password(was, token):
        username = was.decode_ott(token)
        if not username:
            return was.response('400 Bad Request')
        return username

    @app.route('/reset/<token>/now')
    def reset_by_path(was, token):
        return reset_password(was, token)

    client = client_for(app)
    by_query, by_path = client.get('/password-reset?username=hans').data['urls']
    assert client.get(by_query).text == client.get(by_path).text == 'hans'
    assert client.clone().get(by_query).status_code == 400  # another browser
    bad = client.get(by_query[:-1])
    assert bad.status_code == 400
    assert by_query.partition('=')[2] not in bad.text
    assert not caplog.records


def test_revoking(client_for: Make) -> None:
    """A-144: "hans", and after the revocation None."""
    client = client_for(app_of(issue, redeem, revoke))
    token = ask(client, 'issue')
    assert ask(client, 'redeem', token) == ask(client, 'redeem', token) == 'hans'
    assert ask(client, 'revoke', token) is True
    assert ask(client, 'redeem', token) is None
    assert ask(client, 'revoke', token) is False


def test_revoking_in_one_request(client_for: Make) -> None:
    """A-144."""

    def all_at_once(was: Any) -> Any:
        token = was.encode_ott('hans', 3600, 'rset')
        return [was.decode_ott(token), was.revoke_ott(token), was.decode_ott(token)]

    client = client_for(app_of(all_at_once))
    assert ask(client, 'all_at_once') == ['hans', True, None]


def test_tokens_of_one_key_are_revoked_one_by_one(client_for: Make) -> None:
    """HE-08."""
    client = client_for(app_of(issue, redeem, revoke))
    one, other = ask(client, 'issue'), ask(client, 'issue')
    ask(client, 'revoke', one)
    assert [ask(client, 'redeem', one), ask(client, 'redeem', other)] == [None, 'hans']


def test_a_browser_keeps_a_bounded_number(client_for: Make) -> None:
    """HE-08: a client that goes on asking does not break its own cookie."""
    client = client_for(app_of(issue, redeem))
    tokens = [ask(client, 'issue') for _ in range(ott.MAX_TOKENS + 2)]
    assert ask(client, 'redeem', tokens[1]) is None
    assert [ask(client, 'redeem', token) for token in tokens[2:]] == ['hans'] * ott.MAX_TOKENS


def test_a_token_without_a_session_key_cannot_be_revoked(client_for: Make) -> None:
    """HE-08; it is good in any browser."""
    client = client_for(app_of(plain, redeem, revoke))
    token = ask(client, 'plain')
    assert ask(client, 'revoke', token) is False
    assert ask(client.clone(), 'redeem', token) == {'user': 'hans'}


def test_the_session_at_hand_stays(client_for: Make) -> None:
    """HE-08, SS-11: the named session is put back where it was, default or not."""

    def around(was: Any) -> Any:
        was.session['a'] = 1
        token = was.encode_ott('x', 60, 'k')
        was.session['b'] = 2
        was.session.mount('mine')
        was.session['c'] = 3
        was.decode_ott(token)
        was.session['d'] = 4
        was.revoke_ott(token)
        found = sorted(was.session.keys())
        was.session.mount()
        return [found, sorted(was.session.keys())]

    response = client_for(app_of(around)).get('/around')
    assert response.data['answer'] == [['c', 'd'], ['a', 'b']]


def test_a_token_alone_writes_its_own_cookie_only(client_for: Make) -> None:
    client = client_for(app_of(issue, redeem))
    response = client.get('/issue')
    names = [field.partition('=')[0] for field in response.raw.headers.getlist('Set-Cookie')]
    assert names == ['ATLSES__RSET_TOKEN']
    response = client.get('/redeem', {'token': response.data['answer']})
    assert response.data['answer'] == 'hans'
    assert not response.raw.headers.getlist('Set-Cookie')


@pytest.mark.parametrize('step', [issue, plain])
def test_the_end(client_for: Make, clock: Clock, step: Callable[..., Any]) -> None:
    """HE-08: timeouts in seconds."""
    seconds = 3600 if step is issue else 60
    client = client_for(app_of(step, redeem))
    token = ask(client, step.__name__)
    clock.ahead = seconds - 2
    assert ask(client, 'redeem', token) is not None
    clock.ahead = seconds + 1
    assert ask(client, 'redeem', token) is None


@pytest.mark.parametrize('timeout', [None, 0])
def test_without_an_end(clock: Clock, timeout: Any) -> None:
    """HE-08: None and 0; not with a session key."""
    was = off()
    token = was.encode_ott('hans', timeout)
    clock.ahead = 1e9
    assert was.decode_ott(token) == 'hans'
    with pytest.raises(AssertionError, match='timeout'):
        was.encode_ott('hans', timeout, 'rset')


def test_one_that_has_ended_already() -> None:
    was = off()
    assert was.decode_ott(was.encode_ott('hans', -1)) is None


def test_the_names() -> None:
    """HE-08: the older ones, too."""
    was = off()
    for make in (was.encode_ott, was.mkott, was.mktoken, was.token):
        for read in (was.decode_ott, was.deott, was.detoken):
            assert read(make('hans')) == 'hans'
    assert was.rvott.__func__ is was.rmtoken.__func__ is was.revoke_ott.__func__


def test_the_form() -> None:
    """HE-08: "signature?payload"; anybody can read the payload, JSON and no pickle."""
    signature, payload = off().encode_ott({'user': 'hans'}).split('?')
    assert len(signature) == 43
    data = base64.urlsafe_b64decode(payload + '=' * (-len(payload) % 4))
    assert json.loads(data)[0] == {'user': 'hans'}


@pytest.mark.parametrize('value', [object(), b'x', {1, 2}, {1: 2}, float('nan'), '\ud800'])
def test_what_is_not_for_json(value: Any) -> None:
    """HE-08: a TypeError."""
    with pytest.raises(TypeError):
        off().encode_ott(value)


def test_what_cannot_be_told() -> None:
    was = off()
    with pytest.raises(ValueError, match='None'):
        was.encode_ott(None)
    with pytest.raises(ValueError, match='timeout'):
        was.encode_ott('x', float('inf'))
    with pytest.raises(TypeError, match='session_key'):
        was.encode_ott('x', 60, 1)
    with pytest.raises(RuntimeError, match='Secret key is not configured'):
        off(None).encode_ott('x')


def test_keys_are_rotated() -> None:
    """The newest makes, all verify."""
    token = off('old').encode_ott('x')
    assert off(['new', 'old']).decode_ott(token) == 'x'
    assert off('new').decode_ott(token) is None
    assert off('new').decode_ott(off(['new', 'old']).encode_ott('x')) == 'x'


@given(values)
def test_what_comes_back(value: Any) -> None:
    was = off()
    assert was.decode_ott(was.encode_ott(value)) == value


@given(st.none() | st.text() | st.binary() | st.integers() | st.tuples(st.text(), st.text()).map('?'.join))
def test_any_token_is_none(token: Any) -> None:
    """Never an exception."""
    was = off()
    assert was.decode_ott(token) is None
    assert was.revoke_ott(token) is False


@given(st.data())
def test_a_changed_token_is_none(data: st.DataObject) -> None:
    """Not one character may be another."""
    was = off()
    token = was.encode_ott({'user': 'hans', 'rights': [1, 2]})
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda character: character != token[at]))
    assert was.decode_ott(token[:at] + other + token[at + 1 :]) is None


def test_of_another_form_is_none() -> None:
    """Signed by an older release, say."""
    from atila.security.signing import sign, to_text

    for payload in (b'[]', b'{}', b'["x",1]', b'[1,2,3,4]', b'\xff', b''):
        text = to_text(payload)
        assert off().decode_ott(f'{sign(text, KEY, ott.PURPOSE)}?{text}') is None
    text = 'a'  # no base64
    assert off().decode_ott(f'{sign(text, KEY, ott.PURPOSE)}?{text}') is None
