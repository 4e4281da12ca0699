"""What goes around a service: request hooks, their events and decorators (SPEC chapter 11, HP, PM-08).

    (the gate           who may not come in gets 401 or 403 before the body is read; no hook is called)
    before_request      hook, then event      a returned content is the answer, the service is left out
    guards              the decorators below `@app.route`, the outermost first; the same holds for them
    the service
    run_after           in their order
    finish_request      hook, then event      with what is about to be sent; or
    failed_request      hook, then event      with what was raised, by whom ever of the above
    (session, message box and cookies are written; not after a failure)
    teardown_request    hook, then event      always, last: before a whole body is sent, after a stream's end

An endpoint that has none of these is called by the engine itself (`services.Endpoint`) and pays nothing for
them. The others are wrapped, when the app is mounted, in a `Surrounded`, which runs the same order for `def`,
generator and `async def`: hooks and guards may block, so they run on service threads, and only an `async
def` service itself runs on the event loop.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from skitai.context import current

from . import bodies, contents, coroutines, deferred, limits
from .decorators import check_plain
from .errors import HTTPError, fail
from .was import Was

if TYPE_CHECKING:
    from skitai.body import Body
    from skitai.exchange import Exchange, RawHeaders

    from .app import Atila
    from .services import Endpoint

log = logging.getLogger('atila')

#: Seconds after its time limit that an `async def` service gets to end: then the engine answers.
_GRACE = 1.0

KINDS = ('before_request', 'finish_request', 'failed_request', 'teardown_request')


class Cycle:
    """An app's request hooks and who hears of their events. Filled while the app is mounted, then read."""

    def __init__(self, app: Atila) -> None:
        self.app = app
        self._hooks: dict[str, tuple[Callable[..., Any], int]] = {}
        self._heard: frozenset[str] = frozenset()

    def set(self, kind: str, hook: Callable[..., Any], rank: int) -> None:
        """Make `hook` the app's hook of that kind: the last one wins, but never over one of a higher rank."""
        check_plain(f'the {kind} hook', hook)
        count = 2 if kind in ('finish_request', 'failed_request') else 1
        if not _takes(hook, count):
            if kind != 'finish_request' or not _takes(hook, 1):
                wanted = {'finish_request': 'was, response', 'failed_request': 'was, expt'}.get(kind, 'was')
                raise TypeError(f'the {kind} hook must take ({wanted})')
            hook = partial(_without_response, hook)
        known = self._hooks.get(kind)
        if known is None or known[1] <= rank:
            self._hooks[kind] = (hook, rank)

    def settle(self) -> bool:
        """Everything is registered: whether there is anything to run around a service."""
        self._heard = frozenset(kind for kind in KINDS if self.app.events.heard(kind))
        return bool(self._hooks or self._heard)

    @property
    def ends(self) -> bool:
        """Whether somebody waits for the end of a request."""
        return 'teardown_request' in self._hooks or 'teardown_request' in self._heard

    def run(self, kind: str, was: Was, *args: Any) -> Any:
        """Call the hook, if there is one, and tell who listens; what the hook returned."""
        hook = self._hooks.get(kind)
        content = None if hook is None else hook[0](was, *args)
        if kind in self._heard:
            self.app.events.emit(was, kind, args, {})
        return content

    def teardown(self, was: Was) -> None:
        """Once, at the end of a request; what fails here is logged (SPEC RC-04)."""
        try:
            self.run('teardown_request', was)
        except BaseException:
            log.exception('%s: the teardown_request hook failed', self.app.name)


def _without_response(hook: Callable[[Was], Any], was: Was, response: Any) -> Any:
    return hook(was)


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a hook can be called with so many arguments."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    return True


