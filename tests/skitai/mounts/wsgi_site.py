"""The mount table that the tests of WSGI mounts serve: Flask at '/' and '/sub', raw ones at '/raw'."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any
from wsgiref.validate import validator

from flask import Flask, Response, request, stream_with_context

from skitai.config import Settings
from skitai.mounts.table import MountTable
from skitai.mounts.wsgi import WsgiMount

Environ = dict[str, Any]
seen: ContextVar[list[str]] = ContextVar('seen')
events: list[str] = []


class Closing:
    """An iterable that tells of its end."""

    def __init__(self, name: str, chunks: Iterable[bytes]) -> None:
        self.name = name
        self.chunks = iter(chunks)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self.chunks)

    def close(self) -> None:
        events.append(f'closed {self.name}')


def environ(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """The environ, and the body's length and digest."""
    body = environ['wsgi.input'].read()
    shown = {k: v for k, v in environ.items() if isinstance(v, (str, int, bool, tuple))}
    shown['body'] = [len(body), hashlib.sha256(body).hexdigest()]
    content = json.dumps(shown).encode()
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [content]


def lines(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """All ways to read `wsgi.input`."""
    source = environ['wsgi.input']
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [
        json.dumps(
            [source.read(3).decode(), source.readline().decode(), [x.decode() for x in source]]
        ).encode()
    ]


def events_so_far(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps(events).encode()]


def generator(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Calls start_response as late as it may, with an empty chunk in between."""
    yield b''
    start_response('200 OK', [('Content-Type', 'text/plain')])
    for i in range(3):
        yield b'part%d;' % i
        yield b''


def pausing(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """The second part comes only when `/raw/release` was called."""
    start_response('200 OK', [])
    released.clear()

    def chunks() -> Iterator[bytes]:
        yield b'first'
        assert released.wait(20)
        yield b'second'

    return Closing('pausing', chunks())


def release(environ: Environ, start_response: Any) -> Iterable[bytes]:
    released.set()
    start_response('204 No Content', [('Content-Length', '0')])
    return []


released = threading.Event()


def sized(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response('200 OK', [('Content-Length', '10')])
    return Closing('sized', [b'0123456789'])


def short(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response('200 OK', [('Content-Length', '10')])
    return Closing('short', [b'01234', b'56'])


def long(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response('200 OK', [('Content-Length', '3')])
    return [b'01234']


def empty(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response('200 OK', [('X-Empty', 'yes')])
    return Closing('empty', [])


def not_modified(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response('304 Not Modified', [('ETag', '"x"'), ('Content-Length', '4')])
    return [b'body']


def no_content(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response('204 No Content', [('Content-Length', '4')])
    return [b'body']


def writes(environ: Environ, start_response: Any) -> Iterable[bytes]:
    write = start_response('200 OK', [('Content-Type', 'text/plain')])
    for _ in range(40):
        write(b'w' * 50_000)
    return Closing('writes', [b'and the rest'])


def write_late(environ: Environ, start_response: Any) -> Iterable[bytes]:
    write = start_response('200 OK', [])
    yield b'a'
    write(b'b')


def fails_at_once(environ: Environ, start_response: Any) -> Iterable[bytes]:
    raise RuntimeError('secret detail <b>')


def fails_in_first(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response('200 OK', [])

    def chunks() -> Iterator[bytes]:
        raise RuntimeError('secret detail')
        yield b''

    return Closing('fails_in_first', chunks())


def fails_half_way(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response('200 OK', [])

    def chunks() -> Iterator[bytes]:
        yield b'a part'
        raise RuntimeError('secret detail')

    return Closing('fails_half_way', chunks())


def exits(environ: Environ, start_response: Any) -> Iterable[bytes]:
    sys.exit(3)


def silent(environ: Environ, start_response: Any) -> Iterable[bytes]:
    return [b'no start_response']


def text(environ: Environ, start_response: Any) -> Iterable[Any]:
    start_response('200 OK', [])
    return ['text']


def twice(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response('200 OK', [])
    start_response('200 OK', [])
    return [b'x']


def replaces(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """An error handler: the second head and body count."""
    write = start_response('200 OK', [('X-First', 'yes')])
    write(b'first body')
    try:
        raise ValueError('handled')
    except ValueError:
        start_response('418 Teapot', [('X-Second', 'yes')], sys.exc_info())
    return [b'second body']


def replaces_late(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response('200 OK', [])

    def chunks() -> Iterator[bytes]:
        yield b'a part'
        try:
            raise ValueError('too late')
        except ValueError:
            start_response('500 Error', [], sys.exc_info())
        yield b'never'

    return Closing('replaces_late', chunks())


def head_of(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Answers with the status and the fields that the query names (JSON)."""
    from urllib.parse import unquote

    status, fields = json.loads(unquote(environ['QUERY_STRING']))
    start_response(status, [tuple(field) for field in fields])
    return [b'body']


def errors(environ: Environ, start_response: Any) -> Iterable[bytes]:
    stream = environ['wsgi.errors']
    stream.write('one line\nhalf ')
    stream.writelines(['a line', '\n', 'left over'])
    stream.flush()
    start_response('200 OK', [])
    return [b'ok']


def file(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response('200 OK', [])
    wrapper: Iterable[bytes] = environ['wsgi.file_wrapper'](open(__file__, 'rb'), 1000)  # noqa: SIM115
    return wrapper


def context(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """What of the context variable comes from other requests, and what from this one's own steps."""
    start_response('200 OK', [])
    seen.set([*seen.get([]), environ['QUERY_STRING']])
    for _ in range(3):
        time.sleep(0.001)
        yield repr(seen.get()).encode()


def endless(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response('200 OK', [])

    def chunks() -> Iterator[bytes]:
        while True:
            yield b'x' * 100_000

    return Closing('endless', chunks())


def valid(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """What wsgiref.validate accepts."""
    way = environ['PATH_INFO']
    body = environ['wsgi.input'].readline()
    environ['wsgi.errors'].write('validated\n')
    write = start_response('200 OK', [('Content-Type', 'text/plain')])
    if way == '/list':
        return [body, b'done']
    if way == '/write':
        write(body)
        return [b'done']
    return iter([body, b'done'])


RAW: dict[str, Callable[..., Iterable[Any]]] = {
    f'/{function.__name__}': function
    for function in (
        environ, lines, generator, pausing, release, sized, short, long, empty, not_modified, no_content,
        writes, write_late, fails_at_once, fails_in_first, fails_half_way, exits, silent, text, twice,
        replaces, replaces_late, head_of, errors, file, context, endless,
    )
}  # fmt: skip
RAW['/events'] = events_so_far


def raw(environ: Environ, start_response: Any) -> Iterable[bytes]:
    return RAW[environ['PATH_INFO']](environ, start_response)


def flask_app() -> Flask:
    app = Flask(__name__)

    @app.route('/')
    def index() -> str:
        return f'index of {request.script_root or "/"}'

    @app.route('/hello/<name>')
    def hello(name: str) -> str:
        return f'hello {name} from {request.url}'

    @app.route('/upload', methods=['POST'])
    def upload() -> dict[str, Any]:
        file = request.files['file']
        content = file.read()
        return {'name': file.filename, 'size': len(content), 'title': request.form['title']}

    @app.route('/json', methods=['POST'])
    def as_json() -> dict[str, Any]:
        return {'got': request.get_json()}

    @app.route('/stream')
    def stream() -> Response:
        def chunks() -> Iterator[str]:
            for i in range(50):
                yield f'{request.args["q"]}{i};'

        return Response(stream_with_context(chunks()))

    @app.route('/broken')
    def broken() -> str:
        raise RuntimeError('secret detail')

    return app


def wsgi(max_upload_size: int = 4 << 20) -> MountTable:
    settings = Settings(max_upload_size=max_upload_size)
    table = MountTable()
    table.add('/', WsgiMount(flask_app(), settings))
    table.add('/sub', WsgiMount(flask_app(), settings))
    table.add('/raw', WsgiMount(raw, settings))
    table.add('/späß', WsgiMount(raw, settings))
    table.add('/valid', WsgiMount(validator(valid), settings))
    return table
