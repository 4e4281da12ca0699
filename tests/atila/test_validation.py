"""Inspection of parameters (SPEC IN-01 to IN-26, table E.2, A-61 to A-63, PR-10, CL-08, CL-13)."""

from __future__ import annotations

import datetime as dt
import enum
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Direct, parse_answer, request_bytes, send_raw

from atila import Atila
from atila.upload import UploadedFile
from atila.validation import Inspection
from skitai.testing import Client

Make = Callable[..., Client]

HTML = {'Accept': 'text/html'}
UUID_TEXT = '0a1b2c3d-0000-4000-8000-0123456789ab'


def app_of(*specs: dict[str, Any], rule: str = '/{}') -> Atila:
    """An app with a service for each specification, at /0, /1 ...: it answers with what it got."""
    app = Atila('app')
    for number, spec in enumerate(specs):

        def service(was, **got):
            return was.API(got=got, args=was.request.args)

        app.route(rule.format(number), methods=['GET', 'POST', 'PUT', 'PATCH', 'DELETE'])(
            app.inspect(**spec)(service)
        )
    return app


def refusal(scope: str, reason: str) -> dict[str, Any]:
    return {'code': 40050, 'message': f'missing or bad parameter in {scope}', 'more_info': reason}


# -- what a refusal looks like ---------------------------------------------------------------------


def in_thread(was, n=0):
    was.request.g.called = True
    return was.API(n=n)


def generator(was, n=0):
    yield b'%r' % n


async def coroutine(was, n=0):
    return was.API(n=n)


