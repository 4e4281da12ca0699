"""aquests: the clients. Tasks, the event loop they run on, HTTP, RPC, databases; usable without a server.

    from aquests import Process, Subprocess, Tasks, Thread

    tasks = Tasks (page = Thread (load, url), files = Subprocess ('ls'))
    tasks.fetch ().files

A Task starts when it is made. `configure` sets how many run at a time, `shutdown` ends everything; the
interpreter's end does too.
"""

from __future__ import annotations

import atexit

from . import errors, loop
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

atexit.register(shutdown, 2.0)
