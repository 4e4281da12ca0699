"""Templates (SPEC chapter 31): Jinja2, and Chameleon for .pt and .ptal. The HTML minifier (SPEC RC-09).

Rules of this module:

- One `Templates` for an app. It is told everything while the app is set up, by one thread; rendering only
  reads, on all threads. What is made when it is first needed (environment, loader, compiled templates) is
  made under `_lock`, or twice with the same result.
- `was`, `context`, `app`, `request` and `response` are names of ours in every template. `request` and
  `response` are made when a template asks for them, not before: a render costs no more than plain Jinja's.
- What belongs to a request never gets into what is kept. Jinja keeps the modules that `{% import %}` makes;
  here one whose top level asks for the request is made anew for each (`_Template._get_default_module`).
- A name given to `render` never leads out of the directories.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextvars import Context as VariableContext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, cast

import jinja2
from jinja2.ext import Extension
from jinja2.loaders import split_template_path
from jinja2.runtime import Context
from jinja2.utils import import_string, missing
from markupsafe import escape

from skitai.context import CurrentWas

if TYPE_CHECKING:
    from .app import Atila
    from .was import Was

log = logging.getLogger('atila')

#: Names that no argument, global function or overlay may take (SPEC TE-02).
RESERVED = frozenset(('was', 'context', 'app', 'request', 'response'))
#: Templates for anything but text for browsers: the only ones whose values are not escaped.
_UNESCAPED = frozenset(
    'txt text md rst csv tsv json js mjs css sql ini cfg conf toml yaml yml log py sh'.split()  # noqa: SIM905
)
_CHAMELEON = ('.pt', '.ptal')
_EXTENSIONS = ('jinja2.ext.do', 'jinja2.ext.loopcontrols')
_I18N = 'jinja2.ext.InternationalizationExtension'
#: So many names are looked up in one step; more (there are more spellings than files) take Jinja's way.
_MAX_PAGES = 1024


class _Page(Protocol):
    """A compiled template of either kind."""

    def fill(self, was: Was, values: dict[str, Any]) -> str: ...


class Templates:
    """An app's templates: `app.templates`.

    `directories`: where templates are looked for, in this order. Filled when the app is mounted.
    """

    def __init__(self, app: Atila) -> None:
        self.app = app
        self.directories = app.template_directories
        self._options: dict[str, Any] = {}
        self._extensions: list[str | type[Extension]] = list(_EXTENSIONS)
        self._globals: dict[str, Callable[..., Any]] = {}
        self._filters: dict[str, Callable[..., Any]] = {}
        self._environment: jinja2.Environment | None = None
        self._chameleon: Callable[[str], _Page] | None = None
        #: Name -> compiled template. Not used in debug mode: there each render looks at the file.
        self._pages: dict[str, _Page] = {}
        #: Held while the environment, the Chameleon loader or a Chameleon template is made.
        self._lock = threading.RLock()

    # -- setting up ------------------------------------------------------------------------------

    @property
    def environment(self) -> jinja2.Environment:
        """`app.jinja_env` (SPEC TE-05): made when it is first asked for, and from then on the same."""
        environment = self._environment
        if environment is None:
            with self._lock:
                environment = self._environment
                if environment is None:
                    environment = self._environment = self._make_environment()
        return environment

    def overlay(self, **options: Any) -> None:
        """Options of `jinja2.Environment` that replace ours: `variable_start_string = '{$'` ... (SPEC TE-05).

        `extensions` are added to those that are always on. RuntimeError when the environment is made already,
        TypeError for an option that Jinja doesn't have, ValueError for one that cannot be.
        """
        if self._environment is not None:
            raise RuntimeError(
                'app.jinja_overlay (): the environment is made already; call it before app.jinja_env is used'
                ' and before the first template is rendered'
            )
        unknown = options.keys() - inspect.signature(jinja2.Environment).parameters.keys()
        if unknown:
            raise TypeError(f'app.jinja_overlay (): Jinja has no option {", ".join(sorted(unknown))}')
        if options.get('enable_async'):
            raise ValueError('app.jinja_overlay (): templates are rendered in one go, without enable_async')
        for extension in options.pop('extensions', ()):
            self.add_extension(extension)
        self._options.update(options)

    def add_global(self, name: str, function: Callable[..., Any]) -> None:
        """Let templates call `{{ name (...) }}` (SPEC TE-06).

        If the function's first parameter is named `was`, it gets the request's. ValueError for a reserved
        name, TypeError for what is no function, or one that would have to be awaited.
        """
        _check_function('template_global', name, function)
        if name in RESERVED:
            raise ValueError(
                f'@app.template_global ({name!r}): templates have that name already; take another'
            )
        self._globals[name] = function
        if self._environment is not None:
            self._environment.globals[name] = _with_was(function)
        self._forget()

    def add_filter(self, name: str, function: Callable[..., Any]) -> None:
        """Let templates write `{{ value | name }}` (SPEC TE-07); `was` and errors as for `add_global`."""
        _check_function('template_filter', name, function)
        self._filters[name] = function
        if self._environment is not None:
            self._environment.filters[name] = _with_was(function)
            self._forget()

    def add_extension(self, extension: str | type[Extension]) -> None:
        """Use a Jinja extension, by its dotted name (SPEC TE-08). ImportError, TypeError if it is none."""
        try:
            found = import_string(extension) if isinstance(extension, str) else extension
        except AttributeError as error:
            raise ImportError(f'app.add_jinja_ext ({extension!r}): {error}') from None
        if not (isinstance(found, type) and issubclass(found, Extension)):
            raise TypeError(f'app.add_jinja_ext ({extension!r}): that is no extension of Jinja')
        self._extensions.append(found)
        if self._environment is not None:
            self._environment.add_extension(found)
            _settle_i18n(self._environment)
            self._forget()

    def _forget(self) -> None:
        """Compile anew what has been compiled: names have changed."""
        self._pages.clear()
        self._chameleon = None
        cache = self._environment.cache if self._environment is not None else None
        if cache is not None:
            cache.clear()

    def _make_environment(self) -> jinja2.Environment:
        options = {
            'loader': _Loader(self),
            'autoescape': is_escaped,
            'trim_blocks': True,
            'lstrip_blocks': True,
            'auto_reload': False,
            **self._options,
        }
        environment = _Environment(extensions=self._extensions, **options)
        environment.globals['was'] = _GlobalWas()  # for macros that are imported without context
        environment.globals['app'] = self.app
        environment.globals.update({name: _with_was(f) for name, f in self._globals.items()})
        environment.filters.update({name: _with_was(f) for name, f in self._filters.items()})
        _settle_i18n(environment)
        return environment

    # -- rendering -------------------------------------------------------------------------------

    def render(self, was: Was, name: str, args: dict[str, Any]) -> str:
        """The template `name` filled with `args` (SPEC TE-01, TE-02). A leading '/' of the name is ignored.

        TypeError for an argument with a reserved name; `jinja2.TemplateNotFound`; what the template raises.
        """
        page = self._pages.get(name)
        if page is None:
            page = self._load(name)
        if not RESERVED.isdisjoint(args):
            taken = ', '.join(sorted(RESERVED.intersection(args)))
            raise TypeError(
                f'was.render ({name!r}): templates have {taken} already; give the argument another name'
            )
        return page.fill(was, args)

    def _load(self, name: str) -> _Page:
        if not isinstance(name, str):
            raise TypeError(f'was.render ({name!r}): the name of a template is a str')
        debug = self.app.debug
        page: _Page
        if name.endswith(_CHAMELEON):
            page = self._load_chameleon(name)
        else:
            environment = self.environment
            if debug and 'auto_reload' not in self._options:
                environment.auto_reload = True  # here, as the environment may be older than the mounting
            page = cast('_Template', environment.get_template(name.lstrip('/')))
        if not debug and len(self._pages) < _MAX_PAGES:
            self._pages[name] = page
        return page

    def _load_chameleon(self, name: str) -> _Page:
        with self._lock:
            if self._chameleon is None:
                self._chameleon = _chameleon_loader(self)
            return self._chameleon(name)

    def find(self, name: str) -> str:
        """The path of a template: the first among the directories; `jinja2.TemplateNotFound` for none."""
        pieces = split_template_path(name)
        if pieces and '\0' not in name:
            for directory in self.directories:
                path = os.path.join(directory, *pieces)
                if os.path.isfile(path):
                    return path
        places = ', '.join(self.directories) or 'no directory: the app has no templates/'
        raise jinja2.TemplateNotFound(name, f'there is no template {name!r} in {places}')


# -- Jinja ---------------------------------------------------------------------------------------


def is_escaped(name: str | None) -> bool:
    """Whether a template's values are escaped: all but those named as plain text are (SPEC TE-04).

    The last suffix counts: 'mail.txt' is not escaped, 'mail.txt.j2' is.
    """
    return name is None or name.rpartition('.')[2].lower() not in _UNESCAPED


class _Arguments:
    """`context` in a template: the arguments as attributes; one may be called `items`.

    A dict's methods that read (`context.get ('x', 0)`) are there where no argument has their name.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__ = values

    def __getattr__(self, name: str) -> Any:
        if name in ('get', 'items', 'keys', 'values'):
            return getattr(self.__dict__, name)
        raise AttributeError(f'no argument {name!r} was given')

    def __getitem__(self, name: str) -> Any:
        return self.__dict__[name]

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def __repr__(self) -> str:
        return repr(self.__dict__)


