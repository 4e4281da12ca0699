"""`was.cookie` (SPEC chapter 16, RC-07, TE-03, E.4, A-66 to A-67)."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from http.cookies import SimpleCookie
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from projects import wait_for
from serving import Direct, parse_answer, request_bytes, send_raw

from atila import Atila
from atila.state.cookie import Cookies, parse
from skitai.testing import Client

Make = Callable[..., Client]
Step = Callable[[Any], Any]


def app_of(**steps: Step) -> Atila:
    """An app that answers '/name' with what the step of that name gives, as JSON."""
    app = Atila('app')

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


def written(client_for: Make, step: Step, point: str = '/', cookie: str = '') -> list[str]:
    """The Set-Cookie fields that a step leads to."""
    client = client_for(app_of(step=step), point=point)
    response = client.get(point.rstrip('/') + '/step', headers={'Cookie': cookie} if cookie else {})
    assert response.status_code == 200, response.text
    return set_cookies(response)


def seconds_ahead(field: str) -> float:
    """How far the `expires` of a Set-Cookie field is ahead."""
    date = field.partition('; expires=')[2].partition(';')[0]
    return parsedate_to_datetime(date).timestamp() - time.time()


# -- what is written -------------------------------------------------------------------------------


def test_the_documented_use(client_for: Make) -> None:
    """A-66, CK-01: the same object by two names; the next request brings it."""

    def step(was: Any) -> Any:
        assert was.cookie is was.request.cookie
        known = 'user_id' in was.cookie
        if not known:
            was.request.cookie.set('user_id', 'hansroh')
        was.request.cookie['other'] = 'x'
        return [known, was.cookie['user_id'], was.cookie.get('other')]

    client = client_for(app_of(step=step))
    response = client.get('/step')
    assert set_cookies(response) == [
        'user_id=hansroh; path=/; HttpOnly; SameSite=Lax',
        'other=x; path=/; HttpOnly; SameSite=Lax',
    ]
    assert response.data == {'answer': [False, 'hansroh', 'x']}
    assert ask(client, 'step') == [True, 'hansroh', 'x']


def test_the_path_is_the_mount_point(client_for: Make) -> None:
    """CK-02, E.4, A-66; blanks become '+'."""
    assert written(client_for, lambda was: was.cookie.set('u', 'v w'), '/app')[0].startswith(
        'u=v+w; path=/app;'
    )


def test_the_mount_point_is_quoted_as_browsers_see_it(client_for: Make) -> None:
    client = client_for(app_of(step=lambda was: was.cookie.set('a', '1')), point='/café')
    response = client.get('/caf%C3%A9/step')
    assert set_cookies(response)[0].startswith('a=1; path=/caf%C3%A9;')


def test_seconds_and_attributes(client_for: Make) -> None:
    """CK-02, E.4."""
    [field] = written(
        client_for, lambda was: was.cookie.set('n', '1', 60, secure=True, http_only=True), '/app'
    )
    assert field.startswith('n=1; path=/app; expires=')
    assert field.endswith(' GMT; Secure; HttpOnly; SameSite=Lax')
    assert 50 < seconds_ahead(field) <= 60


def test_positional_arguments_in_the_documented_order(client_for: Make) -> None:
    """A-67."""
    [field] = written(client_for, lambda was: was.cookie.set('n', '1', None, '/x', 'a.example', True, False))
    assert field == 'n=1; path=/x; domain=a.example; Secure; SameSite=Lax'


def test_never_is_a_hundred_years(client_for: Make) -> None:
    """CK-02, E.4."""
    [field] = written(client_for, lambda was: was.cookie.set('e', '1', 'never'))
    assert abs(seconds_ahead(field) - 100 * 365.25 * 86400) < 86400


def test_more_than_never_is_never(client_for: Make) -> None:
    [field] = written(client_for, lambda was: was.cookie.set('e', '1', 1e300))
    assert abs(seconds_ahead(field) - 100 * 365.25 * 86400) < 86400


@pytest.mark.parametrize('expires', [0, 'now', -5])
def test_now_deletes(client_for: Make, expires: Any) -> None:
    """CK-02, E.4: an empty value that has expired; later reads see no cookie."""

    def step(was: Any) -> Any:
        was.cookie.set('x', '1', expires)
        assert 'x' not in was.cookie

    [field] = written(client_for, step, '/app', cookie='x=1')
    assert field.startswith('x=; path=/app; expires=')
    assert -5 < seconds_ahead(field) <= 0


def test_a_moment(client_for: Make) -> None:
    """A datetime, naive ones in UTC."""
    moment = datetime.datetime(2100, 1, 2, 3, 4, 5)
    zoned = datetime.datetime(2100, 1, 2, 4, 4, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))

    def step(was: Any) -> Any:
        was.cookie.set('a', '1', moment)
        was.cookie.set('b', '1', zoned)

    for field in written(client_for, step):
        assert '; expires=Sat, 02 Jan 2100 03:04:0' in field


@pytest.mark.parametrize(
    ('same_site', 'rest'),
    [
        ('Strict', 'HttpOnly; SameSite=Strict'),
        ('lax', 'HttpOnly; SameSite=Lax'),
        ('None', 'Secure; HttpOnly; SameSite=None'),
        (None, 'HttpOnly'),
    ],
)
def test_same_site(client_for: Make, same_site: str | None, rest: str) -> None:
    """CK-02, E.4: 'None' forces Secure."""
    fields = written(client_for, lambda was: was.cookie.set('a', '1', same_site=same_site))
    assert fields == ['a=1; path=/; ' + rest]


def test_scripts_read_it_when_told(client_for: Make) -> None:
    fields = written(client_for, lambda was: was.cookie.set('a', '1', http_only=False))
    assert fields == ['a=1; path=/; SameSite=Lax']


def test_remove(client_for: Make) -> None:
    """CK-01, E.4: also of what the client has not sent; with its path and domain."""

    def step(was: Any) -> Any:
        was.cookie.remove('a')
        was.cookie.remove('b', '/b', 'example.com')
        del was.cookie['c']
        return [list(was.cookie), was.cookie['a']]

    fields = written(client_for, step, '/app', cookie='a=1; c=3')
    assert [field.partition('; expires=')[0] for field in fields] == [
        'a=; path=/app',
        'b=; path=/b',
        'c=; path=/app',
    ]
    assert '; domain=example.com' in fields[1]
    assert all(seconds_ahead(field) <= 0 for field in fields)


def test_clear(client_for: Make) -> None:
    """CK-01: what the client has, and what was set before; sessions and messages where they are."""

    def step(was: Any) -> Any:
        was.cookie.set('new', '1')
        was.cookie.clear()
        assert len(was.cookie) == 0

    fields = written(client_for, step, '/app', cookie='a=1; ATLSES_=x; ATLMBX_=y')
    assert [field.partition('; expires=')[0] for field in fields] == [
        'new=; path=/app',
        'a=; path=/app',
        'ATLSES_=; path=/',
        'ATLMBX_=; path=/',
    ]


def test_one_field_for_a_name(client_for: Make) -> None:
    """CK-03: the last one counts."""

    def step(was: Any) -> Any:
        was.cookie['a'] = '1'
        was.cookie['a'] = 2
        return was.cookie['a']

    client = client_for(app_of(step=step))
    response = client.get('/step')
    assert set_cookies(response) == ['a=2; path=/; HttpOnly; SameSite=Lax']
    assert response.data['answer'] == '2'


def test_reading_writes_nothing(client_for: Make) -> None:
    """CK-03."""
    assert (
        written(
            client_for, lambda was: [was.cookie.get('a'), was.cookie['b'], 'c' in was.cookie], cookie='a=1'
        )
        == []
    )


# -- dict-like -------------------------------------------------------------------------------------


def test_dict_like(client_for: Make) -> None:
    """CK-01: a missing cookie is None."""

    def step(was: Any) -> Any:
        cookie = was.cookie
        return {
            'in': ['a' in cookie, 'z' in cookie, cookie.has_key('b'), cookie.has_key('z')],
            'item': [cookie['a'], cookie['z']],
            'get': [cookie.get('b'), cookie.get('z'), cookie.get('z', 'no')],
            'keys': list(cookie.keys()),
            'values': list(cookie.values()),
            'items': list(cookie.items()),
            'iteration': [*cookie, len(cookie), bool(cookie)],
        }

    client = client_for(app_of(step=step))
    assert ask(client, 'step', Cookie='a=1; b=x+y%3B') == {
        'in': [True, False, True, False],
        'item': ['1', None],
        'get': ['x y;', None, 'no'],
        'keys': ['a', 'b'],
        'values': ['1', 'x y;'],
        'items': [['a', '1'], ['b', 'x y;']],
        'iteration': ['a', 'b', 2, True],
    }


def test_attributes_for_templates(client_for: Make) -> None:
    """TE-03, A-130: a missing one renders empty."""
    template = jinja2.Environment(autoescape=True).from_string(
        '{{ request.cookie.username }}|{{ request.cookie.nobody or "N/A" }}|{{ request.cookie["username"] }}'
    )
    client = client_for(app_of(step=lambda was: template.render(request=was.request)))
    assert ask(client, 'step', Cookie='username=hans+%3C') == 'hans &lt;|N/A|hans &lt;'


def test_private_names_are_no_cookies(client_for: Make) -> None:
    client = client_for(app_of(step=lambda was: [hasattr(was.cookie, '_x'), hasattr(was.cookie, '__html__')]))
    assert ask(client, 'step', Cookie='_x=1; __html__=2') == [False, False]


def test_repr_shows_no_values(client_for: Make) -> None:
    client = client_for(app_of(step=lambda was: repr(was.cookie)))
    assert ask(client, 'step', Cookie='token=secret') == '<Cookies token>'


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'options',
    [
        {'path': '/a\r\nX-Evil: 1'},
        {'path': 'a'},
        {'path': ''},
        {'domain': 'a\r\nb'},
        {'domain': 'a; path=/'},
        {'domain': 'localhost:5000'},
        {'domain': ''},
        {'same_site': 'Sometimes'},
        {'expires': 'tomorrow'},
        {'expires': float('nan')},
        {'key': ''},
        {'key': '\ud800'},
        {'val': '\ud800'},
    ],
)
def test_what_would_break_the_field_is_a_value_error(client_for: Make, options: Any) -> None:
    """PITFALLS, Security: no response splitting; nothing is set."""

    def step(was: Any) -> Any:
        with pytest.raises(ValueError):
            was.cookie.set(**{'key': 'a', 'val': '1', **options})
        return len(was.cookie)

    assert written(client_for, step) == []


@pytest.mark.parametrize('options', [{'key': 1}, {'key': None}, {'val': None}, {'val': ['1']}, {'val': b'1'}])
def test_what_is_no_cookie_is_a_type_error(client_for: Make, options: Any) -> None:
    def step(was: Any) -> Any:
        with pytest.raises(TypeError):
            was.cookie.set(**{'key': 'a', 'val': '1', **options})

    assert written(client_for, step) == []


def test_nothing_splits_a_field(client_for: Make) -> None:
    """PITFALLS, Security: names, values and paths are quoted."""
    fields = written(client_for, lambda was: was.cookie.set('a;\r\nb', 'c;\r\nd=e', path='/x;y z'))
    assert fields == ['a%3B%0D%0Ab=c%3B%0D%0Ad%3De; path=/x%3By%20z; HttpOnly; SameSite=Lax']


def test_a_cookie_too_large_fails_the_request(client_for: Make, caplog: pytest.LogCaptureFixture) -> None:
    """SS-01: 4,093 bytes at most, with attributes; the log names it."""
    rest = len('big=; path=/; HttpOnly; SameSite=Lax')

    def fits(was: Any) -> None:
        was.cookie['big'] = 'x' * (4093 - rest)

    def fails(was: Any) -> None:
        was.cookie['small'] = '1'
        was.cookie['big'] = 'x' * (4094 - rest)

    client = client_for(app_of(fits=fits, fails=fails))
    assert [len(field) for field in set_cookies(client.get('/fits'))] == [4093]
    response = client.get('/fails')
    assert response.status_code == 500
    assert set_cookies(response) == []
    assert "the cookie 'big' has 4094 bytes" in caplog.text


# -- commit and rollback (RC-07, CK-03) ------------------------------------------------------------


def failing(was: Any) -> None:
    was.cookie['a'] = '1'
    raise ValueError('no')


def refusing(was: Any) -> None:
    was.cookie['a'] = '1'
    raise was.Error('418 I am a teapot')


@pytest.mark.parametrize('step', [failing, refusing])
@pytest.mark.parametrize('kind', ['def', 'generator', 'async'])
def test_an_error_sets_no_cookie(client_for: Make, step: Step, kind: str) -> None:
    """RC-07; PITFALLS, One client sees another's data."""
    app = Atila('app')
    if kind == 'async':

        @app.route('/step')
        async def service(was):
            step(was)

    elif kind == 'generator':

        @app.route('/step')
        def service(was):
            step(was)
            yield 'x'

    else:
        app.route('/step')(step)

    @app.route('/')
    def seen(was):
        return was.API(answer=list(was.cookie))

    client = client_for(app, threads=1)
    response = client.get('/step')
    assert response.status_code in (418, 500)
    assert set_cookies(response) == []
    assert ask(client, '') == []