@pytest.mark.parametrize('service', [in_thread, generator, coroutine])
def test_a_refusal(client_for: Make, service: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """IN-01: for every kind of service; it is no failure of the server, so nothing is logged."""
    app = Atila('app')
    app.route('/')(app.inspect(ints=['n'])(service))
    client = client_for(app)
    for response in (client.get('/?n=x'), client.post('/', {'n': 'x'}), client.post('/', json={'n': 'x'})):
        assert response.status_code == 400
        assert response.data == refusal('ARGS', 'parameter n should be int type')
    assert '7' in client.get('/?n=7').text
    assert "'" not in client.get('/?n=7').text
    assert client.get('/').status_code == 200
    assert not caplog.records


def test_a_refusal_as_a_page(client_for: Make) -> None:
    """IN-01: "message (code: 40050): reason", escaped."""
    client = client_for(app_of({'scope': 'URL', 'n__lt': 5}, {'n__eq': '<b>'}))
    page = client.get('/0?n=7', headers=HTML)
    assert page.status_code == 400
    assert '<h1>400 Bad Request</h1>' in page.text
    assert 'missing or bad parameter in URL (code: 40050): parameter n should less than 5' in page.text
    assert 'parameter n should be &lt;b&gt;' in client.get('/1?n=7', headers=HTML).text


def test_a_refusal_for_an_error_handler(client_for: Make) -> None:
    """IN-01, ER-03."""
    app = app_of({'required': 'n'})

    @app.error_handler(400, accept='*')
    def handler(was, error):
        return was.API(message=error.message, errno=error.errno, detail=error.detail)

    assert client_for(app).get('/0').data == {
        'message': 'missing or bad parameter in ARGS',
        'errno': 40050,
        'detail': 'parameter n required',
    }


@pytest.mark.parametrize(
    'name', ['inspect', 'require', 'spec', 'params_required', 'parameters_required', 'test_params']
)
def test_the_decorators_names(client_for: Make, name: str) -> None:
    """IN-01, CL-10, CL-23, CL-24."""
    app = Atila('app')

    @app.route('/')
    @getattr(app, name)(required=['n'], ints=['n'])
    def service(was, n):
        return was.API(n=n)

    client = client_for(app)
    assert client.get('/?n=5').data == {'n': 5}
    assert client.get('/?n=x').status_code == 400


def test_inspections_may_be_stacked(client_for: Make) -> None:
    """IN-02: the outermost first; later ones see what earlier ones converted."""
    app = Atila('app')

    @app.route('/', methods=['GET', 'POST'])
    @app.inspect('GET', ['a'])
    @app.inspect('POST', ['b'], ints='b')
    @app.inspect(b=int, a__len__gte=2)
    def service(was, a=None, b=None):
        return was.API(a=a, b=b)

    client = client_for(app)
    assert client.get('/').data == refusal('GET', 'parameter a required')
    assert client.get('/?a=xy').data == {'a': 'xy', 'b': None}
    assert client.post('/').data == refusal('POST', 'parameter b required')
    assert client.post('/', {'b': '1'}).data == {'a': None, 'b': 1}
    assert client.post('/', json={'b': '1', 'a': 'x'}).data == refusal(
        'ARGS', 'parameter length of a should greater or equal than 2'
    )


def test_the_service_is_not_called(client_for: Make) -> None:
    """IN-01."""
    calls = []
    app = Atila('app')

    @app.route('/')
    @app.inspect(required=['n'])
    def service(was, n=None):
        calls.append(n)
        return 'x'

    client = client_for(app)
    client.get('/')
    client.get('/?n=1')
    assert calls == ['1']


def test_validating_in_code(client_for: Make) -> None:
    """IN-26."""
    app = Atila('app')

    @app.route('/')
    def service(was, n='1'):
        app.validate(was.request, required=['n'], ints=['n'], n__lte=5)
        return was.API(n=was.request.args['n'])

    client = client_for(app)
    assert client.get('/?n=5').data == {'n': 5}
    assert client.get('/').data == {'n': 1}
    assert client.get('/?n=6').data == refusal('ARGS', 'parameter n should less or equal than 5')


# -- the seed's own examples -----------------------------------------------------------------------


def test_a_61(client_for: Make) -> None:
    """A-61, IN-05, IN-08: 'me' of a typed path parameter is exempt."""
    app = Atila('app')

    @app.route('/profiles/<int:id>', methods=['GET'])
    @app.inspect(ints=['id'], booleans=['detail'])
    def profile(was, id, detail='yes'):
        return was.API(id=id, detail=detail)

    client = client_for(app)
    assert client.get('/profiles/123').data == {'id': 123, 'detail': True}
    assert client.get('/profiles/123?detail=n').data == {'id': 123, 'detail': False}
    assert client.get('/profiles/123?detail=zz').status_code == 400
    for word in ('me', 'notme', 'new'):
        assert client.get(f'/profiles/{word}').data == {'id': word, 'detail': True}


def test_special_words_are_exempt_in_the_path_only(client_for: Make) -> None:
    """IN-05: from conversions to numbers and from comparing with them."""
    app = Atila('app')

    @app.route('/a/<float:x>', methods=['GET', 'POST'])
    @app.inspect(floats='x', x=[int, float], x__gte=1, x__in=[1.5, 2], x__len__lte=4)
    def typed(was, x):
        return was.API(x=x)

    @app.route('/b/<x>')
    @app.inspect(ints='x')
    def untyped(was, x):
        return was.API(x=x)

    @app.route('/c/<int:x>')
    @app.inspect(x__gte=1, x__notin=['me', 'new'])
    def not_me(was, x):
        return was.API(x=x)

    client = client_for(app)
    assert client.get('/a/me').data == {'x': 'me'}
    assert client.get('/a/notme').status_code == 400  # its length
    assert client.post('/a/1', {'x': 'me'}).status_code == 400
    assert client.post('/a/me', {'x': 'me'}).status_code == 400
    assert client.get('/b/me').status_code == 400
    assert client.get('/b/4').data == {'x': 4}
    assert client.get('/c/me').status_code == 400
    assert client.get('/c/notme').data == {'x': 'notme'}
    assert client.get('/c/0').status_code == 400
    assert client.get('/c/3').data == {'x': 3}


def test_a_62_and_a_63() -> None:
    """A-62, A-63, CL-13: the accepted keywords, each as a decorator's argument; None means nothing."""
    keywords = ['required', 'ints', 'floats', 'strings', 'booleans', 'emails', 'uuids', 'lists', 'dicts']
    keywords += ['nones', 'oneof', 'manyof', 'notags', 'safes', 'ranges']
    for keyword in keywords:
        for value in (None, [], '', ['a', 'b'], ('a', 'b'), 'a b', {'a', 'b'}):
            Inspection('ARGS', **{keyword: value})
    Inspection(**dict.fromkeys(keywords))
    Inspection(a=dt.datetime, b=[int, float], c=re.compile('x'), d='x', e=int | None)


# -- rows ------------------------------------------------------------------------------------------

#: (specification, what is sent, what the service gets or why it is refused). Sent as a query and as a form.
TEXT_ROWS: list[tuple[dict[str, Any], dict[str, Any], Any]] = [
    # E.2
    ({'ints': ['id']}, {'id': 'me'}, 'parameter id should be int type'),
    ({'ints': ['id']}, {'id': '5'}, {'id': 5}),
    *[({'booleans': ['d']}, {'d': text}, {'d': True}) for text in ('yes', 'true', 'y', 't', 'True')],
    *[({'booleans': ['d']}, {'d': text}, {'d': False}) for text in ('no', 'false', 'n', 'f', 'False')],
    *[
        (
            {'booleans': ['d']},
            {'d': text},
            'parameter d should be a boolean (one of yes, no, y, n, t, f, true or false)',
        )
        for text in ('1', 'TRUE', '')
    ],
    ({'nones': ['a', 'b']}, {'a': '', 'b': '0'}, {'a': None, 'b': '0'}),
    ({'nones': ['b'], 'ints': ['b']}, {'b': '0'}, {'b': None}),
    ({'offset': int}, {'offset': '4'}, {'offset': 4}),
    ({'y__between': (1900, 2021)}, {'y': '1950'}, {'y': '1950'}),
    ({'y__between': (1900, 2021)}, {'y': 'zz'}, 'parameter y should be int type'),
    ({'name__len__gt': 3}, {'name': 'abc'}, 'parameter length of name should greater than 3'),
    ({'notags': ['r']}, {'r': '<b>x</b>'}, 'parameter r should not contain html tags'),
    ({'safes': ['r']}, {'r': '<script>'}, 'parameter r is unsafe'),
    ({'g__in': ['male', 'female']}, {'g': 'x'}, "parameter g should be one of ['male', 'female']"),
    ({'m__regex': '^b'}, {'m': 'abc'}, 'parameter m should match with regular expression ^b'),
    ({'m__eq': 'abd'}, {'m': 'abc'}, 'parameter m should be abd'),
    ({'m': re.compile('^b')}, {'m': 'abc'}, 'parameter m is invalid'),
    ({'lists': ['m']}, {'m': 'a|b'}, {'m': ['a', 'b']}),
    ({'floats': ['f']}, {'f': '1.5'}, {'f': 1.5}),
    ({'floats': ['f']}, {'f': 'x'}, 'parameter f should be float type'),
    ({'oneof': ['email', 'mobile']}, {'email': 'a', 'mobile': 'b'},
     'exactly one parameter of email, mobile are required'),
    ({'oneof': ['email', 'mobile']}, {}, 'exactly one parameter of email, mobile are required'),
    ({'oneof': ['email', 'mobile']}, {'email': '', 'mobile': 'b'}, {'email': '', 'mobile': 'b'}),
    ({'manyof': ['email', 'mobile']}, {}, 'one or more parameters of email, mobile are required'),
    ({'manyof': ['email', 'mobile']}, {'email': ''}, 'one or more parameters of email, mobile are required'),
    ({'manyof': 'email mobile'}, {'email': 'a', 'mobile': 'b'}, {'email': 'a', 'mobile': 'b'}),
    # IN-03, IN-04
    ({'required': ['a']}, {}, 'parameter a required'),
    ({'required': 'a b'}, {'a': '1'}, 'parameter b required'),
    ({'required': ['a']}, {'a': ''}, 'parameter a required'),
    ({'required': ['a']}, {'a': ' '}, {'a': ' '}),
    ({'required': ['a']}, {'a': ['', '']}, 'parameter a required'),
    ({'required': ['a']}, {'a': ['', 'x']}, {'a': ['', 'x']}),
    ({'manyof': ['a', 'b']}, {'a': ['', '']}, 'one or more parameters of a, b are required'),
    ({'oneof': ['a', 'b']}, {'a': ['', ''], 'b': 'x'}, {'a': ['', ''], 'b': 'x'}),
    ({'ints': 'a', 'floats': 'b', 'c': int, 'd__gte': 1, 'nones': 'e', 'f___g': 1}, {'x': ''}, {'x': ''}),
    # IN-05, IN-06
    *[({'ints': 'n'}, {'n': text}, {'n': value}) for text, value in
      [('-5', -5), ('+5', 5), (' 5 ', 5), ('007', 7), ('9' * 4000, int('9' * 4000))]],
    *[({'ints': 'n'}, {'n': text}, 'parameter n should be int type') for text in
      ['', '1_000', '1 0', '٣', '1.0', '1e3', '0x1', '--1', '5\x00', '9' * 4001, 'True']],
    *[({'floats': 'n'}, {'n': text}, {'n': value}) for text, value in
      [('-.5', -0.5), ('5.', 5.0), ('1e3', 1000.0), ('7', 7.0)]],
    *[({'floats': 'n'}, {'n': text}, 'parameter n should be float type') for text in
      ['', 'nan', 'inf', '-Infinity', '1e999', '1_0.0', '1.2.3', '.', 'e1', '٣.٤', '1' * 4001]],
    # IN-07
    ({'strings': 's'}, {'s': ''}, {'s': ''}),
    # IN-09, IN-10
    *[({'emails': 'e'}, {'e': text}, {'e': text}) for text in
      ['a@b.cd', 'hans.roh+x@gmail.com', "o'x_1@sub-a.example.museum", 'x@xn--p1ai.xn--p1ai']],
    *[({'emails': 'e'}, {'e': text}, 'parameter e should be an email address') for text in
      ['a@gmail', '', 'a@b.cd\n', ' a@b.cd', 'x a@b.cd y', '@b.cd', 'a@.cd', 'a@b..cd', 'a@b.c', '.a@b.cd',
       'a..b@c.de', 'a@-b.cd', 'a@b@c.de', 'a@b.cd>', 'a' * 250 + '@b.cd']],
    ({'uuids': 'u'}, {'u': UUID_TEXT}, {'u': UUID_TEXT}),
    ({'uuids': 'u'}, {'u': UUID_TEXT.upper()}, {'u': UUID_TEXT.upper()}),
    *[({'uuids': 'u'}, {'u': text}, 'parameter u should be a UUID') for text in
      ['', UUID_TEXT + '\n', 'x' + UUID_TEXT, UUID_TEXT.replace('-', ''), UUID_TEXT.replace('a', 'g')]],
    # IN-11, IN-12
    ({'lists': 'm'}, {'m': 'a'}, {'m': ['a']}),
    ({'lists': 'm'}, {'m': ''}, {'m': []}),
    ({'lists': 'm'}, {'m': ['a', 'b|c']}, {'m': ['a', 'b|c']}),
    ({'lists': 'm', 'nones': 'm'}, {'m': ''}, {'m': None}),
    ({'dicts': 'm'}, {'m': '{}'}, 'parameter m should be dict type'),
    # IN-16, IN-17
    *[({'notags': 'r'}, {'r': text}, {'r': text}) for text in ['a < b', 'a<1', '<3', 'x > y', '&lt;b>', '']],
    *[({'notags': 'r'}, {'r': text}, 'parameter r should not contain html tags') for text in
      ['a<b', '</', '<!--', '<?xml', 'x\n<IMG\tsrc=x>', '<x']],
    *[({'safes': 'r'}, {'r': text}, {'r': text}) for text in
      ['plain', 'a < b', 'learning javascript: a course', 'carry on = go', 'python=1', 'R&D', 'on=']],
    *[({'safes': 'r'}, {'r': text}, 'parameter r is unsafe') for text in
      ['a<SCRIPT src=x>', '<a href="javascript:x">', '<a href=JavaScript:x>', "='java\nscript:x",
       '=" \x01j\ta vascript\n:', 'javascript:alert(1)', ' jAvAscript:', '<img onerror=x>', '<img/onload =x>',
       '"onclick\n=x', '&#x6A;', '&#106', '<\x00script']],
    # IN-18
    ({'ranges': 'r'}, {'r': '1~5'}, {'r': [1, 5]}),
    ({'ranges': 'r'}, {'r': '-1 ~ +5'}, {'r': [-1, 5]}),
    *[({'ranges': 'r'}, {'r': text}, 'parameter r should be a range like 1~10') for text in
      ['', '1', '~', '1~', '~5', 'a~b', '1~5~9', '1.5~2', '1_0~5', '9' * 4001 + '~1']],
    # IN-19
    ({'a': int}, {'a': 'x'}, 'parameter a should be int type'),
    ({'a': int}, {'a': ['1', '2']}, 'parameter a should be int type'),
    ({'a': list}, {'a': ['1', '2']}, {'a': ['1', '2']}),
    ({'a': list}, {'a': '1'}, 'parameter a should be list type'),
    ({'a': str}, {'a': '1'}, {'a': '1'}),
    ({'a': bool}, {'a': 'yes'}, {'a': True}),
    ({'a': bool}, {'a': 'x'},
     'parameter a should be a boolean (one of yes, no, y, n, t, f, true or false)'),
    ({'a': float}, {'a': '1'}, {'a': 1.0}),
    ({'a': [int, float]}, {'a': '1.5'}, {'a': 1.5}),
    ({'a': [int, float]}, {'a': '15'}, {'a': 15}),
    ({'a': (int, str)}, {'a': '15'}, {'a': '15'}),
    ({'a': int | None}, {'a': '15'}, {'a': 15}),
    ({'a': [int, float]}, {'a': 'x'}, 'parameter a should be int or float type'),
    ({'a': dt.date}, {'a': '2026-11-22'}, {'a': '2026-11-22'}),
    ({'a': dt.date}, {'a': '2026-13-22'}, 'parameter a should be date type'),
    ({'a': Decimal}, {'a': '1.10'}, {'a': '1.10'}),
    ({'a': Decimal}, {'a': 'NaN'}, 'parameter a should be Decimal type'),
    ({'a': Decimal}, {'a': '1e9999999999999999999'}, 'parameter a should be Decimal type'),
    ({'a': Decimal}, {'a': '1e-9999999999999999999'}, 'parameter a should be Decimal type'),
    ({'a': UUID}, {'a': UUID_TEXT.upper()}, {'a': UUID_TEXT}),
    # IN-20, IN-21
    ({'a': re.compile('b')}, {'a': 'abc'}, {'a': 'abc'}),
    ({'a': 'x'}, {'a': 'x'}, {'a': 'x'}),
    ({'a': 'x'}, {'a': 'y'}, 'parameter a should be x'),
    ({'a': 5}, {'a': '5'}, {'a': '5'}),
    ({'a': True}, {'a': 'no'}, 'parameter a should be True'),
    # IN-22, IN-24
    ({'a__between': (1, 10)}, {'a': '1'}, {'a': '1'}),
    ({'a__between': [1, 10]}, {'a': '10'}, {'a': '10'}),
    ({'a__between': (1, 10)}, {'a': '11'}, 'parameter a should be between 1 ~ 10'),
    ({'a__between': (1, 2.5)}, {'a': '1.5'}, {'a': '1.5'}),
    ({'a__between': ('b', 'd')}, {'a': 'a'}, 'parameter a should be between b ~ d'),
    ({'a__in': (1, 2)}, {'a': '2'}, {'a': '2'}),
    ({'a__in': (1, 2)}, {'a': '3'}, 'parameter a should be one of (1, 2)'),
    ({'a__in': range(10**12)}, {'a': '77'}, {'a': '77'}),
    ({'a__in': [1, 'x']}, {'a': 'x'}, {'a': 'x'}),
    ({'a__in': [1, 'x']}, {'a': 'y'}, "parameter a should be one of [1, 'x']"),
    ({'a__notin': ['x', 'y']}, {'a': 'z'}, {'a': 'z'}),
    ({'a__notin': ['x', 'y']}, {'a': 'x'}, "parameter a should be not one of ['x', 'y']"),
    ({'a__notin': [1, 2]}, {'a': 'zz'}, 'parameter a should be int type'),
    ({'a__exact': 5}, {'a': '6'}, 'parameter a should be 5'),
    ({'a__neq': 5}, {'a': '5'}, 'parameter a should not be 5'),
    ({'a__neq': 5}, {'a': '6'}, {'a': '6'}),
    ({'a__lte': 5}, {'a': '5'}, {'a': '5'}),
    ({'a__lte': 5}, {'a': '6'}, 'parameter a should less or equal than 5'),
    ({'a__lt': 5}, {'a': '5'}, 'parameter a should less than 5'),
    ({'a__gte': 5}, {'a': '5'}, {'a': '5'}),
    ({'a__gte': 5}, {'a': '4'}, 'parameter a should greater or equal than 5'),
    ({'a__gte': 1.5}, {'a': '1.4'}, 'parameter a should greater or equal than 1.5'),
    ({'a__gt': 5}, {'a': '5'}, 'parameter a should greater than 5'),
    ({'a__contains': 'b'}, {'a': 'abc'}, {'a': 'abc'}),
    ({'a__contains': 'x'}, {'a': 'abc'}, 'parameter a should contain x'),
    ({'a__notcontain': 'b'}, {'a': 'abc'}, 'parameter a should not contain b'),
    ({'a__ncontains': 'b'}, {'a': 'abc'}, 'parameter a should not contain b'),
    ({'a__startswith': 'a'}, {'a': 'abc'}, {'a': 'abc'}),
    ({'a__startswith': 'b'}, {'a': 'abc'}, 'parameter a should start with b'),
    ({'a__notstartwith': 'a'}, {'a': 'abc'}, 'parameter a should not start with a'),
    ({'a__nstartswith': 'a'}, {'a': 'abc'}, 'parameter a should not start with a'),
    ({'a__endswith': 'c'}, {'a': 'abc'}, {'a': 'abc'}),
    ({'a__endswith': ['b', 'c']}, {'a': 'abc'}, {'a': 'abc'}),
    ({'a__endswith': 'b'}, {'a': 'abc'}, 'parameter a should end with b'),
    ({'a__notendwith': 'c'}, {'a': 'abc'}, 'parameter a should not end with c'),
    ({'a__nendswith': 'c'}, {'a': 'abc'}, 'parameter a should not end with c'),
    ({'a__regex': 'b+'}, {'a': 'abbc'}, {'a': 'abbc'}),
    ({'a__regex': re.compile('x')}, {'a': 'abc'}, 'parameter a should match with regular expression x'),
    ({'a__gte': dt.date(2026, 1, 2)}, {'a': '2026-01-02'}, {'a': '2026-01-02'}),
    ({'a__gte': dt.date(2026, 1, 2)}, {'a': '2026-01-01'},
     'parameter a should greater or equal than 2026-01-02'),
    ({'a__lt': dt.datetime(2026, 1, 2)}, {'a': '2026-01-02T01:00:00+02:00'},
     {'a': '2026-01-02T01:00:00+02:00'}),
    ({'a__lt': dt.datetime(2026, 1, 2)}, {'a': '2026-01-02'},
     'parameter a should less than 2026-01-02 00:00:00'),
    ({'a__lt': dt.datetime(2026, 1, 2)}, {'a': 'soon'}, 'parameter a should be datetime type'),
    ({'a__lt': dt.time(12)}, {'a': '11:59Z'}, {'a': '11:59Z'}),
    ({'a__lte': Decimal('1.5')}, {'a': '1.51'}, 'parameter a should less or equal than 1.5'),
    ({'a__lte': Decimal('1.5')}, {'a': '1e999999999'}, 'parameter a should less or equal than 1.5'),
    ({'a__neq': UUID(UUID_TEXT)}, {'a': UUID_TEXT.upper()}, f'parameter a should not be {UUID_TEXT}'),
    # IN-23
    ({'a__len__between': (4, 8)}, {'a': 'abc'}, 'parameter length of a should be between 4 ~ 8'),
    ({'a__len__eq': 3}, {'a': 'abc'}, {'a': 'abc'}),
    ({'a__len__in': [1, 2]}, {'a': 'abc'}, 'parameter length of a should be one of [1, 2]'),
    ({'a__len__lte': 2}, {'a': ['abc', 'd']}, 'parameter length of a should less or equal than 2'),
    # Given several times: each of them
    ({'ints': 'n'}, {'n': ['1', '2']}, {'n': [1, 2]}),
    ({'ints': 'n'}, {'n': ['1', 'x']}, 'parameter n should be int type'),
    ({'emails': 'n'}, {'n': ['a@b.cd', 'x']}, 'parameter n should be an email address'),
    ({'n__in': ['a', 'b']}, {'n': ['a', 'b', 'a']}, {'n': ['a', 'b', 'a']}),
    ({'n__gte': 2}, {'n': ['2', '1']}, 'parameter n should greater or equal than 2'),
    ({'n__contains': 'b'}, {'n': ['a', 'b']}, {'n': ['a', 'b']}),
    ({'n__contains': 2}, {'n': ['1', '2']}, {'n': ['1', '2']}),
    ({'notags': 'n'}, {'n': ['a', '<b>']}, 'parameter n should not contain html tags'),
    ({'lists': 'n', 'ints': 'n', 'n__gte': 0, 'n__len__lte': 2}, {'n': '1|2'}, {'n': [1, 2]}),
    ({'lists': 'n', 'ints': 'n', 'n__gte': 0, 'n__len__lte': 2}, {'n': '1|2|3'},
     'parameter length of n should less or equal than 2'),
    ({'lists': 'n', 'ints': 'n', 'n__gte': 0}, {'n': '1|-2'}, 'parameter n should greater or equal than 0'),
    # IN-25: text has no keys
    ({'d___k': 'x'}, {'d': 'x'}, 'parameter d has no d.k (key related error)'),
    ({'d__1__gte': 5}, {'d': ['1', '5']}, {'d': ['1', '5']}),
]  # fmt: skip

#: The same, sent as JSON.
JSON_ROWS: list[tuple[dict[str, Any], Any, Any]] = [
    ({'required': ['limit']}, {'limit': 0}, 'parameter limit required'),
    ({'required': ['limit']}, {'limit': None}, 'parameter limit required'),
    ({'required': ['limit']}, {'limit': False}, {'limit': False}),
    ({'required': ['limit']}, {'limit': ['']}, {'limit': ['']}),
    ({'oneof': 'a b'}, {'a': 0, 'b': None}, {'a': 0, 'b': None}),
    ({'ints': 'n'}, {'n': None}, {'n': None}),
    ({'ints': 'n'}, {'n': '5'}, {'n': 5}),
    ({'ints': 'n'}, {'n': 5.0}, {'n': 5}),
    *[({'ints': 'n'}, {'n': value}, 'parameter n should be int type') for value in
      [5.5, True, [1], {}, [], 'x']],
    ({'floats': 'n'}, {'n': 5}, {'n': 5.0}),
    *[({'floats': 'n'}, {'n': value}, 'parameter n should be float type') for value in
      [False, [1.5], {}, 'nan', 10**400]],
    ({'strings': 's'}, {'s': ''}, {'s': ''}),
    *[({'strings': 's'}, {'s': value}, 'parameter s should be string type') for value in
      [5, 0, {}, [], True]],
    ({'booleans': 'a b c d'}, {'a': True, 'b': False, 'c': 1, 'd': 0},
     {'a': True, 'b': False, 'c': True, 'd': False}),
    *[({'booleans': 'd'}, {'d': value},
       'parameter d should be a boolean (one of yes, no, y, n, t, f, true or false)') for value in
      [2, [], {}]],
    ({'emails': 'e'}, {'e': 5}, 'parameter e should be an email address'),
    ({'uuids': 'u'}, {'u': {}}, 'parameter u should be a UUID'),
    ({'lists': 'm'}, {'m': [1, 'a']}, {'m': [1, 'a']}),
    ({'lists': 'm', 'ints': 'm'}, {'m': [1, '2']}, {'m': [1, 2]}),
    ({'lists': 'm'}, {'m': 5}, 'parameter m should be list type'),
    ({'dicts': 'm'}, {'m': {'a': 1}}, {'m': {'a': 1}}),
    ({'dicts': 'm'}, {'m': []}, 'parameter m should be dict type'),
    ({'nones': 'a b c d e f'}, {'a': '', 'b': 0, 'c': [], 'd': {}, 'e': False, 'f': 1},
     {'a': None, 'b': None, 'c': None, 'd': None, 'e': None, 'f': 1}),
    ({'notags': 'r'}, {'r': [{'x': ['<b>']}]}, 'parameter r should not contain html tags'),
    ({'safes': 'r'}, {'r': {'<script': 1}}, 'parameter r is unsafe'),
    ({'notags': 'r', 'safes': 'r'}, {'r': 5}, {'r': 5}),
    ({'ranges': 'r'}, {'r': [1, 5]}, 'parameter r should be a range like 1~10'),
    # IN-19: JSON values must have the type
    ({'a': int}, {'a': 4}, {'a': 4}),
    ({'a': int}, {'a': '4'}, 'parameter a should be int type'),
    ({'a': int}, {'a': True}, 'parameter a should be int type'),
    ({'a': int}, {'a': 4.0}, 'parameter a should be int type'),
    ({'a': float}, {'a': 4}, {'a': 4.0}),
    ({'a': float}, {'a': '4'}, 'parameter a should be float type'),
    ({'a': bool}, {'a': True}, {'a': True}),
    ({'a': [bool, int]}, {'a': True}, {'a': True}),
    ({'a': bool}, {'a': 1}, 'parameter a should be a boolean (one of yes, no, y, n, t, f, true or false)'),
    ({'b': [int, float]}, {'b': 1.5}, {'b': 1.5}),
    ({'b': [int, float]}, {'b': 'x'}, 'parameter b should be int or float type'),
    ({'b': dict}, {'b': {}}, {'b': {}}),
    ({'b': dt.date}, {'b': '2026-01-01'}, {'b': '2026-01-01'}),
    ({'a': re.compile('x')}, {'a': 5}, 'parameter a is invalid'),
    # Operators
    ({'a__gte': 10}, {'a': '15'}, {'a': '15'}),
    ({'a__lte': 10}, {'a': 10.5}, 'parameter a should less or equal than 10'),
    ({'a__gte': 1}, {'a': True}, 'parameter a should be int type'),
    ({'a__gte': 1}, {'a': [5]}, 'parameter a should be int type'),
    ({'a__in': [0, 1]}, {'a': False}, 'parameter a should be int type'),
    ({'a__eq': '5'}, {'a': 5}, {'a': 5}),
    ({'a__lte': 'b'}, {'a': ['a']}, 'parameter a should be string type'),
    ({'a__len__lte': 5}, {'a': 5}, 'parameter a has no length'),
    ({'a__len__lte': 1}, {'a': [1, 2]}, 'parameter length of a should less or equal than 1'),
    ({'a__contains': 'b'}, {'a': 5}, 'parameter a should contain b'),
    ({'a__contains': 'b'}, {'a': ['a', 'b']}, {'a': ['a', 'b']}),
    ({'a__contains': 'b'}, {'a': {'b': 1}}, {'a': {'b': 1}}),
    ({'a__notcontain': 1}, {'a': [1]}, 'parameter a should not contain 1'),
    ({'a__notcontain': 1}, {'a': [True, 'x', None, {}]}, {'a': [True, 'x', None, {}]}),
    ({'a__startswith': 'b'}, {'a': {}}, 'parameter a should start with b'),
    ({'a__regex': 'b'}, {'a': 5}, 'parameter a should match with regular expression b'),
    # IN-25, CL-08
    ({'data___scores__1__gte': 10}, {'data': {'scores': [9, 12]}}, {'data': {'scores': [9, 12]}}),
    ({'d___k__1__gte': 10}, {'d': {'k': [5, 9]}}, 'parameter d.k.1 should greater or equal than 10'),
    *[({'d___k__1__gte': 10}, {'d': value}, 'parameter d has no d.k.1 (key related error)') for value in
      [{}, [], 5, 'x', {'k': None}, {'k': [9]}, {'k': {'1': 9}}, {'k': [1, None]}]],
    ({'d___k___x__len__gte': 2}, {'d': {'k': {'x': 'a'}}},
     'parameter length of d.k.x should greater or equal than 2'),
    ({'d__0___x': int}, {'d': [{'x': 1}]}, {'d': [{'x': 1}]}),
    ({'d__0___x': int}, {'d': [{'x': '1'}]}, 'parameter d.0.x should be int type'),
    ({'d___k__in': ['a']}, {'d': {'k': 'b'}}, "parameter d.k should be one of ['a']"),
    ({'d____id': 5}, {'d': {'_id': 5}}, {'d': {'_id': 5}}),
    ({'d___k__len__gte': 1}, {'d': {'k': 5}}, 'parameter d.k has no length'),
]  # fmt: skip


def compare(answers: list[tuple[Any, Any, Any]], scope: str = 'ARGS') -> None:
    """(row, expected, answer) of each row: what the service got, or why it wasn't called."""
    wrong = []
    for row, expected, response in answers:
        if isinstance(expected, str):
            found = response.data if response.status_code == 400 else (response.status_code, response.text)
            wanted: Any = refusal(scope, expected)
        else:
            found = response.data if response.status_code == 200 else (response.status_code, response.text)
            wanted = {'got': expected, 'args': expected}
        if json.dumps(found, sort_keys=True) != json.dumps(wanted, sort_keys=True):  # 1 is not true
            wrong.append((row, found))
    assert wrong == []


@pytest.mark.parametrize('scope', ['ARGS', 'URL', 'GET'])
def test_queries(client_for: Make, scope: str) -> None:
    """IN-03 to IN-25, E.2, PR-10: the service and `request.args` have what was converted."""
    client = client_for(app_of(*({'scope': scope} | spec for spec, _, _ in TEXT_ROWS)))
    compare(
        [
            (row, row[2], client.get(f'/{number}?' + urlencode(row[1], doseq=True)))
            for number, row in enumerate(TEXT_ROWS)
        ],
        scope,
    )


@pytest.mark.parametrize('scope', ['ARGS', 'FORM', 'DATA', 'POST'])
def test_forms(client_for: Make, scope: str) -> None:
    """The same as forms."""
    client = client_for(app_of(*({'scope': scope} | spec for spec, _, _ in TEXT_ROWS)))
    compare(
        [(row, row[2], client.post(f'/{number}', row[1])) for number, row in enumerate(TEXT_ROWS)],
        scope,
    )


@pytest.mark.parametrize('scope', ['ARGS', 'JSON', 'DATA', 'PUT'])
def test_json(client_for: Make, scope: str) -> None:
    """IN-02 to IN-25, E.2."""
    client = client_for(app_of(*({'scope': scope} | spec for spec, _, _ in JSON_ROWS)))
    compare(
        [(row, row[2], client.put(f'/{number}', json=row[1])) for number, row in enumerate(JSON_ROWS)], scope
    )


# -- scopes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('scope', 'method', 'options', 'passes'),
    [
        ('ARGS', 'GET', {}, False),
        ('ARGS', 'GET', {'params': {'a': '1'}}, True),
        ('ARGS', 'POST', {'json': {'a': 1}}, True),
        ('URL', 'POST', {'data': {'a': '1'}}, False),
        ('URL', 'POST', {'params': {'a': '1'}}, True),
        ('FORM', 'GET', {}, True),
        ('FORM', 'POST', {'params': {'a': '1'}}, False),
        ('FORM', 'POST', {'data': {'a': '1'}}, True),
        ('FORM', 'POST', {'json': {'a': 1}}, False),
        ('JSON', 'GET', {}, True),
        ('JSON', 'POST', {'data': {'b': '1'}}, True),
        ('JSON', 'POST', {'json': {'b': '1'}}, False),
        ('JSON', 'POST', {'json': {'a': '1'}}, True),
        ('JSON', 'POST', {'data': '', 'headers': {'Content-Type': 'application/json'}}, False),
        ('JSON', 'POST', {'data': '{}', 'headers': {'Content-Type': 'application/x+json'}}, False),
        ('DATA', 'DELETE', {}, True),
        ('DATA', 'PATCH', {'data': {'b': '1'}}, False),
        ('DATA', 'PATCH', {'json': {'b': '1'}}, False),
        ('DATA', 'PUT', {'data': 'text', 'headers': {'Content-Type': 'text/plain'}}, False),
        ('DATA', 'PUT', {}, False),
        ('DATA', 'PUT', {'json': {'a': '1'}}, True),
        ('GET', 'POST', {}, True),
        ('GET', 'GET', {}, False),
        ('GET', 'HEAD', {}, False),
        ('GET', 'GET', {'params': {'a': '1'}}, True),
        ('DELETE', 'DELETE', {}, False),
        ('DELETE', 'DELETE', {'params': {'a': '1'}}, True),
        ('POST', 'GET', {}, True),
        ('POST', 'PUT', {}, True),
        ('POST', 'POST', {'params': {'a': '1'}}, False),
        ('put', 'PUT', {'json': {'a': '1'}}, True),
    ],
)
def test_scopes(client_for: Make, scope: str, method: str, options: Any, passes: bool) -> None:
    """IN-02."""
    response = client_for(app_of({'scope': scope, 'required': ['a']})).request(method, '/0', **options)
    assert response.status_code == (200 if passes else 400)
    if not passes and method != 'HEAD':
        assert response.data == refusal(scope.upper(), 'parameter a required')


