"""XML-RPC's XML: what the standard library reads of ours, we of its, and nobody of hostile peers'."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import random
import uuid
from types import MappingProxyType
from typing import Any
from xmlrpc import client

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rpcpeers import texts, values

from aquests import Record
from aquests.errors import BadAnswer, Fault
from aquests.rpc.xmlvalues import MAX_DEPTH, dump_call, load_response


def heard(*params: Any) -> Any:
    """What a server gets."""
    got, method = client.loads(dump_call('m', params).decode(), use_builtin_types=True)
    assert method == 'm'
    return list(got)


def response(inner: str) -> bytes:
    return f'<?xml version="1.0"?><methodResponse>{inner}</methodResponse>'.encode()


def value(inner: str) -> Any:
    return load_response(response(f'<params><param><value>{inner}</value></param></params>'))


# -- writing -----------------------------------------------------------------------------------------


@given(st.lists(values, max_size=3))
def test_a_server_hears_what_was_said(params: list[Any]) -> None:
    assert heard(*params) == params


@given(st.lists(st.text(st.characters(exclude_categories=['Cs', 'Cc'])) | st.just('\r\r\n')))
def test_text_arrives_as_it_is_or_is_refused(params: list[str]) -> None:
    refused = any('\ufffe' in text or '\uffff' in text for text in params)
    try:
        assert heard(*params) == params
    except ValueError:
        assert refused
    else:
        assert not refused


@given(st.integers(-(2**200), 2**200))
def test_integers_of_any_size(number: int) -> None:
    assert heard(number) == [number]
    body = dump_call('m', (number,)).decode()
    assert ('<int>' in body) == (-(2**31) <= number < 2**31)
    assert ('<i8>' in body) == (-(2**63) <= number < 2**63 and '<int>' not in body)


def test_names_of_structs_arrive_too() -> None:
    assert heard({'a<b>&\r': {'\r': 1}}) == [{'a<b>&\r': {'\r': 1}}]


class Colour(enum.Enum):
    RED = 'red'


class Level(enum.IntEnum):
    HIGH = 3


class Mixin:
    pass


class Text(str, Mixin):
    __slots__ = ()

    def __str__(self) -> str:
        return 'not this'


class Moment(datetime.datetime):
    pass


@dataclasses.dataclass
class Point:
    x: int
    y: int


@pytest.mark.parametrize(
    ('said', 'arrived'),
    [
        (Record(a=1), {'a': 1}),
        (MappingProxyType({'a': (1, 2)}), {'a': [1, 2]}),
        ({Colour.RED: 1, Text('t'): 2}, {'red': 1, 't': 2}),
        (frozenset({1}), [1]),
        (Colour.RED, 'red'),
        (Level.HIGH, 3),
        (Text('t'), 't'),
        (decimal.Decimal('1.10'), '1.10'),
        (uuid.UUID(int=1), '00000000-0000-0000-0000-000000000001'),
        (datetime.date(2026, 2, 3), '2026-02-03'),
        (datetime.timedelta(minutes=1), 60.0),
        (Moment(2026, 2, 3, 4), datetime.datetime(2026, 2, 3, 4)),
        (bytearray(b'x'), b'x'),
        (memoryview(b'x'), b'x'),
        (Point(1, 2), {'x': 1, 'y': 2}),
        (client.Binary(b'x'), b'x'),
        (client.DateTime('20260203T04:05:06'), datetime.datetime(2026, 2, 3, 4, 5, 6)),
    ],
)
def test_other_kinds_are_written_as_one_would_expect(said: Any, arrived: Any) -> None:
    assert heard(said) == [arrived]


def test_a_datetime_with_an_offset_is_the_same_moment_in_utc() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=9))
    assert heard(datetime.datetime(2026, 2, 3, 4, 5, 6, 7, zone)) == [datetime.datetime(2026, 2, 2, 19, 5, 6)]


@pytest.mark.parametrize(
    ('said', 'error', 'words'),
    [
        (float('nan'), ValueError, 'has no nan'),
        (float('-inf'), ValueError, 'has no -inf'),
        ('\x00', ValueError, r"no character '\\x00': send the text as bytes"),
        ('\ud800', ValueError, 'no character'),
        ({'\x08': 1}, ValueError, 'no character'),
        ({1: 2}, TypeError, 'are strs, not 1'),
        (object(), TypeError, 'object cannot be written as XML-RPC'),
        ([Mixin()], TypeError, 'Mixin cannot be written as XML-RPC'),
        (Point, TypeError, 'type cannot be written'),
    ],
)
def test_what_cannot_be_said_is_refused_in_words(said: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        dump_call('m', (said,))


def test_what_holds_itself_is_refused() -> None:
    inner: list[Any] = []
    inner.append(inner)
    with pytest.raises(ValueError, match='in itself'):
        dump_call('m', (inner,))


def test_the_deepest_value_that_is_written_is_read() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert load_response(client.dumps((heard(deep)[0],), methodresponse=True).encode()) == deep
    for _ in range(2):
        deep = {'a': deep}
    with pytest.raises(ValueError, match='nested more than 100'):
        dump_call('m', (deep,))


@pytest.mark.parametrize('name', ['', 'a b', 'a</methodName>', 'a\n', '&', '"'])
def test_names_of_methods_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match='is no name of an XML-RPC method'):
        dump_call(name, ())


# -- reading -----------------------------------------------------------------------------------------


@given(values)
def test_we_hear_what_a_server_says(said: Any) -> None:
    assert load_response(client.dumps((said,), methodresponse=True, allow_none=True).encode()) == said


@given(values, st.sampled_from(['utf-16', 'iso-8859-1', 'ascii']))
def test_in_whatever_encoding(said: Any, encoding: str) -> None:
    text = client.dumps((said,), methodresponse=True, allow_none=True, encoding=encoding)
    assert load_response(text.encode(encoding, 'xmlcharrefreplace')) == said


@given(st.integers(-(2**31), 2**31 - 1), texts)
def test_a_fault_is_raised(code: int, words: str) -> None:
    with pytest.raises(Fault) as caught:
        load_response(client.dumps(client.Fault(code, words)).encode())
    assert (caught.value.faultCode, caught.value.faultString) == (code, words)
    assert (caught.value.code, caught.value.message, caught.value.http_status) == (code, words, 502)


@pytest.mark.parametrize(
    ('inner', 'read'),
    [
        ('text', 'text'),
        ('', ''),
        ('<i4>-5</i4>', -5),
        ('<i8>9223372036854775807</i8>', 2**63 - 1),
        ('<ex:i8 xmlns:ex="urn:x">1</ex:i8>', 1),
        ('<ex:nil xmlns:ex="urn:x"/>', None),
        ('<double>-12.214</double>', -12.214),
        ('<string>\n a&amp;b<![CDATA[<c>]]></string>', '\n a&b<c>'),
        ('<base64>eW91IGNh\nbid0IHJlYWQ=</base64>', b"you can't read"),
        ('<array><data/></array>', []),
        ('<struct/>', {}),
        ('<dateTime.iso8601>19980717T14:08:55</dateTime.iso8601>', datetime.datetime(1998, 7, 17, 14, 8, 55)),
        (
            '<dateTime.iso8601>1998-07-17T14:08:55Z</dateTime.iso8601>',
            datetime.datetime(1998, 7, 17, 14, 8, 55, tzinfo=datetime.UTC),
        ),
    ],
)
def test_what_servers_write(inner: str, read: Any) -> None:
    assert value(inner) == read


def bomb() -> bytes:
    entities = '<!ENTITY a0 "lol">' + ''.join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    return (
        f'<?xml version="1.0"?><!DOCTYPE x [{entities}]>'
        '<methodResponse><params><param><value>&a9;</value></param></params></methodResponse>'
    ).encode()


@pytest.mark.parametrize(
    ('body', 'words'),
    [
        (bomb(), 'DTD'),
        (b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x"><methodResponse/>', 'DTD'),
        (
            b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><methodResponse><params><param><value>&e;'
            b'</value></param></params></methodResponse>',
            'DTD',
        ),
        (b'<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]><methodResponse/>', 'DTD'),
        (response('<params><param><value>&e;</value></param></params>'), 'no XML: undefined entity'),
        (b'', 'no XML: no element'),
        (b'<html><body>502 Bad Gateway</body></html>', 'no XML-RPC: it has neither a value nor a fault'),
        (b'{"result": 1}', 'no XML'),
        (b'\x00\xff' * 100, 'no XML'),
        (b'<?xml version="1.0" encoding="no-such"?><a/>', 'no XML'),
        (response('<params/>'), '0 values instead of one'),
        (
            response('<params><param><value>1</value></param><param><value>2</value></param></params>'),
            '2 values',
        ),
        (client.dumps((1,), 'call').encode(), 'no XML-RPC'),
        (response('<fault><value>text</value></fault>'), 'no XML-RPC'),
        (response('<fault/>'), 'a fault without faultCode and faultString'),
        (response('<fault><value><struct/></value></fault>'), 'no XML-RPC'),
    ],
)
def test_hostile_and_broken_answers(body: bytes, words: str) -> None:
    with pytest.raises(BadAnswer, match=words):
        load_response(body)


@pytest.mark.parametrize(
    'inner',
    [
        '<int>five</int>',
        '<int>' + '9' * 5000 + '</int>',
        '<boolean>2</boolean>',
        '<double>wide</double>',
        '<dateTime.iso8601>yesterday</dateTime.iso8601>',
        '<base64>a</base64>',
        '<base64>ä</base64>',
        '<struct><member><name>a</name></member></struct>',
        '<struct><member><name>a</name><value>1</value></member><member><name>b</name></member></struct>',
        '<struct><member><value><array><data/></array></value><value>1</value></member></struct>',
        '<unknown>1</unknown>',
        '<double>' + 'x' * 100_000 + '</double>',
    ],
)
def test_values_that_are_none(inner: str) -> None:
    with pytest.raises(BadAnswer, match='no XML-RPC') as caught:
        value(inner)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ('opening', 'closing'),
    [
        ('<array><data><value>', '</value></data></array>'),
        ('<struct><member><name>a</name><value>', '</value></member></struct>'),
        ('<array>', '</array>'),
    ],
)
@pytest.mark.parametrize('depth', [MAX_DEPTH + 1, 50_000])
def test_deep_nesting_is_refused(opening: str, closing: str, depth: int) -> None:
    with pytest.raises(BadAnswer, match='nested more than 100 times'):
        value(opening * depth + closing * depth)


def test_unknown_elements_may_be_as_deep_as_they_like() -> None:
    with pytest.raises(BadAnswer, match='neither'):
        load_response(b'<a>' * 50_000 + b'</a>' * 50_000)


@given(values, st.data())
def test_a_truncated_answer_is_no_answer(said: Any, data: st.DataObject) -> None:
    body = client.dumps((said,), methodresponse=True, allow_none=True).encode().rstrip()
    with pytest.raises(BadAnswer):
        load_response(body[: data.draw(st.integers(0, len(body) - 1))])


@given(values, st.randoms(use_true_random=False))
def test_a_damaged_answer_is_a_value_a_fault_or_a_bad_answer(said: Any, dice: random.Random) -> None:
    parts = client.dumps((said,), methodresponse=True, allow_none=True).replace('<', '\0<').split('\0')
    for _ in range(3):
        at = dice.randrange(len(parts))
        dice.choice((lambda at: parts.pop(at), lambda at: parts.insert(at, dice.choice(parts))))(at)
    try:
        load_response(''.join(parts).encode())
    except (BadAnswer, Fault):
        pass


@given(st.binary() | st.text().map(str.encode))
def test_anything_else_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        load_response(body)
