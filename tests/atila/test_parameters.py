"""From a request's parameters to a service's arguments (SPEC PR-01 to PR-11)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Direct, parse_answer, request_bytes, send_raw

from atila import Atila
from skitai.testing import Client

Make = Callable[..., Client]


def app_of(rule: str, service: Callable[..., Any], **options: Any) -> Atila:
    """An app with one service; it answers with its arguments."""
    app = Atila('app')
    app.route(rule, **options)(service)
    return app


def one(was, a):
    return was.API(a=a)


def two(was, id, a1=2):
    return was.API(id=id, a1=a1)


def both(was, id, a1):
    return was.API(id=id, a1=a1)


def open_to_all(was, id, **P):
    return was.API(id=id, P=P)


def none(was):
    return 'none'


def anything(was, **values):
    return was.API(values)


# -- binding ---------------------------------------------------------------------------------------


def test_all_kinds_of_parameters_become_arguments(client_for: Make) -> None:
    """PR-01: the path's, the query's and the body's, by name."""

    def service(was, pid, q, form=None, js=None):
        return was.API(pid=pid, q=q, form=form, js=js)

    client = client_for(app_of('/<int:pid>', service))
    assert client.get('/1?q=x').data == {'pid': 1, 'q': 'x', 'form': None, 'js': None}
    assert client.post('/1?q=x', {'form': 'y'}).data == {'pid': 1, 'q': 'x', 'form': 'y', 'js': None}
    assert client.post('/1', json={'q': [1], 'js': {'a': None}}).data == {
        'pid': 1,
        'q': [1],
        'form': None,
        'js': {'a': None},
    }


@pytest.mark.parametrize('body', [{}, {'data': {'b': '1'}}, {'json': {}}, {'json': []}, {'json': None}])
def test_a_missing_parameter_is_named(client_for: Make, body: Any) -> None:
    """PR-02; PITFALLS, Errors: nor is a JSON list where an object is expected a 5xx."""
    response = client_for(app_of('/', one)).post('/', **body)
    assert response.status_code == 400
    assert response.data == {
        'code': 40000,
        'message': 'bad request',
        'more_info': 'parameter `a` is missing',
    }


@pytest.mark.parametrize(
    ('rule', 'service', 'uri', 'status'),
    [
        ('/', one, '/?a=1&b=2', 400),
        ('/', one, '/?a=1', 200),
        ('/', none, '/?a=1', 400),
        ('/', none, '/', 200),
        ('/2/<int:id>', two, '/2/1', 200),
        ('/3/<int:id>', both, '/3/1', 400),
        ('/3/<int:id>', both, '/3/1?a1=2', 200),
        ('/3/<int:id>', both, '/3/1?a1=2&a2=3', 400),
        ('/4/<int:id>', open_to_all, '/4/1?a1=2&a2=3', 200),
    ],
)
def test_parameters_that_nobody_asked_for(
    client_for: Make, rule: str, service: Callable[..., Any], uri: str, status: int
) -> None:
    """PR-03: the original's own tests."""
    assert client_for(app_of(rule, service)).get(uri).status_code == status


def test_what_is_said_of_unknown_parameters(client_for: Make) -> None:
    """PR-03."""
    assert client_for(app_of('/', one)).get('/?a=1&b=2').data['more_info'] == "parameter `b` needn't"
    assert 'too many parameter(s)' in client_for(app_of('/', none)).get('/?b=2').data['more_info']


def test_unknown_parameters_may_be_allowed(client_for: Make) -> None:
    """PR-03: `restrict_parameter_count`."""
    app = app_of('/', one)
    app.restrict_parameter_count = False
    client = client_for(app)
    assert client.get('/?a=1&b=2&was=3').data == {'a': '1'}
    assert client.get('/?b=2').status_code == 400


def test_a_collecting_parameter_takes_the_rest(client_for: Make) -> None:
    """PR-04."""
    client = client_for(app_of('/<int:id>', open_to_all))
    assert client.get('/1?x=1&y=2&y=3').data == {'id': 1, 'P': {'x': '1', 'y': ['2', '3']}}
    assert client.post('/1', json={'z z': 1, '': 2}).data == {'id': 1, 'P': {'z z': 1, '': 2}}


