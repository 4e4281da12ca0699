"""Stubs: a server's URIs as calls (SPEC HC-01 to HC-04).

with was.stub ('@myapi/api') as stub:
    task = stub.get ('/profiles/{}?limit={}', 100, 10)
    task = stub.put ('/profiles/{}', 100, {'name': 'Hans Roh'})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from ..aliases import Aliases, aliases
from ..task import Task
from .address import checked_target, split
from .answer import Reading
from .call import MAX_SIZE, Caller, CallOptions
from .order import Order
from .payload import MULTIPART, NOTHING, payload
from .template import filled, literal, query, template

#: Their data is a query string, and they carry no body.
WITHOUT_BODY = frozenset({'GET', 'HEAD', 'DELETE'})
#: Their answers may be kept.
KEPT = frozenset({'GET', 'HEAD', 'OPTIONS'})

_METHODS = ('get', 'head', 'delete', 'options', 'post', 'put', 'patch', 'upload')


class Stub:
    """Requests below `base`: '@alias[/path]' or 'http[s]://[user:password@]host[:port][/path]'.

    It holds no connection: use it as often, and by as many threads, as you like, with or without `with`.

    All methods are `method (uri, *values[, payload], **data)`. `values` are put into the URI's places (`{}`),
    percent-encoded, none of them can leave its place. What follows them is the payload; `data` is merged into
    a dict. It is sent as JSON, unless the stub's headers have another Content-Type (form, multipart); bytes,
    texts and files as they are. `get`, `head`, `delete` send a dict as query string. `upload` posts a dict as
    multipart/form-data, with files, which are streamed.

    TypeError, ValueError at the call for what cannot be sent, in words.
    """

    def __init__(
        self,
        base: str,
        options: CallOptions,
        own: Callable[[Task], object] | None = None,
        register: Aliases = aliases,
        ids: tuple[str, str] | None = None,
    ) -> None:
        """See `Caller`; ValueError for a base with a query."""
        origin, path = split_base(base)
        if '?' in path:
            raise ValueError(f'{path!r}: a base has no query: write it into the URIs')
        self._caller = Caller(origin, options, own, register, ids)
        self._path = path.rstrip('/')
        self._prefixes = (origin + self._path, origin)
        self._content_type = dict(self._caller.fields).get('content-type')
        self._fields = self._caller.with_accept('application/json')
        self._reading = Reading(options.max_size or MAX_SIZE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def __repr__(self) -> str:
        return f'<Stub {self._caller.name}{self._path}>'

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f'a stub has no {name!r}: it has {", ".join(_METHODS)}')

    def get(self, uri: str, /, *values: Any, **data: Any) -> Task:
        return self._request('GET', uri, values, data)

    def head(self, uri: str, /, *values: Any, **data: Any) -> Task:
        return self._request('HEAD', uri, values, data)

    def delete(self, uri: str, /, *values: Any, **data: Any) -> Task:
        return self._request('DELETE', uri, values, data)

    def options(self, uri: str, /, *values: Any, **data: Any) -> Task:
        return self._request('OPTIONS', uri, values, data)

    def post(self, uri: str, /, *values: Any, **data: Any) -> Task:
        return self._request('POST', uri, values, data)

    def put(self, uri: str, /, *values: Any, **data: Any) -> Task:
        return self._request('PUT', uri, values, data)

    def patch(self, uri: str, /, *values: Any, **data: Any) -> Task:
        return self._request('PATCH', uri, values, data)

    def upload(self, uri: str, /, *values: Any, **data: Any) -> Task:
        """A form with files: `stub.upload ('/files', photo = open ('a.png', 'rb'), title = 'A')`."""
        return self._request('POST', uri, values, data, MULTIPART)

    # -- inside -----------------------------------------------------------------------------------------

    def _request(
        self, method: str, uri: str, values: tuple[Any, ...], data: dict[str, Any], content_type: str = ''
    ) -> Task:
        if not isinstance(uri, str):
            raise TypeError(f'a URI is a str, not {type(uri).__name__}')
        uri = self._below(uri)
        count = template(uri).places
        if len(values) < count:
            raise TypeError(f'{uri!r} has {count} places for values, and {len(values)} were given')
        if len(values) > count + 1:
            raise TypeError(
                f'{uri!r} has {count} places for values, one payload may follow, and {len(values)} were given'
            )
        given = values[count] if len(values) > count else None
        return self._send(method, filled(uri, values[:count]), _merged(given, data), content_type)

    def _below(self, uri: str) -> str:
        """`uri` without the base, which it may repeat (SPEC HC-03); with a slash where it needs one."""
        for prefix in self._prefixes:
            if uri.startswith(prefix) and uri[len(prefix) : len(prefix) + 1] in ('', '/', '?', '#'):
                uri = uri[len(prefix) :]
                break
        else:
            if uri.startswith(('@', 'http://', 'https://')):
                raise ValueError(
                    f'{uri!r} is not below {self._caller.name}{self._path}: use a stub of its own'
                )
        return uri if uri.startswith(('/', '?', '#')) or not uri else '/' + uri

    def _send(self, method: str, uri: str, data: Any, content_type: str = '') -> Task:
        """`uri`: below the path, percent-encoded."""
        target = self._path + uri
        if not target.startswith('/'):
            target = '/' + target
        carried = NOTHING
        if method not in WITHOUT_BODY:
            carried = payload(data, content_type or self._content_type, self._caller.options.content_type)
        elif data is not None:
            target = _with_query(method, target, data)
        headers = self._fields
        if carried.content_type is not None:
            headers = [*headers, ('content-type', carried.content_type)]
        order = Order(method, checked_target(target), headers, carried.body)
        kept = method in KEPT and carried.body is None
        what = (method, target, tuple(headers)) if kept else None
        return self._caller.send(order, self._reading, what, kept)


def once(
    method: str,
    url: str,
    data: Any,
    options: CallOptions,
    own: Callable[[Task], object] | None = None,
    register: Aliases = aliases,
    ids: tuple[str, str] | None = None,
) -> Task:
    """One request to '@alias/path' or a URL (SPEC HC-04), without places for values. `method`: of a stub."""
    origin, target = split_base(url)
    stub = Stub(origin, options, own, register, ids)
    if method == 'upload':
        return stub._send('POST', target, {} if data is None else data, MULTIPART)
    return stub._send(method.upper(), target, data)


def split_base(base: Any) -> tuple[str, str]:
    """(origin, target), what is not ASCII in the target percent-encoded."""
    if not isinstance(base, str):
        raise TypeError(f"an address is a str such as '@alias/path' or 'http://host/path', not {base!r}")
    origin, target = split(base)
    return origin, checked_target(literal(target))


def _merged(given: Any, data: dict[str, Any]) -> Any:
    if not data:
        return given
    if given is None:
        return data
    if not isinstance(given, Mapping):
        raise TypeError(
            f'data given by names ({", ".join(data)}) is merged into a dict, not into {type(given).__name__}'
        )
    return {**given, **data}


def _with_query(method: str, target: str, data: Any) -> str:
    if not isinstance(data, Mapping):
        raise TypeError(f'{method} sends a dict as query string, and no {type(data).__name__}')
    found = query(data)
    if not found:
        return target
    if '?' not in target:
        return f'{target}?{found}'
    return target + found if target.endswith(('?', '&')) else f'{target}&{found}'
