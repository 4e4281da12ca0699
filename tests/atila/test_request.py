"""`was.request` (SPEC chapter 12)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from serving import Direct, parse_answer, request_bytes, send_raw

from atila import Atila
from skitai.testing import Client

Make = Callable[..., Client]


def asking(question: Callable[[Any], Any]) -> Atila:
    """An app that answers every path with what `question (was)` gives, as JSON."""
    app = Atila('app')

    @app.route('/')
    @app.route('/<path:rest>', methods=['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
    def service(was, rest='', **values):
        return was.API(answer=question(was))

    return app


def answered(client: Client, uri: str = '/', method: str = 'GET', **options: Any) -> Any:
    response = client.request(method, uri, **options)
    assert response.status_code == 200, response.text
    return response.data['answer']


# -- request line ----------------------------------------------------------------------------------


@pytest.mark.parametrize('method', ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'])
def test_method_is_upper_case_and_command_lower_case(client_for: Make, method: str) -> None:
    """RQ-01."""
    client = client_for(asking(lambda was: [was.request.method, was.request.command]))
    assert answered(client, '/a', method) == [method, method.lower()]


@pytest.mark.parametrize('uri', ['/', '/a/b?x=1&y=%20z', '/caf%C3%A9/a%2Fb', '/a;p=1?q'])
def test_uri_is_path_and_query_as_sent(client_for: Make, uri: str) -> None:
    """RQ-02."""
    assert answered(client_for(asking(lambda was: was.request.uri)), uri) == uri


def test_path_is_decoded(client_for: Make) -> None:
    client = client_for(asking(lambda was: was.request.path))
    assert answered(client, '/caf%C3%A9/x%20y?z=1') == '/café/x y'


def test_version_of_http_1_1(client_for: Make) -> None:
    """RQ-03."""
    assert answered(client_for(asking(lambda was: was.request.version))) == '1.1'


def test_version_of_http_1_0(direct_for: Callable[..., Direct]) -> None:
    """RQ-03."""
    engine = direct_for(asking(lambda was: was.request.version))
    answer = parse_answer(send_raw(engine.connect(), b'GET / HTTP/1.0\r\n\r\n'))
    assert json.loads(answer.body) == {'answer': '1.0'}


def test_scheme(client_for: Make) -> None:
    """RQ-04, RQ-22: a proxy's word for it counts only where a proxy is configured."""
    question = asking(lambda was: [was.request.scheme, was.request.get_scheme()])
    assert answered(client_for(question)) == ['http', 'http']
    headers = {'X-Forwarded-Proto': 'https'}
    assert answered(client_for(question), headers=headers) == ['http', 'http']
    assert answered(client_for(question, proxied=True), headers=headers) == ['https', 'https']


@pytest.mark.parametrize(
    ('uri', 'parts'),
    [
        ('/a', ['/a', None, None, None]),
        ('/a;p=1', ['/a', ';p=1', None, None]),
        ('/a?q=1', ['/a', None, '?q=1', None]),
        ('/a;p?q;r', ['/a', ';p', '?q;r', None]),
    ],
)
def test_split_uri(client_for: Make, uri: str, parts: list[str | None]) -> None:
    """RQ-10."""
    assert answered(client_for(asking(lambda was: was.request.split_uri())), uri) == parts


# -- header fields ---------------------------------------------------------------------------------


def test_header_names_are_case_insensitive(client_for: Make) -> None:
    """RQ-11."""
    client = client_for(
        asking(
            lambda was: [
                was.request.get_header('x-ONE'),
                was.request.get_header('X-None'),
                was.request.get_header('X-None', 'nothing'),
                was.request.headers['X-one'],
                was.request.headers.get('X-None'),
                'x-oNe' in was.request.headers,
                'Naïve €' in was.request.headers,
            ]
        )
    )
    assert answered(client, headers={'X-One': '1'}) == ['1', None, 'nothing', '1', None, True, False]


def test_get_headers_lists_lines(client_for: Make) -> None:
    """RQ-12."""
    lines = answered(client_for(asking(lambda was: was.request.get_headers())), headers={'X-One-Two': 'a b'})
    assert 'X-One-Two: a b' in lines


def test_headers_is_a_mapping(client_for: Make) -> None:
    """RQ-12."""
    found = answered(client_for(asking(lambda was: dict(was.request.headers))), headers={'X-One': '1'})
    assert found['x-one'] == '1'


