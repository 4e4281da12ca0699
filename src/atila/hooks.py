"""Package hooks and cascaded mounting: the order in which an app is put together (SPEC chapters 2 and 4).

    __config__ (pref)          once, in the master (skitai.mounting)
    __app__ ()                 in each worker (skitai.mounting)
    __setup__ (app[, mntopt])  mounts sub modules; all setups come before any mount
    __mount__ (app[, mntopt])  defines routes
    __umount__ (app)           at shutdown and before a reload, last mounted first

Each phase takes the app's own module first, then what it extends, then what is mounted in it, then what
overrides it. Who wins where two define the same does not depend on that order but on their `rank`: a base
never replaces what the app has, an overriding package always does, per path and method.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from skitai.preference import abspath

if TYPE_CHECKING:
    from skitai.mounting import MountContext

    from .app import Atila

log = logging.getLogger('atila')

#: Who replaces whom: the higher rank, and among equals the later.
BASE, OWN, OVERRIDING = -1, 0, 1


@dataclasses.dataclass(slots=True)
class MountState:
    """Where in the cascade the app's code runs: routes and mounts made now are placed below it."""

    point: str = ''
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    ns: str | None = None
    module: ModuleType | None = None
    #: Whose code runs: the app's own, that of a package it extends, that of one that overrides it.
    rank: int = OWN
    #: The package below which modules are named (RT-15): the app's, or the extended one's.
    package: str | None = None

    def point_for(self, rule: str) -> str:
        """`rule` below this state's point ('/' + '/sub' = '/sub', '/sub' + '' = '/sub')."""
        return self.point.rstrip('/') + rule if isinstance(rule, str) else rule


@dataclasses.dataclass(slots=True)
class _Mounting:
    """A module (or function) to be mounted, with where."""

    target: Any
    state: MountState


def compose(inherited: str, point: str) -> str:
    """A point given inside a mounted module, below that module's own (LC-07).

    Relative, unless it begins with the inherited point as whole segments: then it is absolute already.
    """
    parent, given = inherited.rstrip('/'), point.rstrip('/')
    if parent and (given == parent or given.startswith(parent + '/')):
        return given
    while '//' in given:
        given = given.replace('//', '/')
    return parent + given


def path_below(package: str, module: ModuleType) -> str:
    """A module's dotted path below the services' root (RT-15).

    '' for the package's own module and for `services` itself.
    """
    parts = module.__name__.split('.')
    if parts[0] == package:
        parts = parts[1:]
    if parts and parts[0] == 'services':
        parts = parts[1:]
    return '.'.join(part for part in parts if part != '__main__')


