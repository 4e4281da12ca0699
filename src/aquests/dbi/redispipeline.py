"""Redis commands that are sent together, and those that hang on what was read before (WATCH).

    with db.pipeline () as pipe:
        pipe.watch ('stock')
        left = int (pipe.get ('stock').fetch ())
        pipe.multi ()
        pipe.set ('stock', left - 1)
        pipe.execute ().fetch ()            redis.WatchError where 'stock' was changed meanwhile

As in redis-py, but what is done at once gives Tasks. From `watch` to `execute` a pipeline has a connection
for itself (`redissession`); else there is none that it holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Self

import redis
from redis.commands.core import BitFieldOperation

from ..task import Mask, Task
from .rediscommands import Batch, Command, command_of, maker, watch_of
from .redissession import Session

log = logging.getLogger('aquests')


class Pipeline:
    """`with db.pipeline () as pipe`: commands are collected, and sent together by `execute`.

    `transaction`: as one (MULTI, EXEC). A pipeline can be used again after `execute`; by one thread.
    """

    def __init__(
        self, run: Callable[[Batch], Task], hold: Callable[[], Session], raw: bool, transaction: bool
    ) -> None:
        """`run`: sends what needs no connection of its own. `hold`: gives one."""
        self._run, self._hold, self._raw, self._transaction = run, hold, raw, transaction
        self._commands: list[Command] = []
        self._session: Session | None = None
        self._multi = False

    # -- what is read before ------------------------------------------------------------------------

    def watch(self, *names: str | bytes) -> Task:
        """Have `execute` do nothing if one of these keys is changed before it, by whomever.

        Until `multi ()` commands are done at once then, and give Tasks. A finished Task; on an event loop one
        to be awaited. redis.RedisError after commands were collected.
        """
        if self._multi or self._commands:
            raise redis.RedisError('watch comes first: there are commands to be executed already')
        request = watch_of(names)
        if self._session is not None and self._session.void:
            self._let_go()
        if self._session is None:
            self._session = self._hold()
        task = self._session.run(request)
        if asyncio._get_running_loop() is None:
            task.commit()
        return task

    def multi(self) -> None:
        """From now on commands are collected; they will be a transaction."""
        if self._multi or self._commands:
            raise redis.RedisError('multi comes once, before the commands that belong together')
        self._multi = True

    def unwatch(self) -> Task:
        """Watch no more: what was read doesn't matter. From now on commands are collected."""
        if self._multi:
            raise redis.RedisError('unwatch comes before multi; reset () drops all')
        self._let_go()
        return Mask(True)

    def reset(self) -> None:
        """Drop what was collected, and watch no more."""
        self._commands = []
        self._multi = False
        self._let_go()

    discard = reset

    # -- commands -----------------------------------------------------------------------------------

    def execute(self, raise_on_error: bool = True) -> Task:
        """The Task of the list of values.

        It fails with the first error, whatever the others did; without `raise_on_error` errors are values.
        With redis.WatchError, whose answer is 409, where a watched key was changed: nothing was done then.
        """
        commands, self._commands = self._commands, []
        transaction, self._multi = self._transaction or self._multi, False
        if self._session is not None:
            try:
                return self._session.run(Batch(commands, True, raise_on_error))
            finally:
                self._let_go()
        if not commands:
            return Mask([])
        return self._run(Batch(commands, transaction, raise_on_error))

    def execute_command(self, *words: Any) -> Any:
        """Collect a command by its words; itself. Between `watch` and `multi` it is done: its Task."""
        return self._add(command_of(words, self._raw))

    def bitfield(self, key: str | bytes, default_overflow: str | None = None) -> Any:
        """redis-py's builder of a BITFIELD, which its `execute ()` collects."""
        return BitFieldOperation(self, key, default_overflow)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        make = maker(name)

        def add(*args: Any, **kwargs: Any) -> Any:
            return self._add(make(self._raw, *args, **kwargs))

        return add

    # -- inside -------------------------------------------------------------------------------------

    def _add(self, command: Command) -> Any:
        if self._session is not None and not self._multi:
            return self._session.run(command)
        self._commands.append(command)
        return self

    def _run_script(self, text: str | bytes, sha: str, arguments: Sequence[Any]) -> Any:
        return self._add(Command(('EVAL', text, *arguments), {}, self._raw, True))

    def _let_go(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.let_go()

    def __len__(self) -> int:
        return len(self._commands)

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.reset()

    def __del__(self) -> None:
        if getattr(self, '_session', None) is not None:
            log.warning('a pipeline that watches was let go of: use it in a `with` block, or reset () it')
            self._let_go()
