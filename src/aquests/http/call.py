"""The Task of a request over HTTP, and what it is told (SPEC TK-13, CA-02)."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeAlias

from .. import cache as caches
from ..aliases import Aliases, aliases
from ..errors import NetworkError, RPCError
from ..group import Tasks
from ..keeping import KeptTask, Options
from ..result import CODE_NETERR, STA_NETERR, Result, failure
from ..task import Mask, Task
from . import client as client_of
from .answer import Answer, Reading, Received
from .order import Order
from .request import Fields, Stream, checked_fields

if TYPE_CHECKING:
    from ..cluster import Seat
    from .clients import Client
#: Bytes that an answer may have, if nothing is said.
MAX_SIZE = 16 << 20
#: Longer answers are read on a thread.
LARGE = 1 << 16

#: (user, password), or a bearer token.
Auth: TypeAlias = tuple[str, str] | str | None

_TOKEN = re.compile(r'[A-Za-z0-9._~+/-]+=*')


@dataclasses.dataclass(frozen=True, slots=True)
class CallOptions(Options):
    """`headers`: a dict or pairs, for each request. `auth`: (user, password) for Basic, or a text, which is a
    bearer token. `max_size`: bytes that an answer may have, decompressed; None: 16 MB. `content_type`: of
    what is sent, where the headers say nothing.
    """

    headers: Fields | None = None
    auth: Auth = None
    max_size: int | None = None
    content_type: str = 'application/json'

    def __post_init__(self) -> None:
        """ValueError, TypeError for what makes no sense."""
        Options.__post_init__(self)
        size = self.max_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f'max_size = {size!r}: a number of bytes from 1 is needed')

    def fields(self) -> list[tuple[str, str]]:
        """`headers` and `auth`, checked: names in lower case. ValueError, TypeError."""
        given = () if self.headers is None else self.headers
        if isinstance(given, str | bytes):
            raise TypeError(f'headers = {given!r}: they are a dict, or pairs of name and value')
        fields = checked_fields(given)
        if self.auth is not None:
            if any(name == 'authorization' for name, _ in fields):
                raise ValueError('both auth and headers have an Authorization: give one of them')
            fields.append(('authorization', _authorization(self.auth)))
        return fields


def _authorization(auth: Any) -> str:
    """RFC 7617, RFC 6750."""
    if isinstance(auth, str):
        if not _TOKEN.fullmatch(auth):
            raise ValueError(
                'auth is a bearer token without a scheme, or (user, password); for any other scheme write '
                "headers = {'Authorization': ...}"
            )
        return 'Bearer ' + auth
    if not (
        isinstance(auth, tuple | list) and len(auth) == 2 and all(isinstance(part, str) for part in auth)
    ):
        raise TypeError(f'auth is (user, password) or a bearer token, not {type(auth).__name__}')
    user, password = auth
    if ':' in user or not (user + password).isprintable():
        raise ValueError("auth: a user has no ':', neither he nor a password has control characters")
    import base64

    return 'Basic ' + base64.b64encode(f'{user}:{password}'.encode()).decode()


class Call(KeptTask):
    """A request to an HTTP server, under way.

    Its Result is an `Answer`, whatever the server says: 300 and more are raised by fetch only (SPEC TK-12).
    The filter gets the data of answers below that.
    """

    __slots__ = ('_caller', '_order', '_reading')

    def __init__(
        self,
        caller: Caller,
        order: Order,
        reading: Reading,
        options: Options,
        key: Hashable = None,
        keep: float | None = None,
        seat: Seat | None = None,
    ) -> None:
        """`key`, `keep`, `seat`: see `KeptTask`."""
        self._caller = caller
        self._order = order
        self._reading = reading
        super().__init__(options, key, keep, seat)

    async def _work(self) -> Any:
        from .redirects import answered  # needs aiohttp, which a client has loaded

        order, reading = self._order, self._reading
        try:
            received = await answered(self._caller.client, order, reading.max_size, self._seat)
        finally:
            if isinstance(order.body, Stream):
                await _closed(order.body)
        if len(received.body) <= LARGE:
            return received, *reading.read(received)
        loop = asyncio.get_running_loop()
        return received, *await loop.run_in_executor(None, reading.read, received)

    def _succeed(self, value: Any) -> bool:
        self._work_ended()
        if self._result is not None:
            return False
        received, data, error = value
        kept = self._reading.kept(received, data)
        if self._keep and error is None and received.status == 200:
            caches.cache.put(self._key, kept, self._since, self._keep)
        if error is None and self._filter is not None:
            data, error = self._filter(data)
            if error is not None:
                return self._settle(failure(error))
        return self._settle(_answer(received, data, error, kept, self._key, self._since))

    def _fail(self, error: BaseException) -> bool:
        self._work_ended()
        if isinstance(error, NetworkError):
            return self._settle(Result(None, error, STA_NETERR, CODE_NETERR, 'Network Error'))
        return self._settle(failure(error))

    def _describe(self) -> str:
        path = self._order.target.partition('?')[0]  # a query may have what is not for logs
        return f'{self._order.method} {self._caller.name}{path}'


def _answer(received: Received, data: Any, error: BaseException | None, *kept: Any) -> Answer:
    answer = Answer(received, data, error, *kept)
    if error is not None and received.status < 300:
        # The exchange was fine, what it says is not.
        answer.status_code = 500
        answer.reason = 'RPC Error' if isinstance(error, RPCError) else 'Bad Answer'
    return answer


async def _closed(body: Stream) -> None:
    """What a body holds open (a file) ends with its request."""
    close = getattr(body.parts, 'aclose', None)
    if close is not None:
        with contextlib.suppress(RuntimeError):  # it is being written: that is cancelled, and closes it
            await close()


class Caller:
    """Makes the Tasks of requests to one server, or the members of an alias."""

    def __init__(
        self,
        origin: str,
        options: CallOptions,
        own: Callable[[Task], object] | None = None,
        register: Aliases = aliases,
        ids: tuple[str, str] | None = None,
    ) -> None:
        """`origin`: '@alias' or 'http[s]://[user:password@]host[:port]'. `own (task)`: told of each Task.
        `ids`: a transaction's (global, local), told to aliases (SPEC HC-07).

        Errors: see `http.client`; ValueError, TypeError for headers.
        """
        self.options = options
        self.fields = options.fields()
        self.client: Client = client_of(origin, register)
        self._own = own
        self._origin = origin
        self._ids: list[tuple[str, str]] = []
        #: For messages: without user and password.
        self.name = origin if origin.startswith('@') else origin.replace(_userinfo(origin), '', 1)
        if ids is not None and origin.startswith('@'):
            named = {name for name, _ in self.fields}
            wanted = zip(('x-gtxn-id', 'x-ltxn-id'), ids, strict=True)
            self._ids = [field for field in wanted if field[0] not in named]

    def with_accept(self, accept: str) -> list[tuple[str, str]]:
        """The fields of each request, but Content-Type: with Accept and User-Agent where they have none."""
        fields = [field for field in self.fields if field[0] != 'content-type']
        named = {name for name, _ in fields}
        defaults = (('accept', accept), ('user-agent', 'aquests'))
        return fields + [field for field in defaults if field[0] not in named]

    def send(self, order: Order, reading: Reading, what: Hashable, kept: bool = True) -> Task:
        """The Task of `order`; a finished one where its answer is kept.

        `what`: the request as a key, besides the server. `kept`: whether it may be kept.
        """
        options = self.options
        if not kept:
            what = None
            if options.use_cache is not None or options.cache is not None:
                options = dataclasses.replace(options, use_cache=None, cache=None)
        key = None if what is None else (getattr(self.client, 'alias', self._origin), what)
        if self._ids:
            order = order._replace(headers=[*order.headers, *self._ids])
        if options.everywhere:
            return self._send_to_all(order, reading, key)
        if options.use_cache is not None and key is not None:
            try:
                found = caches.cache.get(key, caches.not_before(options.use_cache))
            except KeyError as error:
                if error.args != (key,):
                    raise
            else:
                return _found(reading, found, options)
        task = Call(self, order, reading, options, key, options.keep)
        if self._own is not None:
            self._own(task)
        return task

    def _send_to_all(self, order: Order, reading: Reading, key: Any) -> Task:
        options = self.options
        seats: list[Any] = getattr(self.client, 'seats', [None])
        if isinstance(order.body, Stream) and len(seats) > 1:
            raise TypeError(f'{self.name} has several members: a stream or a file can be sent to one only')
        each = dataclasses.replace(options, callback=None, meta=None)
        tasks = Tasks(
            *(
                Call(
                    self,
                    order,
                    reading,
                    each,
                    None if key is None else (*key, seat and seat.member),
                    seat=seat,
                )
                for seat in seats
            ),
            timeout=options.timeout,
            meta=options.meta,
        )
        if options.callback is not None:
            tasks.add_done_callback(options.callback)
        if self._own is not None:
            self._own(tasks)
        return tasks


class _Found(Mask):
    """A finished Task with an answer that was kept."""

    __slots__ = ()

    def __init__(self, result: Result, options: Options) -> None:
        super().__init__(meta=options.meta)
        self._result = result


def _found(reading: Reading, kept: Any, options: Options) -> Task:
    received, data = reading.found(kept)
    result: Result | None = None
    if options.filter is not None:
        try:
            data = options.filter(data)
        except Exception as error:
            result = failure(error)
    task = _Found(result or Answer(received, data, None, kept), options)
    if options.callback is not None:
        task.add_done_callback(options.callback)
    return task


def _userinfo(origin: str) -> str:
    authority = origin.partition('//')[2]
    user, at, _ = authority.rpartition('@')
    return user + at


__all__ = ['MAX_SIZE', 'Auth', 'Call', 'CallOptions', 'Caller']