def test_repeated_fields_are_joined(direct_for: Callable[..., Direct]) -> None:
    """RQ-11, RFC 9110, 5.3; cookies with '; ' (RFC 9113, 8.2.3)."""
    engine = direct_for(
        asking(lambda was: [was.request.get_header('x-one'), was.request.get_header('cookie')])
    )
    headers = b'X-One: 1\r\nX-One: 2\r\nCookie: a=1\r\nCookie: b=2\r\n'
    answer = parse_answer(send_raw(engine.connect(), request_bytes(headers=headers)))
    assert json.loads(answer.body)['answer'] == ['1, 2', 'a=1; b=2']


def test_what_the_fields_say(client_for: Make) -> None:
    """RQ-15, RQ-16."""
    client = client_for(
        asking(
            lambda was: (
                {
                    name: getattr(was.request, name)
                    for name in ('user_agent', 'content_type', 'charset', 'content_length', 'host')
                }
                | {
                    'referer': was.request.referer,
                    'origin': was.request.origin,
                    'calls': [
                        was.request.get_user_agent(),
                        was.request.get_content_type(),
                        was.request.get_main_type(),
                        was.request.get_sub_type(),
                        was.request.get_host(),
                    ],
                }
            )
        )
    )
    headers = {
        'User-Agent': 'me/1',
        'Content-Type': 'Text/Plain; charset="euc-kr"',
        'Referer': 'http://a/',
        'Origin': 'http://b',
        'Host': 'c:80',
    }
    assert answered(client, '/', 'POST', data=b'abc', headers=headers) == {
        'user_agent': 'me/1',
        'content_type': 'text/plain',
        'charset': 'euc-kr',
        'content_length': 3,
        'host': 'c:80',
        'referer': 'http://a/',
        'origin': 'http://b',
        'calls': ['me/1', 'text/plain', 'text', 'plain', 'c:80'],
    }


def test_what_absent_fields_say(direct_for: Callable[..., Direct]) -> None:
    """RQ-15, RQ-16: None when absent."""
    engine = direct_for(
        asking(
            lambda was: [
                was.request.get_user_agent(),
                was.request.get_content_type(),
                was.request.get_main_type(),
                was.request.get_sub_type(),
                was.request.content_length,
                was.request.referer,
                was.request.origin,
                was.request.charset,
            ]
        )
    )
    answer = parse_answer(send_raw(engine.connect(), request_bytes()))
    assert json.loads(answer.body)['answer'] == [None] * 7 + ['utf-8']


# -- who asks --------------------------------------------------------------------------------------


def test_remote_address(client_for: Make) -> None:
    """RQ-14: X-Forwarded-For counts only where a proxy is configured."""
    app = asking(
        lambda was: [was.request.get_remote_addr(), was.request.remote_addr, was.request.get_real_ip()]
    )
    headers = {'X-Forwarded-For': '203.0.113.9, 10.0.0.1'}
    assert answered(client_for(app), headers=headers) == ['127.0.0.1'] * 3
    assert answered(client_for(app, proxied=True), headers=headers) == ['127.0.0.1'] * 2 + ['203.0.113.9']


@pytest.mark.parametrize(
    ('address', 'private'),
    [('10.1.2.3', True), ('127.0.0.1', True), ('8.8.8.8', False), ('::1', True), ('nonsense', False)],
)
def test_private_addresses(client_for: Make, address: str, private: bool) -> None:
    """RQ-22."""
    client = client_for(asking(lambda was: was.request.is_private_ip()), proxied=True)
    assert answered(client, headers={'X-Forwarded-For': address}) is private


def test_transaction_ids(client_for: Make) -> None:
    """RQ-22: the caller's global id is taken over, the local one is new for each request."""
    client = client_for(asking(lambda was: [was.request.gtxid, was.request.ltxid, was.request.gtxid]))
    first = answered(client, headers={'X-Gtxn-Id': 'abc-1'})
    second = answered(client)
    assert first[0] == first[2] == 'abc-1'
    assert second[0] != 'abc-1'
    assert first[1] != second[1]


@pytest.mark.parametrize('forged', ['a b', 'a"b', 'é', 'x' * 65, ''])
def test_unsound_transaction_ids_are_not_taken_over(client_for: Make, forged: str) -> None:
    """RQ-22: they end up in logs."""
    client = client_for(asking(lambda was: was.request.gtxid))
    assert answered(client, headers={'X-Gtxn-Id': forged.encode('latin-1')}) != forged


