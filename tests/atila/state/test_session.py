"""`was.session` (SPEC chapter 17, RC-07, E.4, A-68 to A-70)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from projects import Launcher, wait_for

import skitai
from atila import Atila
from skitai.testing import Client

Make = Callable[..., Client]
Step = Callable[[Any], Any]

KEY = 'ds8fdsflksdjf9879dsf;?<>Asda'


class Clock:
    """The time, which a test moves."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        now = time.time
        patch.setattr(time, 'time', lambda: now() + self.ahead)

    def pass_by(self, seconds: float) -> None:
        self.ahead += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def app_of(**steps: Step) -> Atila:
    """An app with a key; it answers '/name' with what the step of that name gives, as JSON."""
    app = Atila('app')
    app.securekey = KEY

    @app.route('/<name>')
    def service(was, name):
        return was.API(answer=steps[name](was))

    return app


def ask(client: Client, name: str, **headers: str) -> Any:
    response = client.get('/' + name, headers=headers)
    assert response.status_code == 200, response.text
    return response.data['answer']


def set_cookies(response: Any) -> list[str]:
    """The values of the Set-Cookie fields."""
    found: list[str] = response.raw.headers.getlist('Set-Cookie')
    return found


def fields_of(client: Client, name: str) -> list[str]:
    response = client.get('/' + name)
    assert response.status_code == 200, response.text
    return set_cookies(response)


def seconds_ahead(field: str) -> float:
    """How far the `expires` of a Set-Cookie field is ahead."""
    date = field.partition('; expires=')[2].partition(';')[0]
    return parsedate_to_datetime(date).timestamp() - time.time()


def login(was: Any) -> None:
    was.session['user'] = 'hans'


def user(was: Any) -> Any:
    return was.session['user']


def touch(was: Any) -> None:
    was.session.touch()


def clear(was: Any) -> None:
    was.session.clear()


def expire(was: Any) -> None:
    was.session.expire()


def logout(was: Any) -> None:
    was.session.remove('user')


def expiring_in(seconds: int) -> Step:
    return lambda was: was.session.set_expiry(seconds)


def left(was: Any) -> Any:
    """Seconds until the end, as the session says."""
    end = was.session.get_expiry()
    return None if end is None else end - int(time.time())


# -- keeping values (SS-01 to SS-03) ---------------------------------------------------------------


def test_the_documented_use(client_for: Make) -> None:
    """A-68, A-69: set from a preference; the second request reads the value."""
    with skitai.preference() as pref:
        pref.securekey = KEY
        pref.session_timeout = 1200
    app = Atila('app')

    @app.route('/session')
    def hello_world(was, **form):
        assert was.session is was.request.session
        known = was.session.get('user_id')
        if 'login' not in was.session:
            was.session.set('user_id', form.get('user'))
            was.session['login'] = True
        return was.API(known=known)

    client = client_for(app, pref, point='/app')
    response = client.get('/app/session?user=hans')
    [field] = set_cookies(response)
    assert field.startswith('ATLSES_=')
    assert '; path=/; expires=' in field
    assert field.endswith('; HttpOnly; SameSite=Lax')
    assert 1190 < seconds_ahead(field) <= 1200
    assert 'hans' not in field
    again = client.get('/app/session')
    assert again.data == {'known': 'hans'}
    assert set_cookies(again) == []


def test_dict_like(client_for: Make) -> None:
    """SS-01: a missing value is None."""

    def fill(was: Any) -> None:
        was.session.set('a', 1)
        was.session['b'] = {'c': [1.5, None, 'ä']}
        was.session['gone'] = was.session['left'] = True
        del was.session['gone']
        was.session.remove('left')
        was.session.remove('never there')
        del was.session['never there']

    def read(was: Any) -> Any:
        session = was.session
        return {
            'in': ['a' in session, 'z' in session, session.has_key('b'), session.has_key('z')],
            'item': [session['a'], session['z']],
            'get': [session.get('b'), session.get('z'), session.get('z', 'no')],
            'keys': list(session.keys()),
            'values': list(session.values()),
            'items': list(session.items()),
            'iteration': [*session, len(session), bool(session)],
        }

    expected = {
        'in': [True, False, True, False],
        'item': [1, None],
        'get': [{'c': [1.5, None, 'ä']}, None, 'no'],
        'keys': ['a', 'b'],
        'values': [1, {'c': [1.5, None, 'ä']}],
        'items': [['a', 1], ['b', {'c': [1.5, None, 'ä']}]],
        'iteration': ['a', 'b', 2, True],
    }
    client = client_for(app_of(fill=lambda was: fill(was) or read(was), read=read))
    assert ask(client, 'fill') == expected
    assert ask(client, 'read') == expected


