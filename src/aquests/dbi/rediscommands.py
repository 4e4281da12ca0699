"""Redis commands as they are sent: their arguments, their replies, what is known of them.

redis-py knows how each command's method becomes words, and what its reply means; here it is asked for these
only, and never connects. It happens where a command is made, so that a wrong argument is an error there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import redis
from redis.commands import CoreCommands

from ..errors import NetworkError
from ..refusals import refuse
from . import redisrefused as refused
from .base import Request
from .redislink import translated

#: What may be done twice: looks. (`COMMAND` of a server, flag readonly.)
_LOOKS = frozenset(
    """
    bitcount bitfield_ro bitpos dbsize digest dump echo eval_ro evalsha_ro exists expiretime fcall_ro geodist
    geohash geopos georadius_ro georadiusbymember_ro geosearch get getbit getrange hexists hexpiretime hget
    hgetall hkeys hlen hmget hpexpiretime hpttl hrandfield hscan hstrlen httl hvals info keys lcs lindex llen
    lolwut lpos lrange mget pexpiretime pfcount ping pttl randomkey scan scard sdiff sinter sintercard
    sismember smembers smismember sort_ro srandmember sscan strlen substr sunion time touch ttl type xlen
    xpending xrange xrevrange zcard zcount zdiff zinter zintercard zlexcount zmscore zrandmember zrange
    zrangebylex zrangebyscore zrank zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion
    """.upper().split()
)
#: What the server answers when something happens: these have a connection of their own.
BLOCKING = frozenset(
    """
    blmove blmovem blmpop blpop brpop brpoplpush bzmpop bzpopmax bzpopmin wait waitaof xread xreadgroup
    """.upper().split()
)

#: What concerns the commands before it on the same connection, and means nothing on one of its own.
AFTER_OTHERS = frozenset({'WAIT', 'WAITAOF'})

_TWO_WORDS = frozenset(name.split()[0] for name in refused.COMMANDS if ' ' in name)


class Command(Request):
    """One command. `data`: as it is sent. `raw`: its texts stay bytes. `key`: what results are kept under.

    `blocking`: it has a connection of its own. `otherwise`: what is sent where a script is not known by name.
    """

    __slots__ = ('_callback', '_options', 'blocking', 'data', 'name', 'otherwise', 'raw')

    def __init__(self, words: tuple[Any, ...], options: dict[str, Any], raw: bool, meaning: bool) -> None:
        """`options`: redis-py's. `meaning`: whether the reply is to be understood as redis-py does it."""
        self.name, parts = _parts(words)
        super().__init__(self.name in _LOOKS)
        self.data: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type]
        self.blocking = self.name in BLOCKING
        if options:
            options.pop('keys', None)  # for a cache of redis-py's
            if options.pop('NEVER_DECODE', None) is not None:
                raw = True
        self.raw = raw
        self.otherwise: Command | None = None
        self._options = options
        self._callback = _callbacks.get(words[0].upper()) if meaning and isinstance(words[0], str) else None

    @property
    def raws(self) -> Sequence[bool]:
        return (self.raw,)

    @property
    def key(self) -> Any:
        return (self.data, self.raw, repr(self._options)) if self._options else (self.data, self.raw)

    def value(self, reply: Any) -> Any:
        """What the reply means; raises what the server says."""
        if isinstance(reply, Exception):
            if not self._options or 'EMPTY_RESPONSE' not in self._options:
                raise translated(reply, False)
            return self._options['EMPTY_RESPONSE']
        if self._callback is None:
            return reply
        options = self._options
        if options and 'EMPTY_RESPONSE' in options:
            options = {name: value for name, value in options.items() if name != 'EMPTY_RESPONSE'}
        return self._callback(reply, **options)


class Batch(Request):
    """Commands in one go; with `transaction` nothing of others comes between, and all are done or none."""

    __slots__ = ('_commands', '_raise', '_transaction', 'blocking', 'data', 'raws')

    otherwise = None

    def __init__(self, commands: Sequence[Command], transaction: bool, raise_on_error: bool) -> None:
        super().__init__(all(command.idempotent for command in commands))
        self._commands, self._transaction, self._raise = commands, transaction, raise_on_error
        self.blocking = not transaction and any(command.blocking for command in commands)
        data = [command.data for command in commands]
        raws = [command.raw for command in commands]
        if transaction:
            # EXEC's reply has all the others: where one is raw all come as bytes.
            data = [_MULTI, *data, _EXEC]
            raws = [False] * (len(commands) + 1) + [any(raws)]
        self.data = b''.join(data)
        self.raws: Sequence[bool] = raws

    @property
    def key(self) -> Any:
        return self.data, self._transaction, tuple(command.key for command in self._commands)

    def value(self, replies: list[Any]) -> list[Any]:
        """The list of what the replies mean. Raises the first error, or has errors among its values."""
        if self._transaction:
            replies = self._executed(replies)
        values: list[Any] = []
        for number, (command, reply) in enumerate(zip(self._commands, replies, strict=True), 1):
            try:
                values.append(command.value(reply))
            except Exception as error:
                error.add_note(f'by command {number} of the pipeline, {command.name}')
                if self._raise:
                    if isinstance(error, NetworkError):
                        error.sent = not all(isinstance(reply, Exception) for reply in replies)
                    raise
                values.append(error)
        return values

    def _executed(self, replies: list[Any]) -> list[Any]:
        *queued, done = replies
        if done is None:
            changed = redis.WatchError(
                'a key that the pipeline watches was changed: nothing of the transaction was done; begin '
                'with watch again'
            )
            raise refuse(changed, 'something else was changed meanwhile: try again', 409)
        if isinstance(done, Exception):
            refused = next((reply for reply in queued if isinstance(reply, Exception)), done)
            raise translated(refused, False)
        assert isinstance(done, list)
        if self.raws[-1]:
            done = [
                reply if command.raw else _decoded(reply)
                for command, reply in zip(self._commands, done, strict=True)
            ]
        return done


