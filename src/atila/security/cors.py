"""Cross-origin requests (SPEC chapter 8; the Fetch standard, "CORS protocol").

Which origins may use a service is said by its route (`access_control_allow_origin`), else by its app. Who may
not gets 403 before anything else is looked at. A request without Origin, or from this very site, is none of
our business. OPTIONS is answered here and never reaches a service.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from skitai.headers import SERVER

if TYPE_CHECKING:
    from skitai.exchange import Exchange, RawHeaders

_VARY = (b'vary', b'Origin')
_PREFLIGHT_VARY = (b'vary', b'Origin, Access-Control-Request-Method, Access-Control-Request-Headers')


class Cors:
    """The origins that may use a service. AssertionError for what is no origin."""

    __slots__ = ('_any', '_origins', '_silent', 'max_age')

    def __init__(self, origins: Any, max_age: int = 0) -> None:
        given = [origins] if isinstance(origins, str) else origins
        if not isinstance(given, Iterable) or not all(isinstance(origin, str) for origin in given):
            raise AssertionError(
                f"access_control_allow_origin = {origins!r}: a list is needed, of '*' or of origins like "
                "'https://example.com'"
            )
        self._origins = frozenset(origin.rstrip('/').lower() for origin in given)
        for origin in self._origins - {'*', 'same', 'null'}:
            scheme, separator, host = origin.partition('://')
            if not (scheme and separator and host) or '/' in host:
                raise AssertionError(f"{origin!r} is no origin: write it like 'https://example.com:8443'")
        self._any = '*' in self._origins
        #: Only this site, and no word of it in the answers.
        self._silent = 'same' in self._origins
        self.max_age = int(max_age or 0)

    def allows(self, exchange: Exchange) -> bool:
        """Whether the request may go on."""
        origin = exchange.header(b'origin')
        if origin is None or self._any:
            return True
        return origin.decode('latin-1').lower() in self._origins or _is_own(exchange, origin)

    def fields(self, exchange: Exchange) -> RawHeaders:
        """What goes with every answer to a request that may go on."""
        origin = exchange.header(b'origin')
        if self._silent:
            return []
        if origin is None:
            return [_VARY]
        if not self._any and origin.decode('latin-1').lower() not in self._origins:
            return [_VARY]  # this very site: it needs no permission
        found = [(b'access-control-allow-origin', origin), _VARY]
        if not self._any:
            found.append((b'access-control-allow-credentials', b'true'))
        return found

    def preflight(self, exchange: Exchange, methods: str) -> RawHeaders:
        """What answers a preflight."""
        found = [field for field in self.fields(exchange) if field != _VARY]
        if not found:
            return []
        found += [_PREFLIGHT_VARY, (b'access-control-allow-methods', methods.encode('latin-1'))]
        wanted = exchange.header(b'access-control-request-headers')
        if wanted is not None:
            found.append((b'access-control-allow-headers', wanted))
        if self.max_age > 0:
            found.append((b'access-control-max-age', b'%d' % self.max_age))
        return found


def _is_own(exchange: Exchange, origin: bytes) -> bool:
    """Whether a page of this very site asks: browsers name its origin, too, when it sends something."""
    host = exchange.header(b'host') or b''
    return origin.lower() == exchange.scheme.encode() + b'://' + host.lower()


class OptionsAnswer:
    """The handler of an OPTIONS request: 200, an empty body, what is allowed (SPEC AC-02)."""

    on_loop = True
    body_limit: int | None = None

    def __init__(self, methods: list[str], cors: Cors | None) -> None:
        self._methods = ', '.join(methods)
        self._cors = cors

    def __call__(self, exchange: Exchange) -> None:
        fields = [SERVER, (b'allow', self._methods.encode('latin-1')), (b'content-length', b'0')]
        if self._cors is not None:
            fields += self._cors.preflight(exchange, self._methods)
        exchange.respond(200, fields, b'')
