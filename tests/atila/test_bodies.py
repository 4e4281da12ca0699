"""Bodies of requests: forms, JSON, limits (SPEC PR-07, RQ-09, FU-06)."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Direct, parse_answer, request_bytes, send_raw

import skitai
from atila import Atila, HTTPError
from atila.bodies import collect, parse_pairs, unquoted
from skitai.testing import Client

Make = Callable[..., Client]

FORM = 'application/x-www-form-urlencoded'


@pytest.fixture
def app() -> Atila:
    """Answers with its parameters; of a file its name and size."""
    app = Atila('app')

    @app.route('/', methods=['GET', 'POST', 'PUT', 'PATCH', 'DELETE'])
    def service(was, **values):
        def shown(value: Any) -> Any:
            if isinstance(value, list):
                return [shown(item) for item in value]
            return [value.name, value.size, value.mimetype] if hasattr(value, 'mimetype') else value

        return was.API({name: shown(value) for name, value in values.items()})

    @app.route('/raw', methods=['GET', 'POST', 'DELETE'])
    def raw(was):
        return was.API(size=len(was.request.body), body=was.request.body[:20].decode('latin-1'))

    return app


def post(client: Client, data: Any, content_type: str | bytes | None, uri: str = '/') -> Any:
    headers: Any = {} if content_type is None else {'Content-Type': content_type}
    return client.post(uri, data, headers=headers)


# -- urlencoded forms ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('body', 'values'),
    [
        (b'a=1&b=x+y%20z', {'a': '1', 'b': 'x y z'}),
        (b'a=1&a=2', {'a': ['1', '2']}),
        (b'a=&b', {'a': '', 'b': ''}),
        (b'', {}),
        (b'a=%C3%A4', {'a': 'ä'}),
        ('a=ä'.encode(), {'a': 'ä'}),
        (b'int:n=3', {'int:n': '3'}),
    ],
)
def test_urlencoded_forms(client_for: Make, app: Atila, body: bytes, values: Any) -> None:
    """PR-07: values are str, blank ones stay; bytes that should have been encoded are read as UTF-8."""
    assert post(client_for(app), body, FORM).data == values


@pytest.mark.parametrize('body', [b'=&&=', b'=1', b'a=%ff', b'a=\xff', b'&'.join([b'a'] * 1001)])
def test_malformed_urlencoded_forms(client_for: Make, app: Atila, body: bytes) -> None:
    """PR-07; PITFALLS, Errors: `=&&=` is a 400."""
    response = post(client_for(app), body, FORM)
    assert response.status_code == 400
    assert response.data['more_info'].startswith('invalid form')


def test_the_charset_of_a_form(client_for: Make, app: Atila) -> None:
    """RQ-16."""
    client = client_for(app)
    body = b'a=%C7%D1&b=' + '한'.encode('euc-kr')
    assert post(client, body, FORM + '; charset=EUC-KR').data == {'a': '한', 'b': '한'}
    assert post(client, b'a=%E4', FORM + '; charset="iso-8859-1"').data == {'a': 'ä'}


@pytest.mark.parametrize('charset', ['none', 'undefined', 'idna', 'hex', 'rot13', 'unicode_escape', '../x'])
@pytest.mark.parametrize('form', [FORM, 'multipart/form-data; boundary=x'])
def test_an_unknown_charset(client_for: Make, app: Atila, form: str, charset: str) -> None:
    """PR-07: a 400."""
    assert post(client_for(app), b'a=1', f'{form}; charset={charset}').status_code == 400


# -- JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'content_type', ['application/json', 'Application/JSON; charset=utf-8', 'application/x+json']
)
def test_json_keeps_its_types(client_for: Make, app: Atila, content_type: str) -> None:
    """PR-07."""
    values = {'a': 1, 'b': 1.5, 'c': None, 'd': True, 'e': [1, {'x': 'ä'}], 'f': '', 'big': 2**70}
    response = post(client_for(app), json.dumps(values, ensure_ascii=False).encode(), content_type)
    assert response.status_code == 200, response.text
    assert response.data == values


@pytest.mark.parametrize(
    'body',
    [
        b'{',
        b'{"a": }',
        b'\xff',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'[' * 100_000,
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": 1} x',
        b"{'a': 1}",
        b' ',
    ],
)
def test_malformed_json(client_for: Make, app: Atila, body: bytes) -> None:
    """PR-07; PITFALLS, Errors: a 400."""
    response = post(client_for(app), body, 'application/json')
    assert response.status_code == 400
    assert response.data['more_info'].startswith('malformed JSON')


@pytest.mark.parametrize('body', [b'[1, 2]', b'"text"', b'7', b'null', b'true', b'[{"a": 1}]', b''])
def test_json_that_is_no_object_brings_no_parameters(client_for: Make, app: Atila, body: bytes) -> None:
    """PR-07; PITFALLS, Errors: not a 5xx."""
    response = post(client_for(app), body, 'application/json')
    assert (response.status_code, response.data) == (200, {})


# -- multipart forms -------------------------------------------------------------------------------


def test_multipart_forms(client_for: Make, app: Atila) -> None:
    """PR-07: fields are str, files have a name; repeated ones are a list."""
    response = client_for(app).upload(
        '/', {'a': ['1', 'ä'], 'b': '', 'f': ('ü.txt', b'abc', 'text/plain'), 'g': [('x', b''), ('y', b'1')]}
    )
    assert response.data == {
        'a': ['1', 'ä'],
        'b': '',
        'f': ['ü.txt', 3, 'text/plain'],
        'g': [['x', 0, 'application/octet-stream'], ['y', 1, 'application/octet-stream']],
    }


def test_many_files(client_for: Make, app: Atila) -> None:
    """PR-07: many small ones are no less welcome than a large one."""
    files = [(f'{i}', b'x' * 60_000) for i in range(300)]
    response = client_for(app).upload('/', {'f': files})
    assert response.status_code == 200
    assert [size for _, size, _ in response.data['f']] == [60_000] * 300


def test_a_large_field(client_for: Make, app: Atila) -> None:
    """PR-07: text above what is kept in memory, and above what is taken."""
    client = client_for(app)
    assert client.upload('/', {'a': 'x' * 200_000}).data == {'a': 'x' * 200_000}
    response = client.upload('/', {'a': 'x' * 600_000, 'b': 'x' * 600_000})
    assert response.status_code == 413
    assert response.data['more_info'] == 'b: the text of a form may have 1048576 bytes at most'


PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'


@pytest.mark.parametrize(
    ('content_type', 'body'),
    [
        ('multipart/form-data', PART),
        ('multipart/form-data; boundary=', PART),
        ('multipart/form-data; boundary=y', PART),
        ('multipart/form-data; boundary=x', PART[:-10]),
        ('multipart/form-data; boundary=x', b''),
        ('multipart/form-data; boundary=x', b'--x\r\n\r\n\r\n--x--\r\n'),
        ('multipart/form-data; boundary=x', PART.replace(b'name="a"', b'')),
        ('multipart/form-data; boundary=x', PART.replace(b'1', b'\xff')),
        ('multipart/form-data; boundary=x', PART.replace(b'; name', b'; filename*=x')),
        (
            'multipart/form-data; boundary=x',
            PART.replace(b'\r\n\r\n1', b'\r\nContent-Type: text/plain; charset=undefined\r\n\r\n1'),
        ),
        ('multipart/form-data; boundary=' + 'x' * 1000, PART),
        ('multipart/form-data; boundary="\u00e4"', PART),
    ],
)
def test_malformed_multipart_forms(client_for: Make, app: Atila, content_type: str, body: bytes) -> None:
    """PR-07; PITFALLS, Errors: a 400."""
    response = post(client_for(app), body, content_type.encode('latin-1'))
    assert response.status_code == 400, response.text


HEAD = b'--x\r\nContent-Disposition: form-data; name="a"\r\n'


@pytest.mark.parametrize(
    'body',
    [
        b''.join([PART[:-7]] * 1001) + b'--x--\r\n',
        HEAD + b'X: y\r\n' * 8 + b'\r\n1\r\n--x--\r\n',
        HEAD + b'X: ' + b'y' * 5000 + b'\r\n\r\n1\r\n--x--\r\n',
        HEAD.replace(b'"a"', b'"' + b'a' * 5000 + b'"') + b'\r\n1\r\n--x--\r\n',
        b''.join([PART[:-7].replace(b'"a"', b'"' + b'a' * 4000 + b'"')] * 300) + b'--x--\r\n',
        HEAD + b'\r\n' + b'1' * 1_100_000 + b'\r\n--x--\r\n',
    ],
    ids=['parts', 'header lines', 'a header line', 'a name', 'names', 'text'],
)
def test_too_much_for_a_multipart_form(client_for: Make, app: Atila, body: bytes) -> None:
    """PR-07: a 413 that says of what."""
    response = post(client_for(app), body, 'multipart/form-data; boundary=x')
    assert response.status_code == 413, response.text
    assert response.data['more_info']


def test_a_urlencoded_form_takes_little_memory() -> None:
    """PR-07: a large value, all of it encoded, takes a few times its size, not ninety times."""
    tracemalloc.start()
    try:
        found = parse_pairs(b'a=' + b'%41%C3%A4' * 200_000, 'utf-8', 'form')
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert found == {'a': 'A\u00e4' * 200_000}


def test_a_urlencoded_form_that_is_too_large(client_for: Make, app: Atila) -> None:
    """PR-07."""
    response = post(client_for(app), b'a=' + b'x' * 9_000_000, FORM)
    assert response.status_code == 413
    assert 'bytes at most' in response.data['more_info']


@pytest.mark.parametrize('size', [1_000_000, 1_100_000])
def test_the_raw_body_of_a_multipart_form(client_for: Make, size: int) -> None:
    """RQ-13: None above 1 MB; another body is kept."""
    app = Atila('app')

    @app.route('/', methods=['POST'])
    def service(was: Any, **values: Any) -> Any:
        raw = was.request.get_body()
        return was.API(raw=None if raw is None else [len(raw), raw[:5].decode()], env='wsgi.input' in was.env)

    client = client_for(app)
    body = HEAD[:-2] + b'; filename="f"\r\n\r\n' + b'1' * size + b'\r\n--x--\r\n'
    answer = post(client, body, 'multipart/form-data; boundary=x').data
    assert answer == {'raw': None if size > 1 << 20 else [len(body), '--x\r\n'], 'env': True}
    assert post(client, body, 'text/plain').data['raw'] == [len(body), '--x\r\n']


# -- other bodies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'content_type', [None, 'text/plain', 'nonsense', ';', '', 'application/octet-stream']
)
def test_other_bodies_bring_no_parameters(client_for: Make, app: Atila, content_type: str | None) -> None:
    """RQ-09: they are there as bytes."""
    client = client_for(app)
    assert post(client, b'a=1', content_type).data == {}
    assert post(client, b'a=1', content_type, '/raw').data == {'size': 3, 'body': 'a=1'}


def chunks(*parts: bytes) -> Iterator[bytes]:
    yield from parts


def test_a_body_without_content_length(client_for: Make, app: Atila) -> None:
    """FU-06; PITFALLS, Serving: chunked bodies are taken."""
    client = client_for(app)
    assert post(client, chunks(b'a=1&', b'b=2'), FORM).data == {'a': '1', 'b': '2'}
    assert post(client, chunks(), FORM).data == {}
    assert post(client, chunks(*[b'x' * 100_000] * 30), None, '/raw').data['size'] == 3_000_000


@pytest.mark.parametrize('method', ['GET', 'DELETE', 'PUT', 'PATCH'])
def test_every_method_may_have_a_body(client_for: Make, app: Atila, method: str) -> None:
    """PR-07."""
    assert client_for(app).request(method, '/', json={'a': 1}).data == {'a': 1}


def test_a_body_above_the_limit(client_for: Make, app: Atila) -> None:
    """FU-06: 413, declared or as it comes; the app's or the server's limit, whichever is less."""
    pref = skitai.preference()
    pref.config.MAX_UPLOAD_SIZE = 1000
    client = client_for(app, pref)
    assert post(client, b'x' * 1000, None, '/raw').data['size'] == 1000
    assert post(client, b'x' * 1001, None, '/raw').status_code == 413
    assert post(client, chunks(b'x' * 600, b'x' * 600), None, '/raw').status_code == 413
    client = client_for(app, max_upload_size=10)
    assert post(client, b'x' * 11, None, '/raw').status_code == 413
    assert post(client, b'x' * 10, None, '/raw').status_code == 200


# -- properties ------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec='utf-8')),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec='utf-8')), inner, max_size=4)
    ),
    max_leaves=12,
)

_PIECES = st.sampled_from(
    [
        *(
            b'--x',
            b'--x--',
            b'\r\n',
            b'\n',
            b'\r\n\r\n',
            b'--',
            b'x',
            b'{',
            b'}',
            b'[',
            b'"',
            b'\\u',
            b':',
            b',',
            b'1e9',
        ),
        *(
            b'Content-Disposition: form-data; name="a"',
            b'; filename="',
            b'Content-Type: text/plain; charset=',
            b'a=1',
            b'&',
            b'%',
        ),
        PART,
    ]
)
_BODY = st.lists(_PIECES | st.binary(max_size=6), max_size=14).map(b''.join)
_TYPES = st.sampled_from(
    [
        b'multipart/form-data; boundary=x',
        FORM.encode(),
        b'application/json',
        b'multipart/form-data',
        b'text/plain',
    ]
) | st.binary(max_size=30).map(lambda data: bytes(c for c in data if c == 9 or 0x20 <= c != 0x7F))


def test_any_body_gives_an_answer(
    direct_for: Callable[..., Direct], app: Atila, caplog: pytest.LogCaptureFixture
) -> None:
    """PR-07: a value or a 4xx for any bytes of any declared type, never a 5xx or a traceback."""
    engine = direct_for(app)

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_TYPES, _BODY)
    def check(content_type: bytes, body: bytes) -> None:
        request = request_bytes(b'POST', headers=b'Content-Type: %s\r\n' % content_type, body=body)
        answer = parse_answer(send_raw(engine.connect(), request))
        assert answer.status in (200, 400, 413), (content_type, body, answer)

    check()
    assert not caplog.records


def test_any_json_arrives_as_it_was(direct_for: Callable[..., Direct], app: Atila) -> None:
    """PR-07, RS-13: in and out again."""
    engine = direct_for(app)

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.dictionaries(
            st.text(st.characters(codec='utf-8')).filter(lambda name: name != 'was'), _JSON, max_size=4
        )
    )
    def check(values: dict[str, Any]) -> None:
        body = json.dumps(values).encode()
        request = request_bytes(b'POST', headers=b'Content-Type: application/json\r\n', body=body)
        answer = parse_answer(send_raw(engine.connect(), request))
        assert answer.status == 200, (values, answer)
        assert json.loads(answer.body) == json.loads(body)

    check()


@given(
    st.text('aé%4C3b'), st.integers(3, 9), st.sampled_from(['utf-8', 'latin-1', 'cp1252', 'euc_kr', 'utf-16'])
)
def test_long_values_are_decoded_as_short_ones(text: str, piece: int, charset: str) -> None:
    """PR-07: what is decoded in pieces, wherever they end, against `urllib.parse.unquote`."""

    def outcome(decode: Callable[[], str]) -> Any:
        try:
            return decode()
        except UnicodeError:
            return UnicodeError

    text = '%41' + text  # else nothing is decoded
    expected = outcome(lambda: unquote(text, charset, 'strict'))
    assert outcome(lambda: unquoted(text, charset, piece)) == expected


@given(st.text('ab=&+%4 1cé\x00;'))
def test_pairs_are_read_as_the_standard_library_does(text: str) -> None:
    """PR-07, PR-08: our faster reader against `urllib.parse.parse_qsl`."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors='strict')
    except UnicodeError:
        with pytest.raises(HTTPError):
            parse_pairs(text.encode(), 'utf-8', 'form')
        return
    if any(name == '' for name, _ in pairs):
        with pytest.raises(HTTPError, match='without a name'):
            parse_pairs(text.encode(), 'utf-8', 'form')
    else:
        assert parse_pairs(text.encode(), 'utf-8', 'form') == collect(pairs)
