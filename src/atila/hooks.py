"""Package hooks and cascaded mounting: the order in which an app is put together (SPEC chapter 2).

__config__ (pref)          once, in the master (skitai.mounting)
__app__ ()                 in each worker (skitai.mounting)
__setup__ (app[, mntopt])  mounts sub modules; all setups come before any mount
__mount__ (app[, mntopt])  defines routes
__umount__ (app)           at shutdown and before a reload, last mounted first
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import logging
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from skitai.preference import abspath

if TYPE_CHECKING:
    from skitai.mounting import MountContext

    from .app import Atila

log = logging.getLogger('atila')

#: Options of `app.mount` that mean something to the framework (LC-06).
_RESERVED = frozenset(('ns',))


@dataclasses.dataclass(slots=True)
class MountState:
    """Where in the cascade the app's code runs: routes and mounts made now are placed below it."""

    point: str = ''
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    ns: str | None = None
    module: ModuleType | None = None
    #: Routes made now may replace others without a word (an overriding package).
    replacing: bool = False

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


def path_below(app_name: str, module: ModuleType) -> str:
    """A module's dotted path below the services' root: '' for the app's own and `services` itself (RT-15)."""
    package = app_name.partition('.')[0]
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
        state = MountState(full, merged, merged.get('ns'), module, parent.replacing)
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
        directory = os.path.dirname(os.path.abspath(getattr(module, '__file__', None) or abspath('x')))
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
        self._phase = 'mount'
        for mounting in list(self._mounted):
            self._mount(mounting)
        self._phase = 'mounted'

    def _mount(self, mounting: _Mounting) -> None:
        target = mounting.target
        hook = getattr(target, '__mount__', None) if isinstance(target, ModuleType) else target
        if hook is not None:
            with self._in(mounting.state):
                _call(hook, self.app, mounting.state.options)

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
