"""Rules and the tree that finds them (SPEC chapter 13).

A rule's segments are literals or parameters: `<name>`, `<int:name>`, `<float:name>`, `<path:name>` (last
only). Fixed paths are looked up in a dict; the rest in a tree of segments, tried in this order at each:
literal, then parameters as declared, then `<path:>`. So exact rules come before parameterised ones, and
longer literal prefixes first (RT-10). Segments are split on the path as sent, then decoded, so that an
encoded slash stays inside its segment (RT-05).

The router is filled while apps are mounted and only read afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

if TYPE_CHECKING:
    from .services import Endpoint

#: Words that a typed parameter passes through as they are (RT-06).
SPECIALS = frozenset(('me', 'notme', 'new'))

_PARAMETER = re.compile(r'<(?:([a-z]+):)?([A-Za-z_]\w*)>', re.ASCII)
_FLOAT = re.compile(r'[0-9.]+', re.ASCII)
#: More digits than any number a service means; int () refuses more than 4,300.
_MAX_DIGITS = 4000


class BadSegment(ValueError):
    """A segment that has its parameter's form but no value (`<float:x>` with '1.2.3'): 400."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _NoMatch(Exception):
    pass


def _to_int(segment: str) -> Any:
    if segment.isascii() and segment.isdigit():
        if len(segment) > _MAX_DIGITS:
            raise ValueError(segment)
        return int(segment)
    if segment in SPECIALS:
        return segment
    raise _NoMatch


def _to_float(segment: str) -> Any:
    if _FLOAT.fullmatch(segment):
        return float(segment)
    if segment in SPECIALS:
        return segment
    raise _NoMatch


_KINDS: dict[str, Callable[[str], Any]] = {'': str, 'string': str, 'int': _to_int, 'float': _to_float}


class Rule:
    """A parsed rule. ValueError, AssertionError for one that is none; `names` in their order."""

    __slots__ = ('kinds', 'names', 'segments', 'text')

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not (text == '' or text.startswith('/')):
            raise AssertionError(f'rule {text!r} must be "" or start with "/"')
        self.text = text
        #: str for a literal, (kind, name) for a parameter.
        self.segments: list[str | tuple[str, str]] = []
        parts = text.split('/')[1:] if text else []
        for index, part in enumerate(parts):
            match = _PARAMETER.fullmatch(part)
            if match is None:
                if '<' in part or '>' in part:
                    raise ValueError(
                        f'rule {text!r}: {part!r} is no parameter; write a whole <name> or <int:name>'
                    )
                self.segments.append(part)
                continue
            kind, name = match[1] or '', match[2]
            if kind != 'path' and kind not in _KINDS:
                raise ValueError(f'rule {text!r}: unknown kind {kind!r}; there are int, float and path')
            if kind == 'path' and index != len(parts) - 1:
                raise ValueError(f'rule {text!r}: <path:{name}> must be last')
            self.segments.append((kind, name))
        self.names = tuple(segment[1] for segment in self.segments if not isinstance(segment, str))
        self.kinds = {segment[1]: segment[0] for segment in self.segments if not isinstance(segment, str)}
        if len(set(self.names)) != len(self.names):
            raise ValueError(f'rule {text!r} names a parameter twice')

    @property
    def fixed(self) -> bool:
        return not self.names

    @property
    def shortened(self) -> Rule | None:
        """The rule without its last segment, if that is a parameter: its omittable form (RT-09)."""
        if not self.segments or isinstance(self.segments[-1], str):
            return None
        return Rule(self.text.rpartition('/')[0])

    def build(self, values: dict[str, Any]) -> str:
        """The path with `values` in it, percent-encoded; what is missing at its end is left out."""
        parts: list[str] = []
        for segment in self.segments:
            if isinstance(segment, str):
                parts.append(quote(segment, safe="/~!$&'()*+,;=:@%"))
            elif segment[1] in values:
                safe = '/' if segment[0] == 'path' else ''
                parts.append(quote(str(values[segment[1]]), safe=safe))
            else:
                break
        if not self.segments:
            return ''
        return '/' + '/'.join(parts)