def test_the_host_of_a_trusted_proxy(client_for: Make) -> None:
    """RQ-22."""
    app = asking(lambda was: was.request.host)
    headers = {'Host': 'inner', 'X-Forwarded-Host': 'example.com'}
    assert answered(client_for(app), headers=headers) == 'inner'
    assert answered(client_for(app, proxied=True), headers=headers) == 'example.com'


# -- what it accepts -------------------------------------------------------------------------------


def test_acceptables(client_for: Make) -> None:
    """RQ-19."""
    client = client_for(asking(lambda was: was.request.acceptables))
    accept = 'text/HTML;level=1, application/json;q=0.5, */*;q=x, image/png;q=7,, ;'
    assert answered(client, headers={'Accept': accept}) == {
        'text/html': {'q': 1.0, 'level': '1'},
        'application/json': {'q': 0.5},
        '*/*': {'q': 1.0},
        'image/png': {'q': 1.0},
    }


@pytest.mark.parametrize(
    ('accept', 'strict', 'loose'),
    [
        ('text/html', True, True),
        ('TEXT/Html;q=0.1', True, True),
        ('text/html;q=0', False, False),
        ('*/*', False, True),
        ('text/*', False, True),
        ('text/html;q=0, */*', False, False),
        ('text/htmlx', False, False),
        ('', False, False),
    ],
)
def test_acceptable(client_for: Make, accept: str, strict: bool, loose: bool) -> None:
    """RQ-19: media types are parsed; a wildcard counts when asked for."""
    client = client_for(
        asking(
            lambda was: [
                was.request.acceptable('text/html'),
                was.request.acceptable('text/HTML', strict=False),
            ]
        )
    )
    assert answered(client, headers={'Accept': accept}) == [strict, loose]


# -- parameters ------------------------------------------------------------------------------------


def parameters_app() -> Atila:
    app = Atila('app')

    @app.route('/<int:id>', methods=['GET', 'POST'])
    def service(was, id, size=10, **values):
        r = was.request
        return was.API(
            args=r.args,
            alias=r.ARGS,
            PARAMS=r.PARAMS,
            URL=r.URL,
            FORM=r.FORM,
            JSON=r.JSON,
            DATA=r.DATA,
            DEFAULT=r.DEFAULT,
            calls=[r.form(), r.json(), r.dict()],
        )

    return app


def test_parameters_of_a_get(client_for: Make) -> None:
    """RQ-05, RQ-09."""
    args = {'id': 7, 'size': 10, 'a': ['1', '2'], 'b': ''}
    assert client_for(parameters_app()).get('/7?a=1&b=&a=2').data == {
        'args': args,
        'alias': args,
        'PARAMS': {'id': 7},
        'URL': {'a': ['1', '2'], 'b': ''},
        'FORM': None,
        'JSON': None,
        'DATA': None,
        'DEFAULT': {'size': 10},
        'calls': [None, None, args],
    }


def test_parameters_of_a_form(client_for: Make) -> None:
    """RQ-05: the form wins over the query; RQ-09."""
    found = client_for(parameters_app()).post('/7?a=1&b=2', {'a': 'x', 'c': ['1', '2']}).data
    assert found['args'] == {'id': 7, 'size': 10, 'a': 'x', 'b': '2', 'c': ['1', '2']}
    assert found['FORM'] == found['DATA'] == found['calls'][0] == {'a': 'x', 'c': ['1', '2']}
    assert found['JSON'] is None
    assert found['URL'] == {'a': '1', 'b': '2'}


def test_parameters_of_json(client_for: Make) -> None:
    """RQ-05: JSON wins over the query and the path, and keeps its types; RQ-09."""
    found = client_for(parameters_app()).post('/7?a=1', json={'a': None, 'id': 8, 'size': 1.5}).data
    assert found['args'] == {'id': 8, 'size': 1.5, 'a': None}
    assert found['JSON'] == found['DATA'] == found['calls'][1] == {'a': None, 'id': 8, 'size': 1.5}
    assert found['FORM'] is None


# -- body ------------------------------------------------------------------------------------------


