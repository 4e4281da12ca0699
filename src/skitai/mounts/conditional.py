"""Validators and preconditions: dates, entity tags, what a conditional request gets (RFC 9110, 8.8, 13).

Bytes in, a status out; neither files nor sockets. Used for files, and by `atila` for answers with
`set_etag` and `set_mtime` (SPEC RS-08 to RS-10).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email.utils import formatdate, mktime_tz, parsedate_tz
from functools import lru_cache

from ..exchange import RawHeaders

#: Gives the value of a request's field by its lower-case name, or None: `Exchange.header`.
Fields = Callable[[bytes], bytes | None]

#: An entity tag may contain commas, so a list of them is not to be split (RFC 9110, 8.8.3).
_ENTITY_TAG = re.compile(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


@lru_cache(maxsize=4096)
def http_date(seconds: int) -> bytes:
    """Unix time as an HTTP date, 'Sun, 06 Nov 1994 08:49:37 GMT' (RFC 9110, 5.6.7)."""
    return formatdate(seconds, usegmt=True).encode('ascii')


@lru_cache(maxsize=256)
def parse_date(value: bytes) -> int | None:
    """Unix time of an HTTP date in any of the three formats; None for anything else."""
    try:
        parts = parsedate_tz(value.decode('ascii'))
        return None if parts is None else mktime_tz(parts)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None


def is_listed(etag: bytes | None, listed: bytes, *, strong: bool) -> bool:
    """Whether `etag` is among the tags of an If-Match or If-None-Match field, or the field is '*'.

    `strong`: two tags are equal only if neither is weak (RFC 9110, 8.8.3.2).
    """
    if listed.strip() == b'*':
        return True
    if etag is None or (strong and etag.startswith(b'W/')):
        return False
    opaque = etag.removeprefix(b'W/')
    return any(tag == opaque and not (strong and weak) for weak, tag in _ENTITY_TAG.findall(listed))


def outcome(method: str, header: Fields, etag: bytes | None, modified: int | None) -> int:
    """200 (go on), 304 or 412, in the order of RFC 9110, 13.2.2.

    `etag` with its quotes (and 'W/'), `modified` in Unix seconds: what is current; None where unknown.
    """
    safe = method in ('GET', 'HEAD')
    if (listed := header(b'if-match')) is not None:
        if not is_listed(etag, listed, strong=True):
            return 412
    elif modified is not None and (date := header(b'if-unmodified-since')) is not None:
        limit = parse_date(date)
        if limit is not None and modified > limit:
            return 412
    if (listed := header(b'if-none-match')) is not None:
        if is_listed(etag, listed, strong=False):
            return 304 if safe else 412
    elif safe and modified is not None and (date := header(b'if-modified-since')) is not None:
        since = parse_date(date)
        if since is not None and modified <= since:
            return 304
    return 200


def range_applies(header: Fields, etag: bytes | None, modified: int | None) -> bool:
    """Whether If-Range allows a partial answer: the validator is the current one, exactly (13.1.5)."""
    value = header(b'if-range')
    if value is None:
        return True
    value = value.strip()
    if value.endswith(b'"'):
        return etag is not None and not etag.startswith(b'W/') and value == etag
    return modified is not None and value == http_date(modified)


def freshness(max_age: int, http_version: str) -> RawHeaders:
    """The field that lets a cache keep an answer for `max_age` seconds (SPEC RS-10)."""
    if http_version == '1.0':
        return [(b'expires', http_date(int(time.time()) + max_age))]
    return [(b'cache-control', b'max-age=%d' % max_age)]
