"""The language of HTTP authentication (RFC 9110, 11) and of its Digest scheme (RFC 7616). No I/O.

Texts of header fields come as bytes and are read as UTF-8, or else as Latin-1: some clients send a name in
the one, some in the other. What a client got wrong is a `Malformed`, with words for the client that quote
nothing of what it sent.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from .users import first_hash

#: What we offer, in the order of preference -> the hash.
ALGORITHMS = {'SHA-256': 'sha256', 'MD5': 'md5'}

#: More bytes than that in an Authorization field are not looked at (a JWT has its limit there, too).
MAX_LENGTH = 16 * 1024

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_CREDENTIALS = re.compile(rf'({_TOKEN})(?: +(.*))?', re.ASCII | re.DOTALL)
_TOKEN68 = re.compile(r'[A-Za-z0-9\-._~+/]+=*', re.ASCII)
#: Obsolete text (bytes from 0x80 on) is one of the characters that they were decoded to.
_PARAMETER = re.compile(
    rf'({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\U0010ffff]'
    r'|\\[\t \x21-\x7e\x80-\U0010ffff])*)")[ \t]*(?:,|\Z)',
    re.ASCII,
)
_EMPTY = re.compile(r'[ \t,]*')
_ESCAPE = re.compile(r'\\(.)', re.DOTALL)
_CONTROL = re.compile(r'[\x00-\x1f\x7f]')
_COUNT = re.compile(r'[0-9A-Fa-f]{8}', re.ASCII)
_EXTENDED = re.compile(r"([^']*)'[^']*'((?:[!#$&+\-.^_`|~0-9A-Za-z]|%[0-9A-Fa-f]{2})*)", re.ASCII)
_REQUIRED = ('realm', 'nonce', 'uri', 'response', 'qop', 'nc', 'cnonce')


class Malformed(ValueError):
    """Credentials that are none, by their grammar. The text may be shown to anybody."""


# -- fields ----------------------------------------------------------------------------------------


def text_of(value: bytes) -> str:
    """Bytes of a field as text."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode('latin-1')


def split_credentials(field: bytes) -> tuple[str, str]:
    """An Authorization field's (scheme in lower case, the rest or '')."""
    if len(field) > MAX_LENGTH:
        raise Malformed('the Authorization field is too long')
    match = _CREDENTIALS.fullmatch(text_of(field.strip(b' \t')))
    if match is None:
        raise Malformed('malformed Authorization field')
    return match[1].lower(), match[2] or ''


def parse_token68(text: str) -> str:
    """`text` if it is a token68 (what Basic and Bearer have); Malformed for anything else, nothing too."""
    if not _TOKEN68.fullmatch(text):
        raise Malformed('malformed credentials')
    return text


def parse_parameters(text: str) -> dict[str, str]:
    """A list of auth-params: names in lower case, values without their quotes. Each name once."""
    found: dict[str, str] = {}
    at, end = _skip(text, 0), len(text)
    while at < end:
        match = _PARAMETER.match(text, at)
        if match is None:
            raise Malformed('malformed credentials')
        name = match[1].lower()
        if name in found:
            raise Malformed('malformed credentials: a parameter is there twice')
        found[name] = match[2] if match[2] is not None else _ESCAPE.sub(r'\1', match[3])
        at = _skip(text, match.end())
    return found


def _skip(text: str, at: int) -> int:
    match = _EMPTY.match(text, at)  # empty elements of a list are none (RFC 9110, 5.6.1)
    return at if match is None else match.end()


def quoted(value: str) -> str:
    """`value` as a quoted-string; control characters, which it cannot hold, become blanks."""
    return '"' + re.sub(r'(["\\])', r'\\\1', _CONTROL.sub(' ', value)) + '"'


# -- Digest ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client says in Digest. `algorithm` is one of ALGORITHMS; `nc` as sent, `count` its value."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str
    nc: str
    cnonce: str

    @property
    def count(self) -> int:
        return int(self.nc, 16)

    def expected(self, first: str, method: str) -> str:
        """The right response for H(user:realm:password), `first`, in hex (RFC 7616, 3.4.1)."""
        second = self._hash(f'{method}:{self.uri}')
        return self._hash(f'{first}:{self.nonce}:{self.nc}:{self.cnonce}:auth:{second}')

    def first_hash(self, password: str) -> str:
        """H(user:realm:password) by this algorithm."""
        return first_hash(ALGORITHMS[self.algorithm], self.username, self.realm, password)

    def _hash(self, text: str) -> str:
        return hashlib.new(ALGORITHMS[self.algorithm], text.encode(), usedforsecurity=False).hexdigest()


def parse_digest(text: str) -> Credentials:
    """The credentials after `Digest `. Malformed too for what we have not offered.

    `algorithm` and `qop` may be quoted: there are clients that do.
    """
    given = parse_parameters(text)
    missing = [name for name in _REQUIRED if name not in given]
    if missing:
        raise Malformed(f'malformed credentials: {missing[0]} is missing')
    algorithm = given.get('algorithm', 'MD5').upper()
    if algorithm not in ALGORITHMS:
        raise Malformed('the algorithm is none of those offered')
    if given['qop'] != 'auth':
        raise Malformed('qop must be auth')
    if given.get('userhash', 'false').lower() != 'false':
        raise Malformed('userhash is not offered')
    if not _COUNT.fullmatch(given['nc']) or int(given['nc'], 16) == 0:
        raise Malformed('malformed credentials: nc is eight hexadecimal digits, from 00000001')
    return Credentials(
        _user_name(given),
        given['realm'],
        given['nonce'],
        given['uri'],
        given['response'],
        algorithm,
        given['nc'],
        given['cnonce'],
    )


def _user_name(given: dict[str, str]) -> str:
    """`username`, or `username*` (RFC 8187) for what a quoted-string cannot hold; one of them."""
    if ('username' in given) == ('username*' in given):
        raise Malformed('malformed credentials: there must be one username')
    if 'username' in given:
        return given['username']
    match = _EXTENDED.fullmatch(given['username*'])
    if match is None or match[1].lower() != 'utf-8':
        raise Malformed('malformed credentials: username* is not as in RFC 8187')
    try:
        return unquote_to_bytes(match[2]).decode()
    except UnicodeDecodeError:
        raise Malformed('malformed credentials: username* is not UTF-8') from None


def challenge(realm: str, nonce: str, algorithm: str, stale: bool) -> bytes:
    """A WWW-Authenticate field's value (RFC 7616, 3.3).

    The realm comes first, and two challenges of an answer have all else but the algorithm in common: a client
    that takes two fields for one list, the later parameters overwriting the first, then answers the second.
    """
    opaque = hashlib.sha256(b'atila opaque\0' + realm.encode('utf-8', 'surrogatepass')).hexdigest()[:32]
    parts = [
        f'realm={quoted(realm)}',
        'qop="auth"',
        f'nonce="{nonce}"',
        f'opaque="{opaque}"',
        f'algorithm={algorithm}',
        'charset=UTF-8',
        'userhash=false',
    ]
    if stale:
        parts.append('stale=true')
    return ('Digest ' + ', '.join(parts)).encode('utf-8', 'replace')