@pytest.mark.parametrize(
    'content', ['text', 'api', 'redirect', 'status', 'empty', 'large', 'stream', 'file', 'async']
)
def test_every_kind_of_answer_brings_cookies(client_for: Make, content: str, tmp_path: Any) -> None:
    """CK-03: each way of answering, once."""
    (tmp_path / 'file.txt').write_text('x')
    app = Atila('app')

    def made(was: Any) -> Any:
        was.cookie['a'] = '1'
        if content == 'api':
            return was.API(a=1)
        if content == 'redirect':
            return was.redirect('/elsewhere')
        if content == 'status':
            return was.response('404 Not Found', 'no')
        if content == 'empty':
            return was.response('204 No Content', '')
        if content == 'stream':
            return iter(['a', 'b'])
        if content == 'file':
            return was.File(str(tmp_path / 'file.txt'))
        return 'x' * 10_000 if content == 'large' else 'x'

    if content == 'async':

        @app.route('/')
        async def service(was):
            return made(was)

    else:
        app.route('/')(made)

    assert set_cookies(client_for(app).get('/')) == ['a=1; path=/; HttpOnly; SameSite=Lax']


def test_a_generator_sets_cookies_before_its_first_part(
    client_for: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes later is ignored; the log says so once."""
    app = Atila('app')

    @app.route('/')
    def service(was):
        was.cookie['a'] = '1'
        yield 'one '
        was.cookie['b'] = '2'
        was.cookie.remove('a')
        yield f'{was.cookie["a"]} {was.cookie["b"]}'

    with caplog.at_level(logging.WARNING):
        response = client_for(app).get('/')
        assert response.text == 'one 1 None'
    assert [field.partition(';')[0] for field in set_cookies(response)] == ['a=1']
    assert caplog.text.count('after the answer had begun') == 1


def test_the_first_change_after_the_answer_has_begun(
    client_for: Make, caplog: pytest.LogCaptureFixture
) -> None:
    app = Atila('app')

    @app.route('/')
    def service(was):
        yield 'one'
        yield 'two'
        was.cookie['b'] = '2'

    response = client_for(app).get('/')
    assert (response.text, set_cookies(response)) == ('onetwo', [])
    wait_for(lambda: 'after the answer had begun' in caplog.text, 'a warning')


def test_a_kept_jar_does_not_bring_back_what_was_rolled_back(client_for: Make) -> None:
    """RC-07: an error handler that changes the failed request's own object changes nothing."""
    app = Atila('app')
    kept = []

    @app.route('/')
    def service(was):
        was.cookie['secret'] = '1'
        kept.append(was.cookie)
        raise ValueError('no')

    @app.error_handler(500, '*')
    def handler(was, error):
        kept[0]['other'] = '2'
        return f'page {len(was.cookie)}'

    response = client_for(app).get('/')
    assert (response.status_code, response.text) == (500, 'page 0')
    assert set_cookies(response) == []


def test_a_change_in_the_teardown_hook_is_too_late(
    client_for: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """RC-04: the cookies were written before it."""
    app = app_of(step=lambda was: was.cookie.set('a', '1'))

    @app.teardown_request
    def teardown(was):
        was.cookie['b'] = '2'

    response = client_for(app).get('/step')
    assert [field.partition(';')[0] for field in set_cookies(response)] == ['a=1']
    assert caplog.text.count('after the answer had begun') == 1


# -- the parser ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('header', 'found'),
    [
        (None, {}),
        (b'', {}),
        (b'a=1', {'a': '1'}),
        (b'a=1; b=2;c=3 ;  d = 4', {'a': '1', 'b': '2', 'c': '3', 'd': '4'}),
        (b'a=1; a=2', {'a': '1'}),
        (b'a=1; %61=2', {'a': '1'}),
        (b'a=', {'a': ''}),
        (b'a; =b; ; =;', {}),
        (b'a=b=c==', {'a': 'b=c=='}),
        (b'a="x y"; b="; c="', {'a': 'x y', 'b': '"', 'c': '"'}),
        (b'a=""', {'a': ''}),
        (b'a=x+y%20z%', {'a': 'x y z%'}),
        ('a=ä; ü=1'.encode(), {'a': 'ä', 'ü': '1'}),
        (b'a=%C3%A4; b=\xff; c=%ff', {'a': 'ä', 'b': '\ufffd', 'c': '\ufffd'}),
        (b'__Host-a=1; %5F_Host-b=2; __Secure-c=3; __%53ecure-d=4', {'__Host-a': '1', '__Secure-c': '3'}),
    ],
)
def test_parsing(header: bytes | None, found: dict[str, str]) -> None:
    """CK-01."""
    assert parse(header) == found


@given(st.binary() | st.text('ab=;"%+ \\,\x00é').map(str.encode))
def test_any_bytes_are_parsed(header: bytes) -> None:
    for name, value in parse(header).items():
        assert (type(name), type(value)) == (str, str)
        name.encode()
        value.encode()


def jar_of(header: bytes | None = None) -> Cookies:
    """A jar outside a server."""
    was: Any = SimpleNamespace(
        exchange=SimpleNamespace(header=lambda name: header, answered=False),
        app=SimpleNamespace(point='/'),
        response=SimpleNamespace(jar=None),
        _response=None,
        request=SimpleNamespace(),
    )
    was.request.cookie = Cookies(was)
    return was.request.cookie


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=5))
def test_what_is_set_comes_back(values: dict[str, str]) -> None:
    """Through Set-Cookie and Cookie, as a browser takes them (RFC 6265, 5.2)."""
    assume(all(len(name) + len(value) < 300 for name, value in values.items()))
    jar = jar_of()
    for name, value in values.items():
        jar[name] = value
    fields = jar.commit()
    assert all(name == b'set-cookie' for name, _ in fields)
    header = b'; '.join(value.partition(b';')[0] for _, value in fields)
    assert header.isascii()
    assert header.decode().isprintable()
    assert parse(header) == values == dict(jar_of(header).items())


