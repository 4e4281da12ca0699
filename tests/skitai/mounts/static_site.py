"""The mount tables that the tests of static files serve."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import parse_qsl

from skitai.body import Body
from skitai.errorpage import error_answer
from skitai.exchange import Exchange, Handler
from skitai.headers import SERVER
from skitai.mounts.fileanswer import send_file
from skitai.mounts.static import Directory
from skitai.mounts.table import MountTable


class _Text:
    on_loop = True
    body_limit: int | None = 0

    def make_body(self, exchange: Exchange) -> Body:
        return Body()

    def __call__(self, exchange: Exchange) -> None:
        exchange.respond(200, [SERVER, (b'x-by', b'app')], b'app')


class _Service:
    """Sends files from a service thread, as `atila` will (SPEC RS-16, RS-18)."""

    on_loop = False
    body_limit: int | None = 0

    def __init__(self, table: MountTable) -> None:
        self.table = table

    def make_body(self, exchange: Exchange) -> Body:
        return Body()

    def __call__(self, exchange: Exchange) -> None:
        query = dict(parse_qsl(exchange.query_string.decode(), keep_blank_values=True))
        try:
            self._send(exchange, query)
        except FileNotFoundError:
            self._refuse(exchange, 404)
        except PermissionError:
            self._refuse(exchange, 403)

    def _send(self, exchange: Exchange, query: dict[str, str]) -> None:
        extra = [(b'x-by', b'service'), (b'cache-control', b'private')] if 'extra' in query else []
        options: dict[str, Any] = {'headers': extra, 'status': int(query.get('status', '200'))}
        for name in ('content_type', 'filename'):
            if name in query:
                options[name] = query[name]
        if 'url' in query:
            answer = self.table.find_static(exchange, query['url'])
            if answer is None:
                raise FileNotFoundError
            answer.send(exchange, extra)
        elif 'object' in query:
            file = open(query['object'], 'rb')  # noqa: SIM115  # handed over
            file.seek(3)
            send_file(exchange, file, **options)
        elif 'memory' in query:
            send_file(exchange, io.BytesIO(b'0123456789'), **options)
        else:
            send_file(exchange, query['path'], **options)

    def _refuse(self, exchange: Exchange, status: int) -> None:
        headers, body = error_answer(exchange, status)
        exchange.respond(status, headers, body)


class _App:
    def __init__(self, table: MountTable) -> None:
        self.text = _Text()
        self.service = _Service(table)

    def find(self, exchange: Exchange) -> Handler | None:
        return self.service if exchange.path == '/service' else self.text


def static(root: str, media: str, other: str) -> MountTable:
    """`root` at '/', `media` at '/media', `other` at both '/media' (looked at later) and for another host."""
    table = MountTable()
    ages = {'/': 60, '/media/': 3600}
    table.add_files('/', Directory(root, max_age=ages))
    table.add_files('/media/', Directory(media, max_age=ages))
    table.add_files('/media', Directory(other))
    table.add_files('/', Directory(other, max_age=0), host='other.test')
    table.add('/', _App(table))
    return table
