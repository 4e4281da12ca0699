"""`was.request`: the request as a service sees it (SPEC chapter 12). Everything is made when asked for."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from skitai.mounts.wsgi import make_environ
from skitai.preference import AttributeDict

from . import bodies
from .parameters import parse_query
from .security import tokens
from .state.cookie import Cookies
from .state.mbox import MessageBox
from .state.session import Session

if TYPE_CHECKING:
    from skitai.exchange import Exchange

    from .services import Endpoint
    from .was import Was


class Headers(Mapping[str, str]):
    """A request's header fields; names are case-insensitive, repeated fields are joined."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __getitem__(self, name: str) -> str:
        value = self._exchange.header(name.lower().encode('latin-1', 'replace'))
        if value is None:
            raise KeyError(name)
        return value.decode('latin-1')

    def __iter__(self) -> Any:
        return (name.decode('latin-1') for name in self._exchange.fields)

    def __len__(self) -> int:
        return len(self._exchange.fields)


class Request:
    """One request. `user` is None until authentication sets it; `g` is an attribute dict of its own."""

    def __init__(self, was: Was) -> None:
        self._was = was
        self._exchange = was.exchange
        self.user: Any = None

    # -- request line (RQ-01 to RQ-04) ------------------------------------------------------------

    @property
    def method(self) -> str:
        """'GET', 'POST' ..."""
        return self._exchange.method

    @property
    def command(self) -> str:
        """The method in lower case."""
        return self._exchange.method.lower()

    @property
    def uri(self) -> str:
        """Path and query as sent."""
        return self._exchange.target

    @property
    def path(self) -> str:
        """The decoded path."""
        return self._exchange.path

    @property
    def version(self) -> str:
        """'1.0', '1.1', '2.0', '3.0'."""
        return self._exchange.http_version

    @property
    def scheme(self) -> str:
        """'http' or 'https'; a trusted proxy's word is taken for its client's."""
        if self._was.app.settings.proxied:
            forwarded = self.get_header('x-forwarded-proto')
            if forwarded in ('http', 'https'):
                return str(forwarded)
        return self._exchange.scheme

    def get_scheme(self) -> str:
        return self.scheme

    def split_uri(self) -> tuple[str, str | None, str | None, str | None]:
        """(path, params, query, fragment): params begins with ';', query with '?', fragment with '#'.

        Absent parts are None (RQ-10).
        """
        rest, mark, fragment = self.uri.partition('#')
        rest, question, query = rest.partition('?')
        path, semicolon, params = rest.partition(';')
        return (
            path,
            semicolon + params if semicolon else None,
            question + query if question else None,
            mark + fragment if mark else None,
        )

    # -- header fields (RQ-11, RQ-12, RQ-15, RQ-16) -----------------------------------------------

    @property
    def headers(self) -> Headers:
        return Headers(self._exchange)

    def get_header(self, name: str, default: Any = None) -> Any:
        """A field's value as str, or `default`."""
        value = self._exchange.header(name.lower().encode('latin-1', 'replace'))
        return default if value is None else value.decode('latin-1')

    def get_headers(self) -> list[str]:
        """All fields as 'Name: value' lines, as they came."""
        return [
            f'{name.decode("latin-1").title()}: {value.decode("latin-1")}'
            for name, value in self._exchange.scope['headers']
        ]

    def get_user_agent(self) -> str | None:
        agent: str | None = self.get_header('user-agent')
        return agent

    def get_content_type(self) -> str | None:
        """The media type in lower case, without parameters; None when absent."""
        value: str | None = self.get_header('content-type')
        return value.partition(';')[0].strip().lower() if value is not None else None

    def get_main_type(self) -> str | None:
        """'text' of 'text/html'."""
        content_type = self.get_content_type()
        return content_type.partition('/')[0] if content_type is not None else None

    def get_sub_type(self) -> str | None:
        """'html' of 'text/html'."""
        content_type = self.get_content_type()
        return content_type.partition('/')[2] if content_type is not None else None

    content_type = property(get_content_type)
    user_agent = property(get_user_agent)

    @property
    def charset(self) -> str:
        """Of the body, as its Content-Type says; 'utf-8' by default."""
        return bodies.charset_of(self.get_header('content-type') or '')

    @property
    def content_length(self) -> int | None:
        return self._exchange.content_length

    @property
    def host(self) -> str:
        """Host and port as the client named them; a trusted proxy's word is taken."""
        if self._was.app.settings.proxied and (forwarded := self.get_header('x-forwarded-host')):
            return str(forwarded)
        return str(self.get_header('host', ''))

    def get_host(self) -> str:
        return self.host

    @property
    def referer(self) -> str | None:
        referer: str | None = self.get_header('referer')
        return referer

    @property
    def origin(self) -> str | None:
        origin: str | None = self.get_header('origin')
        return origin

    # -- who asks (RQ-14, RQ-22) ------------------------------------------------------------------

    def get_remote_addr(self) -> str:
        """The peer's address."""
        return self._exchange.client[0]

    remote_addr = property(get_remote_addr)

    def get_real_ip(self) -> str:
        """The client's address: behind a trusted proxy the first of X-Forwarded-For, else the peer's."""
        if self._was.app.settings.proxied and (forwarded := self.get_header('x-forwarded-for')):
            return str(forwarded).partition(',')[0].strip()
        return self.get_remote_addr()

    def is_private_ip(self) -> bool:
        """Whether the client's address is a private or loopback one."""
        try:
            return ipaddress.ip_address(self.get_real_ip()).is_private
        except ValueError:
            return False

    @property
    def gtxid(self) -> str:
        """The global transaction id."""
        from skitai.logs import transaction_of

        return transaction_of(self._exchange)[0]

    @property
    def ltxid(self) -> str:
        """The local transaction id."""
        from skitai.logs import transaction_of

        return transaction_of(self._exchange)[1]

    # -- what it accepts (RQ-19) ------------------------------------------------------------------

    @property
    def acceptables(self) -> dict[str, dict[str, Any]]:
        """Media types of the Accept field, in its order: {'text/html': {'q': 0.9}, ...}."""
        found: dict[str, dict[str, Any]] = {}
        for item in str(self.get_header('accept', '')).split(','):
            media, *parameters = (part.strip() for part in item.split(';'))
            if not media:
                continue
            values: dict[str, Any] = {'q': 1.0}
            for parameter in parameters:
                name, _, value = parameter.partition('=')
                if name == 'q':
                    with contextlib.suppress(ValueError):
                        values['q'] = min(1.0, max(0.0, float(value)))
                elif name:
                    values[name] = value.strip('"')
            found[media.lower()] = values
        return found

    def acceptable(self, media: str, strict: bool = True) -> bool:
        """Whether Accept names `media` with a weight above 0; not `strict`: or a wildcard allows it."""
        accepted = self.acceptables
        names = [media.lower()]
        if not strict:
            names += [media.lower().partition('/')[0] + '/*', '*/*']
        for name in names:
            if name in accepted:
                return bool(accepted[name]['q'] > 0)
        return False

    # -- parameters (RQ-05, RQ-09) ----------------------------------------------------------------

    @property
    def PARAMS(self) -> dict[str, Any]:
        """The path's parameters."""
        found: dict[str, Any] = self._was.endpoint.path_arguments(self._exchange)
        return found

    @property
    def URL(self) -> dict[str, Any]:
        """The query string's. Malformed: 400."""
        if '_query' not in self.__dict__:
            self._query = parse_query(self._exchange.query_string)
        return self._query

    @property
    def FORM(self) -> dict[str, Any] | None:
        """A form's fields (urlencoded or multipart), or None for another kind of body. Malformed: 400."""
        self._parse_body()
        return self._form

    @property
    def JSON(self) -> Any:
        """A JSON body, decoded; None for another kind. Malformed: 400."""
        self._parse_body()
        return self._json

    @property
    def DATA(self) -> Any:
        """FORM or JSON."""
        form = self.FORM
        return form if form is not None else self.JSON

    @property
    def DEFAULT(self) -> dict[str, Any]:
        """The service's default values."""
        defaults: dict[str, Any] = self._was.endpoint.signature.defaults
        return defaults

    @property
    def args(self) -> dict[str, Any]:
        """All parameters: defaults, under the path's, the query's and the body's; the body wins."""
        if '_args' not in self.__dict__:
            self._args = {**self.DEFAULT, **self.given}
        return self._args

    ARGS = args

    @property
    def given(self) -> dict[str, Any]:
        """All parameters that the request brings, without defaults."""
        if '_given' not in self.__dict__:
            given = {**self.URL, **self.PARAMS}  # never merged: the path's own value wins over the query's
            if self._exchange.body is not None:
                data = self.DATA
                if isinstance(data, dict):
                    given.update(data)
            self._given = given
        return self._given

    def _parse_body(self) -> None:
        if '_form' not in self.__dict__:
            self._form: dict[str, Any] | None = None
            self._json: Any = None
            body = self._exchange.body
            if body is not None:
                self._form, self._json = bodies.parse(body, str(self.get_header('content-type', '')))

    def form(self) -> dict[str, Any] | None:
        """FORM, as a call."""
        return self.FORM

    def json(self) -> Any:
        """JSON, as a call."""
        return self.JSON

    if not TYPE_CHECKING:  # as a name of the class it would hide the type from the annotations

        def dict(self):
            """`args`, as a call."""
            return self.args

    # -- the body (RQ-13) -------------------------------------------------------------------------

    def get_body(self) -> bytes | None:
        """The raw body; b'' where there is none. Bodies above 1 MB are read from disk.

        None for a multipart form above 1 MB: it was parsed as it came, and its bytes are not kept.
        """
        return self._exchange.body.read() if self._exchange.body is not None else b''

    body = payload = property(get_body)

    # -- who it says it is (RQ-20) ----------------------------------------------------------------

    @property
    def JWT(self) -> dict[str, Any]:
        """The claims of the bearer token, or {'err': reason}. RuntimeError without `app.securekey`."""
        return self.dejwt()

    def dejwt(self, token: str | None = None) -> dict[str, Any]:
        """The claims of `token`, by default that of the Authorization field; or {'err': reason}."""
        given = token if token is not None else tokens.bearer_token(self._exchange.header(b'authorization'))
        return tokens.decode(given, self._was.app.securekey)

    # -- the route (RQ-17, RQ-18) -----------------------------------------------------------------

    @property
    def routed(self) -> Any:
        """The service's function; None where no route was found."""
        return getattr(self._was.endpoint, 'function', None)

    @property
    def routable(self) -> dict[str, Any]:
        """What is known of the route: methods, content_types, options, mntopt, args, defaults ..."""
        endpoint: Endpoint = self._was.endpoint
        return endpoint.description

    # -- state (RQ-08) ----------------------------------------------------------------------------

    @property
    def cookie(self) -> Cookies:
        """The client's cookies, and those to be set (SPEC chapter 16)."""
        if '_cookie' not in self.__dict__:
            self._cookie = Cookies(self._was)
        return self._cookie

    @property
    def session(self) -> Session:
        """The client's session (SPEC chapter 17). RuntimeError without `app.securekey`."""
        if '_session' not in self.__dict__:
            self._session = Session(self._was)
        return self._session

    @property
    def mbox(self) -> MessageBox:
        """Messages for the client's next pages (SPEC chapter 18). RuntimeError without `app.securekey`."""
        if '_mbox' not in self.__dict__:
            self._mbox = MessageBox(self._was)
        return self._mbox

    def forget_state(self) -> None:
        """What was changed of cookies, session and messages is not to be: the next look reads them anew."""
        for name in ('_cookie', '_session', '_mbox'):
            self.__dict__.pop(name, None)

    # -- the rest ---------------------------------------------------------------------------------

    @property
    def g(self) -> AttributeDict:
        """A dict for this request's own use (SPEC G-04)."""
        if '_g' not in self.__dict__:
            self._g = AttributeDict()
        return self._g

    @property
    def env(self) -> dict[str, Any]:
        """The WSGI environ (RQ-06)."""
        if '_env' not in self.__dict__:
            settings = self._was.app.settings
            self._env = make_environ(self._exchange, settings.workers > 1)
        return self._env
