"""Which mount answers a request: host first, then files, then the longest path prefix.

Rules (SPEC ST-03, ST-15, ST-18, B.9). For GET and HEAD a file in a mounted directory comes before any
app. Among apps the longest mount point that is a whole-segment prefix of the path wins; at one point
the first mounted wins. `host =` restricts a mount to one host name; requests for other hosts use the
mounts of 'default'. A request for `/tf` where an app is mounted at `/tf` is redirected to `/tf/` (308),
unless the app itself has something at its blank path.

The table is built once, before the first request, and only read afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from ..errorpage import error_answer
from ..exchange import Exchange, Handler
from ..headers import SERVER

if TYPE_CHECKING:
    from .fileanswer import FileAnswer

DEFAULT_HOST = 'default'


class App(Protocol):
    """Anything mounted that answers requests below its point."""

    def find(self, exchange: Exchange) -> Handler | None:
        """The handler for `exchange.local_path`; None if this app leaves it to the next mount."""
        ...


class Files(Protocol):
    """A mounted directory."""

    def find_file(self, exchange: Exchange, path: str) -> Handler | None:
        """A handler for the file at `path`, or None if the app is to answer.

        `path` is decoded, below the mount point, and begins with '/'; it is '' for the mount point
        itself without a slash behind. A handler that was returned is called or dropped at once.
        """
        ...

    def answer(self, path: str, accept_encoding: bytes | None, url: str) -> FileAnswer | None:
        """The file at `path` for whoever sends it himself (`was.Static`), or None.

        `url` is its whole URL path. PermissionError where the file may not be read.
        """
        ...


class Mount:
    """A place in the URL space and what is there. `point` has no trailing slash; the root's is ''."""

    __slots__ = ('app', 'name', 'point', 'prefix')

    def __init__(self, point: str, app: App, name: str | None = None) -> None:
        self.point = point
        self.prefix = point + '/'
        self.app = app
        self.name = name


class _Refusal:
    """A handler that answers with one status: shared by all requests."""

    on_loop = True
    body_limit: int | None = None

    def __init__(self, status: int) -> None:
        self.status = status

    def __call__(self, exchange: Exchange) -> None:
        headers, body = error_answer(exchange, self.status)
        exchange.respond(self.status, headers, body)


class _ToDirectory:
    """Redirects to the same address with a slash behind the path (SPEC ST-18), query kept."""

    on_loop = True
    body_limit: int | None = None

    def __call__(self, exchange: Exchange) -> None:
        location = slash_appended(exchange)
        exchange.respond(308, [SERVER, (b'location', location), (b'content-length', b'0')], b'')


NOT_FOUND = _Refusal(404)
FORBIDDEN = _Refusal(403)
TO_DIRECTORY = _ToDirectory()


def slash_appended(exchange: Exchange) -> bytes:
    """The request's target with '/' after its path. Always a path of this host: '//x' is '/x'."""
    path = b'/' + exchange.raw_path.lstrip(b'/\\')
    query = exchange.query_string
    return path + b'/?' + query if query else path + b'/'


class _Site:
    """The mounts of one host."""

    __slots__ = ('directories', 'mounts', 'root')

    def __init__(self) -> None:
        self.mounts: list[Mount] = []
        self.directories: list[tuple[str, Files]] = []
        #: The only app, when it is mounted at '/' and there is nothing else: the common fast case.
        self.root: Mount | None = None

    def settle(self) -> None:
        self.mounts.sort(key=lambda mount: -len(mount.point))  # stable: first mounted wins
        self.directories.sort(key=lambda item: -len(item[0]))
        self.root = None
        if len(self.mounts) == 1 and not self.mounts[0].point and not self.directories:
            self.root = self.mounts[0]

    def directories_of(self, path: str) -> Iterator[tuple[Files, str]]:
        """The directories that may have `path`, each with the part of it below its point."""
        for point, files in self.directories:
            if path.startswith(point) and (not point or path[len(point) :][:1] in ('', '/')):
                yield files, path[len(point) :]

    def find(self, exchange: Exchange) -> Handler | None:
        path = exchange.path
        if self.directories and exchange.method in ('GET', 'HEAD'):
            for files, local_path in self.directories_of(path):
                handler = files.find_file(exchange, local_path)
                if handler is not None:
                    return handler
        for mount in self.mounts:
            point = mount.point
            if not point:
                exchange.local_path = path
            elif path.startswith(mount.prefix):
                exchange.local_path = path[len(point) :]
            elif path == point:
                exchange.local_path = ''
            else:
                continue
            exchange.mount = mount
            handler = mount.app.find(exchange)
            if handler is not None:
                return handler
        return None


class MountTable:
    """All mounts of a server."""

    def __init__(self) -> None:
        self._sites: dict[str, _Site] = {DEFAULT_HOST: _Site()}
        self._default = self._sites[DEFAULT_HOST]
        self._one_site = True

    def _site(self, host: str) -> _Site:
        site = self._sites.setdefault(host.lower(), _Site())
        self._one_site = len(self._sites) == 1
        return site

    def add(self, point: str, app: App, name: str | None = None, host: str = DEFAULT_HOST) -> Mount:
        """Mount `app` at `point` ('/', '/tf' or '/tf/')."""
        mount = Mount(point.rstrip('/'), app, name)
        site = self._site(host)
        site.mounts.append(mount)
        site.settle()
        return mount

    def add_files(self, point: str, files: Files, host: str = DEFAULT_HOST, front: bool = False) -> None:
        """Mount a directory at `point`; with `front` it is looked at before others at the same point."""
        site = self._site(host)
        item = (point.rstrip('/'), files)
        if front:
            site.directories.insert(0, item)
        else:
            site.directories.append(item)
        site.settle()

    def find_static(self, exchange: Exchange, url: str) -> FileAnswer | None:
        """The file that a GET of the URL path `url` (decoded) gets on this host (SPEC RS-16), or None.

        PermissionError where it may not be read.
        """
        for files, local_path in self._site_of(exchange).directories_of(url):
            answer = files.answer(local_path, exchange.header(b'accept-encoding'), url)
            if answer is not None:
                return answer
        return None

    def _site_of(self, exchange: Exchange) -> _Site:
        site = self._default
        if not self._one_site:
            host = exchange.header(b'host') or b''
            name = host.decode('latin-1').lower()
            site = self._sites.get(name) or self._sites.get(name.rpartition(':')[0]) or site
        return site

    def find(self, exchange: Exchange) -> Handler:
        """The handler for a request; it is also kept as `exchange.handler`."""
        site = self._default if self._one_site else self._site_of(exchange)
        root = site.root
        if root is not None:
            exchange.mount = root
            handler = root.app.find(exchange)
        else:
            handler = site.find(exchange)
        if handler is None:
            handler = NOT_FOUND
        exchange.handler = handler
        return handler
