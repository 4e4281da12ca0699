"""`skitai.preference ()`: what a launch script wants of one app, before the app exists (SPEC ST-04 to ST-07).

A preference only collects. When the app is mounted, in each worker, its attributes are copied onto the
app and its `config` onto `app.config`; its directories are mounted by the master's plan.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any


class AttributeDict(dict[str, Any]):
    """A dict whose items are attributes too. A missing attribute is an AttributeError."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f'no {name!r} is set') from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        with contextlib.suppress(KeyError):
            del self[name]


_DEFAULTS: dict[str, Any] = {
    'STATIC_URL': '/static/',
    'MEDIA_URL': '/media/',
    'TEMPLATE_DIRS': [],
    'MINIFY_HTML': None,
    'MAX_UPLOAD_SIZE': 256 * 1024 * 1024,
    'MAINTAIN_INTERVAL': 60,
    'JSON_ENCODER': 'utcoffset',
    'PRETTY_JSON': False,
}


def default_config() -> AttributeDict:
    """The configuration of an app that sets nothing (SPEC ST-08)."""
    config = AttributeDict(_DEFAULTS)
    config.TEMPLATE_DIRS = []
    return config


class Preference:
    """Attributes for the app, `config` for `app.config`, directories, and packages to extend or override.

    Usable as a context manager (which does nothing on leaving) or without.
    """

    config: AttributeDict
    _plan: _Plan

    def __init__(self, preset: bool = False, path: str | None = None, **config: Any) -> None:
        """`preset`: begin with the default configuration visible in `config`. `path` goes first on
        `sys.path`. Keywords are configuration items."""
        # Under one private name, so that every other attribute is the app's.
        self.__dict__['_plan'] = _Plan()
        self.config = default_config() if preset else AttributeDict()
        self.config.update(config)
        if path is not None:
            absolute = abspath(path)
            if absolute not in sys.path:
                sys.path.insert(0, absolute)

    def __enter__(self) -> Preference:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def set_static(self, url: str, path: str | None = None) -> None:
        """Serve the directory `path` at `url`, before any route; `app.config.STATIC_URL` becomes `url`.

        A relative path is relative to the launch script. Without a path: `static` in the app's package.
        """
        self._set_directory('STATIC', url, path)

    def set_media(self, url: str, path: str | None = None) -> None:
        """The same for `MEDIA_URL`; without a path `media` in the app's package."""
        self._set_directory('MEDIA', url, path)

    def _set_directory(self, kind: str, url: str, path: str | None) -> None:
        if not url.startswith('/'):
            raise AssertionError(f'{kind.lower()} URL {url!r} must start with "/"')
        self.config[f'{kind}_URL'] = url if url.endswith('/') else url + '/'
        root = None if path is None else abspath(path)
        if root is not None:
            self.config[f'{kind}_ROOT'] = root
        self._plan.directories[kind] = _Directory(url, root)

    def add_static(self, directory: str, front: bool = False) -> None:
        """Look for static files in `directory` too: after the app's own, or before with `front`."""
        self._plan.static_dirs.insert(
            0 if front else len(self._plan.static_dirs), (abspath(directory), front)
        )

    def add_template_dir(self, directory: str, front: bool = False) -> None:
        """Look for templates in `directory` too: after the app's own, or before with `front`."""
        self._plan.template_dirs.append((abspath(directory), front))

    def extends(self, module: ModuleType) -> None:
        """Use what `module` has and the app hasn't: services, templates, static files (SPEC EX-01)."""
        self._plan.extends.append(module)

    def overrides(self, module: ModuleType | Callable[..., Any]) -> None:
        """Let `module`'s services, templates and static files replace the app's (SPEC EX-02)."""
        self._plan.overrides.append(module)

    def mount_later(self, point: str, module: ModuleType | Callable[..., Any], **options: Any) -> None:
        """Mount `module` in the app after the app's own services, as `app.mount` does (SPEC ST-07)."""
        self._plan.later.append((point, module, options))

    def configure(self, module: Any, base: bool = False) -> None:
        """Run `__config__ (pref)` of a module that is mounted, extended or overriding; once (SPEC LC-01).

        What a `base` sets counts only where nobody else has set it, before or after; its directories come
        after the app's own.
        """
        plan = self._plan
        if module in plan.configured:
            return
        plan.configured.append(module)
        hook = getattr(module, '__config__', None)
        if hook is None:
            return
        attributes, config, directories = self.attributes, dict(self.config), dict(plan.directories)
        hook(self)
        if base:
            self._yield_directories(directories)
            self.config.update(config)
            self.__dict__.update(attributes)

    def _yield_directories(self, before: dict[str, _Directory]) -> None:
        plan = self._plan
        for kind, found in plan.directories.items():
            known = before.get(kind)
            if (
                known is None
            ):  # the base's URL is the app's: its own directory there, if it has one, goes first
                plan.directories[kind] = _Directory(found.url, None, optional=True)
                self.config.pop(f'{kind}_ROOT', None)
            if found is not known and found.root is not None:
                plan.behind.append((kind, found.root))
        plan.directories.update(before)

    @property
    def attributes(self) -> dict[str, Any]:
        """What is copied onto the app."""
        return {name: value for name, value in self.__dict__.items() if name not in ('config', '_plan')}

    @property
    def plan(self) -> _Plan:
        """What the methods above have collected (for the engine and the framework)."""
        return self._plan


@dataclasses.dataclass(frozen=True, slots=True)
class _Directory:
    """Files at a URL. Without a root: the directory of that kind in the app's package.

    `optional`: it need not be there.
    """

    url: str
    root: str | None
    optional: bool = False


class _Plan:
    """What a preference's methods collect."""

    def __init__(self) -> None:
        #: 'STATIC' and 'MEDIA' -> where.
        self.directories: dict[str, _Directory] = {}
        #: (kind, root): what bases have set, looked at last.
        self.behind: list[tuple[str, str]] = []
        self.static_dirs: list[tuple[str, bool]] = []
        self.template_dirs: list[tuple[str, bool]] = []
        self.extends: list[ModuleType] = []
        self.overrides: list[ModuleType | Callable[..., Any]] = []
        #: Whose `__config__` has run.
        self.configured: list[Any] = []
        self.later: list[tuple[str, ModuleType | Callable[..., Any], dict[str, Any]]] = []


def getswd() -> str:
    """The launch script's directory; the current one where there is no script (a shell, a test)."""
    main = sys.modules.get('__main__')
    script = getattr(main, '__file__', None)
    return os.path.dirname(os.path.realpath(script)) if script else os.getcwd()


def abspath(*parts: str) -> str:
    """Join `parts` with the launch script's directory (SPEC ST-11)."""
    return os.path.normpath(os.path.join(getswd(), *parts))
