"""A worker process: one event loop in its main thread, one engine, the apps.

Apps are mounted and unmounted on a thread of their own while the loop runs, so that their hooks and handlers
may wait for what runs on it: a query, for instance.

It lives between the master's fork and its own `os._exit`. Exit codes: 0 stopped, 2 an app could not be
loaded (the master then stops instead of starting it again and again, SPEC B.7).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import grp
import logging
import os
import pwd
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar, cast

import uvloop

import aquests

from . import logs
from .config import Settings
from .engine import Engine, make_engine
from .mounting import Mounts

EXIT_APP_FAILED = 2
#: Threads for Tasks, made when they are needed: most wait for something outside.
_TASK_THREADS = 128
#: Seconds that Tasks which still run at the end get.
_TASKS_END = 2.0
#: New objects (less those gone) after which the collector looks at them; Python's own is 700. Requests that
#: wait have some dozens each: it should not look at those of hundreds of them again and again.
_COLLECT_AFTER = 50_000
#: Seconds after which it looks at them anyway: few objects may hold much. Where many requests wait it takes
#: longer: then it looks less often, so that no more than a hundredth of the time goes into it.
_COLLECT_EVERY = 1.0
_COLLECT_PAUSE = 100

log = logging.getLogger('skitai.server')

T = TypeVar('T')


def serve(
    mounts: Mounts,
    settings: Settings,
    listener: socket.socket,
    index: int,
    on_ready: Callable[[], None],
    lifeline: int | None,
) -> int:
    """Serve until SIGTERM, SIGINT or the master's death (the end of `lifeline`); the exit code."""
    settings = dataclasses.replace(settings, master=os.getppid())
    access_log = logs.setup(settings, f'W{index}')
    _drop_privileges(settings)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    aquests.loop.use(loop)
    aquests.configure(
        threads=settings.executors or max(_TASK_THREADS, settings.threads),
        processes=settings.executors,
        timeout=settings.zombie_timeout,
    )
    try:
        table = _aside(loop, lambda: mounts.build(settings))
    except BaseException:
        log.exception('worker %d: an app could not be mounted', index)
        _flush()
        return EXIT_APP_FAILED
    engine = make_engine(table, settings, loop, access_log.append if access_log is not None else None)
    if access_log is not None:
        access_log.start()
    try:
        code: int = loop.run_until_complete(_live(engine, mounts, settings, listener, on_ready, lifeline))
    finally:
        _aside(loop, mounts.umount)
        loop.run_until_complete(aquests.loop.end(_TASKS_END))
        aquests.shutdown(_TASKS_END)
        if access_log is not None:
            access_log.close()
        _flush()
    return code


async def _live(
    engine: Engine,
    mounts: Mounts,
    settings: Settings,
    listener: socket.socket,
    on_ready: Callable[[], None],
    lifeline: int | None,
) -> int:
    """From the applications' start-up to their shutdown."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        loop.add_signal_handler(signum, stop.set)
    loop.add_signal_handler(signal.SIGUSR2, mounts.expect_reload)
    if lifeline is not None:
        loop.add_reader(lifeline, stop.set)
    async with contextlib.AsyncExitStack() as lives:
        try:
            for lifespan in mounts.lifespans:
                await lives.enter_async_context(lifespan())
        except Exception:
            log.exception('an ASGI application could not start')
            return EXIT_APP_FAILED
        _spare_the_collector(loop)
        engine.start(listener)
        on_ready()
        await stop.wait()
        if lifeline is not None:
            loop.remove_reader(lifeline)
        if not await engine.stop():
            log.warning('requests in flight were cancelled after %g s', settings.drain_timeout)
    return 0


def _aside(loop: asyncio.AbstractEventLoop, function: Callable[[], T]) -> T:
    """`function ()` on a thread of its own; meanwhile the loop runs on this one."""
    ended: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()

    def run() -> None:
        try:
            outcome = function(), None
        except BaseException as error:
            loop.call_soon_threadsafe(ended.set_result, (None, error))
        else:
            loop.call_soon_threadsafe(ended.set_result, outcome)

    threading.Thread(target=run, name='skitai-mounting', daemon=True).start()
    value, error = loop.run_until_complete(ended)
    if error is not None:
        raise error
    return cast('T', value)


def _spare_the_collector(loop: asyncio.AbstractEventLoop) -> None:
    """What is loaded by now stays: the garbage collector need not look through it again and again.

    Requests leave hardly any cycles, so it may also look at new objects less often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)

    def look() -> None:
        began = time.monotonic()
        if gc.isenabled():
            gc.collect(1)
        loop.call_later(max(_COLLECT_EVERY, _COLLECT_PAUSE * (time.monotonic() - began)), look)

    loop.call_later(_COLLECT_EVERY, look)


def _drop_privileges(settings: Settings) -> None:
    if settings.group is not None:
        os.setgid(grp.getgrnam(settings.group).gr_gid)
    if settings.user is not None:
        user = pwd.getpwnam(settings.user)
        os.initgroups(settings.user, user.pw_gid)
        if settings.group is None:
            os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
