"""Rules and how requests find them (SPEC chapter 13, appendix E.3)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Direct, parse_answer, request_bytes, send_raw

from atila import Atila
from skitai.testing import Client

Make = Callable[..., Client]


def table_app() -> Atila:
    """The routes of appendix E.3."""
    app = Atila('app')

    @app.route('/profiles/<int:id>', methods=['GET'])
    def prof(was, id, detail=None):
        return was.API(value=id)

    @app.route('/p2/<int:id>')
    def p2(was, id=None):
        return was.API(value=id)

    @app.route('/owners/<oid>/pets/<int:pid>')
    def pets(was, oid, pid=1):
        return was.API(value=[oid, pid])

    @app.route('/f/<float:x>')
    def fl(was, x):
        return was.API(value=x)

    @app.route('/dl/<path:path>')
    def dl(was, path=None):
        return was.API(value=path)

    @app.route('/s/<name>')
    def s(was, name='Hans Roh'):
        return was.API(value=name)

    @app.route('/nav')
    def nav(was, limit=20, pageno=1):
        return was.API(value='nav')

    return app


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        ('/profiles/123', 123),
        ('/profiles/me', 'me'),
        ('/profiles/notme', 'notme'),
        ('/profiles/new', 'new'),
        ('/profiles/007', 7),
        ('/p2', None),
        ('/p2/7', 7),
        ('/owners/54/pets', ['54', 1]),
        ('/owners/54/pets/5', ['54', 5]),
        ('/f/1.5', 1.5),
        ('/f/2', 2.0),
        ('/f/me', 'me'),
        ('/dl/a/b', 'a/b'),
        ('/dl', None),
        ('/dl/', None),
        ('/dl/a%2Fb/c//d/', 'a/b/c//d/'),
        ('/s', 'Hans Roh'),
        ('/s/Hans%20Roh', 'Hans Roh'),
        ('/s/a%2Fb', 'a/b'),
        ('/s/caf%C3%A9', 'café'),
        ('/s/a+b', 'a+b'),
        ('/s/a_b', 'a_b'),
        ('/s/me', 'me'),
        ('/nav', 'nav'),
    ],
)
def test_values_in_the_path(client_for: Make, path: str, value: Any) -> None:
    """E.3, RT-05 to RT-09, PR-11."""
    response = client_for(table_app()).get(path)
    assert response.status_code == 200, response.text
    assert response.data['value'] == value
    assert type(response.data['value']) is type(value)


@pytest.mark.parametrize(
    ('path', 'status'),
    [
        ('/profiles/abc', 404),
        ('/profiles/-1', 404),
        ('/profiles/+1', 404),
        ('/profiles/1_0', 404),
        ('/profiles/%D9%A1', 404),
        ('/profiles', 404),
        ('/profiles/', 404),
        ('/profiles/1/', 404),
        ('/profiles/' + '9' * 5000, 400),
        ('/f/1.2.3', 400),
        ('/f/1..2', 400),
        ('/f/x', 404),
        ('/f', 404),
        ('/s/', 404),
        ('/s/a/b', 404),
        ('/nav/', 404),
        ('/nope', 404),
        ('/', 404),
        ('//nav', 404),
        ('/s/%FF', 400),
        ('/%FF', 400),
    ],
)
def test_paths_that_lead_nowhere(client_for: Make, path: str, status: int) -> None:
    """E.3, RT-05 to RT-08, RT-11."""
    assert client_for(table_app()).get(path).status_code == status


@pytest.mark.parametrize(
    ('method', 'path', 'status', 'allow'),
    [
        ('POST', '/profiles/1', 405, 'GET, HEAD'),
        ('POST', '/nav', 200, None),
        ('OPTIONS', '/nav', 405, 'GET, HEAD, POST'),
        ('PUT', '/nav', 405, 'GET, HEAD, POST'),
        ('HEAD', '/nav', 200, None),
        ('HEAD', '/profiles/1', 200, None),
        ('BREW', '/s/x', 405, 'GET, HEAD, POST'),
        ('BREW', '/nope', 404, None),
    ],
)
def test_methods(client_for: Make, method: str, path: str, status: int, allow: str | None) -> None:
    """E.3, RT-02; PITFALLS, Serving: a 405 has an Allow header, HEAD is answered where GET is."""
    response = client_for(table_app()).request(method, path)
    assert response.status_code == status
    assert response.headers.get('Allow') == allow
    if method == 'HEAD':
        assert response.content == b''


def test_an_omitted_parameter_at_the_root(client_for: Make) -> None:
    """E.3, RT-09."""
    app = Atila('app')

    @app.route('/<int:id>')
    def service(was, id=None):
        return was.API(value=id)

    client = client_for(app)
    assert [client.get(path).data['value'] for path in ('/', '/5')] == [None, 5]


def test_a_point_with_a_slash_route(client_for: Make) -> None:
    """E.3, RT-03, RT-11: the redirect keeps the query."""

    def beta(app: Atila, mntopt: Any) -> None:
        @app.route('/')
        def index(was, a=None):
            return 'slash'

    app = Atila('app')
    app.mount('/beta', beta)
    client = client_for(app)
    response = client.get('/beta?a=1')
    assert (response.status_code, response.headers['Location']) == (301, '/beta/?a=1')
    assert client.get('/beta/').text == 'slash'
    assert client.get('/beta/1').status_code == 404


def test_a_point_with_both_routes(client_for: Make) -> None:
    """E.3, RT-03."""

    def beta(app: Atila, mntopt: Any) -> None:
        @app.route('/')
        @app.route('')
        def index(was):
            return 'here'

    app = Atila('app')
    app.mount('/beta', beta)
    client = client_for(app)
    assert [client.get(path).text for path in ('/beta', '/beta/')] == ['here', 'here']


def test_a_point_with_a_blank_route(client_for: Make) -> None:
    """E.3, RT-03."""

    def beta(app: Atila, mntopt: Any) -> None:
        @app.route('')
        def index(was):
            return 'here'

    app = Atila('app')
    app.mount('/beta', beta)
    client = client_for(app)
    assert client.get('/beta').text == 'here'
    assert client.get('/beta/').status_code == 404


def test_an_unrouted_pattern_has_its_own_status(client_for: Make) -> None:
    """E.3, EX-04."""
    app = Atila('app')

    @app.route('/beta')
    @app.route('/alpha')
    def service(was):
        return 'here'

    app.unroute('/be*', 310)
    client = client_for(app)
    assert client.get('/beta').status_code == 310
    assert client.get('/alpha').text == 'here'


@pytest.mark.parametrize('rule', ['nav', 'x/', 7, None])
def test_a_rule_must_begin_with_a_slash(rule: Any) -> None:
    """RT-01."""
    with pytest.raises(AssertionError, match='must be'):
        Atila('app').route(rule)


@pytest.mark.parametrize(
    ('rule', 'reason'),
    [
        ('/<int:id', 'no parameter'),
        ('/x<int:id>', 'no parameter'),
        ('/<what:id>', 'unknown kind'),
        ('/<path:p>/x', 'must be last'),
        ('/<a>/<a>', 'twice'),
        ('/<1a>', 'no parameter'),
    ],
)
def test_a_bad_rule_is_refused_where_it_is_written(rule: str, reason: str) -> None:
    """RT-01, RT-08."""
    with pytest.raises(ValueError, match=reason):
        Atila('app').route(rule)


def test_a_service_with_positional_parameters_is_refused() -> None:
    """RT-01."""
    app = Atila('app')
    with pytest.raises(ValueError, match=r'\*args'):

        @app.route('/')
        def service(was, *args):
            return ''

    with pytest.raises(ValueError, match='positional-only'):

        @app.route('/')
        def other(was, a, /):
            return ''

    with pytest.raises(TypeError, match='must take `was`'):

        @app.route('/')
        def bare():
            return ''


def test_several_rules_on_one_function(client_for: Make) -> None:
    """RT-01."""
    app = Atila('app')

    @app.route('/a')
    @app.route('/b', methods=['PUT'])
    def service(was):
        return was.request.path

    client = client_for(app)
    assert client.get('/a').text == '/a'
    assert client.put('/b').text == '/b'
    assert client.get('/b').status_code == 405


def test_methods_of_one_path_go_to_their_functions(client_for: Make) -> None:
    """RT-02."""
    app = Atila('app')

    for verb in ('get', 'put', 'delete'):

        def service(was, id=None, verb=verb):
            return was.API(verb=verb, id=id)

        service.__name__ = verb
        app.route('/fixed', methods=[verb])(service)
        app.route('/items/<int:id>', methods=[verb.upper()])(service)

    client = client_for(app)
    for verb in ('get', 'put', 'delete'):
        assert client.request(verb.upper(), '/fixed').data['verb'] == verb
        assert client.request(verb.upper(), '/items/7').data == {'verb': verb, 'id': 7}
    response = client.post('/items/7')
    assert (response.status_code, response.headers['Allow']) == (405, 'DELETE, GET, HEAD, PUT')


def test_a_method_at_a_literal_and_another_at_a_parameter(client_for: Make) -> None:
    """RT-02, RT-10: each place that matches counts."""
    app = Atila('app')

    @app.route('/items/all', methods=['GET'])
    def everything(was):
        return 'all'

    @app.route('/items/<name>', methods=['DELETE'])
    def remove(was, name):
        return 'removed ' + name

    client = client_for(app)
    assert client.get('/items/all').text == 'all'
    assert client.delete('/items/all').text == 'removed all'
    response = client.put('/items/all')
    assert (response.status_code, response.headers['Allow']) == (405, 'DELETE, GET, HEAD')


def test_content_types(client_for: Make) -> None:
    """RT-04: 406 for a body of another type; a request without a body may lack it."""
    app = Atila('app')

    @app.route('/', content_types=['text/csv', 'Application/JSON'])
    def service(was, **values):
        return 'taken'

    client = client_for(app)
    for given_type in ('text/csv', 'TEXT/CSV; charset=utf-8', 'application/json'):
        assert client.post('/', b'{}', headers={'Content-Type': given_type}).text == 'taken'
    for given_type in ('text/html', 'text/csvx', ''):
        assert client.post('/', b'{}', headers={'Content-Type': given_type}).status_code == 406
    assert client.post('/', b'x').status_code == 406
    assert client.get('/').text == 'taken'


def test_precedence(client_for: Make) -> None:
    """RT-10: exact, then longer literal prefixes, then as declared; a path parameter last."""
    app = Atila('app')

    def route(rule: str) -> None:
        def service(was, **values):
            return rule

        service.__name__ = f'at_{len(app._endpoints)}'
        app.route(rule)(service)

    rules = ('/<path:rest>', '/<a>/<b>', '/x/<b>', '/x/y', '/x/<int:b>', '/x/<a>/z', '/<int:n>/<b>')
    for rule in rules:
        route(rule)
    client = client_for(app)
    assert {path: client.get(path).text for path in ('/x/y', '/x/1', '/w/1', '/1/1', '/x/q/z', '/x/q/w')} == {
        '/x/y': '/x/y',
        '/x/1': '/x/<b>',  # declared before <int:b>
        '/w/1': '/<a>/<b>',
        '/1/1': '/<a>/<b>',
        '/x/q/z': '/x/<a>/z',
        '/x/q/w': '/<path:rest>',
    }


def test_an_explicit_route_wins_over_an_omitted_parameter(client_for: Make) -> None:
    """RT-09, whatever the order."""
    app = Atila('app')

    @app.route('/a')
    def a(was):
        return 'explicit'

    @app.route('/a/<x>')
    def a_x(was, x=None):
        return 'omitted'

    @app.route('/b/<x>')
    def b_x(was, x=None):
        return 'omitted'

    @app.route('/b')
    def b(was):
        return 'explicit'

    client = client_for(app)
    assert [client.get(path).text for path in ('/a', '/b', '/a/1', '/b/1')] == ['explicit'] * 2 + [
        'omitted'
    ] * 2


def test_a_redirect_to_the_slash(client_for: Make) -> None:
    """RT-11: query kept; never to another host."""
    app = Atila('app')

    @app.route('/<a>/')
    @app.route('/evil.com/<path:rest>')
    @app.route('/dir/')
    def directory(was, a='', rest='', **values):
        return 'there'

    client = client_for(app)
    response = client.get('/dir?x=%20&y')
    assert (response.status_code, response.headers['Location']) == (301, '/dir/?x=%20&y')
    assert client.get('/caf%C3%A9').headers['Location'] == '/caf%C3%A9/'
    assert client.post('/dir').status_code == 301


def test_no_redirect_to_another_host(direct_for: Callable[..., Direct]) -> None:
    """RT-11; PITFALLS, Security: `//host` as a path is no address."""
    app = Atila('app')

    @app.route('/<path:rest>')
    def service(was, rest):
        return 'there'

    @app.route('//evil.com/')
    def evil(was):
        return 'there'

    engine = direct_for(app)
    for target in (b'//evil.com', b'/\\evil.com', b'//evil.com/..'):
        answer = parse_answer(send_raw(engine.connect(), request_bytes(target=target)))
        if answer.status in (301, 302, 308):
            assert answer.headers is not None
            assert not (answer.headers['Location'] or '').startswith(('//', '/\\'))


def test_no_redirect_to_a_path_that_is_not_there(client_for: Make) -> None:
    """RT-08, RT-11: `/dl/` needs a default, so `/dl` leads nowhere at once."""
    app = Atila('app')

    @app.route('/dl/<path:path>')
    def dl(was, path):
        return path

    client = client_for(app)
    assert [client.get(path).status_code for path in ('/dl', '/dl/', '/dl/x')] == [404, 404, 200]


def test_a_name_that_is_defined_twice_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """RT-12."""
    app = Atila('app')

    def make() -> Callable[..., str]:
        def service(was):
            return ''

        return service

    app.route('/a')(make())
    app.route('/b')(make())
    assert [r.levelno for r in caplog.records if 'already defined' in r.message] == [logging.ERROR]


def test_a_path_that_is_routed_twice_is_reported(client_for: Make, caplog: pytest.LogCaptureFixture) -> None:
    """RT-12: the last one wins."""
    app = Atila('app')

    @app.route('/a')
    def first(was):
        return 'first'

    @app.route('/a', methods=['POST'])
    def second(was):
        return 'second'

    assert [r.levelno for r in caplog.records if 'replaces' in r.message] == [logging.WARNING]
    client = client_for(app)
    assert (client.get('/a').text, client.post('/a').text) == ('first', 'second')


def test_static_files_come_before_routes(client_for: Make, tmp_path: Any) -> None:
    """RT-13, ST-15: for GET and HEAD."""
    import skitai

    (tmp_path / 'a.txt').write_text('file')
    app = Atila('app')

    @app.route('/a.txt', methods=['GET', 'POST'])
    def service(was):
        return 'route'

    pref = skitai.preference()
    pref.set_static('/', str(tmp_path))
    client = client_for(app, pref)
    assert (client.get('/a.txt').text, client.post('/a.txt').text) == ('file', 'route')


def test_subdomain(client_for: Make) -> None:
    """RT-14."""
    app = Atila('app')

    @app.route('/', subdomain='k')
    def service(was):
        return 'k'

    client = client_for(app)
    assert client.get('/', headers={'Host': 'K.example.com:80'}).text == 'k'
    for host in ('example.com', 'kk.example.com', 'k', 'x.k.example.com'):
        assert client.get('/', headers={'Host': host}).status_code == 404


def test_names_of_services(client_for: Make) -> None:
    """RT-15: a mount's `ns` stands for the module."""

    def sub(app: Atila, mntopt: Any) -> None:
        @app.route('/owners')
        def owners(was):
            return was.urlfor('v1.owners')

    app = Atila('app')
    app.mount('/v1', sub, ns='v1')

    @app.route('/index')
    def index(was):
        return was.urlfor('index')

    client = client_for(app)
    assert client.get('/v1/owners').text == '/v1/owners'
    assert client.get('/index').text == '/index'