@pytest.mark.parametrize('key', [1, None, b'a', ('a',), '\ud800'])
def test_keys_are_text(client_for: Make, key: Any) -> None:
    """SS-01."""

    def step(was: Any) -> None:
        with pytest.raises(TypeError, match='key'):
            was.session.set(key, 1)
        with pytest.raises(TypeError):
            was.session[key] = 1

    assert fields_of(client_for(app_of(step=step)), 'step') == []


def test_values_are_for_json(client_for: Make) -> None:
    """SS-01: a TypeError that names the key, at once."""

    def step(was: Any) -> None:
        for value in (object(), {1, 2}, b'x', {1: 2}, float('nan')):
            with pytest.raises(TypeError, match="'cart'"):
                was.session['cart'] = value
        assert 'cart' not in was.session

    assert fields_of(client_for(app_of(step=step)), 'step') == []


def test_a_value_spoilt_later_fails_the_request(client_for: Make, caplog: pytest.LogCaptureFixture) -> None:
    """SS-01: nothing is written; the log names the key."""

    def step(was: Any) -> None:
        cart: list[Any] = []
        was.session['cart'] = cart
        cart.append(object())

    response = client_for(app_of(step=step)).get('/step')
    assert (response.status_code, set_cookies(response)) == (500, [])
    assert "the session value 'cart' holds a object" in caplog.text


def test_a_change_within_a_value(client_for: Make) -> None:
    """It is written when the session is touched."""

    def start(was: Any) -> None:
        was.session['cart'] = cart = [1]
        cart.append(2)

    def unnoticed(was: Any) -> None:
        was.session['cart'].append(3)

    def noticed(was: Any) -> None:
        was.session['cart'].append(4)
        was.session.touch()

    client = client_for(
        app_of(start=start, unnoticed=unnoticed, noticed=noticed, read=lambda was: was.session['cart'])
    )
    for step in ('start', 'unnoticed', 'noticed'):
        ask(client, step)
    assert ask(client, 'read') == [1, 2, 4]


def test_a_session_too_large_fails_the_request(client_for: Make, caplog: pytest.LogCaptureFixture) -> None:
    """SS-01: nothing is cut off, the old session stays."""

    def fill(was: Any) -> None:
        was.session['big'] = 'x' * 4000

    client = client_for(app_of(login=login, fill=fill, user=user))
    ask(client, 'login')
    response = client.get('/fill')
    assert (response.status_code, set_cookies(response)) == (500, [])
    assert "the cookie 'ATLSES_' has" in caplog.text
    assert ask(client, 'user') == 'hans'


@pytest.mark.parametrize('step', [login, user, clear, touch, expire, lambda was: was.session.mount('A'), len])
def test_without_a_key_every_access_fails(
    client_for: Make, caplog: pytest.LogCaptureFixture, step: Step
) -> None:
    """SS-01: in words that say how to mend it."""
    app = app_of(step=step)
    app.securekey = None
    if step is len:
        app = app_of(step=lambda was: len(was.session))
        app.securekey = ''
    assert client_for(app).get('/step').status_code == 500
    assert 'Secret key is not configured: set app.securekey' in caplog.text


# -- when it is written (SS-04) --------------------------------------------------------------------


def test_reading_writes_nothing_and_extends_nothing(client_for: Make, clock: Clock) -> None:
    """SS-04, E.4."""
    client = client_for(app_of(login=login, user=user))
    ask(client, 'login')
    clock.pass_by(600)
    assert fields_of(client, 'user') == []
    clock.pass_by(590)
    ask(client.clone(), 'user')
    clock.pass_by(11)
    assert ask(client, 'user') is None


def test_a_fresh_session_that_is_read_is_not_written(client_for: Make) -> None:
    assert fields_of(client_for(app_of(user=user)), 'user') == []


@pytest.mark.parametrize('change', [login, logout, clear, touch])
def test_a_change_extends(client_for: Make, clock: Clock, change: Step) -> None:
    """SS-04, SS-05; PITFALLS: touch () and clear () without another change were lost."""
    client = client_for(app_of(login=login, change=change, left=left))
    ask(client, 'login')
    clock.pass_by(600)
    assert 595 <= ask(client, 'left') <= 600
    [field] = fields_of(client, 'change')
    assert 1190 < seconds_ahead(field) <= 1200
    assert 1190 < ask(client, 'left') <= 1200


