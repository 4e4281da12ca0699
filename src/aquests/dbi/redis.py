"""Redis (SPEC DB-06): `was.db ('@redis')` has every command as a method.

    db.set ('foo', 'bar'); db.get ('foo').fetch ()

Commands of all share one connection for each member, on which they follow each other without waiting; those
that block (`blpop`) have one of their own as long as they take, a pipeline that watches from `watch` to
`execute`, and so has each channel. What there is not, and what to use instead: `redisrefused`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.commands.core import BitFieldOperation

from ..task import Mask, Task, refuse_on_loop
from .base import Interface as Base
from .channels import LIMIT, Channel
from .redisbackend import connect
from .rediscommands import AFTER_OTHERS, Batch, Command, command_of, maker
from .redisears import Ears
from .redispipeline import Pipeline
from .redisscan import Scan
from .redisscripts import Script, script_call
from .redissession import Session

__all__ = ['Interface', 'connect']


class Interface(Base):
    """`was.db ('@redis')`: redis-py's methods, each of which gives a Task.

    Texts are str; bytes in it that are no UTF-8 become single surrogates (the error handler
    'surrogateescape'), and are the same bytes again where such a str is sent. `db.raw` has the same commands,
    whose texts stay bytes. Values to send are str, bytes, int and float. What the server refuses is
    redis-py's exception. Only the results of looks are kept (`use_cache`, `cache`).
    """

    _raw = _alone = False

    @property
    def raw(self) -> Interface:
        """The same, but texts are bytes."""
        other = self._other()
        other._raw = True
        return other

    @property
    def alone(self) -> Interface:
        """The same, but each command has a connection of its own as long as it takes.

        For what may take long without keeping the server busy: modules' queries, and those of their commands
        that block. There are `max_conns` connections at most.
        """
        other = self._other()
        other._alone = True
        return other

    def execute(self, *words: Any) -> Task:
        """A command by its words: `execute ('CONFIG', 'GET', 'port')`. Its reply is the server's."""
        return self._run(command_of(words, self._raw))

    execute_command = execute

    def pipeline(self, transaction: bool = True) -> Pipeline:
        """Commands that are sent together, perhaps after looks at what they hang on (`Pipeline.watch`)."""
        return Pipeline(self._run, self._hold, self._raw, transaction)

    def transaction(
        self,
        func: Callable[[Pipeline], Any] | None = None,
        *watches: str | bytes,
        value_from_callable: bool = False,
    ) -> Task:
        """As redis-py's: `func (pipe)`, with `watches` watched, reads, says `pipe.multi ()`, and collects.

        What it collected is executed; `func` is called again as long as somebody else was faster and there is
        time (`timeout`). A finished Task of the values, or of what `func` returned. It raises what
        `func` does, redis.WatchError when time is up, WouldBlock on an event loop.
        """
        if func is None:
            raise TypeError(
                f'alias {self.alias.name}: transactions of Redis are pipelines: with db.pipeline () as pipe: '
                'pipe.watch (key) ... pipe.multi () ... pipe.execute (); or db.transaction (func, key)'
            )
        refuse_on_loop(lambda: f'a transaction of {self.alias.name}')
        timeout = self._options.timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        with self.pipeline() as pipe:
            while True:
                if watches:
                    pipe.watch(*watches)
                returned = func(pipe)
                try:
                    values = pipe.execute().fetch()
                except redis.WatchError:
                    if deadline is not None and time.monotonic() > deadline:
                        raise
                else:
                    return Mask(returned if value_from_callable else values)

    def register_script(self, script: str | bytes) -> Script:
        """A Lua script, to be called: `register_script (text) (keys = [...], args = [...])` is a Task."""
        return Script(self, script)

    def bitfield(self, key: str | bytes, default_overflow: str | None = None) -> Any:
        """redis-py's builder of a BITFIELD; its `execute ()` gives the Task."""
        return BitFieldOperation(self, key, default_overflow)  # type: ignore[arg-type]

    def scan_iter(self, *args: Any, **kwargs: Any) -> Scan:
        """All keys, with what redis-py's takes: `match`, `count`, `_type`. All of one member."""
        return self._scan('scan', (), args, kwargs)

    def hscan_iter(self, name: str | bytes, *args: Any, **kwargs: Any) -> Scan:
        """All pairs of a hash, with what redis-py's takes: `match`, `count`, `no_values`."""
        return self._scan('hscan', (name,), args, kwargs)

    def sscan_iter(self, name: str | bytes, *args: Any, **kwargs: Any) -> Scan:
        """All elements of a set, with what redis-py's takes: `match`, `count`."""
        return self._scan('sscan', (name,), args, kwargs)

    def zscan_iter(self, name: str | bytes, *args: Any, **kwargs: Any) -> Scan:
        """All pairs of a sorted set, with what redis-py's takes: `match`, `count`, `score_cast_func`."""
        return self._scan('zscan', (name,), args, kwargs)

    def subscribe(self, *channels: str | bytes, limit: int = LIMIT) -> Channel:
        """Hear what is published on `channels`: Records of `channel`, `data`, and `pattern`, None here."""
        return self._listen('SUBSCRIBE', channels, limit)

    def psubscribe(self, *patterns: str | bytes, limit: int = LIMIT) -> Channel:
        """Hear what is published on channels whose names match one of `patterns`, such as `news.*`."""
        return self._listen('PSUBSCRIBE', patterns, limit)

    def ssubscribe(self, *channels: str | bytes, limit: int = LIMIT) -> Channel:
        """Hear what `spublish` says on `channels`, which in a Redis Cluster are one server's."""
        return self._listen('SSUBSCRIBE', channels, limit)

    def __getattr__(self, name: str) -> Any:
        make = maker(name)

        def send(*args: Any, **kwargs: Any) -> Task:
            return self._run(make(self._raw, *args, **kwargs))

        return send

    def _run(self, request: Command | Batch) -> Task:
        if self._alone:
            request.blocking = True
        if request.blocking and type(request) is Command and request.name in AFTER_OTHERS:
            raise ValueError(
                f'{request.name}: it waits for what was sent before it on the same connection: use '
                'pipeline (transaction = False), with what it is to wait for'
            )
        return self._send(request, request.key, request.idempotent)

    def _run_script(self, text: str | bytes, sha: str, arguments: Sequence[Any]) -> Task:
        return self._run(script_call(text, sha, arguments, self._raw))

    def _scan(self, name: str, first: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scan:
        """A cursor is one member's: it is asked to the end."""
        if self._options.everywhere:
            raise TypeError(f'{name}_iter asks one member: use was.db, not was.db.map')
        make = maker(name)
        seat = self._cluster.pick()
        options = dataclasses.replace(self._options, use_cache=None, cache=None, filter=None)

        def ask(cursor: Any) -> Task:
            command = make(self._raw, *first, cursor, *args, **kwargs)
            task = self.query(self._cluster, command, options, None, seat=seat)
            if self._own is not None:
                self._own(task)
            return task

        return Scan(f'{name}_iter of {self.alias.name}', ask)

    def _hold(self) -> Session:
        if self._options.everywhere:
            raise TypeError('a pipeline watches the keys of one member: use was.db, not was.db.map')
        return Session(self._cluster, self._options, self._own)

    def _other(self) -> Interface:
        other = type(self)(self.alias, self._cluster, self._options, self._own)
        other._raw, other._alone = self._raw, self._alone
        return other

    def _listen(self, how: str, names: Sequence[str | bytes], limit: int) -> Channel:
        if not names:
            raise TypeError(f'{how.lower()} takes the names of channels')
        if self._options.everywhere:
            raise TypeError('a channel listens to one member: use was.db, not was.db.map')
        ears = Ears(self._cluster, how, names, self._raw)
        shown = ', '.join(repr(name) for name in names)
        return Channel(ears.listen, f'channel {shown} of {self.alias.name}', self._own, limit)