def maker(name: str) -> Callable[..., Any]:
    """What makes the Command of redis-py's method `name`, called with (raw, *args, **kwargs).

    AttributeError where there is none, or that cannot be had.
    """
    if (reason := refused.METHODS.get(name)) is not None:
        raise AttributeError(f'{name!r} is not to be had here: {reason}')
    if name.startswith('_') or not callable(getattr(CoreCommands, name, None)):
        raise AttributeError(
            f'{name!r} is no command that redis-py has as a method; others are sent with '
            f"execute ('NAME', argument, ...)"
        )
    bound = getattr(_words, name)

    def make(raw: bool, *args: Any, **kwargs: Any) -> Command:
        words, options = bound(*args, **kwargs)
        return Command(words, options, raw, True)

    return make


def command_of(words: tuple[Any, ...], raw: bool) -> Command:
    """A command as the user wrote it; its reply is as the server gives it."""
    if not words:
        raise TypeError(
            "execute takes a command and its arguments, as in execute ('CONFIG', 'GET', 'maxmemory')"
        )
    return Command(words, {}, raw, False)


def watch_of(names: Sequence[Any]) -> Watch:
    """What has Redis watch keys. TypeError for none."""
    if not names:
        raise TypeError('watch takes the names of keys')
    return Watch(pack('WATCH', *names))


class Watch(Request):
    """Of a connection that a pipeline has for itself."""

    __slots__ = ('data',)

    raws = (False,)

    def __init__(self, data: bytes) -> None:
        super().__init__(True)
        self.data = data

    def value(self, reply: Any) -> Any:
        """True; raises what the server says."""
        if isinstance(reply, Exception):
            raise translated(reply, False)
        return True


def pack(*words: Any) -> bytes:
    """A command as it is sent."""
    parts = tuple(_encoded(word) for word in words)
    data: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type]
    return data


class _Words(redis.Redis):
    """redis-py's methods, which here give the words and options of a command."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        return args, options


_words = _Words(protocol=2)
_callbacks: dict[str, Callable[..., Any]] = dict(_words.response_callbacks)


def _parts(words: tuple[Any, ...]) -> tuple[str, tuple[bytes, ...]]:
    """The command's name, and its words as bytes. ValueError for one that cannot be sent."""
    first = words[0]
    if isinstance(first, bytes):
        first = first.decode('latin-1')
    if not isinstance(first, str) or not first.strip():
        raise TypeError(f"the name of a command is a str, as in 'CONFIG GET', not {first!r}")
    names = first.split()
    name = names[0].upper()
    if name in refused.COMMANDS:
        raise ValueError(f'{name}: {refused.COMMANDS[name]}')
    parts = [_encoded(word) for word in (*names, *words[1:])]
    if name in _TWO_WORDS and len(parts) > 1:
        both = f'{name} {parts[1].decode("latin-1").upper()}'
        if both in refused.COMMANDS:
            raise ValueError(f'{both}: {refused.COMMANDS[both]}')
    return name, tuple(parts)


def _encoded(word: Any) -> bytes:
    if isinstance(word, str):
        return word.encode('utf-8', 'surrogateescape')
    if isinstance(word, bytes):
        return word
    if isinstance(word, bytearray | memoryview):
        return bytes(word)
    if isinstance(word, int | float) and not isinstance(word, bool):
        return repr(word).encode()
    raise redis.DataError(
        f'a {type(word).__name__} cannot be sent to Redis ({word!r:.100}): make it a str, bytes, int or float'
    )


def _decoded(reply: Any) -> Any:
    if isinstance(reply, bytes):
        return reply.decode('utf-8', 'surrogateescape')
    if isinstance(reply, list):
        return [_decoded(item) for item in reply]
    return reply


UNWATCH = hiredis.pack_command((b'UNWATCH',))
_MULTI = hiredis.pack_command((b'MULTI',))
_EXEC = hiredis.pack_command((b'EXEC',))