class Surrounded:
    """An endpoint with something around its service: the `Handler` that the engine calls instead of it."""

    __slots__ = ('body_limit', 'cycle', 'endpoint', 'gate', 'minify', 'on_loop', 'standing')

    def __init__(
        self,
        endpoint: Endpoint,
        cycle: Cycle,
        minify: Callable[[str], str] | None,
        gate: Callable[[Was], None] | None,
        standing: Callable[[Was], RawHeaders] | None,
    ) -> None:
        """`gate` raises for who may not come in; `standing` gives the fields of every answer."""
        self.endpoint = endpoint
        self.cycle = cycle
        self.minify = minify
        self.gate = gate
        self.standing = standing
        self.body_limit = endpoint.body_limit
        self.on_loop = False

    def make_body(self, exchange: Exchange) -> Body:
        return bodies.body_for(exchange)

    def __call__(self, exchange: Exchange) -> None:
        was = self.enter(exchange)
        if was is not None:
            self.serve(was)

    def enter(self, exchange: Exchange) -> Was | None:
        """The request's `was`, or None for one who may not come in: that is answered."""
        was = Was(self.endpoint.app, exchange, self.endpoint)
        current.set(was)
        if self.standing is not None:
            was.response.standing = self.standing
        if self.gate is not None:
            try:
                self.gate(was)
            except BaseException as error:
                fail(was, error)
                return None
        return was

    def serve(self, was: Was) -> None:
        """The cycle, from `before_request` on."""
        seconds = self.endpoint.timeout
        if seconds is None:
            self._serve(was)
        else:
            with limits.begin(was, seconds):
                self._serve(was)

    def _serve(self, was: Was) -> None:
        endpoint, cycle, exchange = self.endpoint, self.cycle, was.exchange
        if cycle.ends:
            was.response.ending = cycle.teardown
        try:
            content = cycle.run('before_request', was)
            if content is None:
                arguments = endpoint.arguments(was)
                content = _first_content(endpoint.guards, was, arguments)
            if content is None:
                if endpoint.on_loop:
                    exchange.run_coroutine(self._await(was, arguments))
                    return
                content = endpoint.inner(was, **arguments)
                if endpoint.coroutine:
                    coroutines.run(self, was, content)
                    return
                self.conclude(was, content)
            else:
                self.answer(was, content)
        except BaseException as error:
            self.fail(was, error)

    async def _await(self, was: Was, arguments: dict[str, Any]) -> None:
        current.set(was)
        if was.exchange.answered:  # given up before it began
            contents.on_thread(was, was.response.end)
            return
        try:
            with limits.armed(was, _GRACE):
                async with asyncio.timeout(limits.left(was)) as limit:
                    content = self.endpoint.inner(was, **arguments)
                    if inspect.isawaitable(content):
                        content = await content
            if limit.expired():  # it has caught its cancellation
                raise TimeoutError
            answer = partial(self.conclude, was, content)
        except BaseException as error:
            if (
                isinstance(error, asyncio.CancelledError) and contents.is_cancelled()
            ):  # the client is gone, or
                was.cancel_tasks()  # time is up
                contents.on_thread(was, was.response.end)
                raise
            if limit.expired():
                was.cancel_tasks()
                error = self.too_slow()
            answer = partial(self.fail, was, error)
        contents.on_thread(was, answer)

    def conclude(self, was: Was, content: Any) -> None:
        """What a service has returned, when it is there: `run_after`, then the answer."""
        if deferred.is_deferred(content):
            deferred.resolve(was, content, self.conclude, self.fail)
            return
        try:
            for after in self.endpoint.afters:
                after(was)
        except BaseException as error:
            self.fail(was, error)
        else:
            self.answer(was, content)

    def answer(self, was: Was, content: Any) -> None:
        """Answer with `content`, by `finish_request`."""
        try:
            if deferred.is_deferred(content):
                deferred.resolve(was, content, self.answer, self.fail)
            elif contents.is_async_stream(content):
                was.exchange.run_coroutine(
                    contents.stream_async(was, content, contents.send, self.fail, self._finished)
                )
            else:
                self._finish(was, content)
        except BaseException as error:
            self.fail(was, error)

    def _finished(self, was: Was, content: Any) -> Any:
        """What `finish_request` makes of it: another content, or None."""
        return self.cycle.run('finish_request', was, content)

    def _finish(self, was: Was, content: Any) -> None:
        content = contents.begun(content)
        try:
            replaced = self._finished(was, content)
        except BaseException:
            contents.drop(content)
            raise
        if replaced is not None:
            content = replaced
        if self.minify is not None and type(content) is str and contents.is_html(was):
            content = self.minify(content)
        contents.send(was, content)

    def streamed(self, was: Was) -> None:
        """A coroutine has streamed its answer: it is complete, what `finish_request` returns is late."""
        try:
            self._finished(was, None)
        except BaseException:
            log.exception('%s: the finish_request hook failed', self.cycle.app.name)
        was.response.end()

    def fail(self, was: Was, error: BaseException) -> None:
        """Answer a request that failed: by `failed_request`, else with an error."""
        content = None
        was.new_response()  # what the service had set was meant for another answer
        try:
            content = self.cycle.run('failed_request', was, (type(error), error, error.__traceback__))
        except BaseException:
            log.exception('%s: the failed_request hook failed', self.cycle.app.name)
        if content is None or was.exchange.answered:  # or the service took too long, or the client is gone
            fail(was, error)
        else:
            self._answer_failure(was, error, content)

    @staticmethod
    def too_slow() -> HTTPError:
        """The route's own time limit is over (SPEC appendix B.17)."""
        return HTTPError('503 Service Unavailable', 'the service took too long')

    def _answer_failure(self, was: Was, error: BaseException, content: Any) -> None:
        if not isinstance(error, HTTPError):
            log.error('%s %s failed', was.exchange.method, was.exchange.path, exc_info=error)
        try:
            if deferred.is_deferred(content):
                deferred.resolve(was, content, contents.send, fail)
            else:
                contents.send(was, content)
        except BaseException as failure:
            fail(was, failure)


class Door:
    """Lets in a request that has a body, before the body is read (SPEC AU-10): a `Handler`."""

    __slots__ = ('body_limit', 'inside', 'on_loop')

    def __init__(self, inside: Surrounded) -> None:
        self.inside = inside
        self.body_limit: int | None = None
        self.on_loop = False

    def __call__(self, exchange: Exchange) -> None:
        was = self.inside.enter(exchange)
        if was is not None:
            exchange.receive(_Admitted(self.inside, was))


class _Admitted:
    """The rest of the walk of a request that was let in."""

    __slots__ = ('_inside', '_was', 'body_limit', 'on_loop')

    def __init__(self, inside: Surrounded, was: Was) -> None:
        self._inside = inside
        self._was = was
        self.body_limit = inside.body_limit
        self.on_loop = False

    def make_body(self, exchange: Exchange) -> Body:
        return self._inside.make_body(exchange)

    def __call__(self, exchange: Exchange) -> None:
        current.set(self._was)
        self._inside.serve(self._was)


def _first_content(guards: tuple[Callable[..., Any], ...], was: Was, arguments: dict[str, Any]) -> Any:
    for guard in guards:
        content = guard(was, arguments)
        if content is not None:
            return content
    return None