class Resource:
    """What is at a place: for each method its endpoint, with whether it is there by omission only."""

    __slots__ = ('implicit', 'methods')

    def __init__(self) -> None:
        self.methods: dict[str, Endpoint] = {}
        self.implicit: set[str] = set()

    def add(self, method: str, endpoint: Endpoint, implicit: bool) -> Endpoint | None:
        """Add an endpoint; the one it replaces, if both were declared outright, by equals in rank."""
        known = self.methods.get(method)
        if known is not None and known.rank != endpoint.rank:
            if known.rank < endpoint.rank:
                self._put(method, endpoint, implicit)
            return None
        if known is not None and implicit and method not in self.implicit:
            return None  # an explicit route wins over an omitted parameter (RT-09)
        replaced = known if known is not None and not implicit and method not in self.implicit else None
        self._put(method, endpoint, implicit)
        return replaced

    def _put(self, method: str, endpoint: Endpoint, implicit: bool) -> None:
        self.methods[method] = endpoint
        if implicit:
            self.implicit.add(method)
        else:
            self.implicit.discard(method)

    @property
    def omits_last(self) -> bool:
        """Whether an endpoint here has a default for its rule's last parameter (RT-08, RT-09)."""
        return any(e.urlargs[-1] in e.signature.defaults for e in self.methods.values())

    @property
    def allowed(self) -> list[str]:
        """The methods that are answered here, HEAD with GET."""
        methods = set(self.methods)
        if 'GET' in methods:
            methods.add('HEAD')
        return sorted(methods)


class _Node:
    """A place in the tree, behind some segments."""

    __slots__ = ('literals', 'parameters', 'resource', 'rest')

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parameters: list[tuple[str, _Node]] = []
        self.rest: Resource | None = None
        self.resource: Resource | None = None


class Router:
    """Finds the resource for a path."""

    def __init__(self) -> None:
        self.fixed: dict[str, Resource] = {}
        self._tree = _Node()
        self._has_tree = False

    def resource(self, rule: Rule) -> Resource:
        """The resource at a rule, made if it isn't there."""
        if rule.fixed:
            return self.fixed.setdefault(rule.text, Resource())
        self._has_tree = True
        node = self._tree
        for segment in rule.segments:
            if isinstance(segment, str):
                node = node.literals.setdefault(segment, _Node())
                continue
            kind = '' if segment[0] == 'string' else segment[0]
            if kind == 'path':
                if node.rest is None:
                    node.rest = Resource()
                return node.rest
            for known, child in node.parameters:
                if known == kind:
                    node = child
                    break
            else:
                child = _Node()
                node.parameters.append((kind, child))
                node = child
        if node.resource is None:
            node.resource = Resource()
        return node.resource

    def find(self, raw_path: bytes) -> Iterator[tuple[Resource, tuple[Any, ...]]]:
        """All resources for a path as sent (below the mount point), best first, with parameter values.

        UnicodeDecodeError where a segment is no UTF-8.
        """
        if not self._has_tree or not raw_path.startswith(b'/'):
            return
        segments = [unquote_to_bytes(segment).decode('utf-8') for segment in raw_path[1:].split(b'/')]
        yield from _walk(self._tree, segments, 0, ())

    def known(self, path: str) -> bool:
        """Whether there is something at the decoded `path` (for redirects to the path with a slash)."""
        if path in self.fixed:
            return True
        try:
            return any(
                values[-1] != '' or resource.omits_last
                for resource, values in self.find(quote(path).encode())
            )
        except BadSegment:
            return False


def _walk(
    node: _Node, segments: list[str], index: int, values: tuple[Any, ...]
) -> Iterator[tuple[Resource, tuple[Any, ...]]]:
    if index == len(segments):
        if node.resource is not None:
            yield node.resource, values
        return
    segment = segments[index]
    literal = node.literals.get(segment)
    if literal is not None:
        yield from _walk(literal, segments, index + 1, values)
    if segment:
        for kind, child in node.parameters:
            try:
                value = _KINDS[kind](segment)
            except _NoMatch:
                continue
            except ValueError:
                raise BadSegment(segment[:64]) from None
            yield from _walk(child, segments, index + 1, (*values, value))
    if node.rest is not None:
        yield node.rest, (*values, '/'.join(segments[index:]))