class Lifecycle:
    """Runs an app's hooks in order. One thread, before the app serves; `umount` at the end."""

    def __init__(self, app: Atila) -> None:
        self.app = app
        self.state = MountState()
        self._phase = 'waiting'
        self._waiting: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._mounted: list[_Mounting] = []
        self._extensions: list[tuple[Any, int]] = []
        self._context: MountContext | None = None

    # -- app.mount -------------------------------------------------------------------------------

    def mount(self, point: str, targets: tuple[Any, ...], options: dict[str, Any]) -> None:
        """See `Atila.mount`."""
        if not isinstance(point, str) or not (point == '' or point.startswith('/')):
            raise AssertionError(f'mount point {point!r} must be "" or start with "/"')
        for target in targets:
            _check_target(target)
        if self._phase == 'mount':
            raise RuntimeError('app.mount () inside __mount__: mount sub modules in __setup__')
        if self._phase == 'waiting':
            self._waiting.append((point, targets, options))
            return
        for target in targets:
            self._setup(target, point, options)

    def _setup(self, target: Any, point: str, options: dict[str, Any]) -> None:
        parent = self.state
        merged = {**parent.options, **options}
        if merged.get('debug_only') and not self.app.debug:
            return
        full = compose(parent.point, point)
        if isinstance(target, str):
            self._mount_directory(full, target)
            return
        merged['point'] = full or '/'
        module = target if isinstance(target, ModuleType) else None
        if module is not None:
            merged['module_name'] = module.__name__
            module.__mntopt__ = merged  # type: ignore[attr-defined]
        state = MountState(full, merged, merged.get('ns'), module, parent.rank, parent.package)
        for kind, rank in (('extends', BASE), ('overrides', OVERRIDING)):
            if merged.pop(kind, False) and parent.rank == OWN:
                state.rank = rank
        self._mounted.append(_Mounting(target, state))
        hook = getattr(module, '__setup__', None)
        if hook is not None:
            with self._in(state):
                _call(hook, self.app, merged)

    def _mount_directory(self, url: str, path: str) -> None:
        assert self._context is not None
        root = abspath(path)
        if not os.path.isdir(root):
            raise AssertionError(f'cannot mount the directory {path!r}: there is no {root}')
        point = self._context.point.rstrip('/')
        self._context.add_directory(point + url, root, False)

    # -- the cascade -----------------------------------------------------------------------------

    def run(self, context: MountContext) -> None:
        """Set up and mount everything (SPEC LC-09)."""
        self._context = context
        module = context.module
        directory = _directory_of(module) if module is not None else self._directory()
        options = {
            'point': context.point,
            'base_dir': directory,
            'use_reloader': self.app.use_reloader,
            'debug': self.app.debug,
            **context.options,
        }
        own = MountState('', options, None, module)
        self._phase = 'setup'
        self._mounted.append(_Mounting(module, own))
        with self._in(own):
            setup = getattr(module, '__setup__', None)
            if setup is not None:
                _call(setup, self.app, options)
            for point, targets, mount_options in self._waiting:
                for target in targets:
                    self._setup(target, point, mount_options)
            for point, target, mount_options in context.preference.plan.later:
                self._setup(target, point, mount_options)
        plan = context.preference.plan
        self._extensions += [(base, BASE) for base in plan.extends]
        self._extensions += [(other, OVERRIDING) for other in plan.overrides]
        for target, rank in self._extensions:  # grows: a base may extend another
            self._set_up_extension(target, rank, options)
        self._find_templates(context, directory)
        # Stable: the app's own module, the bases, what is mounted, what overrides.
        rest = sorted(self._mounted[1:], key=lambda mounting: mounting.state.rank)
        self._mounted[1:] = rest
        self._phase = 'mount'
        for mounting in list(self._mounted):
            self._mount(mounting)
        self._phase = 'mounted'

    # -- extending and overriding (SPEC chapter 4) -------------------------------------------------

    def extend(self, target: Any, rank: int) -> None:
        """See `Atila.extends` and `Atila.overrides`."""
        if self._phase not in ('waiting', 'setup'):
            raise RuntimeError('extend or override in __setup__ at the latest, or in skitai.preference ()')
        if not isinstance(target, ModuleType) and not callable(target):
            raise AssertionError(
                f'cannot extend or override with {target!r}: give a package, or a function (app)'
            )
        self._extensions.append((target, rank))

    def _set_up_extension(self, target: Any, rank: int, options: dict[str, Any]) -> None:
        assert self._context is not None
        module = target if isinstance(target, ModuleType) else None
        package = module.__name__.partition('.')[0] if module is not None else None
        state = MountState('', dict(options), None, module, rank, package)
        self._mounted.append(_Mounting(target, state))
        if module is None:
            return
        if module not in self._context.preference.plan.configured:  # by the app itself, in its `__setup__`
            self._context.preference.configure(module)
        static = os.path.join(_directory_of(module), 'static')
        if os.path.isdir(static):
            self._context.add_directory(self.app.config.STATIC_URL, static, rank == OVERRIDING)
        setup = getattr(module, '__setup__', None)
        if setup is not None:
            with self._in(state):
                _call(setup, self.app, state.options)

    def _find_templates(self, context: MountContext, own: str) -> None:
        """Where templates are looked for, in order (EX-01, EX-02, TE-01)."""
        added = context.preference.plan.template_dirs
        packages = [(_directory_of(m), rank) for m, rank in self._extensions if isinstance(m, ModuleType)]
        found = [os.path.join(path, 'templates') for path, rank in reversed(packages) if rank == OVERRIDING]
        found += [path for path, front in reversed(added) if front]
        found.append(os.path.join(own, 'templates'))
        found += [path for path, front in added if not front]
        found += [abspath(path) for path in self.app.config.TEMPLATE_DIRS]
        found += [os.path.join(path, 'templates') for path, rank in packages if rank == BASE]
        self.app.template_directories[:] = dict.fromkeys(found)

    def _directory(self) -> str:
        """Where the app lives: the module that it is named after, else the launch script's directory."""
        named = sys.modules.get(self.app.name)
        return abspath() if named is None or self.app.name == '__main__' else _directory_of(named)

    def _mount(self, mounting: _Mounting) -> None:
        target = mounting.target
        hook = getattr(target, '__mount__', None) if isinstance(target, ModuleType) else target
        if hook is not None:
            with self._in(mounting.state):
                _call(hook, self.app, mounting.state.options)

    @property
    def is_open(self) -> bool:
        """Whether the app is still being put together."""
        return self._phase != 'mounted'

    def umount(self) -> None:
        """Run the `__umount__` hooks; one that fails is logged and does not keep the others from running."""
        for mounting in reversed(self._mounted):
            hook = getattr(mounting.target, '__umount__', None)
            if hook is not None:
                try:
                    hook(self.app)
                except Exception:
                    log.exception('%s.__umount__ failed', mounting.target.__name__)
        self._mounted.clear()

    @contextlib.contextmanager
    def _in(self, state: MountState) -> Iterator[None]:
        before, self.state = self.state, state
        try:
            yield
        finally:
            self.state = before


def _directory_of(module: ModuleType) -> str:
    file = getattr(module, '__file__', None)
    return os.path.dirname(os.path.abspath(file)) if file else abspath()


def _check_target(target: Any) -> None:
    if isinstance(target, ModuleType):
        if not (hasattr(target, '__mount__') or hasattr(target, '__setup__')):
            raise AssertionError(f'{target.__name__} has neither __mount__ nor __setup__: nothing to mount')
    elif not (isinstance(target, str) or callable(target)):
        raise AssertionError(
            f'cannot mount {target!r}: give a module, a function (app, mntopt) or a directory'
        )


def _call(hook: Callable[..., Any], app: Atila, options: dict[str, Any]) -> None:
    """Call a hook with as many arguments as it takes: (app) or (app, mntopt)."""
    positional = [
        p
        for p in inspect.signature(hook).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)
    ]
    takes_two = len(positional) > 1 or any(p.kind == p.VAR_POSITIONAL for p in positional)
    if takes_two:
        hook(app, options)
    else:
        hook(app)