def test_removed_and_cleared_values_are_gone(client_for: Make) -> None:
    """SS-01; PITFALLS: clear () did nothing."""

    def fill(was: Any) -> None:
        was.session['user'], was.session['other'] = 'hans', 1

    steps = {'fill': fill, 'logout': logout, 'clear': clear, 'read': lambda was: dict(was.session.items())}
    client = client_for(app_of(**steps))
    ask(client, 'fill')
    ask(client, 'logout')
    assert ask(client, 'read') == {'other': 1}
    ask(client, 'clear')
    assert ask(client, 'read') == {}


def test_what_was_empty_and_is_empty_is_not_written(client_for: Make) -> None:
    def step(was: Any) -> None:
        was.session['user'] = 1
        del was.session['user']

    client = client_for(app_of(step=step, clear=clear, logout=logout))
    assert [fields_of(client, name) for name in ('step', 'clear', 'logout')] == [[], [], []]


def test_removing_what_is_not_there_is_no_change(client_for: Make) -> None:
    """SS-04: neither is clearing an empty session."""
    client = client_for(
        app_of(login=login, logout=logout, clear=clear, other=lambda was: was.session.remove('other'))
    )
    ask(client, 'login')
    assert fields_of(client, 'other') == []
    ask(client, 'logout')
    assert fields_of(client, 'clear') == []


def test_an_impending_session_is_extended_by_reading(client_for: Make, clock: Clock) -> None:
    """SS-04, SS-08: with a fifth of it left."""

    def read(was: Any) -> Any:
        return [was.session['user'], was.session.impending()]

    client = client_for(app_of(login=login, read=read, left=left))
    ask(client, 'login')
    clock.pass_by(950)
    assert ask(client, 'read') == ['hans', False]
    assert 240 < ask(client, 'left') <= 250
    clock.pass_by(15)
    assert ask(client, 'read') == ['hans', True]
    assert ask(client, 'read') == ['hans', False]
    assert 1190 < ask(client, 'left') <= 1200


def test_an_impending_session_is_not_extended_when_the_service_fails(client_for: Make, clock: Clock) -> None:
    """RC-07."""

    def fail(was: Any) -> None:
        assert was.session['user'] == 'hans'
        raise was.Error('418 I am a teapot')

    client = client_for(app_of(login=login, fail=fail))
    ask(client, 'login')
    clock.pass_by(1000)
    response = client.get('/fail')
    assert (response.status_code, set_cookies(response)) == (418, [])


def test_an_impending_session_is_not_extended_when_told(client_for: Make, clock: Clock) -> None:
    """SS-11: extend = False."""

    def read(was: Any) -> Any:
        was.session.mount(extend=False)
        return was.session['user']

    client = client_for(app_of(login=login, read=read))
    ask(client, 'login')
    clock.pass_by(1000)
    response = client.get('/read')
    assert (response.data['answer'], set_cookies(response)) == ('hans', [])


def test_a_deleted_cookie_is_not_written_again_by_extending(client_for: Make, clock: Clock) -> None:
    client = client_for(app_of(login=login, step=lambda was: [user(was), was.cookie.clear()], user=user))
    ask(client, 'login')
    clock.pass_by(1000)
    [field] = fields_of(client, 'step')
    assert field.startswith('ATLSES_=; ')
    assert ask(client, 'user') is None


# -- its end (SS-02, SS-05 to SS-09) ---------------------------------------------------------------


def test_session_timeout_of_the_app(client_for: Make) -> None:
    """SS-02."""
    app = app_of(login=login)
    app.session_timeout = 60
    [field] = fields_of(client_for(app), 'login')
    assert 50 < seconds_ahead(field) <= 60


def test_an_expired_session_is_empty(client_for: Make, clock: Clock) -> None:
    """SS-09: whatever the client keeps."""
    client = client_for(app_of(login=login, user=user, left=left))
    value = fields_of(client, 'login')[0].partition(';')[0]
    clock.pass_by(1199 - 2)
    assert ask(client.clone(), 'user', Cookie=value) == 'hans'
    clock.pass_by(3)
    for name in ('user', 'left'):
        assert ask(client.clone(), name, Cookie=value) is None