@pytest.mark.parametrize('scope', ['JSON', 'DATA', 'POST'])
def test_a_body_that_is_no_object(client_for: Make, scope: str) -> None:
    """PITFALLS, Errors: a JSON list where an object is expected."""
    client = client_for(app_of({'scope': scope, 'ints': 'a'}))
    for body in ([], [1], 5, 'x', False):
        response = client.post('/0', json.dumps(body), headers={'Content-Type': 'application/json'})
        assert response.data == refusal(scope, 'the body should be a JSON object')
    assert client.post('/0', 'null', headers={'Content-Type': 'application/json'}).status_code == 200
    assert client.post('/0', '{', headers={'Content-Type': 'application/json'}).status_code == 400


def test_where_converted_values_go(client_for: Make) -> None:
    """IN-04, PR-10: to where they came from, and not to another value of the same name."""
    app = Atila('app')

    def service(was, **got):
        request = was.request
        return was.API(got=got, args=request.args, url=request.URL, data=request.DATA)

    app.route('/args', methods=['GET', 'POST'])(app.inspect(ints='a')(service))

    @app.route('/url', methods=['GET', 'POST'])
    @app.inspect('URL', ints='a')
    def url(was, **got):
        return service(was, **got)

    client = client_for(app)
    assert client.get('/args?a=1').data == {'got': {'a': 1}, 'args': {'a': 1}, 'url': {'a': 1}, 'data': None}
    for options in ({'data': {'a': '2'}}, {'json': {'a': '2'}}):
        assert client.post('/args?a=1', **options).data == {
            'got': {'a': 2},
            'args': {'a': 2},
            'url': {'a': '1'},
            'data': {'a': 2},
        }
    assert client.post('/url?a=1', {'a': '2'}).data == {
        'got': {'a': '2'},
        'args': {'a': '2'},
        'url': {'a': 1},
        'data': {'a': '2'},
    }


