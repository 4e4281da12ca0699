"""JSON of `was.API` (SPEC RS-13)."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import ipaddress
import json
import uuid
from collections import OrderedDict, UserDict
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atila import jsons

MOMENT = datetime.datetime(2026, 5, 1, 21, 0, 5, 250000, datetime.timezone(datetime.timedelta(hours=9)))
NAIVE = datetime.datetime(2026, 5, 1, 12, 0, 5)


@pytest.mark.parametrize(
    ('encoder', 'zoned', 'naive'),
    [
        ('utcoffset', '2026-05-01 12:00:05+00', '2026-05-01 12:00:05+00'),
        ('str', '2026-05-01 21:00:05.250000+09:00', '2026-05-01 12:00:05'),
        ('iso', '2026-05-01T21:00:05.250000+09:00', '2026-05-01T12:00:05'),
        ('unixepoch', 1777636805.25, 1777636805.0),
        ('digit', '20260501210005', '20260501120005'),
    ],
)
def test_dates(encoder: str, zoned: Any, naive: Any) -> None:
    """RS-13, ST-08: `JSON_ENCODER`."""
    assert json.loads(jsons.encoder(encoder)({'a': MOMENT, 'b': [NAIVE]})) == {'a': zoned, 'b': [naive]}


def test_an_encoder_of_ones_own() -> None:
    """RS-13."""

    class Mine(json.JSONEncoder):
        def default(self, value: Any) -> Any:
            return 'mine'

    assert json.loads(jsons.encoder(Mine)({'a': MOMENT, 'b': 'ä'})) == {'a': 'mine', 'b': 'ä'}
    jsons.check_encoder(Mine)


@pytest.mark.parametrize('encoder', ['', 'none', None, 7])
def test_an_unknown_encoder(encoder: Any) -> None:
    with pytest.raises(ValueError, match='JSON_ENCODER'):
        jsons.check_encoder(encoder)


class Colour(enum.Enum):
    RED = 'red'


class Number(enum.IntEnum):
    ONE = 1


@dataclasses.dataclass
class Point:
    x: int
    when: datetime.date


class Text(str):
    pass


class Shouted:
    def __str__(self) -> str:
        return 'SHOUTED'


class Loud(str, Shouted):
    __str__ = Shouted.__str__  # type: ignore[assignment]


class Amount(int, Shouted): ...


class Share(float, Shouted): ...


@pytest.mark.parametrize(
    ('value', 'written'),
    [
        (datetime.date(2026, 5, 1), '2026-05-01'),
        (datetime.time(1, 2, 3), '01:02:03'),
        (datetime.timedelta(minutes=1.5), 90.0),
        (decimal.Decimal('1.10'), '1.10'),
        (uuid.UUID(int=1), '00000000-0000-0000-0000-000000000001'),
        (bson.ObjectId('66f1a0c3e5b4d2a190817263'), '66f1a0c3e5b4d2a190817263'),
        (bson.Decimal128('1.10'), '1.10'),
        (ipaddress.ip_interface('10.0.0.1/8'), '10.0.0.1/8'),
        (ipaddress.ip_address('::1'), '::1'),
        (Colour.RED, 'red'),
        (Number.ONE, 1),
        (Point(1, datetime.date(2026, 5, 1)), {'x': 1, 'when': '2026-05-01'}),
        (Text('a'), 'a'),
        (Loud('a'), 'a'),
        (Amount(3), 3),
        (Share(0.5), 0.5),
        ((1, 2), [1, 2]),
        ({3}, [3]),
        (b'bytes', 'bytes'),
        (OrderedDict(a=(1,)), {'a': [1]}),
        (UserDict(a=1), {'a': 1}),
        ({1: 'a', None: 'b', 1.5: 'd'}, {'1': 'a', 'null': 'b', '1.5': 'd'}),
        ({True: 'a'}, {'true': 'a'}),
        ({'a': {Colour.RED: 1}}, {'a': {'red': 1}}),
        (2**70, 2**70),
        (float('nan'), None),
    ],
)
def test_values_that_json_has_not(value: Any, written: Any) -> None:
    """RS-13."""
    assert json.loads(jsons.encoder()({'v': value})) == {'v': written}


@pytest.mark.parametrize('value', [object(), len, {'a': [object()]}, 1j, b'\xff'])
def test_values_that_cannot_be_written(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        jsons.encoder()(value)


def test_text_is_not_escaped_and_pretty_is_indented() -> None:
    """RS-13: `ensure_ascii = False`, `PRETTY_JSON`."""
    assert jsons.encoder()({'a': 'ä한'}) == '{"a":"ä한"}'.encode()
    assert jsons.encoder(pretty=True)({'a': [1]}) == b'{\n  "a": [\n    1\n  ]\n}'


_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec='utf-8')),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec='utf-8')), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(_PLAIN, st.booleans())
def test_what_is_written_is_read(value: Any, pretty: bool) -> None:
    """RS-13."""
    assert json.loads(jsons.encoder(pretty=pretty)(value)) == value


def test_what_is_nested_deeply_is_written() -> None:
    """A client's JSON, sent back: as deep as our decoder reads it."""
    value: Any = []
    for _ in range(900):
        value = [value]
    assert jsons.encoder()({'value': value}).count(b'[') == 901
