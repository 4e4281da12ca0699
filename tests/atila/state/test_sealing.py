"""Sealed values (SPEC SS-01; PITFALLS, Security: pickles signed with SHA-1, readable by the client)."""

from __future__ import annotations

import base64
import datetime
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atila.state import sealing
from atila.state.sealing import jsonable, keys_of, seal, unseal

KEYS = ('a long and random key',)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values, st.text())
def test_what_was_sealed_opens(value: Any, label: str) -> None:
    sealed = seal(value, KEYS, 'session', label)
    assert unseal(sealed, KEYS, 'session', label, Any) == value
    assert sealed.isascii()
    assert not set(sealed) & set('+/=;, "')


@given(st.text() | st.text('AQab_-', min_size=38, max_size=60))
def test_any_text_is_none(text: str) -> None:
    assert unseal(text, KEYS, 'session', 'a', Any) is None


@given(st.binary())
def test_any_bytes_are_none(data: bytes) -> None:
    for head in (b'', sealing.VERSION):
        text = base64.urlsafe_b64encode(head + data).decode()
        assert unseal(text, KEYS, 'session', 'a', Any) is None
        assert unseal(text.rstrip('='), KEYS, 'session', 'a', Any) is None


SEALED = seal({'user': 'hans'}, KEYS, 'session', 'ATLSES_')


@pytest.mark.parametrize('position', range(len(SEALED)))
def test_no_character_can_be_changed(position: int) -> None:
    """SS-09."""
    for character in 'Aa_9':
        if character != SEALED[position]:
            changed = SEALED[:position] + character + SEALED[position + 1 :]
            assert unseal(changed, KEYS, 'session', 'ATLSES_', Any) is None


def test_a_value_has_one_text() -> None:
    """The bits that base64 leaves over count, too."""
    alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    for value in ('', 'a', 'ab'):
        sealed = seal(value, KEYS, 'p', 'l')
        opened = [unseal(sealed[:-1] + last, KEYS, 'p', 'l', Any) for last in alphabet]
        assert [found for found in opened if found is not None] == [value]


def test_it_opens_only_where_it_belongs() -> None:
    assert unseal(SEALED, KEYS, 'session', 'ATLSES_', Any) == {'user': 'hans'}
    assert unseal(SEALED, KEYS, 'session', 'ATLSES_ADMIN', Any) is None
    assert unseal(SEALED, KEYS, 'message box', 'ATLSES_', Any) is None
    assert unseal(SEALED, ('another key',), 'session', 'ATLSES_', Any) is None
    assert unseal(SEALED, KEYS, 'session', 'ATLSES_', list) is None
    for other in (SEALED + '=', SEALED[:-1], SEALED + 'A', '', ' ' + SEALED, SEALED + '\n', 'A' * 100_000):
        assert unseal(other, KEYS, 'session', 'ATLSES_', Any) is None


def test_another_version_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, 'VERSION', b'\x02')
    assert unseal(SEALED, KEYS, 'session', 'ATLSES_', Any) is None


def test_the_client_cannot_read_it_and_never_sees_it_twice() -> None:
    """PITFALLS, Security."""
    again = seal({'user': 'hans'}, KEYS, 'session', 'ATLSES_')
    assert again != SEALED
    assert b'hans' not in base64.urlsafe_b64decode(SEALED + '===')


def test_rotation() -> None:
    """The newest key seals, all open."""
    old, new = ('old',), ('new', 'old')
    assert unseal(seal(1, old, 'p', 'l'), new, 'p', 'l', int) == 1
    assert unseal(seal(1, new, 'p', 'l'), old, 'p', 'l', int) is None
    assert unseal(seal(1, new, 'p', 'l'), ('new',), 'p', 'l', int) == 1


def test_str_and_bytes_are_the_same_key() -> None:
    assert unseal(seal(1, ('ä',), 'p', 'l'), ('ä'.encode(),), 'p', 'l', int) == 1


def test_keys() -> None:
    assert keys_of('a') == ('a',)
    assert keys_of(b'a') == (b'a',)
    assert keys_of(['a', b'b']) == ('a', b'b')
    for missing in (None, '', b'', [], [''], ['a', '']):
        with pytest.raises(RuntimeError, match='Secret key is not configured'):
            keys_of(missing)


def test_a_cipher_is_shared_by_threads() -> None:
    failed: list[Any] = []

    def work(number: int) -> None:
        for count in range(300):
            value = [number, count]
            if unseal(seal(value, KEYS, 'p', 'l'), KEYS, 'p', 'l', Any) != value:
                failed.append(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failed == []


class Word(str):
    """A text of another type, as template engines make it."""

    def __str__(self) -> str:
        return 'no'


def test_what_is_json_stays_the_same() -> None:
    value = {'a': [1, 2.5, 'ä', None, True, {}], 'b': 2**70}
    assert jsonable(value, 'it') == value
    assert jsonable((1, 'a'), 'it') == [1, 'a']
    assert type(jsonable(Word('x'), 'it')) is str
    assert jsonable(Word('x'), 'it') == 'x'


HOLDS_ITSELF: list[Any] = []
HOLDS_ITSELF.append(HOLDS_ITSELF)


@pytest.mark.parametrize(
    'value',
    [
        object(),
        b'x',
        {1, 2},
        datetime.date(2020, 1, 1),
        {1: 2},
        [{'a': [{'b': object()}]}],
        float('nan'),
        float('inf'),
        '\ud800',
        {'\ud800': 1},
        HOLDS_ITSELF,
    ],
)
def test_what_is_not_json_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match='the cart'):
        jsonable(value, 'the cart')