def test_the_raw_body(client_for: Make) -> None:
    """RQ-13, also behind a parsed form."""
    app = asking(
        lambda was: (
            [was.request.DATA]
            + [
                body.decode('latin-1')
                for body in (was.request.get_body(), was.request.body, was.request.payload)
            ]
        )
    )
    assert answered(client_for(app), method='POST', data={'a': '1'}) == [{'a': '1'}] + ['a=1'] * 3
    assert answered(client_for(app), method='POST', data=b'\x00\xff') == [None] + ['\x00\xff'] * 3
    assert answered(client_for(app)) == [None, '', '', '']


def test_a_body_above_a_megabyte_is_whole(client_for: Make) -> None:
    """RQ-13: read from disk."""
    app = asking(lambda was: [len(was.request.body), was.request.body == b'x' * 3_000_000])
    assert answered(client_for(app), method='POST', data=b'x' * 3_000_000) == [3_000_000, True]


# -- the route, environ, the rest ------------------------------------------------------------------


def test_routed_and_routable(client_for: Make) -> None:
    """RQ-17, RQ-18, RT-01: unknown options are kept."""
    app = Atila('app')

    @app.route('/a/<int:id>', methods=['GET', 'PUT'], content_types=['text/csv'], colour='red')
    def service(was, id, size=10, **rest):
        assert was.request.routed is service
        known = dict(was.request.routable)
        known.pop('mntopt')
        return was.API(known)

    assert client_for(app).get('/a/1').data == {
        'methods': ['GET', 'PUT'],
        'content_types': ['text/csv'],
        'options': {'methods': ['GET', 'PUT'], 'content_types': ['text/csv'], 'colour': 'red'},
        'args': ['id', 'size'],
        'defaults': {'size': 10},
        'urlargs': 1,
        'keywords': True,
        'func_id': 'service',
        'route': '/a/<int:id>',
        'coroutine': False,
        'input_stream': False,
    }


def test_environ(client_for: Make) -> None:
    """RQ-06, WAS-01: `was.env` is `was.request.env`."""

    def question(was: Any) -> Any:
        assert was.env is was.request.env
        return {
            key: value for key, value in was.env.items() if isinstance(value, str | bool | list | tuple)
        } | {'input': was.env['wsgi.input'].read().decode()}

    client = client_for(asking(question), point='/app')
    found = answered(
        client,
        '/app/caf%C3%A9?x=1',
        'POST',
        data=b'abc',
        headers={'X-One': '1', 'Content-Type': 'text/plain'},
    )
    assert found['REQUEST_METHOD'] == 'POST'
    assert found['SCRIPT_NAME'] == '/app'
    assert found['PATH_INFO'].encode('latin-1').decode() == '/café'
    assert found['QUERY_STRING'] == 'x=1'
    assert found['HTTP_X_ONE'] == '1'
    assert found['CONTENT_TYPE'] == 'text/plain'
    assert found['CONTENT_LENGTH'] == '3'
    assert found['REMOTE_ADDR'] == '127.0.0.1'
    assert found['SERVER_PROTOCOL'] == 'HTTP/1.1'
    assert found['wsgi.url_scheme'] == 'http'
    assert found['input'] == 'abc'


def test_environ_has_no_field_that_passes_for_another(direct_for: Callable[..., Direct]) -> None:
    """RQ-06: `X_Real` is not `X-Real`."""
    engine = direct_for(asking(lambda was: was.env.get('HTTP_X_REAL')))
    answer = parse_answer(send_raw(engine.connect(), request_bytes(headers=b'X_Real: forged\r\n')))
    assert json.loads(answer.body)['answer'] is None


def test_g_and_user_belong_to_one_request(client_for: Make) -> None:
    """RQ-07, RQ-21: None until set."""

    def question(was: Any) -> Any:
        before = [dict(was.request.g), was.request.user, was.user]
        was.request.g.x = 1
        was.request.user = 'hans'
        return [*before, was.request.g['x'], was.user]

    client = client_for(asking(question))
    for _ in range(3):
        assert answered(client) == [{}, None, None, 1, 'hans']


def test_what_is_set_on_was_is_not_seen_by_the_next_request(client_for: Make) -> None:
    """PITFALLS, One client sees another's data: nothing request-bound outlives its request."""

    def question(was: Any) -> Any:
        seen = getattr(was, 'secret', None)
        was.secret = 'mine'
        return seen

    client = client_for(asking(question), threads=1)
    assert [answered(client) for _ in range(5)] == [None] * 5
