"""What can go wrong in a request, and the answer it gets (SPEC chapter 29).

    Exception
      HTTPError              an answer with this status; `was.Error`, raised by services
        BadParameter         400, names the parameter (SPEC PR-02, PR-03)

`aquests`' WrongCount is an answer of its status, too (410, 409: SPEC TK-05), and so is what a database or the
query builder refuses of a value that a client may have sent (400, 409: `aquests.refusals`); both are logged
without a traceback or not at all.

Anything else that leaves a service is our fault or the service's: logged with its traceback, answered
with 500 (or the status that the exception carries as `http_status`: 502, 504 for a failed Task), and
never shown to the client outside debug mode.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import traceback as tracebacks
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

from aquests.dbi.base import is_duplicate
from aquests.errors import TaskCancelled, WrongCount
from aquests.refusals import refusal_of
from skitai.context import current
from skitai.errorpage import accepts, error_content, reason_of

if TYPE_CHECKING:
    from .was import Was

log = logging.getLogger('atila')

#: Characters of an error that a line of the log has.
_SHORT = 300
_STATUS = re.compile(r'([1-5]\d\d)(?: +([\x20-\x7e]*))?')


def parse_status(status: str | int) -> tuple[int, str]:
    """'404 Not Found' -> (404, 'Not Found'); a missing phrase is the standard one.

    AssertionError where it is no status (SPEC RS-02), or one that cannot end an exchange (1xx).
    """
    if type(status) is int:
        status = str(status)
    match = _STATUS.fullmatch(status.strip()) if isinstance(status, str) else None
    if match is None or match[1] < '200':
        raise AssertionError(f'{status!r} is no status line: write it like "201 Created" (200 to 599)')
    code = int(match[1])
    return code, match[2] or reason_of(code)


class HTTPError(Exception):
    """Raise it to answer with an error: `raise was.Error ('400 Bad Request', 'no user ID')` (SPEC ER-01).

    `status`: the status line. `explain`: shown to the client. `errno`: an application's own code, else
    the body's code is status * 100. `traceback`: show the traceback (in debug mode only). `headers`:
    encoded fields that go with the answer. `message`: shown in the body instead of the reason phrase.
    """

    def __init__(
        self,
        status: str | int = '200 OK',
        explain: str = '',
        errno: int = 0,
        traceback: bool = False,
        *,
        headers: list[tuple[bytes, bytes]] | None = None,
        message: str | None = None,
    ) -> None:
        self.status_code, self.reason = parse_status(status)
        self.explain = str(explain)
        self.errno = errno
        self.traceback = traceback
        self.headers = headers or []
        self.message = message
        super().__init__(f'{self.status_code} {self.reason}' + (f': {self.explain}' if self.explain else ''))


class ClientGone(HTTPError):
    """A body that a service reads itself ends before its end, or is malformed: 400, if somebody is there to
    hear it.
    """

    def __init__(self) -> None:
        super().__init__('400 Bad Request', 'the body is malformed or incomplete')


class BadParameter(HTTPError):
    """The request's parameters don't fit the service: 400."""

    def __init__(self, explain: str):
        super().__init__('400 Bad Request', explain)


class AttributeDictError(dict[str, Any]):
    """What an error handler gets: `error ['code']` or `error.code` (SPEC ER-03)."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def fail(was: Was, error: BaseException) -> None:
    """Answer a request whose service raised `error`."""
    exchange = was.exchange
    if exchange.answered:
        if not isinstance(error, TaskCancelled):  # it was given up, and its Tasks with it
            log.error(
                '%s %s: failed after its answer had begun', exchange.method, exchange.path, exc_info=error
            )
        if was._response is not None:
            was._response.end()
        return
    if isinstance(error, HTTPError):
        code, reason, explain, errno = error.status_code, error.reason, error.explain, error.errno
        headers, message = error.headers, error.message
    elif isinstance(error, WrongCount):  # `one ()`: the client asks for what is not there, or not alone
        code, reason = error.http_status, error.http_reason
        explain, errno, headers, message = str(error), 0, [], None
    elif (refusal := refusal_of(error)) is not None:
        code, reason, explain = refusal.status, reason_of(refusal.status), refusal.words
        errno, headers, message = 0, [], None
        # The service may have made the mistake: the driver's own words are for its author.
        log.warning('%s %s: %d, %s: %s', exchange.method, exchange.path, code, explain, _short(error))
    elif is_duplicate(error) and getattr(error, 'http_status', 0) == 409:  # `one ()` again (SPEC TK-05)
        code, reason, explain, errno, headers, message = 409, reason_of(409), '', 0, [], None
    else:
        code = getattr(error, 'http_status', 500)
        if type(code) is not int or not 500 <= code <= 599:  # somebody else's attribute of that name
            code = 500
        reason, explain, errno, headers, message = reason_of(code), '', 0, [], None
        log.error('%s %s failed', exchange.method, exchange.path, exc_info=error)
        if not isinstance(error, Exception):
            explain = ''  # SystemExit or KeyboardInterrupt in a service ends the request, not the server
    trace = None
    if was.app.debug and (not isinstance(error, HTTPError) or error.traceback):
        trace = ''.join(tracebacks.format_exception(error))
        explain = explain or f'{type(error).__name__}: {error}'
    answer(was, code, reason, explain, errno, trace, headers, message)