def test_a_mounted_app_sees_its_own_part_of_the_path(client_for: Make) -> None:
    """RT-05 below a mount point, ST-18."""
    app = table_app()
    app.route('/')(lambda was, q=None: 'index')
    client = client_for(app, point='/my app')
    assert client.get('/my%20app/s/a%2Fb').data['value'] == 'a/b'
    assert client.get('/my%20app/dl/x/y').data['value'] == 'x/y'
    response = client.get('/my%20app?q=1')
    assert (response.status_code, response.headers['Location']) == (308, '/my%20app/?q=1')
    assert client.get('/my%20appendix').status_code == 404


# -- properties ------------------------------------------------------------------------------------

#: What hyper lets into a request line; the rest is tried in tests/skitai/engine/test_hardening.py.
TARGETS = st.binary(max_size=60).map(
    lambda data: (
        b'/'
        + b''.join(b'%%%02X' % c if c < 0x21 or c in b'"<>\\^`{|}#' or c > 0x7E else b'%c' % c for c in data)
    )
)


def test_any_path_gives_an_answer(
    direct_for: Callable[..., Direct], caplog: pytest.LogCaptureFixture
) -> None:
    """RT-05 to RT-11: a value or a 4xx, never a 5xx, for whatever bytes the segments are."""
    engine = direct_for(table_app())
    prefixes = (b'', b'/s', b'/dl', b'/profiles', b'/f', b'/owners/1/pets')

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(prefixes), TARGETS)
    def check(prefix: bytes, target: bytes) -> None:
        answer = parse_answer(send_raw(engine.connect(), request_bytes(target=prefix + target)))
        assert answer.status in (200, 301, 400, 404), (target, answer)

    check()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1, max_size=30).filter(lambda text: text.encode('utf-8', 'ignore').decode() == text))
def test_a_value_comes_back_from_the_url_it_was_put_in(value: str) -> None:
    """RT-05, UR-01: `urlfor` and routing are each other's inverse."""
    from atila.routing import Router, Rule

    router = Router()
    rule = Rule('/s/<name>')
    resource = router.resource(rule)
    found = list(router.find(rule.build({'name': value}).encode('ascii')))
    assert found == [(resource, (value,))]
