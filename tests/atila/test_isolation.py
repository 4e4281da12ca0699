"""One client never sees another's data (PITFALLS; SPEC RC-07): 32 clients at once, thousands of requests.

Every client has a name of its own in its session, cookie, messages, form and `request.g`, and asks services
of every form, some of which fail, stream or are left half-way. Whatever it gets back must be its own.
"""

from __future__ import annotations

import random
import re
import socket
import threading
from collections.abc import Callable

import pytest
import requests
from projects import Launcher

from skitai.testing import ServerClient

SCRIPT = """
    import asyncio
    import time
    import skitai
    from atila import Atila

    app = Atila (__name__)
    app.securekey = 'a secret'

    @app.before_request
    def before (was):
        assert not was.request.g, was.request.g
        was.request.g.name = was.request.get_header ('x-name')

    @app.teardown_request
    def teardown (was):
        if was.request.g.name != was.request.get_header ('x-name'):
            app.g.mixed = True

    def state (was):
        return dict (
            header = was.request.get_header ('x-name'),
            g = was.request.g.name,
            session = was.session.get ('name'),
            count = was.session.get ('count', 0),
            cookie = was.cookie.get ('name'),
            proxy = skitai.was.request.get_header ('x-name'),
            messages = [message [4] for message in was.mbox.get ()],
            args = was.request.args.get ('name'),
        )

    def change (was):
        was.session ['name'] = was.request.g.name
        was.session ['count'] = was.session.get ('count', 0) + 1
        was.cookie ['name'] = was.request.g.name
        was.mbox.send (was.request.g.name)

    @app.route ('/plain')
    def plain (was, name):
        found = state (was)
        change (was)
        return was.API (found)

    @app.route ('/async')
    async def awaits (was, name):
        found = state (was)
        change (was)
        await asyncio.sleep (0.001)
        assert skitai.was.request.args ['name'] == name
        return was.API (found)

    @app.route ('/stream')
    def stream (was, name):
        found = state (was)
        change (was)
        yield '{"header": "'
        time.sleep (0.001)
        yield skitai.was.request.get_header ('x-name')
        yield '", "session": "%s", "count": %d}' % (found ['session'], found ['count'])

    @app.route ('/failing')
    def failing (was, name):
        change (was)
        raise was.Error ('409 Conflict', was.request.g.name)

    @app.route ('/bug')
    async def bug (was, name):
        change (was)
        await asyncio.sleep (0)
        raise LookupError (name)

    @app.route ('/late')
    def late (was, name):
        change (was)
        return object ()

    @app.route ('/long')
    def long (was, name):
        change (was)
        while True:
            yield was.request.g.name.encode () * 1000
            time.sleep (0.001)

    @app.route ('/mixed')
    def mixed (was):
        return str (app.g.get ('mixed', False))

    if __name__ == '__main__':
        skitai.mount ('/', app)
        skitai.run ()
    """

CLIENTS = 32
REQUESTS = 100


class _Visitor:
    """One client: what it asks for, and what it knows of its own state."""

    def __init__(self, number: int, url: str, port: int) -> None:
        self.name = f'client-{number}'
        self.count = 0
        self.messages: list[str] = []
        self._random = random.Random(number)
        self._session = requests.Session()
        self._session.headers['X-Name'] = self.name
        self._url, self._port = url, port

    def visit(self) -> None:
        asks = [self.answered, self.streamed, self.failed, self.left]
        for _ in range(REQUESTS):
            self._random.choices(asks, weights=[6, 2, 3, 1])[0]()

    def _get(self, path: str) -> requests.Response:
        how = self._random.random()
        if how < 0.5:
            return self._session.get(self._url + path, params={'name': self.name}, timeout=30)
        return self._session.post(self._url + path, data={'name': self.name}, timeout=30)

    def answered(self) -> None:
        found = self._get(self._random.choice(['/plain', '/async'])).json()
        known = self.name if self.count else None
        assert found == {
            'header': self.name,
            'g': self.name,
            'proxy': self.name,
            'args': self.name,
            'session': known,
            'cookie': known,
            'count': self.count,
            'messages': self.messages,
        }
        self.count += 1
        self.messages = [self.name]

    def streamed(self) -> None:
        found = self._get('/stream').json()
        assert found['header'] == self.name
        assert found['session'] == (self.name if self.count else 'None')
        assert found['count'] == self.count
        self.count += 1
        self.messages = [self.name]

    def failed(self) -> None:
        """The change is undone: nothing is to be set."""
        answer = self._get(self._random.choice(['/failing', '/bug', '/late']))
        assert answer.status_code in (409, 500)
        assert 'set-cookie' not in answer.headers
        if answer.status_code == 409:
            assert answer.json()['more_info'] == self.name

    def left(self) -> None:
        """A stream without an end, left after some of it."""
        with socket.create_connection(('127.0.0.1', self._port), timeout=30) as connection:
            connection.sendall(
                f'GET /long?name=x HTTP/1.1\r\nHost: a\r\nX-Name: {self.name}\r\n\r\n'.encode('latin-1')
            )
            received = b''
            while received.count(self.name.encode()) < 3:
                received += connection.recv(4096)
            names = re.findall(rb'client-\d+(?=c)', received)  # whole ones: another follows
            assert set(names) == {self.name.encode()}


@pytest.fixture(scope='module')
def site(launch_module: Callable[[], Launcher]) -> ServerClient:
    return launch_module()({'serve.py': SCRIPT}, threads=4)


def test_clients_never_see_each_other(site: ServerClient) -> None:
    """SPEC RC-07, RQ-07, RQ-08."""
    failures: list[BaseException] = []

    def run(visitor: _Visitor) -> None:
        try:
            visitor.visit()
        except BaseException as error:
            failures.append(error)

    visitors = [_Visitor(number, site.base_url, site.port) for number in range(CLIENTS)]
    threads = [threading.Thread(target=run, args=(visitor,)) for visitor in visitors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not failures, failures[0]
    assert sum(visitor.count for visitor in visitors) > CLIENTS * REQUESTS / 2
    assert site.get('/mixed', headers={'X-Name': 'me'}).text == 'False'