def test_defaults_are_inspected(client_for: Make) -> None:
    """IN-02, IN-19: the seed's `offset = int` with default 1; a default that is converted is passed."""
    app = Atila('app')

    @app.route('/1')
    @app.inspect(offset=int, booleans='detail', nones='note')
    def service(was, offset=1, detail='yes', note=''):
        args = was.request.args
        return was.API(offset=offset, detail=detail, note=note, same=args['detail'] is detail)

    @app.route('/2')
    @app.inspect(manyof=['a', 'b'])
    def many(was, a=1, b=None):
        return ''

    @app.route('/3')
    @app.inspect(required=['a'])
    def required(was, a=1):
        return 'x'

    client = client_for(app)
    assert client.get('/1').data == {'offset': 1, 'detail': True, 'note': None, 'same': True}
    assert client.get('/1?offset=4&detail=n&note=x').data == {
        'offset': 4,
        'detail': False,
        'note': 'x',
        'same': True,
    }
    assert client.get('/2').status_code == 400  # a default is not given
    assert client.get('/2?a=1').status_code == 200
    assert client.get('/3').status_code == 200  # but it is no missing value either


def test_uploads_are_inspected(client_for: Make) -> None:
    """IN-04: a file is no text; nothing that is asked of it fails the server."""
    specs: list[dict[str, Any]] = [{'required': 'f'}, {'f': UploadedFile}, {'nones': 'f'}, {'notags': 'f'}]
    bad: list[dict[str, Any]] = [
        {'ints': 'f'},
        {'strings': 'f'},
        {'lists': 'f'},
        {'f': str},
        {'f__len__gte': 0},
        {'f__contains': 'x'},
        {'f__eq': 'x'},
        {'f___name': 'x'},
    ]
    app = Atila('app')
    for number, spec in enumerate([*specs, *bad]):

        @app.route(f'/{number}')
        @app.inspect(**spec)
        def service(was, f):
            return f.name

    client = client_for(app)
    for number in range(len(specs) + len(bad)):
        response = client.upload(f'/{number}', {'f': ('a.txt', b'text')})
        assert response.status_code == (200 if number < len(specs) else 400), number


