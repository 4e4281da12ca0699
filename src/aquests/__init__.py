"""aquests: the clients. Tasks, the event loop they run on, HTTP, RPC, databases; usable without a server.

    from aquests import Process, Subprocess, Tasks, Thread

    tasks = Tasks (page = Thread (load, url), files = Subprocess ('ls'))
    tasks.fetch ().files

    from aquests import get, stub, xmlrpc           # made when first asked for: see `http.stubs`

A Task starts when it is made. `configure` sets how many run at a time, `shutdown` ends everything; the
interpreter's end does too.
"""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Any

from . import errors, loop, unfetched
from .group import Tasks
from .looptask import Async
from .pools import configure, shutdown
from .processes import Process
from .records import Record
from .result import STA_NETERR, STA_NORMAL, STA_REQFAIL, STA_TIMEOUT, STA_UNSENT, Result
from .scope import Scope
from .subprocesses import Subprocess
from .task import Mask, Task, Then
from .threads import Thread

if TYPE_CHECKING:
    from .http.stubs import Once, RPCStubs, Stubs

    stub: Stubs
    get: Once
    head: Once
    delete: Once
    options: Once
    post: Once
    put: Once
    patch: Once
    upload: Once
    xmlrpc: RPCStubs
    jsonrpc: RPCStubs

__all__ = [
    'STA_NETERR',
    'STA_NORMAL',
    'STA_REQFAIL',
    'STA_TIMEOUT',
    'STA_UNSENT',
    'Async',
    'Mask',
    'Process',
    'Record',
    'Result',
    'Scope',
    'Subprocess',
    'Task',
    'Tasks',
    'Then',
    'Thread',
    'configure',
    'errors',
    'loop',
    'shutdown',
]


def __getattr__(name: str) -> Any:
    """What few scripts use is loaded when it is asked for."""
    if name in _LATER:
        from .http.stubs import MADE

        return MADE[name]
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


_LATER = frozenset(
    ['delete', 'get', 'head', 'jsonrpc', 'options', 'patch', 'post', 'put', 'stub', 'upload', 'xmlrpc']
)


def _end() -> None:
    """Of the interpreter."""
    shutdown(2.0)
    unfetched.close_all()


atexit.register(_end)
