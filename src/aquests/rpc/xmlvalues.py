"""XML-RPC's XML, written and read: the standard library's marshalling, within bounds.

Written: what it would write wrongly is refused or put right: control characters, the offset of a datetime,
'\\r', which a parser takes for '\\n'. Integers of more than 32 bits are written as <i8>, of more than 64 as
<biginteger>, None as <nil/>, as most servers read them; the specification has none of the three.

Read: neither a DTD nor entities (defusedxml), and nothing nested more deeply than MAX_DEPTH.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape
from xmlrpc import client

import msgspec
from defusedxml.common import DefusedXmlException
from defusedxml.xmlrpc import DefusedExpatParser

from ..errors import BadAnswer, Fault
from ..jsons import basic
from .values import shortened

#: Lists and structs within one another.
MAX_DEPTH = 100

_Write = Callable[[str], object]

#: What XML 1.0 has no way to write (section 2.2, production 2).
_NO_XML = re.compile('[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')
#: The specification's characters, and '-'.
_METHOD = re.compile(r'[\w.:/-]+')


def dump_call(method: str, params: Sequence[Any]) -> bytes:
    """A methodCall, as UTF-8. ValueError, TypeError for what XML-RPC has no way to say."""
    if not _METHOD.fullmatch(method):
        raise ValueError(
            f"{method!r} is no name of an XML-RPC method: it has letters, digits and '_', '.', ':', '/', '-'"
        )
    plain = [_plain(param, 0) for param in params]
    body = _Marshaller('utf-8', allow_none=True).dumps(plain)
    return (
        f"<?xml version='1.0'?>\n<methodCall>\n<methodName>{method}</methodName>\n{body}</methodCall>\n"
    ).encode()


def load_response(body: bytes) -> Any:
    """The value in a methodResponse. Fault if it is one, BadAnswer for anything else.

    A struct is a dict; base64 is bytes; a dateTime is a datetime, naive if it has no offset.
    """
    target = _Unmarshaller(use_builtin_types=True)
    parser = DefusedExpatParser(target, forbid_dtd=True)
    try:
        parser.feed(body)
        parser.close()
        values = target.close()
    except client.Fault as fault:
        raise Fault(fault.faultCode, fault.faultString) from None
    except ExpatError as error:
        raise BadAnswer(f'the answer is no XML: {error}') from None
    except DefusedXmlException:
        raise BadAnswer('the answer has a DTD, which is not read, for it can do harm') from None
    except (client.ResponseError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        reason = error.args[0] if error.args else 'it has neither a value nor a fault'
        raise BadAnswer(f'the answer is no XML-RPC: {shortened(reason)}') from None
    if len(values) != 1 or target.getmethodname() is not None:
        raise BadAnswer(f'the answer is no XML-RPC: it has {len(values)} values instead of one')
    return values[0]


# -- writing -----------------------------------------------------------------------------------------


def _plain(value: Any, depth: int) -> Any:
    """`value` in terms of what the marshaller writes rightly; a copy."""
    kind = type(value)
    if kind is str:
        return _checked(value)
    if kind is int or kind is bool or value is None or kind is bytes:
        return value
    if kind is float:
        if not math.isfinite(value):
            raise ValueError(f'XML-RPC has no {value}')
        return value
    if depth > MAX_DEPTH:
        raise ValueError(f'a value is nested more than {MAX_DEPTH} times, or in itself')
    if isinstance(value, Mapping):
        return {_name(name): _plain(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, datetime.datetime):
        moment = value if value.tzinfo is None else value.astimezone(datetime.UTC)
        return datetime.datetime(*moment.timetuple()[:6])
    return _plain(_converted(value), depth + 1)


def _converted(value: Any) -> Any:
    """What JSON would have for it, too."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, str | int | float):
        return basic(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if isinstance(value, client.Binary):
        return value.data
    if isinstance(value, client.DateTime):
        return datetime.datetime.fromisoformat(value.value)
    raise TypeError(f'{type(value).__name__} cannot be written as XML-RPC')


def _checked(text: str) -> str:
    if match := _NO_XML.search(text):
        raise ValueError(f'XML has no character {match[0]!r}: send the text as bytes')
    return text


def _name(name: Any) -> str:
    if isinstance(name, enum.Enum):
        name = name.value
    if not isinstance(name, str):
        raise TypeError(f'the names in a struct of XML-RPC are strs, not {name!r}')
    return _checked(str.__str__(name))


def _write_text(marshaller: Any, value: str, write: _Write) -> None:
    write(f'<value><string>{_escaped(value)}</string></value>\n')


def _write_int(marshaller: Any, value: int, write: _Write) -> None:
    bits = value.bit_length() if value >= 0 else (~value).bit_length()
    tag = 'int' if bits < 32 else 'i8' if bits < 64 else 'biginteger'
    write(f'<value><{tag}>{value}</{tag}></value>\n')


def _escaped(text: str) -> str:
    return escape(text, {'\r': '&#13;'})


class _Marshaller(client.Marshaller):
    def write_struct(self, value: Mapping[str, Any], write: _Write) -> None:
        self.dump_struct(value, write, _escaped)

    dispatch: dict[Any, Any] = {
        **client.Marshaller.dispatch,
        str: _write_text,
        int: _write_int,
        dict: write_struct,
    }


# -- reading -----------------------------------------------------------------------------------------


class _Unmarshaller(client.Unmarshaller):
    def start(self, tag: str, attrs: dict[str, str]) -> None:
        super().start(tag, attrs)
        if len(self._marks) > MAX_DEPTH:
            raise ValueError(f'it is nested more than {MAX_DEPTH} times')

    def close(self) -> tuple[Any, ...]:
        try:
            return super().close()
        except (LookupError, TypeError):  # what the fault holds is no struct, or another one
            raise client.ResponseError('it has a fault without faultCode and faultString') from None

    def end_moment(self, data: str) -> None:
        """Servers write dates with and without hyphens, with and without an offset."""
        self.append(datetime.datetime.fromisoformat(data.strip()))
        self._value = False

    dispatch: dict[str, Any] = {**client.Unmarshaller.dispatch, 'dateTime.iso8601': end_moment}