# -- programming errors ----------------------------------------------------------------------------


class Color(enum.Enum):
    RED = 'red'


def test_members_of_enumerations(client_for: Make) -> None:
    """IN-22: they stand for their values."""
    client = client_for(app_of({'c__in': list(Color)}, {'c': Color.RED}))
    for uri in ('/0', '/1'):
        assert client.get(uri + '?c=red').status_code == 200
        assert client.get(uri + '?c=blue').status_code == 400


@pytest.mark.parametrize(
    ('spec', 'error', 'words'),
    [
        ({'scope': 'BODY'}, ValueError, 'unknown scope'),
        ({'scope': ['a']}, TypeError, 'by keyword'),
        ({'scope': 5}, ValueError, 'unknown scope'),
        ({'scope': lambda was: ''}, TypeError, 'parentheses'),
        ({'required': 5}, TypeError, 'list of names'),
        ({'ints': [5]}, TypeError, 'list of names'),
        ({'ints': {'a': 1}}, TypeError, 'list of names'),
        ({'ints': 'a, b'}, ValueError, 'blanks'),
        ({'ints': ['a b']}, ValueError, 'blanks'),
        ({'ints': int}, TypeError, 'list of names'),
        ({'a__foo': 5}, ValueError, "unknown operator 'foo'"),
        ({'a__Gte': 5}, ValueError, 'unknown operator'),
        ({'a__len__foo': 5}, ValueError, 'a length has'),
        ({'a__len__contains': 5}, ValueError, 'a length has'),
        ({'a__len': 5}, ValueError, 'a__len__lte'),
        ({'a__len__gte': '5'}, TypeError, 'a length is an int'),
        ({'a__len__between': (1.5, 2)}, TypeError, 'a length is an int'),
        ({'a__gte__lte': 5}, ValueError, 'unknown operator'),
        ({'a__': 5}, ValueError, 'unknown operator'),
        ({'__a': 5}, ValueError, 'name is missing'),
        ({'a___': 5}, ValueError, 'name is missing'),
        ({'a__x___b': 5}, ValueError, 'operator comes last'),
        ({'first__name': str}, ValueError, 'unknown operator'),
        ({'a': None}, TypeError, 'not inspected'),
        ({'a__eq': None}, TypeError, 'not inspected'),
        ({'a': [1, 2]}, TypeError, 'a__in'),
        ({'a': []}, TypeError, 'list holds types'),
        ({'a': {}}, TypeError, 'write a type'),
        ({'a': len}, TypeError, 'write a type'),
        ({'a': object()}, TypeError, 'write a type'),
        ({'a': list[int]}, TypeError, 'write'),
        ({'a': re.compile(b'x')}, TypeError, 'regular expression for text'),
        ({'a__regex': '('}, ValueError, 'no regular expression'),
        ({'a__regex': 5}, TypeError, 'regular expression'),
        ({'a__regex': re.compile(b'x')}, TypeError, 'regular expression for text'),
        ({'a__between': 5}, TypeError, 'pair'),
        ({'a__between': (1, 2, 3)}, ValueError, 'pair'),
        ({'a__between': {1, 2}}, TypeError, 'pair'),
        ({'a__between': (1, 'x')}, TypeError, 'compared with each other'),
        ({'a__between': (5, 1)}, ValueError, 'lower value first'),
        ({'a__in': 'male'}, TypeError, 'a list of values'),
        ({'a__in': []}, TypeError, 'a list of values'),
        ({'a__in': 5}, TypeError, 'a list of values'),
        ({'a__in': [[1]]}, TypeError, 'cannot be compared'),
        ({'a__eq': [1]}, TypeError, 'name__in'),
        ({'a__gte': b'x'}, TypeError, 'cannot be compared'),
        ({'a__gte': lambda: 5}, TypeError, 'cannot be compared'),
        ({'a__gte': float('nan')}, ValueError, 'nothing compares'),
        ({'a__gte': Decimal('sNaN')}, ValueError, 'nothing compares'),
        ({'a__startswith': 5}, TypeError, 'write a str'),
        ({'a__startswith': []}, TypeError, 'write a str'),
        ({'a__contains': {}}, TypeError, 'cannot be compared'),
    ],
)
def test_programming_errors(spec: dict[str, Any], error: type[Exception], words: str) -> None:
    """IN-22: reported at decoration, in words that say how to mend them."""
    app = Atila('app')
    with pytest.raises(error, match=re.escape(words)):
        app.inspect(**spec)


