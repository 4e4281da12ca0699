"""JSON as it is sent to others, and read from them (msgspec)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .errors import BadAnswer


def written(value: Any) -> bytes:
    """`value` as JSON. Dates are ISO 8601, bytes base64, Decimal and UUID text; NaN and infinity are null.

    TypeError for what has no form in JSON, ValueError for what is nested too deeply.
    """
    try:
        return _encoder.encode(value)
    except RecursionError:
        raise ValueError('a value is nested too deeply, or in itself') from None


def parsed(body: bytes) -> Any:
    """The value in `body`; BadAnswer for what is no JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f'the answer is no JSON: {error}') from None


def basic(value: str | int | float) -> str | int | float:
    """The plain str, int or float in one of a class derived from it, whatever that class prints it as."""
    if isinstance(value, str):
        return str.__str__(value)
    return int.__int__(value) if isinstance(value, int) else float.__float__(value)


def _plain(value: Any) -> Any:
    """For what the encoder does not know."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str | int | float):
        return basic(value)
    raise TypeError(f'{type(value).__name__} cannot be written as JSON')


_encoder = msgspec.json.Encoder(enc_hook=_plain)
