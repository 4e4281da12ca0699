"""From `skitai.mount (point, target)` to a mount table: what each kind of target is, and its life cycle.

Belongs here: recognising targets, their order of start and stop. Doesn't: what an app does when it is
mounted (`atila.hooks`), how requests find it (`mounts.table`).

Life cycle (SPEC LC-09): the launch script's `mount` calls are recorded; the master resolves them and runs
every `__config__ (pref)` once; each worker then calls `__app__ ()` and mounts.

An app is known by three methods only: `__skitai_mount__ (context) -> App`, `__skitai_mounted__ ()` (called
when all apps are mounted) and `__skitai_umount__ (reloading)`; one that has events has a fourth,
`__skitai_subscribe__ (app)`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .config import Settings
from .exchange import Exchange
from .mounts.fileanswer import FileAnswer
from .mounts.table import DEFAULT_HOST, App, Files, MountTable
from .preference import Preference, abspath, default_config
from .stores import Store

if TYPE_CHECKING:
    from .mounts.proxy import Upstream

log = logging.getLogger('skitai.server')


@dataclasses.dataclass(slots=True)
class MountContext:
    """What an app learns when it is mounted."""

    point: str
    preference: Preference
    module: ModuleType | None
    options: dict[str, Any]
    name: str | None
    settings: Settings
    apps: dict[str, Any]
    #: What all apps of this worker process share (SPEC G-03).
    shared: Store
    #: Serve another directory at a URL (the app's own `app.mount ('/x', 'dir')`, extended packages).
    add_directory: Callable[[str, str, bool], None]
    #: The handler for the mounted file at a URL path, or None.
    find_file: Callable[[Exchange, str], FileAnswer | None]


@dataclasses.dataclass(slots=True)
class _Request:
    """A call of `skitai.mount`."""

    point: str
    target: Any
    preference: Preference
    name: str | None
    subscribe: tuple[str, ...]
    host: str
    options: dict[str, Any]
    module: ModuleType | None = None
    application: Any = None
    #: Of a reverse proxy.
    upstream: Upstream | None = None

    def resolve(self) -> None:
        """Find out what the target is (a missing file or hook is an AssertionError here)."""
        target = self.target
        if isinstance(target, str):
            self._resolve_path(target)
        elif isinstance(target, ModuleType):
            self.module = target
        else:
            self.application = target
        if self.module is not None:
            if not hasattr(self.module, '__app__'):
                raise AssertionError(f'{self.module.__name__} has no __app__ (): it cannot be mounted')
            if self.name is None:
                self.name = self.module.__name__.partition('.')[0]
        elif self.name is None:
            self.name = getattr(self.application, 'name', None)

    def _resolve_path(self, target: str) -> None:
        if target.startswith('@'):
            from .mounts import proxy

            self.upstream = proxy.resolve(target, self.options)
            return
        path, colon, variable = target.partition(':')
        full = abspath(path)
        if os.path.isdir(full) and not colon:
            self.application = Path(full)
            return
        if not os.path.isfile(full) and os.path.isfile(full + '.py'):
            full += '.py'
        if not os.path.isfile(full):
            raise AssertionError(f'cannot mount {target!r}: there is no {full}')
        module = _import_file(full)
        if not colon and hasattr(module, '__app__'):
            self.module = module
            return
        self.application = getattr(module, variable or 'app', None)
        if self.application is None:
            raise AssertionError(f'cannot mount {target!r}: {full} has no {variable or "app"!r}')


def _import_file(path: str) -> ModuleType:
    """Import a file outside packages under its own name, with its directory on `sys.path`."""
    directory, filename = os.path.split(path)
    name = filename.rpartition('.')[0]
    known = sys.modules.get(name)
    if known is not None and getattr(known, '__file__', None) == path:
        return known
    if directory not in sys.path:
        sys.path.insert(0, directory)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if name not in sys.modules:
        sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def is_asgi(target: Any) -> bool:
    """Whether a callable is an ASGI application: a coroutine function, or an object that is called as one."""
    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(type(target).__call__)


class Mounts:
    """All mounts of a launch script. Recorded, resolved (master), built (worker), torn down (worker)."""

    def __init__(self) -> None:
        self.requests: list[_Request] = []
        self.max_age: dict[str, int] = {}
        self.apps: dict[str, Any] = {}
        self.shared = Store()
        #: Contexts around the time of serving: the ASGI applications' start-up and shutdown.
        self.lifespans: list[Callable[[], AbstractAsyncContextManager[Any]]] = []
        self._mounted: list[Any] = []
        self._reloading = False
        self._configured = False

    def add(
        self,
        point: str,
        target: Any,
        pref: Preference | None = None,
        name: str | None = None,
        subscribe: str | list[str] | tuple[str, ...] | None = None,
        host: str = DEFAULT_HOST,
        path: str | None = None,
        **options: Any,
    ) -> None:
        """See `skitai.mount`."""
        if not isinstance(point, str) or not (point == '' or point.startswith('/')):
            raise AssertionError(f'mount point {point!r} must be "" or start with "/"')
        if path is not None and abspath(path) not in sys.path:
            sys.path.insert(0, abspath(path))
        names = (subscribe,) if isinstance(subscribe, str) else tuple(subscribe or ())
        self.requests.append(_Request(point, target, pref or Preference(), name, names, host, options))

    def configure(self) -> None:
        """In the master, once: resolve every target, then run every `__config__ (pref)` (SPEC LC-01)."""
        if self._configured:
            return
        if not self.requests:
            raise AssertionError('nothing is mounted: call skitai.mount (point, app) before skitai.run ()')
        for request in self.requests:
            request.resolve()
        self._check_points()
        for request in self.requests:
            preference, plan = request.preference, request.preference.plan
            if request.module is not None:
                preference.configure(request.module)
            for base in plan.extends:  # grows: a base may extend another
                preference.configure(base, base=True)
            for module in plan.overrides:
                preference.configure(module)
        self._configured = True

    def _check_points(self) -> None:
        seen: dict[tuple[str, str], _Request] = {}
        names: set[str] = set()
        for request in self.requests:
            if isinstance(request.application, Path):
                continue
            point = request.point.rstrip('/')
            if point and (request.host, point) in seen:
                raise AssertionError(f'two apps are mounted at {point!r}')
            seen[request.host, point] = request
            if request.name is not None:
                names.add(request.name)
        for request in self.requests:
            for wanted in request.subscribe:
                if wanted not in names:
                    raise NameError(
                        f'{request.name or request.point!r} subscribes to {wanted!r}: no app has that name'
                    )

    @property
    def watch_roots(self) -> list[str]:
        """Directories whose Python files make up the mounted apps (for reloading)."""
        roots = set()
        for request in self.requests:
            module = request.module
            if module is None and request.application is not None:
                module = sys.modules.get(getattr(request.application, 'name', '') or '')
            file = getattr(module, '__file__', None)
            if file:
                roots.add(os.path.dirname(os.path.abspath(file)))
        return sorted(roots)

    def build(self, settings: Settings, dry: bool = False) -> MountTable:
        """In a worker: make the apps, mount everything, give the table.

        `dry`: only to see that it can be done; nothing of what apps do when they are mounted begins.
        """
        table = MountTable()
        for request in self.requests:  # directories first: files come before routes
            self._add_directories(table, request, settings)
        apps = [r for r in self.requests if not isinstance(r.application, Path)]
        # At one point Atila apps come before other kinds of application (SPEC ST-03).
        apps.sort(key=lambda r: r.module is None and not hasattr(r.application, '__skitai_mount__'))
        for request in apps:
            table.add(request.point, self._mount(table, request, settings), request.name, request.host)
        for request in apps:
            for wanted in request.subscribe:
                self._subscribe(request, wanted)
        for application in self._mounted if not dry else ():
            application.__skitai_mounted__()
        return table

    def _subscribe(self, request: _Request, wanted: str) -> None:
        """SPEC MA-01: what is emitted in the app `wanted` is emitted in the request's app too."""
        source, listener = self.apps.get(wanted), self.apps.get(request.name or '')
        if source is None or listener is None:
            raise AssertionError(
                f'{request.name or request.point!r} cannot subscribe to {wanted!r}: both must be Atila apps'
            )
        source.__skitai_subscribe__(listener)

    def _add_directories(self, table: MountTable, request: _Request, settings: Settings) -> None:
        if settings.disable_static:
            return
        if isinstance(request.application, Path):
            table.add_files(request.point, self._directory(request.application), request.host)
        plan = request.preference.plan
        chains: dict[str, list[str]] = {}  # URL -> roots, in the order in which they are looked at
        for kind, directory in plan.directories.items():
            root = directory.root
            if root is None:
                base = getattr(request.module, '__file__', None) or abspath('x')
                root = os.path.join(os.path.dirname(os.path.abspath(base)), kind.lower())
                request.preference.config[f'{kind}_ROOT'] = root
            if not directory.optional or os.path.isdir(root):
                chains.setdefault(directory.url.rstrip('/'), []).append(root)
        for kind, root in plan.behind:
            chains.setdefault(plan.directories[kind].url.rstrip('/'), []).append(root)
        if plan.static_dirs:
            url = request.preference.config.get('STATIC_URL', default_config().STATIC_URL)
            own = chains.setdefault(url.rstrip('/'), [])
            own[:0] = [root for root, front in plan.static_dirs if front]
            own += [root for root, front in plan.static_dirs if not front]
        for url, roots in chains.items():
            for root in reversed(roots):  # before directories that the script has mounted there (ST-05)
                table.add_files(url, self._directory(Path(root)), request.host, front=True)

    def _directory(self, root: Path) -> Files:
        from .mounts.static import Directory

        if not root.is_dir():
            log.warning('the directory %s does not exist', root)
        return Directory(root, max_age=self.max_age)

    def _mount(self, table: MountTable, request: _Request, settings: Settings) -> App:
        if request.upstream is not None:
            from .mounts.proxy import ProxyMount

            most = request.preference.config.get('MAX_UPLOAD_SIZE', settings.max_upload_size)
            proxy = ProxyMount(request.upstream, settings, min(most, settings.max_upload_size))
            self.lifespans.append(proxy.lifespan)
            return proxy
        application = request.application
        if request.module is not None:
            application = request.module.__app__()
        if hasattr(application, '__skitai_mount__'):

            def add_directory(url: str, root: str, front: bool) -> None:
                if not settings.disable_static:
                    table.add_files(url, self._directory(Path(root)), request.host, front)

            name = request.name
            if name is not None:
                self.apps[name] = application
            context = MountContext(
                point=request.point.rstrip('/') or '/',
                preference=request.preference,
                module=request.module,
                options=request.options,
                name=name,
                settings=settings,
                apps=self.apps,
                shared=self.shared,
                add_directory=add_directory,
                find_file=table.find_static,
            )
            self._mounted.append(application)
            return application.__skitai_mount__(context)  # type: ignore[no-any-return]
        if is_asgi(application):
            from .mounts.asgi import AsgiMount

            mount = AsgiMount(application, settings)
            self.lifespans.append(mount.lifespan)
            return mount
        if callable(application):
            from .mounts.wsgi import WsgiMount

            return WsgiMount(application, settings)
        raise AssertionError(f'cannot mount {application!r} at {request.point!r}: it is no app')

    def expect_reload(self) -> None:
        """What ends next is replaced by newer code (SPEC ST-13). Called on the event loop."""
        self._reloading = True

    def umount(self) -> None:
        """In a worker, at shutdown: the apps' `__umount__` hooks; a failing one is logged."""
        for application in reversed(self._mounted):
            try:
                application.__skitai_umount__(self._reloading)
            except Exception:
                log.exception('unmounting %r failed', application)
        self._mounted.clear()
