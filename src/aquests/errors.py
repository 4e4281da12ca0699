"""What can go wrong with a Task (SPEC chapters 20, 24).

    Exception
      TaskError               the root of ours
        TaskTimeout           (is a TimeoutError) a Task's time was up, or a wait's; 504
        TaskCancelled         the Task was cancelled, or aquests was shut down
          PoolExhausted       no connection became free in that time
        NetworkError          (is a ConnectionError) a server can't be reached, or the connection broke; 502
        QueueFull             too many Tasks wait for a place in a pool; 503
        MalformedAnswer       what a server answered is not its protocol; 502
        BadStatus             the peer answered with a status of 300 or more; 502
        RPCError              the peer's method failed; 502
          Fault               of XML-RPC
          JSONRPCError        of JSON-RPC
          BatchFailed         some of several calls in one request failed
        BadAnswer             the peer's answer is not what its protocol says; 502
        WrongCount            `one ()`, and there is not exactly one
          PartialNotFound     there is none; 410
          Conflict            there are several; 409
        NoSuchElement         (is a LookupError) a name such as `total__0` asks for what a result doesn't have
        NotPicklable          (is a TypeError) something cannot be sent to a process, or back
        ProcessDied           a process ended while it ran a Task
        SubprocessFailed      a command ended with a code other than 0, or could not be started
        OutputTooLong         a command printed more than is kept in memory
        UnknownAlias          (is a NameError) an alias that nobody registered
    RuntimeError
      WouldBlock              waiting for an unfinished Task on an event loop's thread

`http_status`: what an uncaught one is answered with; those without are 500. An exception of a Thread's
or Process's own function is none of these: it is raised as it is. So is what a database says of a statement,
its driver's exception, with an `http_status` of 502; or 400, 409 where it is about a value that a client may
have sent (`refusals`).
"""

from __future__ import annotations

from typing import Any


class TaskError(Exception):
    """A Task failed, and not by an exception of the function that it ran."""


class TaskTimeout(TaskError, TimeoutError):
    """The Task was not finished in time (SPEC TK-16)."""

    http_status = 504


class PoolExhausted(TaskTimeout):
    """All connections to a backend were in use until the Task's time was up (SPEC LB-05)."""


class NetworkError(TaskError, ConnectionError):
    """A server cannot be reached, or went away in the middle (SPEC LB-03).

    `sent`: whether it may have got the request, and carried it out.
    """

    http_status = 502

    def __init__(self, message: str, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.sent), self.__dict__


class MalformedAnswer(TaskError):
    """A server's answer makes no sense (SPEC LB-06). It has got the request: no other member is asked."""

    http_status = 502


class TaskCancelled(TaskError):
    """`cancel ()` was called, or `aquests.shutdown ()`, before the Task was finished."""


class QueueFull(TaskError):
    """The pool's queue is full: the Task was not begun."""

    http_status = 503


class BadStatus(TaskError):
    """The peer's answer is an error (SPEC TK-12). `status_code`, `reason`: what it said. `where`: what was
    asked for, if that is known.
    """

    http_status = 502

    def __init__(self, status_code: int, reason: str, where: str = '') -> None:
        super().__init__(status_code, reason, where)  # all of them, so that it can travel between processes
        self.status_code, self.reason, self.where = status_code, reason, where

    def __str__(self) -> str:
        said = f'{self.status_code} {self.reason}'
        return f'{self.where}: {said}' if self.where else said


class RPCError(TaskError):
    """The peer says that the method failed (SPEC HC-05).

    `code`, `message`: its words; a number and a text, as far as the peer keeps to the protocol.
    """

    http_status = 502

    def __init__(self, code: Any, message: Any, *more: Any) -> None:
        super().__init__(code, message, *more)  # all of them, so that it can travel between processes
        self.code, self.message = code, message

    def __str__(self) -> str:
        return f'{self.message} ({self.code})'


class Fault(RPCError):
    """An XML-RPC fault: `faultCode`, `faultString`, which are `code` and `message` too."""

    @property
    def faultCode(self) -> Any:
        return self.code

    @property
    def faultString(self) -> Any:
        return self.message


class JSONRPCError(RPCError):
    """An error object of JSON-RPC. `data`: what the peer says besides; None if nothing."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(code, message, data)
        self.data = data


class BatchFailed(RPCError):
    """Some calls of a `MultiCall` failed. `code`, `message`: of the first one that did.

    `answers`: in the order of the calls; each is a value, or the RPCError or BadAnswer of its call.
    """

    def __init__(self, code: Any, message: Any, answers: list[Any]) -> None:
        super().__init__(code, message, answers)
        self.answers = answers


class BadAnswer(TaskError):
    """What the peer sent cannot be read: broken, too long, or not in the protocol it was asked in."""

    http_status = 502


class WrongCount(TaskError):
    """`one ()` found not exactly one element (SPEC TK-05). `http_reason`: the phrase of the status line."""

    http_status = 500
    http_reason = ''


class PartialNotFound(WrongCount):
    """`one ()` found nothing."""

    http_status = 410
    http_reason = 'Partial Not Found'


class Conflict(WrongCount):
    """`one ()` found several elements."""

    http_status = 409
    http_reason = 'Conflict'


class NoSuchElement(TaskError, LookupError):
    """The suffix of a name in Tasks leads to nothing (SPEC TH-06)."""


class NotPicklable(TaskError, TypeError):
    """A function, an argument, a result or an exception cannot travel between processes (SPEC TH-01)."""


class ProcessDied(TaskError):
    """A process of the pool was ended by something else than us: by a signal, by `os._exit`."""


class SubprocessFailed(TaskError):
    """A command failed (SPEC TH-02).

    `returncode`: its exit code, -n where signal n ended it, 127 where it could not be started.
    `stderr`: the end of what it printed there.
    """

    def __init__(self, command: str, returncode: int, stderr: str) -> None:
        super().__init__(command, returncode, stderr)  # all of them, so that it can travel between processes
        self.command, self.returncode, self.stderr = command, returncode, stderr

    def __str__(self) -> str:
        return f'{self.command!r} ended with {self.returncode}: {self.stderr.strip() or "no message"}'


class OutputTooLong(TaskError):
    """A command printed more than its `limit` (SPEC TH-02); it was killed."""


class UnknownAlias(TaskError, NameError):
    """No backend is registered under this name (SPEC TK-01)."""


class WouldBlock(RuntimeError):
    """A blocking call on an event loop's thread: it would stop everything else that runs there."""