@pytest.mark.parametrize('service', [one, open_to_all, none, anything])
@pytest.mark.parametrize('options', [{'params': {'was': '1'}}, {'json': {'was': 1}}])
def test_was_is_no_parameter(
    client_for: Make, service: Callable[..., Any], options: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """PR-01: a client cannot give what the framework gives."""
    response = client_for(app_of('/', service)).request('POST', '/?a=1&id=1', **options)
    assert response.status_code == 400
    assert not caplog.records


def test_defaults_make_parameters_optional(client_for: Make) -> None:
    """PR-05."""
    client = client_for(app_of('/<int:id>', two))
    assert client.get('/1').data == {'id': 1, 'a1': 2}
    assert client.get('/1?a1=x').data == {'id': 1, 'a1': 'x'}


def test_a_rule_with_a_parameter_that_the_service_lacks(
    client_for: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """PR-06: reported where it is routed; 530 should a request come."""
    app = app_of('/<int:id>/<name>', lambda was, id: '')
    assert [r.levelno for r in caplog.records if '<name>' in r.message] == [logging.ERROR]
    response = client_for(app).get('/1/x')
    assert (response.status_code, response.reason) == (530, response.reason)
    assert response.data['message'] == 'parameter mismatch'


def test_a_path_parameter_with_the_name_of_a_query_parameter(client_for: Make) -> None:
    """PITFALLS, Documented, but broken: it does not become a list."""
    assert client_for(app_of('/<int:id>', two)).get('/7?id=8').data['id'] == 7


def test_underscores_in_a_path_value_stay(client_for: Make) -> None:
    """PITFALLS, Documented, but broken."""
    assert client_for(app_of('/<id>', two)).get('/a_b').data['id'] == 'a_b'


def test_body_and_query_are_merged(client_for: Make) -> None:
    """PR-09."""

    def service(was, a, b):
        return was.API(a=a, b=b)

    assert client_for(app_of('/', service)).post('/?a=1', {'b': '2'}).data == {'a': '1', 'b': '2'}


def test_args_are_the_arguments(client_for: Make) -> None:
    """PR-10."""

    def service(was, id, a1=2, **rest):
        return was.API(same=was.request.args == {'id': id, 'a1': a1, **rest})

    assert client_for(app_of('/<int:id>', service)).post('/1?x=1', json={'y': 2}).data['same'] is True


@pytest.mark.parametrize('word', ['me', 'notme', 'new'])
def test_special_words_pass_typed_parameters(client_for: Make, word: str) -> None:
    """PR-11."""
    assert client_for(app_of('/<int:id>', two)).get(f'/{word}').data['id'] == word


def test_a_type_error_inside_a_service_is_no_400(client_for: Make, caplog: pytest.LogCaptureFixture) -> None:
    """PITFALLS, Errors: a bug is reported as one."""

    def service(was):
        return len(7)  # type: ignore[arg-type]

    assert client_for(app_of('/', service)).get('/').status_code == 500
    assert 'TypeError' in caplog.text


# -- query strings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('query', 'values'),
    [
        ('a=1&b=x%20y+z', {'a': '1', 'b': 'x y z'}),
        ('a', {'a': ''}),
        ('a=', {'a': ''}),
        ('a=1&a=2&a=3', {'a': ['1', '2', '3']}),
        ('a=b=c', {'a': 'b=c'}),
        ('%C3%A4=%C3%B6', {'ä': 'ö'}),
        ('a=%zz', {'a': '%zz'}),
        ('&&', {}),
        ('a=1;b=2', {'a': '1;b=2'}),
    ],
)
def test_query_strings(client_for: Make, query: str, values: Any) -> None:
    """PR-07: blank values stay, repeated keys are a list."""
    assert client_for(app_of('/', anything)).get('/?' + query).data == values


@pytest.mark.parametrize('query', ['=1', 'a=1&=', 'a=%ff', '%ff=a', '&'.join(f'a{i}' for i in range(1001))])
def test_malformed_query_strings(client_for: Make, query: str) -> None:
    """PR-08."""
    response = client_for(app_of('/', anything)).get('/?' + query)
    assert response.status_code == 400
    assert response.data['more_info'].startswith('invalid query string')


@pytest.mark.parametrize(
    ('query', 'value'),
    [
        ('int:n=3', 3),
        ('i:n=-3', -3),
        ('f:n=1.5', 1.5),
        ('b:n=yes', True),
        ('b:n=false', False),
        ('b:n=', False),
        ('l:n=a|b', ['a', 'b']),
        ('n:n=', None),
        ('n:n=0', None),
        ('n:n=x', 'x'),
        ('int:n=1&int:n=2', [1, 2]),
        ('int%3An=3', 3),
    ],
)
def test_typed_keys(client_for: Make, query: str, value: Any) -> None:
    """PR-07."""
    found = client_for(app_of('/', anything)).get('/?' + query).data
    assert found == {'n': value}
    assert type(found['n']) is type(value)


@pytest.mark.parametrize('query', ['int:n=x', 'i:n=', 'f:n=x', 'b:n=perhaps', 'int:n=' + '9' * 5000])
def test_typed_keys_that_do_not_convert(client_for: Make, query: str) -> None:
    """PR-07; PITFALLS, Errors: a value that cannot be converted is a 400."""
    response = client_for(app_of('/', anything)).get('/?' + query)
    assert response.status_code == 400
    assert '`n` should be' in response.data['more_info']


def test_other_keys_with_colons_are_names(client_for: Make) -> None:
    """PR-07."""
    found = client_for(app_of('/', anything)).get('/?x:n=1&int:=2&:n=3').data
    assert found == {'x:n': '1', 'int:': '2', ':n': '3'}


# -- properties ------------------------------------------------------------------------------------

#: Characters that matter to a query string come often.
_QUERY = st.lists(
    st.one_of(
        st.sampled_from(
            [b'=', b'&', b'%', b'+', b';', b'int:', b'n:', b'f:', b'l:', b'%00', b'%FF', b'a', b'was', b'1']
        ),
        st.binary(max_size=4),
    ),
    max_size=12,
).map(b''.join)


def _printable(data: bytes) -> bytes:
    return b''.join(b'%c' % c if 0x20 < c < 0x7F and c not in b'#' else b'%%%02X' % c for c in data)


def test_any_query_string_gives_an_answer(
    direct_for: Callable[..., Direct], caplog: pytest.LogCaptureFixture
) -> None:
    """PR-07, PR-08: a value or a 400, never a 5xx."""
    engine = direct_for(app_of('/', anything))

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_QUERY)
    def check(query: bytes) -> None:
        answer = parse_answer(send_raw(engine.connect(), request_bytes(target=b'/?' + _printable(query))))
        assert answer.status in (200, 400), (query, answer)

    check()
    assert not caplog.records


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(st.characters(codec='utf-8'), min_size=1), st.text(st.characters(codec='utf-8'))),
        max_size=8,
    )
)
def test_what_is_encoded_is_decoded(pairs: list[tuple[str, str]]) -> None:
    """PR-07: each value is a str, or the list of a repeated key's."""
    from atila.bodies import parse_pairs

    expected: dict[str, list[str]] = {}
    for name, value in pairs:
        expected.setdefault(name, []).append(value)
    found = parse_pairs(urlencode(pairs).encode(), 'utf-8', 'query string')
    assert found == {name: values if len(values) > 1 else values[0] for name, values in expected.items()}
    json.dumps(found)


@pytest.mark.parametrize(
    'query', ['f:x=nan', 'f:x=inf', 'f:x=1_0', 'int:x=1_0', 'int:x=%D9%A3', 'i:x=%2B', 'int:x=1%20']
)
def test_typed_keys_take_plain_decimals_only(client_for: Callable[..., Client], query: str) -> None:
    """PR-07."""
    app = Atila('app')
    app.route('/')(lambda was, x: was.API(x=x))
    answer = client_for(app).get(f'/?{query}')
    assert answer.status_code == 400
    assert '`x`' in answer.json()['more_info']
