"""JSON out: msgspec, with dates in the documented formats (SPEC RS-13).

msgspec writes dates as ISO 8601 and lets nobody else do it, so values that hold dates (or anything else
that JSON has not) are first made plain; values that are plain already, the common case, are not copied.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from aquests import Record

_SCALARS = frozenset((str, int, float, bool, type(None)))
#: Whose items are looked through; rows of databases are Records.
_DICTS: frozenset[type] = frozenset((dict, Record))
#: What databases have besides and is written as its text; by name, for their packages need not be there.
_TEXTS = frozenset(
    {
        'bson.decimal128.Decimal128',
        'bson.objectid.ObjectId',
        'ipaddress.IPv4Address',
        'ipaddress.IPv4Interface',
        'ipaddress.IPv4Network',
        'ipaddress.IPv6Address',
        'ipaddress.IPv6Interface',
        'ipaddress.IPv6Network',
    }
)


#: What is written in about the same time as a number, and how many of them in next to none.
_LEAVES = _SCALARS | {
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
}
_LIGHT = 2000
#: So many characters weigh as much as a number; and a list or a dict as much as so many.
_TEXT = 32
_BRANCH = 8


def _utc(value: datetime.datetime) -> datetime.datetime:
    """The same moment in UTC; a naive datetime is taken for UTC."""
    return value.replace(tzinfo=datetime.UTC) if value.tzinfo is None else value.astimezone(datetime.UTC)


def _utcoffset(value: datetime.datetime) -> str:
    return _utc(value).strftime('%Y-%m-%d %H:%M:%S+00')


_DATES: dict[str, Callable[[datetime.datetime], Any]] = {
    'utcoffset': _utcoffset,
    'str': str,
    'iso': datetime.datetime.isoformat,
    'unixepoch': lambda value: _utc(value).timestamp(),
    'digit': lambda value: value.strftime('%Y%m%d%H%M%S'),
}


def check_encoder(encoder: Any) -> None:
    """ValueError for what is no `config.JSON_ENCODER`: a name, or a `json.JSONEncoder` class."""
    if not (encoder in _DATES if isinstance(encoder, str) else isinstance(encoder, type)):
        raise ValueError(
            f'JSON_ENCODER {encoder!r} is unknown: use {", ".join(_DATES)} or a JSONEncoder class'
        )


def encoder(name: Any = 'utcoffset', pretty: bool = False) -> Callable[[Any], bytes]:
    """A function from values to UTF-8 JSON; TypeError for what cannot be written. `pretty`: indented by 2."""
    if not isinstance(name, str):
        return lambda value: json.dumps(
            value, cls=name, ensure_ascii=False, indent=2 if pretty else None
        ).encode()
    date, write = _DATES[name], msgspec.json.Encoder().encode

    def encode(value: Any) -> bytes:
        if type(value) in _DICTS:  # most are flat: looked through here, in one frame
            for key, item in value.items():
                if type(item) not in _SCALARS or type(key) is not str:
                    break
            else:
                return write(value)
        try:
            return write(value if _is_plain(value) else _convert(value, date))
        except RecursionError:  # nested more deeply than Python follows; the encoder follows further
            return write(value)

    return (lambda value: msgspec.json.format(encode(value), indent=2)) if pretty else encode


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind in _DICTS:
        for key, item in value.items():
            if type(key) is not str or (type(item) not in _SCALARS and not _is_plain(item)):
                return False
        return True
    if kind is list or kind is tuple:
        return all(type(item) in _SCALARS or _is_plain(item) for item in value)
    return False


def is_light(value: Any) -> bool:
    """Whether writing `value` takes next to no time (1 or 2 ms): it is small, nothing in it unknown."""
    return _weigh(value, _LIGHT) >= 0


def _weigh(value: Any, left: int) -> int:
    """What is left of a weight; negative when that is too little."""
    kind = type(value)
    if kind is str or kind is bytes:
        return left - 1 - len(value) // _TEXT
    if kind in _LEAVES:
        return left - 1
    if kind in _DICTS:
        value = value.values()
    elif kind is not list and kind is not tuple:
        return -1
    left -= _BRANCH
    for item in value:  # most are numbers and texts: looked at here, in one frame
        if left < 0:
            break
        kind = type(item)
        if kind is str:
            left -= 1 + len(item) // _TEXT
        elif kind in _LEAVES:
            left -= 1
        else:
            left = _weigh(item, left)
    return left


def plain(value: Any, encoder: str = 'utcoffset') -> Any:
    """`value` in terms of str, numbers, bool, None, list and dict; itself where it is that already."""
    return value if _is_plain(value) else _convert(value, _DATES.get(encoder, _utcoffset))


def _convert(value: Any, date: Callable[[datetime.datetime], Any]) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if isinstance(value, Mapping):
        return {_key(key): _convert(item, date) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_convert(item, date) for item in value]
    if isinstance(value, datetime.datetime):
        return date(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    if isinstance(value, enum.Enum):
        return _convert(value.value, date)
    if isinstance(value, str):  # of a class derived from it, whatever that prints it as
        return str.__str__(value)
    if isinstance(value, int | float):
        return int.__int__(value) if isinstance(value, int) else float.__float__(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _convert(getattr(value, field.name), date) for field in dataclasses.fields(value)}
    if isinstance(value, msgspec.Struct):
        return _convert(msgspec.structs.asdict(value), date)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode('utf-8')
    if f'{kind.__module__}.{kind.__qualname__}' in _TEXTS:
        return str(value)
    raise TypeError(f'{kind.__name__} cannot be written as JSON')


def _key(key: Any) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, bool):
        return {None: 'null', True: 'true', False: 'false'}[key]
    return str(key)