def test_a_decorator_without_parentheses() -> None:
    """IN-01."""
    app = Atila('app')
    with pytest.raises(TypeError, match='parentheses'):

        @app.inspect
        def service(was):
            return ''


# -- properties ------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(['1', '-5', 'a@b.cd', 'yes', 'me', '<b>', '2026-01-01', '1~2', 'a|b', '9' * 5000,
                       10**300]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(['k', 'x', '0', '']) | st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip

#: One specification for each thing that can be asked of parameter `a`.
_SPECS: list[dict[str, Any]] = [
    *[{keyword: ['a']} for keyword in
      ('required', 'ints', 'floats', 'strings', 'booleans', 'emails', 'uuids', 'lists', 'dicts', 'nones',
       'notags', 'safes', 'ranges')],
    {'oneof': ['a', 'b']}, {'manyof': ['a', 'b']},
    {'lists': 'a', 'ints': 'a', 'a__len__lte': 2, 'nones': 'a'},
    *[{'a': condition} for condition in
      (int, float, bool, str, list, dict, [int, float], [bool, str], dt.date, dt.datetime, dt.time, Decimal,
       UUID, re.compile('a'), 'x', 5, 1.5, True, Decimal(5))],
    *[{f'a__{name}': condition} for name in ('eq', 'exact', 'neq', 'lte', 'lt', 'gte', 'gt')
      for condition in (5, 1.5, 'x', True, Decimal('1.5'), dt.date(2026, 1, 1), dt.datetime(2026, 1, 1),
                        dt.time(1), UUID(UUID_TEXT))],
    *[{f'a__len__{name}': 3} for name in ('eq', 'exact', 'neq', 'lte', 'lt', 'gte', 'gt')],
    *[{f'a__{name}': condition} for name in ('in', 'notin')
      for condition in ([1, 2], ['x'], [1, 'x', 1.5, True], range(5), {Decimal(1)})],
    {'a__between': (1, 5)}, {'a__between': (1, 2.5)}, {'a__between': ('a', 'b')}, {'a__len__between': (1, 2)},
    {'a__between': (dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 2))},
    *[{f'a__{name}': condition} for name in ('contains', 'notcontain') for condition in ('k', 5, 1.5, True)],
    *[{f'a__{name}': 'x'} for name in ('startswith', 'notstartwith', 'endswith', 'notendwith', 'regex')],
    {'a___k': 'x'}, {'a___k__0__gte': 5}, {'a__0___x__len__lte': 2}, {'a___k___x': int},
    {'a__0__in': ['x', 1]},
]  # fmt: skip