class _Context(Context):
    """Where a template looks its names up. `request` and `response` are asked of `was` only when used."""

    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        if key in self.parent:
            return self.parent[key]
        if key == 'request' or key == 'response':
            return getattr(self.parent['was'], key)
        return missing


#: A module that will be kept is being made.
_no_request: ContextVar[bool] = ContextVar('no request', default=False)


class _GlobalWas(CurrentWas):
    """`was` where a template has no context. `{% if was %}` asks for a request, too."""

    __slots__ = ()

    def __bool__(self) -> bool:
        if _no_request.get():
            raise RuntimeError('what is kept must not depend on a request')
        return super().__bool__()


_needs_escaping = re.compile('[&<>"\']').search
#: Longer text is left to MarkupSafe, whose search is the faster one there.
_SHORT = 100


def _escaped(value: Any) -> Any:
    """What MarkupSafe's `escape` gives, as far as output goes: most values of a page need none.

    It makes a `Markup` of each, which is what it costs; the parts of a page are joined as they are.
    """
    kind = type(value)
    if kind is str:
        return value if len(value) < _SHORT and _needs_escaping(value) is None else escape(value)
    return str(value) if kind is int or kind is float else escape(value)


class _Template(jinja2.Template):
    """A compiled template."""

    _module: Any
    #: Its top level, imported, asks for the request.
    _bound = False

    @classmethod
    def from_code(cls, environment: jinja2.Environment, code: Any, *args: Any, **values: Any) -> Any:
        """The template of compiled code, which escapes by a shorter way."""
        template = super().from_code(environment, code, *args, **values)
        template.root_render_func.__globals__['escape'] = _escaped
        return template

    def fill(self, was: Was, values: dict[str, Any]) -> str:
        """`render` without Jinja's detours: its copying of the globals is what costs in a small template."""
        environment = self.environment
        names = {
            **environment.globals,
            **values,
            'was': was,
            'app': was.app,
            'context': _Arguments(values),
        }
        context = _Context(environment, names, self.name, self.blocks)
        try:
            return environment.concat(self.root_render_func(context))
        except Exception:
            environment.handle_exception()

    def _get_default_module(self, ctx: Context | None = None) -> Any:
        """The module for `{% import %}` or an `{% include %}` without context: Jinja makes it once.

        So it is made where there is no request. If that fails, its top level asks for one, and what it
        computes must not be kept for the next.
        """
        if self._module is None and not self._bound:
            try:
                self._module = VariableContext().run(self._make_to_be_kept)
            except Exception:
                self._bound = True
        return self.make_module() if self._module is None else self._module

    def _make_to_be_kept(self) -> Any:
        _no_request.set(True)
        return self.make_module()


