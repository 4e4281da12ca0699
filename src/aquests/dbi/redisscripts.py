"""Lua scripts of Redis: what `db.register_script (text)` gives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from .rediscommands import Command


class Script:
    """A script that is sent in full only where the server does not have it yet.

        add = db.register_script ("return redis.call ('incrby', KEYS [1], ARGV [1])")
        add (keys = ['visits'], args = [1]).fetch ()

    It may be kept and called by any thread. `sha`: its name on the server.
    """

    def __init__(self, interface: Any, text: str | bytes) -> None:
        """TypeError for a `text` that is neither str nor bytes."""
        if not isinstance(text, str | bytes):
            raise TypeError(f'a script is a str, not {type(text).__name__}')
        self._interface = interface
        self.script = text
        self.sha = hashlib.sha1(text.encode() if isinstance(text, str) else text).hexdigest()

    def __call__(self, keys: Sequence[Any] = (), args: Iterable[Any] = (), client: Any = None) -> Any:
        """The Task of what the script returns.

        `client`: another interface, or a pipeline, which gets the script itself.
        """
        to = self._interface if client is None else client
        return to._run_script(self.script, self.sha, (len(keys), *keys, *args))

    def __repr__(self) -> str:
        return f'<Script {self.sha}>'


def script_call(text: str | bytes, sha: str, arguments: Sequence[Any], raw: bool) -> Command:
    """A script by its name; `otherwise` in full, for a server that does not know the name."""
    command = Command(('EVALSHA', sha, *arguments), {}, raw, True)
    command.otherwise = Command(('EVAL', text, *arguments), {}, raw, True)
    return command