@pytest.fixture
def everything(direct_for: Callable[..., Direct]) -> Direct:
    """A service that makes every inspection of `_SPECS` on the value that it gets."""
    app = Atila('app')
    inspections = [Inspection(**spec) for spec in _SPECS]

    @app.route('/', methods=['GET', 'POST'])
    def service(was, a=None, **got):
        request, refusals = was.request, []
        for inspection in inspections:
            for values in (request.URL, request.DATA or {}):
                if 'a' in values:
                    values['a'] = a  # as it came
            request.__dict__.pop('_args', None)
            try:
                inspection(was, {'a': a})
            except was.Error as error:
                refusals.append((error.status_code, error.errno, error.explain))
        assert all(found[:2] == (400, 40050) and re.search(r'\ba\b', found[2]) for found in refusals)
        return was.API(passed=len(inspections) - len(refusals))

    return direct_for(app)


def test_any_json_value_passes_or_is_refused(everything: Direct, caplog: pytest.LogCaptureFixture) -> None:
    """IN-04 to IN-25; PITFALLS, Errors: never a 5xx, whatever is asked of it."""

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_JSON)
    def check(value: Any) -> None:
        body = json.dumps({'a': value}).encode('utf-8', 'replace')
        request = request_bytes(b'POST', headers=b'Content-Type: application/json\r\n', body=body)
        answer = parse_answer(send_raw(everything.connect(), request))
        assert answer.status == 200 or b'malformed JSON' in answer.body, (value, answer)

    check()
    assert not caplog.records