def test_a_cookie_that_is_not_ours_is_an_empty_session(client_for: Make) -> None:
    """SS-09, E.4."""
    client = client_for(app_of(login=login, user=user))
    value = fields_of(client, 'login')[0].partition(';')[0].partition('=')[2]
    for bad in ('', 'garbage', value[:-1], value[:-2] + 'xx', 'A' + value, value * 2, '%00', 'x' * 30_000):
        response = client.clone().get('/user', headers={'Cookie': 'ATLSES_=' + bad[:6000]})
        assert (response.status_code, response.data, set_cookies(response)) == (200, {'answer': None}, [])


def test_a_session_of_another_key_is_empty(client_for: Make) -> None:
    """SS-09."""
    value = fields_of(client_for(app_of(login=login)), 'login')[0].partition(';')[0]
    app = app_of(user=user)
    app.securekey = KEY + '!'
    assert ask(client_for(app), 'user', Cookie=value) is None


def test_rotation_of_keys(client_for: Make) -> None:
    """An older key opens; a change seals with the newest."""
    old, both, new = app_of(login=login), app_of(user=user, touch=touch), app_of(user=user)
    both.securekey, new.securekey = ['the new one', KEY], 'the new one'  # type: ignore[assignment]
    value = fields_of(client_for(old), 'login')[0].partition(';')[0]
    rotating = client_for(both)
    assert ask(rotating, 'user', Cookie=value) == 'hans'
    fresh = set_cookies(rotating.get('/touch', headers={'Cookie': value}))[0].partition(';')[0]
    after = client_for(new)
    assert ask(after, 'user', Cookie=value) is None
    assert ask(after, 'user', Cookie=fresh) == 'hans'


def test_set_expiry(client_for: Make, clock: Clock) -> None:
    """SS-05: without another change; PITFALLS: it was lost."""
    client = client_for(app_of(login=login, set=expiring_in(60), user=user, left=left))
    ask(client, 'login')
    [field] = fields_of(client, 'set')
    assert 50 < seconds_ahead(field) <= 60
    assert ask(client, 'user') == 'hans'
    clock.pass_by(61)
    assert ask(client, 'user') is None


@pytest.mark.parametrize('change', [login, touch])
def test_no_extension_shortens_an_explicit_expiry(client_for: Make, clock: Clock, change: Step) -> None:
    """SS-05: extension is suspended while the end is later than it would be."""
    client = client_for(app_of(login=login, set=expiring_in(3600), change=change, left=left))
    ask(client, 'login')
    ask(client, 'set')
    clock.pass_by(600)
    ask(client, 'change')
    assert 2990 < ask(client, 'left') <= 3000
    clock.pass_by(2400)
    ask(client, 'change')
    assert 1190 < ask(client, 'left') <= 1200


def test_an_explicit_expiry_stays_in_its_request(client_for: Make) -> None:
    """SS-05: whatever is set before or after; a touch is explicit, too."""

    def before(was: Any) -> None:
        was.session.set_expiry(60)
        was.session['user'] = 1

    def after(was: Any) -> None:
        was.session['user'] = 1
        was.session.set_expiry(60)

    def touched(was: Any) -> None:
        was.session.set_expiry(60)
        was.session.touch()
        was.session['user'] = 1

    client = client_for(app_of(before=before, after=after, touched=touched))
    ends = [seconds_ahead(fields_of(client.clone(), name)[0]) for name in ('before', 'after', 'touched')]
    assert 50 < ends[0] <= 60
    assert 50 < ends[1] <= 60
    assert 1190 < ends[2] <= 1200


@pytest.mark.parametrize('step', [expire, expiring_in(0), expiring_in(-1)])
def test_expire(client_for: Make, step: Step) -> None:
    """SS-06, E.4: an empty cookie that has expired."""

    def end(was: Any) -> Any:
        step(was)
        return [was.session['user'], left(was), was.session.source_verified()]

    client = client_for(app_of(login=login, end=end, user=user))
    ask(client, 'login')
    response = client.get('/end')
    assert response.data['answer'] == [None, None, False]
    [field] = set_cookies(response)
    assert field.startswith('ATLSES_=; path=/; expires=')
    assert seconds_ahead(field) <= 0
    assert not client.session.cookies
    assert ask(client, 'user') is None


