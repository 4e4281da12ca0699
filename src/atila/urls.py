"""From services to URLs (SPEC UR-01, UR-02)."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from .app import Atila
    from .services import Endpoint
    from .was import Was


def owner(app: Atila, name: str) -> tuple[Atila, str]:
    """The app and the rest of 'app:rest'; this app without such a prefix (SPEC MA-03)."""
    prefix, colon, rest = name.partition(':')
    if colon and prefix in app.apps:
        other: Atila = app.apps[prefix]
        return other, rest
    return app, name


def service(was: Was, thing: Any) -> tuple[Atila, Endpoint]:
    """The endpoint of a function, its name or 'app:name', and the app that has it; NameError for none.

    A name may leave out what it has in common with the service that asks: the part before its last dot.
    """
    app = was.app
    if not isinstance(thing, str):
        return app, app.service(thing)
    app, name = owner(app, thing)
    if app is was.app and was.endpoint is not None:
        near = was.endpoint.name.rpartition('.')[0]
        if near and not app.has_service(name) and app.has_service(f'{near}.{name}'):
            name = f'{near}.{name}'
    return app, app.service(name)


def urlfor(was: Was, thing: Any, args: tuple[Any, ...], values: dict[str, Any]) -> str:
    """The URL of `thing` with the given parameters; it starts with its app's mount point.

    `thing`: a service's function or name, or '/a/path' of this app. Positional arguments fill the
    function's parameters in their order; the path's parameters are substituted, the rest becomes the
    query; None leaves a parameter out. NameError for an unknown service, ValueError for parameters it
    doesn't take, AssertionError for a missing parameter of the path.
    """
    if isinstance(thing, str):
        app, path = owner(was.app, thing)
        if path.startswith('/'):
            if args:
                raise ValueError(f'a path takes no positional parameters: {thing!r}')
            return _joined_query(_below(app.point, path), values)
    app, endpoint = service(was, thing)
    return _below(app.point, build(endpoint, _named(endpoint, args, values)))


def urlpatch(was: Was, thing: Any, values: dict[str, Any]) -> str:
    """The URL of `thing` with what this request's URL gives, as far as it takes that, and `values` above."""
    app, endpoint = service(was, thing)
    request = was.request
    signature = endpoint.signature
    given = {**request.URL, **request.PARAMS}
    if not signature.any_name:
        given = {name: value for name, value in given.items() if name in signature.names}
    return _below(app.point, build(endpoint, {**given, **_named(endpoint, (), values)}))


def baseurl(was: Was, thing: Any) -> str:
    """The path of a service up to its first parameter."""
    app, endpoint = service(was, thing)
    return _below(app.point, endpoint.rule.build({}))


def urlspec(was: Was, thing: Any) -> dict[str, Any]:
    """`methods`, `path` (parameters as :name), `params` (the path's) and `query` (the other parameters)."""
    app, endpoint = service(was, thing)
    rule = endpoint.rule
    path = ''.join('/' + (part if isinstance(part, str) else ':' + part[1]) for part in rule.segments)
    return {
        'methods': list(endpoint.methods),
        'path': _below(app.point, path),
        'params': list(rule.names),
        'query': [name for name in endpoint.signature.names if name not in rule.names],
    }


def build(endpoint: Endpoint, given: dict[str, Any]) -> str:
    """Path and query of an endpoint, below its app's mount point."""
    signature, rule = endpoint.signature, endpoint.rule
    given = {name: value for name, value in given.items() if value is not None}
    for position, name in enumerate(rule.names):
        last = position == len(rule.names) - 1
        if name not in given and not (last and name in signature.defaults):
            raise AssertionError(f'{endpoint.name} needs the parameter {name!r} in its URL')
    path = rule.build(given)
    return _joined_query(path, {name: value for name, value in given.items() if name not in rule.names})


def _named(endpoint: Endpoint, args: tuple[Any, ...], values: dict[str, Any]) -> dict[str, Any]:
    names = endpoint.signature.names
    if len(args) > len(names):
        raise ValueError(f'{endpoint.name} takes {len(names)} parameters, not {len(args)}')
    given = dict(zip(names, args, strict=False))
    for name, value in values.items():
        if name in given:
            raise ValueError(f'{endpoint.name}: parameter {name!r} is given twice')
        if name not in names and not endpoint.signature.any_name:
            raise ValueError(f'{endpoint.name} takes no parameter {name!r}')
        given[name] = value
    return given


def _below(point: str, path: str) -> str:
    return path if point == '/' else point + path


def _joined_query(path: str, values: dict[str, Any]) -> str:
    query = urlencode({name: value for name, value in values.items() if value is not None}, doseq=True)
    return f'{path}?{query}' if query else path


def joined(base: str, path: str) -> str:
    """`base` with `path` behind it; an absolute path or URL is returned as it is."""
    if path.startswith('/'):
        return path
    return (base if base.endswith('/') else base + '/') + path


def quoted(url: str) -> str:
    """A URL fit for a header: what is not ASCII percent-encoded, the rest as it is.

    ValueError for control characters (they would split the response).
    """
    if any(ord(c) < 32 or ord(c) == 127 for c in url):
        raise ValueError(f'control characters in the URL {url!r}')
    return quote(url, safe="/~!$&'()*+,;=:@%?#[]")


def now() -> str:
    return formatdate(usegmt=True)
