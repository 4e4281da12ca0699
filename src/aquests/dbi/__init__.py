"""Databases (SPEC chapter 22): what `was.db (alias)` gives, by the alias's type.

A type's module is loaded at its first use, with its driver: without that it says what to install.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from .. import loop
from ..aliases import (
    DB_MONGODB,
    DB_PGSQL,
    DB_REDIS,
    DB_SQLITE3,
    PORTS,
    Alias,
    Aliases,
    Member,
    aliases,
)
from ..cluster import Backend, Clusters
from ..keeping import Options
from ..task import Task
from .base import Interface


class Kind(Protocol):
    """A type's module, or what stands for it."""

    def connect(self, alias: Alias, member: Member) -> Backend: ...

    @property
    def Interface(self) -> type[Interface]: ...


class _Module(NamedTuple):
    name: str
    extra: str


_MODULES = {
    DB_PGSQL: _Module('postgresql', 'postgresql'),
    DB_SQLITE3: _Module('sqlite', ''),
    DB_MONGODB: _Module('mongodb', 'mongodb'),
    DB_REDIS: _Module('redis', 'redis'),
}
_kinds: dict[str, Any] = {}
clusters = Clusters(loop.at_end)
os.register_at_fork(after_in_child=clusters.forget)


def database(
    name: str,
    options: Options = Options(),  # noqa: B008  it is frozen
    own: Callable[[Task], object] | None = None,
    register: Aliases = aliases,
) -> Interface:
    """The interface of an alias. `own (task)`: told of each Task it makes. UnknownAlias, ImportError."""
    alias = register.find(name)
    kind = kind_of(alias)
    interface: Interface = kind.Interface(alias, clusters.of(alias, kind.connect), options, own)
    return interface


def kind_of(alias: Alias) -> Any:
    """The module of an alias's type (see `Kind`). TypeError for an alias that is no database."""
    kind = _kinds.get(alias.type)
    if kind is not None:
        return kind
    module = _MODULES.get(alias.type)
    if module is None:
        raise TypeError(f'alias {alias.name} is of type {alias.type!r}, which is no database')
    try:
        kind = importlib.import_module(f'.{module.name}', __name__)
    except ImportError as error:
        if not module.extra or (error.name or '').startswith('aquests'):
            raise
        raise ImportError(
            f"alias {alias.name} needs the package {error.name}: pip install 'atila[{module.extra}]'",
            name=error.name,
        ) from None
    _kinds[alias.type] = kind
    return kind


def add_database_interface(name: str, cls: type) -> None:
    """A type of one's own for aliases: its name begins with '*' (SPEC DB-08). See `custom`."""
    from .custom import Custom

    assert str(name).startswith('*'), f"the type of a database begins with '*', as in '*mydb': {name!r}"
    assert name not in _MODULES, f'{name} is a type that there is already'
    _kinds[name] = Custom(cls)
    PORTS[name] = 0


__all__ = ['Interface', 'Options', 'add_database_interface', 'aliases', 'clusters', 'database', 'kind_of']
