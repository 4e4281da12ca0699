"""What a process of the pool does: see `processes`.

The main thread runs one function after the other; another thread reads what comes, so that the end of the
parent is noticed while a function runs. Messages to us: a pickled (function, args, kwargs), or `PATH` and the
pickled new sys.path. From us: a pickled (True, value, '') or (False, exception, its traceback).
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import queue
import runpy
import signal
import sys
import threading
import traceback
import types
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from .errors import NotPicklable, TaskError

#: What no pickle begins with.
PATH = b'P'

_main: tuple[str, str] | None = None
_loading = _loaded = False


def in_process() -> bool:
    """Whether a main script is being loaded in a process of the pool: it must start nothing."""
    return _loading


def main(line: Connection[Any, Any]) -> NoReturn:
    """Serve until the parent closes `line`."""
    global _main
    try:
        sys.argv, _main = line.recv()
        _entitle()
        jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(line, jobs), name='aquests-parent', daemon=True).start()
        while True:
            answer = _answer(jobs.get())
            _flush()
            line.send_bytes(answer)
            del answer
    except (EOFError, OSError):
        pass
    except KeyboardInterrupt:
        pass
    _end()


def _read(line: Connection[Any, Any], jobs: queue.SimpleQueue[bytes]) -> None:
    try:
        while True:
            message = line.recv_bytes()
            if message[:1] == PATH:
                sys.path[:] = pickle.loads(message[1:])
            else:
                jobs.put(message)
    except (EOFError, OSError):
        _end()


def _end() -> NoReturn:
    """The parent is gone, or wants us to be: end, with all that the functions started."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _answer(work: bytes) -> bytes:
    try:
        func, args, kwargs = _Loader(io.BytesIO(work)).load()
    except BaseException as error:
        return _failed(
            NotPicklable(
                f'the process cannot load the function or an argument ({type(error).__name__}: {error})'
            ),
            '',
        )
    try:
        value = func(*args, **kwargs)
    except BaseException as error:
        return _failed(error, traceback.format_exc())
    try:
        return pickle.dumps((True, value, ''), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return _failed(NotPicklable(f'the result cannot be sent back ({error}): {type(value).__name__}'), '')


def _failed(error: BaseException, trace: str) -> bytes:
    try:
        answer = pickle.dumps((False, error, trace), pickle.HIGHEST_PROTOCOL)
        if isinstance(pickle.loads(answer)[1], BaseException):  # many can be pickled, but not loaded
            return answer
        raise TypeError
    except Exception:
        return pickle.dumps((False, TaskError(f'{type(error).__name__}: {error}'), trace))


class _Loader(pickle.Unpickler):
    """Finds what is defined in the main script, which is loaded when it is first needed."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ('__main__', '__mp_main__') and not _loaded:
            _load_main()
        return super().find_class('__mp_main__' if module == '__main__' else module, name)


def _load_main() -> None:
    global _loading, _loaded
    if _main is None:
        raise ImportError('the main program is no file: put the function into a module')
    kind, name = _main
    module = types.ModuleType('__mp_main__')
    _loading = True
    try:
        run = runpy.run_module if kind == 'module' else runpy.run_path
        module.__dict__.update(run(name, run_name='__mp_main__'))
    finally:
        _loading = False
    _loaded = True
    sys.modules['__main__'] = sys.modules['__mp_main__'] = module


def _flush() -> None:
    """We are ended without ceremony: what a function printed must be out before."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _entitle() -> None:
    with contextlib.suppress(ImportError):  # it comes with the server
        import setproctitle

        setproctitle.setproctitle(f'aquests/process of {os.getppid()}')