def test_a_new_session_after_expire(client_for: Make) -> None:
    def renew(was: Any) -> None:
        was.session.expire()
        was.session['next'] = 1

    client = client_for(app_of(login=login, renew=renew, read=lambda was: dict(was.session.items())))
    ask(client, 'login')
    ask(client, 'renew')
    assert ask(client, 'read') == {'next': 1}


def test_use_time(client_for: Make, clock: Clock) -> None:
    """SS-07: since the lease began; 0 before there is one."""

    def use_time(was: Any) -> Any:
        return was.session.use_time()

    client = client_for(app_of(login=login, set=expiring_in(3600), touch=touch, use_time=use_time))
    assert ask(client, 'use_time') == 0
    ask(client, 'login')
    for renewal in ('login', 'set', 'login'):
        ask(client, renewal)
    clock.pass_by(300)
    assert 300 <= ask(client, 'use_time') <= 302  # of the 3600 seconds that were set
    clock.pass_by(3000)
    ask(client, 'touch')
    assert ask(client, 'use_time') <= 2


def test_impending(client_for: Make, clock: Clock) -> None:
    """SS-08: 10 seconds at least; False without an end."""

    def impending(was: Any) -> Any:
        was.session.mount(extend=False)
        return was.session.impending()

    client = client_for(app_of(login=login, set=expiring_in(30), impending=impending))
    assert ask(client, 'impending') is False
    ask(client, 'login')
    ask(client, 'set')
    assert ask(client, 'impending') is False
    clock.pass_by(21)
    assert ask(client, 'impending') is True


# -- whose it is (SS-10) ---------------------------------------------------------------------------


def test_source_verified(client_for: Make) -> None:
    """SS-10: bound to the address it was begun from; a change from elsewhere does not move it."""

    def check(was: Any) -> Any:
        session = was.session
        return [session.source_verified(), session.getv('user'), session.getv('user', 'no'), session['user']]

    def change(was: Any) -> None:
        was.session['other'] = 1

    def begin(was: Any) -> Any:
        login(was)
        return check(was)

    def restart(was: Any) -> Any:
        was.session.clear()
        login(was)

    client = client_for(app_of(begin=begin, check=check, change=change, restart=restart), proxied=True)
    here, there = {'X-Forwarded-For': '10.0.0.1'}, {'X-Forwarded-For': '10.0.0.2'}
    assert ask(client, 'check', **here) == [False, None, 'no', None]
    assert ask(client, 'begin', **here) == [True, 'hans', 'hans', 'hans']
    assert ask(client, 'check', **here) == [True, 'hans', 'hans', 'hans']
    assert ask(client, 'check', **there) == [False, None, 'no', 'hans']
    ask(client, 'change', **there)
    assert ask(client, 'check', **there) == [False, None, 'no', 'hans']
    assert ask(client, 'check', **here) == [True, 'hans', 'hans', 'hans']
    ask(client, 'restart', **there)
    assert ask(client, 'check', **there) == [True, 'hans', 'hans', 'hans']


# -- named sessions (SS-11) ------------------------------------------------------------------------


def test_a_named_session(client_for: Make) -> None:
    """A-70, E.4: its own cookie; the default one is another."""

    def index(was: Any) -> Any:
        was.session.mount('admin', path='/admin')
        was.session.set('login', True)
        was.session.mount()
        return [was.session['login'], was.session.exists('ADMIN'), was.session.exists()]

    client = client_for(app_of(index=index))
    response = client.get('/index')
    assert response.data['answer'] == [None, True, False]
    [field] = set_cookies(response)
    assert field.startswith('ATLSES_ADMIN=')
    assert '; path=/admin; expires=' in field
    assert field.endswith('; HttpOnly; SameSite=Lax')


