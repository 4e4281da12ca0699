"""The grammar of credentials, the Digest computations and server nonces (SPEC AU-03, AU-08; RFC 7616)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atila.security import digest, nonces
from atila.security.digest import Malformed, parse_digest, parse_parameters, parse_token68, split_credentials
from skitai.shared import replays

#: RFC 7616, 3.9.1.
EXAMPLE = (
    'username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=%s,'
    ' nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001,'
    ' cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth,'
    ' response="%s", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
RESPONSES = {
    'MD5': '8ca523f5e9506fed4657c9700eebdbec',
    'SHA-256': '753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1',
}


@pytest.mark.parametrize('algorithm', RESPONSES)
def test_the_examples_of_the_standard(algorithm: str) -> None:
    """RFC 7616, 3.9.1."""
    found = parse_digest(EXAMPLE % (algorithm, RESPONSES[algorithm]))
    assert found.expected(found.first_hash('Circle of Life'), 'GET') == found.response
    assert found.expected(found.first_hash('Circle of Life'), 'POST') != found.response
    assert found.expected(found.first_hash('Circle of life'), 'GET') != found.response


def changed(name: str, value: str | None) -> str:
    """The example with another value, or without it."""
    parts = [part.strip() for part in (EXAMPLE % ('MD5', RESPONSES['MD5'])).split(', ')]
    parts = [p for part in parts for p in part.split(',') if p.strip().partition('=')[0] != name]
    return ', '.join(parts if value is None else [*parts, f'{name}={value}'])


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        *((name, None) for name in ('username', 'realm', 'nonce', 'uri', 'response', 'qop', 'nc', 'cnonce')),
        ('qop', 'auth-int'),
        ('qop', '""'),
        ('algorithm', 'MD5-sess'),
        ('algorithm', 'SHA-512-256'),
        ('userhash', 'true'),
        ('nc', '00000000'),
        ('nc', '1'),
        ('nc', '0000000g'),
        ('nc', '\u0660' * 8),
        ('nc', '+0000001'),
        ('username', '"a", username*=UTF-8\'\'a'),
        ('username', '"a", username="b"'),
        ('username', '"a", USERNAME=b'),
        ('nonce', '"open'),
        ('nonce', '"a" "b"'),
        ('nonce', '"a\x01"'),
        ('nonce', 'a b'),
        ('nonce', ''),
    ],
)
def test_malformed_digest(name: str, value: str | None) -> None:
    """AU-03: nothing of it is understood half."""
    with pytest.raises(Malformed):
        parse_digest(changed(name, value))


def test_other_ways_to_write_it() -> None:
    """Quoted or not, spaced or not, in any case; an absent algorithm is MD5 (RFC 2617)."""
    given = parse_digest(changed('qop', '"auth"').replace('username', 'UserName').replace(', ', ' ,,\t'))
    assert given == parse_digest(changed('algorithm', '"md5"')) == parse_digest(changed('algorithm', None))
    assert given.count == 1
    assert parse_digest(changed('nc', '0000abCD')).count == 0xABCD
    assert parse_digest(changed('username', r'"a \"b\" \\ c"')).username == r'a "b" \ c'


def test_extended_user_name() -> None:
    """RFC 8187, RFC 7616 3.4."""

    def name(value: str) -> str:
        return parse_digest(changed('username', None) + f', username*={value}').username

    assert name("UTF-8''J%C3%A4s%C3%B8n%20Doe") == 'J\u00e4s\u00f8n Doe'
    assert name("utf-8'en'hans") == 'hans'
    for wrong in ("UTF-8''%FF", "latin-1''hans", 'hans', "UTF-8''%4", '"UTF-8\'\'a b"'):
        with pytest.raises(Malformed):
            name(wrong)


def test_schemes() -> None:
    assert split_credentials(b'  BASIC   abc= ') == ('basic', 'abc=')
    assert split_credentials(b'Digest') == ('digest', '')
    assert split_credentials('Digest username="\u00e9"'.encode('latin-1'))[1] == 'username="\u00e9"'
    assert split_credentials('Digest username="\u00e9"'.encode())[1] == 'username="\u00e9"'
    for wrong in (b'', b' ', b'Ba(sic abc', b'Basic\tabc', b'"Basic" abc', b'\xff abc', b'x' * 20_000):
        with pytest.raises(Malformed):
            split_credentials(wrong)
    assert parse_token68('aB9-._~+/==') == 'aB9-._~+/=='
    for bad in ('', '=', 'a=b', 'a b', 'a,b', 'abc, Basic abc', '\u00e9', 'a\n'):
        with pytest.raises(Malformed):
            parse_token68(bad)


@given(
    st.dictionaries(
        st.from_regex(r'[a-z*]{1,8}', fullmatch=True),
        st.text(st.characters(min_codepoint=0x20, exclude_characters='\x7f', exclude_categories=['Cs'])),
        max_size=6,
    )
)
def test_what_is_quoted_is_read_back(parameters: dict[str, str]) -> None:
    text = ','.join(f'{name} = {digest.quoted(value)}' for name, value in parameters.items())
    assert parse_parameters(text) == parameters


@given(st.text() | st.text(' ,="\\abUTF-8\'%%\t\x00\u00e9').map(lambda s: changed('username', s)))
def test_any_text_is_parameters_or_malformed(text: str) -> None:
    for parse in (parse_parameters, parse_digest, parse_token68):
        try:
            parse(text)
        except Malformed:
            pass


@given(st.binary())
def test_any_bytes_are_credentials_or_malformed(field: bytes) -> None:
    try:
        scheme, rest = split_credentials(field)
        assert scheme
        assert isinstance(rest, str)
    except Malformed:
        pass


@pytest.mark.parametrize('mark', ['"', '\\"', 'a=', ',', ' \t', '="', '\\\\'])
def test_long_fields_take_no_time(mark: str) -> None:
    started = time.process_time()
    for text in (mark * 4000, 'a="' + mark * 4000, 'a=' + mark * 4000 + 'b'):
        try:
            parse_parameters(text)
        except Malformed:
            pass
    assert time.process_time() - started < 0.5


def test_a_realm_cannot_end_its_field() -> None:
    assert digest.challenge('a "b" \\ \r\nX: y', 'n', 'MD5', False).startswith(
        rb'Digest realm="a \"b\" \\   X: y", qop="auth", nonce="n", opaque="'
    )
    assert b'stale' not in digest.challenge('a', 'n', 'MD5', False)
    assert digest.challenge('a', 'n', 'MD5', True).endswith(
        b', algorithm=MD5, charset=UTF-8, userhash=false, stale=true'
    )


# -- nonces ----------------------------------------------------------------------------------------

KEYS = [None, 'k' * 40, b'k' * 40, ['new' * 20, 'k' * 40]]


@pytest.mark.parametrize('key', KEYS)
def test_a_nonce_is_current_and_used_once(key: nonces.SecureKey) -> None:
    """AU-03."""
    nonce = nonces.make(key, 'App')
    assert nonces.is_current(nonce, key, 'App')
    assert nonce != nonces.make(key, 'App')
    assert nonces.use(nonce, 1)
    assert not nonces.use(nonce, 1)
    assert nonces.use(nonce, 2)


def test_a_nonce_of_another_key_or_realm_is_none() -> None:
    nonce = nonces.make('k' * 40, 'App')
    assert nonces.is_current(nonce, ['new' * 20, 'k' * 40], 'App')
    assert not nonces.is_current(nonce, 'new' * 20, 'App')
    assert not nonces.is_current(nonce, None, 'App')
    assert not nonces.is_current(nonce, 'k' * 40, 'Other')


def test_a_nonce_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    nonce = nonces.make(None, 'App')
    issued = replays.now()
    monkeypatch.setattr(replays, 'now', lambda: issued + 299_000_000)
    assert nonces.is_current(nonce, None, 'App')
    assert not nonces.is_current(nonce, None, 'App', 200)
    monkeypatch.setattr(replays, 'now', lambda: issued + 301_000_000)
    assert not nonces.is_current(nonce, None, 'App')
    monkeypatch.setattr(replays, 'now', lambda: issued - 301_000_000)  # the clock was set back
    assert not nonces.is_current(nonce, None, 'App')


@given(st.integers(0, 47), st.sampled_from('ABCxyz019-_ =\n\u00e9'))
def test_a_changed_nonce_is_none(place: int, digit: str) -> None:
    nonce = nonces.make(None, 'App')
    other = nonce[:place] + digit + nonce[place + 1 :]
    assert nonces.is_current(other, None, 'App') == (other == nonce)


@given(
    st.text() | st.binary(min_size=36, max_size=36).map(lambda b: nonces.base64.urlsafe_b64encode(b).decode())
)
def test_any_text_is_no_nonce(text: str) -> None:
    assert not nonces.is_current(text, None, 'App')
    if len(text) != 48:
        assert not nonces.use(text, 1)