def test_any_text_passes_or_is_refused(everything: Direct, caplog: pytest.LogCaptureFixture) -> None:
    """The same for queries and forms, given once or several times."""

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(
            st.text(st.characters(codec='utf-8'), max_size=10)
            | st.text('0123456789+-.eE_~|: TZ', max_size=12)
            | st.sampled_from(
                [
                    '9' * 4500,
                    '1e999',
                    '1e9999999999999999999',
                    'nan',
                    '٣',
                    'me',
                    '0001-01-01T00:00:00+14:00',
                    '24:00',
                ]
            ),
            min_size=1,
            max_size=3,
        ),
        st.booleans(),
    )
    def check(values: list[str], as_form: bool) -> None:
        pairs = urlencode({'a': values}, doseq=True).encode()
        request = request_bytes(target=b'/?' + pairs)
        if as_form:
            headers = b'Content-Type: application/x-www-form-urlencoded\r\n'
            request = request_bytes(b'POST', headers=headers, body=pairs)
        answer = parse_answer(send_raw(everything.connect(), request))
        assert answer.status == 200, (values, answer)

    check()
    assert not caplog.records


@settings(max_examples=300, deadline=None)
@given(_JSON, st.lists(st.sampled_from(['k', 'x', 0, 1]), min_size=1, max_size=4))
def test_json_paths(value: Any, path: list[Any]) -> None:
    """IN-25: a path passes exactly where Python's own indexing leads to a value."""
    keyword = 'a' + ''.join(f'__{step}' if isinstance(step, int) else f'___{step}' for step in path)
    found = value
    try:
        for step in path:
            if not isinstance(found, list if isinstance(step, int) else dict):
                raise KeyError(step)
            found = found[step]
    except (KeyError, IndexError):
        found = None
    assert _passes(value, **{keyword: object}) is (value is None or found is not None)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=20) | st.from_regex(r'\s*[+-]?[0-9_.]{1,6}\s*', fullmatch=True))
def test_what_passes_as_an_int_is_one(text: str) -> None:
    """IN-05."""
    if _passes(text, ints='a'):
        assert re.fullmatch(r'[ \t\r\n]*[+-]?[0-9]+[ \t\r\n]*', text)
        assert isinstance(int(text), int)


def test_long_texts_take_no_long_time() -> None:
    """IN-09, IN-17: expressions over a client's text are linear."""
    import time

    begun = time.perf_counter()
    for text in ('a.' * 200_000, '= j a v a s ' * 50_000, ' on' * 100_000, '<' * 300_000, '"\x00' * 200_000,
                 'onx' + ' ' * 300_000, ' o' + 'n' * 300_000, '1' * 300_000, '=' * 300_000):  # fmt: skip
        for keyword in ('emails', 'safes', 'notags', 'floats', 'ints', 'ranges', 'uuids'):
            _passes(text, **{keyword: 'a'})
    assert time.perf_counter() - begun < 5


class _Request:
    """As much of a request as an inspection of JSON asks for."""

    def __init__(self, value: Any) -> None:
        self.args = self.JSON = self.DATA = {'a': value}
        self.given, self.PARAMS, self.URL, self.DEFAULT = self.args, {}, {}, {}


class _Was:
    def __init__(self, value: Any) -> None:
        self.request = _Request(value)
        self.exchange = self
        self.body = b''
        self.endpoint = self.rule = self
        self.kinds: dict[str, str] = {}


def _passes(value: Any, **spec: Any) -> bool:
    from atila import HTTPError

    try:
        Inspection(**spec)(_Was(value), {})  # type: ignore[arg-type]
    except HTTPError as error:
        return error.status_code != 400
    return True