def test_several_sessions_keep_their_own_changes(client_for: Make) -> None:
    """SS-11: going back and forth; each with its options."""

    def change(was: Any) -> Any:
        session = was.session
        session['n'] = 0
        session.mount('A', session_timeout=60, secure=True)
        session['n'] = 1
        session.mount('B', securekey='another', http_only=False, domain='example.com')
        session['n'] = 2
        session.mount('a')
        session['m'] = session['n'] + 10
        session.mount(None)
        session['m'] = session['n'] + 10
        session.mount('B')
        return [session['n'], session['m']]

    client = client_for(app_of(change=change))
    response = client.get('/change')
    assert response.data['answer'] == [2, None]
    fields = {field.partition('=')[0]: field for field in set_cookies(response)}
    assert list(fields) == ['ATLSES_', 'ATLSES_A', 'ATLSES_B']
    assert 1190 < seconds_ahead(fields['ATLSES_']) <= 1200
    assert 50 < seconds_ahead(fields['ATLSES_A']) <= 60
    assert fields['ATLSES_A'].endswith('; Secure; HttpOnly; SameSite=Lax')
    assert fields['ATLSES_B'].endswith('; domain=example.com; SameSite=Lax')

    def read(was: Any) -> Any:
        found = [dict(was.session.items())]
        for name in ('A', 'B'):
            was.session.mount(name)
            found.append(dict(was.session.items()))
        exists = [was.session.exists(name) for name in (None, 'A', 'B', 'C')]
        was.session.mount('B', securekey='another')
        return [*found, dict(was.session.items()), exists, was.session.exists('b')]

    cookies = '; '.join(field.partition(';')[0] for field in fields.values())
    assert ask(client_for(app_of(read=read)), 'read', Cookie=cookies) == [
        {'n': 0, 'm': 10},
        {'n': 1, 'm': 11},
        {},
        {'n': 2},
        [True, True, False, False],
        True,
    ]
    exists = app_of(step=lambda was: [was.session.exists('B'), was.session.exists('B', 'another')])
    assert ask(client_for(exists), 'step', Cookie=cookies) == [False, True]


def test_one_session_does_not_pass_for_another(client_for: Make) -> None:
    """Its name is sealed with it."""

    def read(was: Any) -> Any:
        was.session.mount('ADMIN')
        return was.session['user']

    client = client_for(app_of(login=login, read=read))
    value = fields_of(client, 'login')[0].partition(';')[0].partition('=')[2]
    assert ask(client, 'read', Cookie='ATLSES_ADMIN=' + value) is None


def test_other_options_for_an_open_session(client_for: Make) -> None:
    """SS-11: it is written with them, changed or not."""

    def step(was: Any) -> Any:
        assert was.session['user'] == 'hans'
        was.session.mount(secure=True)
        return was.session['user']

    client = client_for(app_of(login=login, step=step))
    ask(client, 'login')
    response = client.get('/step')
    assert response.data['answer'] == 'hans'
    assert [field.partition('; Secure')[1] for field in set_cookies(response)] == ['; Secure']


def test_mounting_alone_writes_nothing(client_for: Make) -> None:
    def step(was: Any) -> None:
        for name in ('A', None, 'A', None):
            was.session.mount(name)

    client = client_for(app_of(login=login, step=step))
    ask(client, 'login')
    assert fields_of(client, 'step') == []


def test_expire_a_named_session_that_is_not_sent_here(client_for: Make) -> None:
    """SS-06: a logout page is seldom below the session's path."""

    def step(was: Any) -> None:
        was.session.mount('ADMIN', path='/admin')
        was.session.expire()

    [field] = fields_of(client_for(app_of(step=step)), 'step')
    assert field.startswith('ATLSES_ADMIN=; path=/admin; expires=')


@pytest.mark.parametrize(
    ('options', 'error'),
    [
        ({'path': '/admin'}, AssertionError),
        ({'name': '', 'path': '/admin'}, AssertionError),
        ({'name': 1}, TypeError),
        ({'name': 'A', 'path': 'x'}, ValueError),
        ({'name': 'A', 'path': '/\r\n'}, ValueError),
        ({'name': 'A', 'domain': 'a;b'}, ValueError),
        ({'name': 'A', 'session_timeout': 0}, ValueError),
        ({'name': 'A', 'securekey': ''}, RuntimeError),
    ],
)
def test_mistakes_in_mounting(client_for: Make, options: Any, error: type[Exception]) -> None:
    """SS-11: the session at hand stays."""

    def step(was: Any) -> Any:
        was.session['user'] = 'hans'
        with pytest.raises(error):
            was.session.mount(**options)
        was.session.mount(None, path='/')
        return was.session['user']

    assert ask(client_for(app_of(step=step)), 'step') == 'hans'


# -- commit, rollback, isolation (RC-07; PITFALLS, One client sees another's data) -----------------


