"""Falcon, as a WSGI application."""

from __future__ import annotations

import falcon


class Hello:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = falcon.MEDIA_HTML
        response.text = 'Hello, World'


class HelloJson:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = {'message': 'Hello, World'}


app = falcon.App()
app.add_route('/', Hello())
app.add_route('/json', HelloJson())
