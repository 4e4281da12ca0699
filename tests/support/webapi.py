"""What stubs ask in tests, as more routes of `upstreams.Server`.

/echo...             what was asked, as JSON, with the body as latin-1
/says?type=&hex=     these bytes with this Content-Type, and `status`
/redirect?to=&status=302
/packed/gzip?n=5     n zeros, compressed; /packed/br too
"""

from __future__ import annotations

import contextlib
import gzip
import io
from typing import Any

import brotli
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from upstreams import METHODS
from werkzeug.formparser import parse_form_data


async def _echo(request: Request) -> Response:
    body = await request.body()
    target = request.scope['raw_path'].decode('latin-1')
    if request.scope['query_string']:
        target += '?' + request.scope['query_string'].decode('latin-1')
    return JSONResponse(
        {
            'method': request.method,
            'target': target,
            'headers': dict(request.headers),
            'query': request.query_params.multi_items(),
            'body': body.decode('latin-1'),
        }
    )


async def _says(request: Request) -> Response:
    query = request.query_params
    response = Response(bytes.fromhex(query.get('hex', '')), int(query.get('status', '200')))
    if 'type' in query:
        response.headers['content-type'] = query['type']
    return response


async def _redirect(request: Request) -> Response:
    query = request.query_params
    response = Response('moved', int(query.get('status', '302')))
    response.raw_headers.append((b'location', query['to'].encode()))
    return response


async def _packed(request: Request) -> Response:
    how = request.path_params['how']
    zeros = bytes(int(request.query_params['n']))
    packed = gzip.compress(zeros) if how == 'gzip' else brotli.compress(zeros, quality=1)
    return Response(packed, headers={'content-encoding': how, 'content-type': 'application/octet-stream'})


ROUTES = [
    Route('/echo{path:path}', _echo, methods=METHODS),
    Route('/api/echo{path:path}', _echo, methods=METHODS),
    Route('/says', _says, methods=METHODS),
    Route('/redirect', _redirect, methods=METHODS),
    Route('/packed/{how}', _packed),
]


def form_of(seen: dict[str, Any]) -> tuple[dict[str, list[str]], dict[str, list[tuple[str, str, bytes]]]]:
    """Fields and files of a form that was echoed, as Werkzeug reads it; a file: name, type, content."""
    body = seen['body'].encode('latin-1')
    environ = {
        'REQUEST_METHOD': 'POST',
        'CONTENT_TYPE': seen['headers']['content-type'],
        'CONTENT_LENGTH': str(len(body)),
        'wsgi.input': io.BytesIO(body),
    }
    _, fields, files = parse_form_data(environ)
    found: dict[str, list[tuple[str, str, bytes]]] = {}
    for name, several in files.lists():
        for file in several:
            with contextlib.closing(file):
                content = (file.filename or '', file.content_type or '', file.read())
            found.setdefault(name, []).append(content)
    return fields.to_dict(flat=False), found