#: What `x.name` means for a dict `x` before its items are looked at.
_DICT_ATTRIBUTES = frozenset(dir(dict))


class _Environment(jinja2.Environment):
    context_class = _Context
    template_class = _Template

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute` in a template: the attribute, else the item.

        Rows of data are dicts mostly: for them the failing look for an attribute, an exception, is left out.
        """
        if type(obj) is dict and attribute not in _DICT_ATTRIBUTES:
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)


class _Loader(jinja2.BaseLoader):
    """Templates from the app's directories, as they are at the time."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        path = self._templates.find(template)
        with open(path, encoding='utf-8') as file:
            # Before reading: what is written while we read must count as a change (SPEC TE-11).
            state = _state(os.fstat(file.fileno()))
            source = file.read()

        def is_up_to_date() -> bool:
            """The file has not changed, and no directory before it has got one of that name."""
            try:
                return self._templates.find(template) == path and _state(os.stat(path)) == state
            except (OSError, jinja2.TemplateNotFound):
                return False

        return source, path, is_up_to_date

    def list_templates(self) -> list[str]:
        found: set[str] = set()
        for directory in self._templates.directories:
            for root, _, files in os.walk(directory):
                below = os.path.relpath(root, directory).replace(os.sep, '/')
                found.update(file if below == '.' else f'{below}/{file}' for file in files)
        return sorted(found)


def _state(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _settle_i18n(environment: jinja2.Environment) -> None:
    """Let `{% trans %}` show its text as it is, until the app installs translations of its own."""
    if _I18N in environment.extensions and 'gettext' not in environment.globals:
        environment.install_null_translations()  # type: ignore[attr-defined]


# -- functions in templates ----------------------------------------------------------------------


def _check_function(decorator: str, name: str, function: Callable[..., Any]) -> None:
    if not isinstance(name, str):
        raise TypeError(f"@app.{decorator} needs a name: write @app.{decorator} ('name')")
    if not callable(function):
        raise TypeError(f'@app.{decorator} ({name!r}): {function!r} is no function')
    if inspect.iscoroutinefunction(inspect.unwrap(function)):
        raise TypeError(f'@app.{decorator} ({name!r}): templates cannot await; make it a def')


def _takes_was(function: Callable[..., Any]) -> bool:
    try:
        return next(iter(inspect.signature(function).parameters), None) == 'was'
    except (TypeError, ValueError):  # written in C, without a signature
        return False


def _with_was(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as templates call it: with `was` first, if it takes that."""
    if not _takes_was(function):
        return function

    @functools.wraps(function)
    def call(context: Context, /, *args: Any, **values: Any) -> Any:
        return function(context.resolve('was'), *args, **values)

    return jinja2.pass_context(call)


# -- Chameleon -----------------------------------------------------------------------------------


class _Later:
    """`was.request` or `was.response` for Chameleon, made when it is used."""

    __slots__ = ('_name', '_was')

    def __init__(self, was: Was, name: str) -> None:
        self._was = was
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(self._was, self._name), name)


def _chameleon_loader(templates: Templates) -> Callable[[str], _Page]:
    """What loads Chameleon's templates, each once (SPEC TE-10). ImportError where it isn't installed."""
    try:
        from chameleon import PageTemplateFile
        from chameleon.loader import TemplateLoader
    except ImportError:
        raise ImportError(
            'templates named .pt and .ptal need Chameleon: pip3 install "atila[chameleon]"'
        ) from None

    class Loader(TemplateLoader):
        """For the expression `load:`: relative to the template's directory, within the app's."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, 'loader_class': Loader})

        def load(self, spec: str, cls: Any = None) -> Any:
            spec = spec.strip()
            if spec.startswith('/') or ':' in spec or '..' in spec.split('/'):
                spec = os.path.normpath(os.path.join(self.search_path[0], spec))
                if not any(spec.startswith(os.path.join(root, '')) for root in templates.directories):
                    raise jinja2.TemplateNotFound(spec, f'{spec} is in none of the templates directories')
            return super().load(spec, cls)

    functions = [(name, f, _takes_was(f)) for name, f in templates._globals.items()]

    class Page:
        def __init__(self, path: str) -> None:
            self._template = PageTemplateFile(
                path,
                search_path=templates.directories,
                auto_reload=templates.app.debug,
                loader_class=Loader,
            )
            self._template.cook_check()

        def fill(self, was: Was, values: dict[str, Any]) -> str:
            names: dict[str, Any] = {
                name: functools.partial(f, was) if takes else f for name, f, takes in functions
            }
            names.update(
                values,
                was=was,
                app=was.app,
                context=_Arguments(values),
                request=_Later(was, 'request'),
                response=_Later(was, 'response'),
            )
            return str(self._template.render(**names))

    pages: dict[str, Page] = {}

    def load(name: str) -> Page:
        path = templates.find(name)
        if path not in pages:
            pages[path] = Page(path)
        return pages[path]

    return load


# -- the minifier (SPEC RC-09) -------------------------------------------------------------------


def minifier(kind: Any) -> Callable[[str], str] | None:
    """What `config.MINIFY_HTML` asks to do with each HTML answer; None for nothing.

    'strip': leading blanks of lines go. 'minify': everything that a browser can do without goes.
    ValueError for another value; ImportError for 'minify' without its library.
    """
    if kind is None or kind is False:
        return None
    if kind == 'strip':
        return strip
    if kind != 'minify':
        raise ValueError(f"config.MINIFY_HTML = {kind!r}: use None, 'strip' or 'minify'")
    try:
        from minify_html import minify
    except ImportError:
        raise ImportError(
            'config.MINIFY_HTML = \'minify\' needs minify-html: pip3 install "atila[html]"'
        ) from None
    # Every tag stays: scripts and fragments of pages rely on them.
    return functools.partial(
        minify,
        keep_closing_tags=True,
        keep_html_and_head_opening_tags=True,
        keep_input_type_text_attr=True,
        keep_ssi_comments=True,
        minify_css=True,
        minify_js=True,
    )


#: Elements whose blanks are content.
_OPENING = re.compile(
    # The letters first: of most tags nothing more is compared.
    r'<(?=[ptslx])(pre|textarea|script|style|listing|xmp)(?=[\s/>])',
    re.IGNORECASE,
)
_EDGES = {
    name: re.compile(rf'<(/?){name}(?=[\s/>])', re.IGNORECASE)
    for name in ('pre', 'textarea', 'script', 'style', 'listing', 'xmp')
}
_NESTING = frozenset(('pre', 'listing'))
_BLANKS = re.compile(r'\n[ \t]+')


def strip(html: str) -> str:
    """Remove the leading blanks of each line, except where they are content (<pre>, <script> ...)."""
    html = html.lstrip(' \t')
    parts = []
    position = 0
    while opening := _OPENING.search(html, position):
        end = _end_of(html, opening)
        parts += [_BLANKS.sub('\n', html[position : opening.start()]), html[opening.start() : end]]
        position = end
    if not parts:
        return _BLANKS.sub('\n', html)
    parts.append(_BLANKS.sub('\n', html[position:]))
    return ''.join(parts)


def _end_of(html: str, opening: re.Match[str]) -> int:
    """Where the closing tag of an element begins; the end of the text if it has none, as browsers see it."""
    name = opening[1].lower()
    depth = 1
    for edge in _EDGES[name].finditer(html, opening.end()):
        if edge[1]:
            depth -= 1
        elif name in _NESTING:
            depth += 1
        if depth == 0:
            return edge.start()
    return len(html)