def _short(error: BaseException) -> str:
    """An exception in one line of the log, whatever a client has put into it."""
    shown = f'{type(error).__name__}: {error}'
    return repr(shown if len(shown) <= _SHORT else shown[:_SHORT] + '...')


def fail_later(was: Was, error: BaseException) -> None:
    """The same, for the event loop: an error handler may block, so it runs on a service thread."""

    def run() -> None:
        current.set(was)
        fail(was, error)

    was.exchange.on_service_thread(partial(Context().run, run))


def answer(
    was: Was,
    code: int,
    reason: str,
    explain: str = '',
    errno: int = 0,
    trace: str | None = None,
    headers: list[tuple[bytes, bytes]] | None = None,
    message: str | None = None,
) -> None:
    """Send an error answer: by the app's handler for `code`, or as a page in the form the client accepts.

    What the service had set on `was.response` is dropped: it was meant for another answer.
    """
    from . import contents  # contents use errors

    headers = headers or []
    if code >= 400:  # the content is the page, not what the service was about to send
        headers = [field for field in headers if field[0] != b'content-type']
    response = was.new_response()
    response.status_code, response.reason = code, reason
    response.fields.extend(headers)
    if code == 304:
        contents.send_bytes(was, b'')
        return
    content = _handled(was, code, message or reason, explain, errno, trace)
    if content is not None:
        try:
            contents.send(was, content)
            return
        except Exception:
            log.exception(
                '%s %s: the answer of an error handler cannot be sent', was.exchange.method, was.exchange.path
            )
            if was.exchange.answered:
                return
            response = was.new_response()
            response.status_code, response.reason = code, reason
            response.fields.extend(headers)
    content_type, body = page(was, code, reason, explain, errno, trace, message)
    response.fields.append((b'content-type', content_type))
    contents.send_bytes(was, body)


def page(
    was: Was,
    code: int,
    reason: str,
    explain: str = '',
    errno: int = 0,
    trace: str | None = None,
    message: str | None = None,
) -> tuple[bytes, bytes]:
    """The built-in page: (content type, body), by the request's Accept (SPEC ER-02)."""
    return error_content(was.exchange.header(b'accept'), code, reason, explain, errno, trace, message)


def _handled(was: Was, code: int, message: str, explain: str, errno: int, trace: str | None) -> Any:
    """What the app's own handler returns; None without one, or if it fails (SPEC ER-03, ER-04)."""
    found = was.app.error_handlers.get(code) or was.app.error_handlers.get(0)
    if found is None or code < 400:  # a redirect or a 304 is no error
        return None
    handler, accept = found
    if accept != '*' and not accepts(was.exchange.header(b'accept'), accept.encode('latin-1')):
        return None
    error = AttributeDictError(
        code=code,
        errno=errno,
        message=message,
        detail=explain,
        mode='debug' if was.app.debug else 'normal',
        time=time.strftime('%Y-%m-%d %H:%M:%S'),
        url=was.exchange.target,
        software='Skitai',
        debug=trace is not None,
        traceback=trace,
    )
    try:
        return handler(was, error)
    except Exception:
        log.exception('the error handler for %d failed', code)
        return None


def current_traceback() -> str:
    """The exception being handled, as text."""
    return ''.join(tracebacks.format_exception(sys.exception()))
