"""URIs from templates: whatever a value is, it stays in its place (SPEC HC-01)."""

from __future__ import annotations

import contextlib
import datetime
import uuid
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquests.http.address import checked_target
from aquests.http.template import filled, literal, query, template
from aquests.refusals import refusal_of

texts = st.text(st.characters(exclude_categories=['Cs']))
anything = st.text()


@pytest.mark.parametrize(
    ('uri', 'values', 'target'),
    [
        ('/profiles/{}?limit={}', (100, 10), '/profiles/100?limit=10'),
        ('/profiles/{}', ('a/b?c',), '/profiles/a%2Fb%3Fc'),
        ('/x/{}', ('ä b&c#d%',), '/x/%C3%A4%20b%26c%23d%25'),
        ('/x?a={}&b={}', ('1&b=2', True), '/x?a=1%26b%3D2&b=true'),
        ('/{1}/{0}/{1}', ('a', 'b'), '/b/a/b'),
        ('/{:05d}/{:.2f}', (42, 1.5), '/00042/1.50'),
        ('/{}', (datetime.date(2026, 1, 2),), '/2026-01-02'),
        ('/{}', (uuid.UUID(int=1),), '/00000000-0000-0000-0000-000000000001'),
        ('/a b/ö?q={{x}}#frag', (), '/a%20b/%C3%B6?q={x}'),
        ('/x?up={}', ('..',), '/x?up=..'),
        ('/{}.json', ('...',), '/....json'),
        ('/%2F/../{}', ('a',), '/%2F/../a'),  # what a developer writes is his own
        ('', (), ''),
    ],
)
def test_values_in_their_places(uri: str, values: tuple[Any, ...], target: str) -> None:
    assert filled(uri, values) == target


@pytest.mark.parametrize('value', ['', '.', '..', '../admin', 'a/../b', '..\\x', 'a/.', './a'])
def test_what_would_lead_elsewhere_is_the_clients_fault(value: str) -> None:
    with pytest.raises(ValueError, match='lead elsewhere') as caught:
        filled('/profiles/{}/photos', (value,))
    refusal = refusal_of(caught.value)
    assert refusal is not None
    assert refusal.status == 400
    assert value not in refusal.words or value in ('', '.', '..')


def test_dots_in_two_places_make_no_step() -> None:
    with pytest.raises(ValueError, match='lead elsewhere'):
        filled('/x/{}{}/y', ('.', '.'))
    with pytest.raises(ValueError, match='lead elsewhere'):
        filled('/x/.{}/y', ('.',))


@given(st.lists(texts, min_size=2, max_size=2), st.lists(texts, min_size=2, max_size=2))
def test_any_value_stays_in_its_place(steps: list[str], found: list[str]) -> None:
    try:
        target = filled('/a/{}/b/{}?x={}&y={}&z=1', (*steps, *found))
    except ValueError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert refusal_of(refused) is not None
        assert any(step == '' or '.' in step for step in steps)
        return
    checked_target(target)
    path, _, rest = target.partition('?')
    assert [unquote(segment) for segment in path.split('/')] == ['', 'a', steps[0], 'b', steps[1]]
    assert parse_qsl(rest, keep_blank_values=True) == [('x', found[0]), ('y', found[1]), ('z', '1')]
    # not even a server that decodes before it looks at steps finds one
    assert '..' not in unquote(path).replace('\\', '/').split('/')


@given(anything)
def test_any_template_is_filled_or_refused_in_words(uri: str) -> None:
    with contextlib.suppress(ValueError):
        target = filled(uri, ('a',) * min(template(uri).places, 1000))
        assert not any(character <= ' ' or character > '~' for character in target)


@given(anything)
def test_a_texts_own_characters_fit_into_a_request_line_or_are_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert checked_target('/' + literal(text))


@given(st.dictionaries(texts, texts | st.lists(texts) | st.none()))
def test_a_query_is_read_as_it_was_meant(values: dict[str, Any]) -> None:
    expected = []
    for name, value in values.items():
        expected.extend(
            [(name, one) for one in (value if isinstance(value, list) else [value]) if one is not None]
        )
    assert parse_qsl(query(values), keep_blank_values=True) == expected


@pytest.mark.parametrize(
    ('uri', 'words'),
    [
        ('/x/{', 'is no template'),
        ('/x/{0.__class__}', 'a place for a value'),
        ('/x/{a}', 'a place for a value'),
        ('/x/{!r}', 'a place for a value'),
        ('/x/{:{}}', 'a place for a value'),
        ('/x/{}/{0}', 'numbered all or none'),
        ('/x\r\nEvil: 1', "a URI has no '\\\\r'"),
    ],
)
def test_templates_that_are_none(uri: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        filled(uri, ('a', 'b'))


@pytest.mark.parametrize('value', [None, {'a': 1}, ['a'], b'a', object()])
def test_values_that_have_no_form_in_a_uri(value: Any) -> None:
    with pytest.raises(TypeError, match='has no form in a URI'):
        filled('/{}', (value,))


def test_half_a_surrogate_pair_is_the_clients_fault() -> None:
    with pytest.raises(ValueError, match='surrogate') as caught:
        filled('/{}', ('\ud800',))
    assert refusal_of(caught.value) is not None