def test_what_a_failing_request_changed_is_seen_by_nobody(client_for: Make) -> None:
    """RC-07: session, messages and cookies; on the same thread, by the same client and another."""

    def fail(was: Any) -> None:
        was.session['user'] = 'evil'
        was.session.mount('ADMIN')
        was.session['login'] = True
        was.mbox.send('secret')
        was.cookie['a'] = '1'
        raise RuntimeError('late')

    def read(was: Any) -> Any:
        found = [was.session['user'], was.mbox.get(), 'a' in was.cookie]
        was.session.mount('ADMIN')
        return [*found, was.session['login']]

    client = client_for(app_of(login=login, fail=fail, read=read), threads=1)
    ask(client, 'login')
    for _ in range(3):
        response = client.get('/fail')
        assert (response.status_code, set_cookies(response)) == (500, [])
        assert ask(client, 'read') == ['hans', [], False, None]
        assert ask(client.clone(), 'read') == [None, [], False, None]


def test_clients_at_the_same_time_see_their_own(client_for: Make) -> None:
    """PITFALLS: while the threads are shared."""
    meet = threading.Barrier(4)

    def enter(was: Any) -> Any:
        name = was.request.get_header('X-Name')
        before = was.session['name']
        was.session['name'] = name
        meet.wait(10)
        return [before, was.session['name']]

    client = client_for(app_of(enter=enter), threads=4)

    def visit(name: str) -> list[Any]:
        mine = client.clone()
        return [ask(mine, 'enter', **{'X-Name': name}) for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        for name, seen in zip('abcd', pool.map(visit, 'abcd'), strict=True):
            assert seen == [[None, name]] + [[name, name]] * 4


def test_the_session_is_written_before_the_messages_before_the_cookies(client_for: Make) -> None:
    """RC-07; CK-03: one field for each name."""

    def step(was: Any) -> None:
        was.mbox.send('hello')
        was.session['user'] = 1
        was.mbox.send('again')

    names = [field.partition('=')[0] for field in fields_of(client_for(app_of(step=step)), 'step')]
    assert names == ['ATLSES_', 'ATLMBX_']


def test_a_change_after_the_answer_has_begun(client_for: Make, caplog: pytest.LogCaptureFixture) -> None:
    """It is ignored; the log says so once."""
    app = app_of(user=user)

    @app.route('/stream')
    def stream(was):
        was.session['user'] = 'hans'
        yield 'one '
        was.session['user'] = 'fritz'
        was.session.clear()
        was.session.expire()
        was.session.set_expiry(5)
        was.mbox.send('late')
        yield was.session['user']

    client = client_for(app)
    with caplog.at_level(logging.WARNING):
        assert client.get('/stream').text == 'one hans'
        wait_for(lambda: 'after the answer had begun' in caplog.text, 'a warning')
    assert caplog.text.count('after the answer had begun') == 1
    assert ask(client, 'user') == 'hans'


@pytest.mark.parametrize('kind', ['async', 'generator'])
def test_other_kinds_of_services(client_for: Make, kind: str) -> None:
    app = app_of(user=user)
    if kind == 'async':

        @app.route('/step')
        async def service(was):
            was.session['user'] = 'hans'
            return 'x'

    else:

        @app.route('/step')
        def service(was):
            was.session['user'] = 'hans'
            yield 'x'

    client = client_for(app)
    assert client.get('/step').text == 'x'
    assert ask(client, 'user') == 'hans'


SERVE = """
    import skitai
    from atila import Atila

    app = Atila (__name__)

    @app.route ("/session")
    def hello_world (was, user = None):
        if "user_id" not in was.session:
            was.session ["user_id"] = user
        return was.session ["user_id"]

    @app.route("/")
    def index (was):
        was.session.mount ("ADMIN", path = '/admin')
        was.session.set ("login", True)
        was.session.mount () # resore to default session
        return ''

    @app.route("/admin")
    def admin (was):
        was.session.mount ("ADMIN", path = '/admin')
        return str (was.session ["login"])

    with skitai.preference () as pref:
        pref.securekey = "ds8fdsflksdjf9879dsf;?<>Asda"
        pref.session_timeout = 1200 # sec
    skitai.mount ("/", app, pref)
    skitai.run (workers = 2)
"""


def test_on_a_server_with_two_workers(launch: Launcher) -> None:
    """A-68 to A-70: any worker reads what another has written."""
    client = launch({'serve.py': SERVE})
    assert client.get('/session?user=hans').text == 'hans'
    client.get('/')
    for _ in range(10):
        assert client.get('/session?user=fritz').text == 'hans'
        assert client.get('/admin').text == 'True'
        assert client.clone().get('/session?user=fritz').text == 'fritz'