@given(st.text(min_size=1), st.text(), st.text().map(lambda text: '/' + text))
def test_no_text_makes_another_attribute(name: str, value: str, path: str) -> None:
    """PITFALLS, Security."""
    jar = jar_of()
    try:
        jar.set(name, value, path=path)
    except ValueError:  # control characters in the path
        return
    [(_, field)] = jar.commit()
    assert field.isascii()
    assert field.decode().isprintable()
    assert field.count(b';') == 3
    assert len(SimpleCookie(field.decode())) <= 1


def test_cookies_over_the_wire(direct_for: Callable[..., Direct]) -> None:
    """Several Cookie fields count as one (RFC 9113, 8.2.3); bytes of all kinds are no error."""
    engine = direct_for(app_of(step=lambda was: dict(was.cookie.items())))
    answer = parse_answer(
        send_raw(
            engine.connect(),
            request_bytes(target=b'/step', headers=b'Cookie: a=1; a=2\r\nCookie: b=\xc3\xa4; ;\xff==\r\n'),
        )
    )
    assert answer.body.decode() == '{"answer":{"a":"1","b":"ä","\ufffd":"="}}'


def test_change_in_a_teardown_hook_is_too_late_and_logged(
    client_for: Make, caplog: pytest.LogCaptureFixture
) -> None:
    app = Atila('app')
    app.route('/')(lambda was: 'content')

    @app.teardown_request
    def teardown(was: Any) -> None:
        was.cookie['late'] = 'yes'

    answer = client_for(app).get('/')
    assert answer.text == 'content'
    assert 'set-cookie' not in answer.headers
    assert 'cookie' in caplog.text
