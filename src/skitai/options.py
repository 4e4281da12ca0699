"""The command line of a launch script: `python3 serve.py [options] [command]` (SPEC B.2, B.3, ST-12).

Belongs here: which words there are, what they mean as settings, their errors and the help text. Doesn't:
what a command does (`daemon`), what a setting does (`config` and whoever reads it).

Two readings of the same words. `parse` is strict and made by `run ()`: a mistake ends the process with a
message and exit code 2. `options` and `get_option` may be asked at any time, also before `run ()` and
where there is no launch script at all (tests): they look for the declared custom options only, and what
they cannot read counts as not given.

A new option of the engine: one line in `_add_engine_options`. A command that arrives in a later version
moves from `_LATER` to `COMMANDS`.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import argparse

#: Command -> what the help says. No command: serve in the foreground.
COMMANDS = {
    'start': 'serve in the background (also -d)',
    'stop': 'end the server in the background',
    'status': 'print running:PID or stopped',
    'restart': 'stop, then start',
}

#: Words that are known and refused: the version that has them takes them out.
_LATER = ('install', 'update', 'uninstall', 'remove', '--nginx-conf')

#: Names that a custom option cannot take, as they are written without dashes.
_RESERVED = frozenset(
    (
        *('h', 'help', 'd', 'devel', 'deploy', 'address', 'ip', 'port', 'workers'),
        *('threads', 'user', 'group', 'disable-static', 'log-format', 'nginx-conf'),
    )
)

_DEPLOYMENT = re.compile(r'[A-Za-z0-9_.-]+')
_LONG = re.compile(r'[A-Za-z][A-Za-z0-9-]*')


@dataclasses.dataclass(frozen=True, slots=True)
class CustomOption:
    """An option of the launch script's own. A flag (no `metavar`) is True or False, others are text."""

    #: Without dashes; `short` is one letter or ''.
    short: str
    name: str
    metavar: str | None
    description: str
    default: Any

    @property
    def absent(self) -> Any:
        """The value where the option is not given."""
        return self.default if self.metavar is not None else bool(self.default)


@dataclasses.dataclass(frozen=True, slots=True)
class CommandLine:
    """What was asked for. Only options that were given are in `settings` and `custom`."""

    #: A key of `COMMANDS`, or None: serve in the foreground.
    command: str | None
    #: Values for fields of `config.Settings`, by their names.
    settings: dict[str, Any]
    #: The name given to `--deploy`.
    deploy: str | None
    #: Values of custom options by name.
    custom: dict[str, Any]
    #: The options alone, each as one word: what starts a server like this one in the foreground.
    arguments: list[str]


def parse(argv: list[str], custom: list[CustomOption]) -> CommandLine:
    """Read the words behind the launch script's name. Options may stand before and after the command.

    SystemExit with code 0 for `--help` (printed to standard output), with code 2 for anything that is not
    understood (a message that names the option, to standard error).
    """
    parser = _parser(_strict_parser(), custom)
    _add_engine_options(parser)
    words = _with_dashes(argv)
    for word in words:
        if word.partition('=')[0] == '--nginx-conf':
            _refuse_later(parser, '--nginx-conf')
    found = vars(parser.parse_args(words))
    command, background = found.pop('command'), found.pop('background')
    if command in _LATER:
        _refuse_later(parser, command)
    if background and command not in (None, 'start'):
        parser.error(f'argument -d: not allowed with the command {command}')
    own = {option.name: found.pop(_destination(option)) for option in custom if _destination(option) in found}
    arguments = [_word(name, value) for name, value in {**found, **own}.items()]
    deploy = found.pop('deploy', None)
    return CommandLine('start' if background else command, found, deploy, own, arguments)


def _word(name: str, value: Any) -> str:
    option = '--' + name.replace('_', '-')
    return option if value is True else f'{option}={value}'


def _with_dashes(argv: list[str]) -> list[str]:
    """`--disable_static` is `--disable-static`; a value behind '=' stays as it is."""
    words = []
    for word in argv:
        name, equals, value = word.partition('=')
        words.append(name.replace('_', '-') + equals + value if name.startswith('--') else word)
    return words


# -- parsers -------------------------------------------------------------------------------------


def _strict_parser() -> argparse.ArgumentParser:
    import argparse  # here: a server that only asks for a custom option's default never needs it

    return argparse.ArgumentParser(
        prog=Path(sys.argv[0]).name if sys.argv and sys.argv[0] else 'serve.py',
        allow_abbrev=False,  # an abbreviation would change its meaning with the next new option
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='commands:\n'
        + ''.join(f'  {name:<10}{text}\n' for name, text in COMMANDS.items())
        + '  (none)    serve in the foreground\n',
    )


def _parser(parser: argparse.ArgumentParser, custom: list[CustomOption]) -> argparse.ArgumentParser:
    """`parser` with the custom options added. Options that are not given leave no trace in its result."""
    import argparse

    group = parser.add_argument_group('options of this script')
    for option in custom:
        names = ['--' + option.name, *(['-' + option.short] if option.short else [])]
        details: dict[str, Any] = {
            'dest': _destination(option),
            'default': argparse.SUPPRESS,
            'help': option.description.replace('%', '%%'),
        }
        if option.metavar is None:
            group.add_argument(*names, action='store_true', **details)
        else:
            group.add_argument(*names, metavar=option.metavar, **details)
    return parser


def _destination(option: CustomOption) -> str:
    """A key that no option of the engine's has."""
    return 'custom:' + option.name


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Destinations are fields of `config.Settings`, except `command`, `background` and `deploy`."""
    import argparse

    def add(where: Any, *names: str, **details: Any) -> None:
        where.add_argument(*names, default=argparse.SUPPRESS, **details)

    parser.add_argument('command', nargs='?', choices=[*COMMANDS, *_LATER[:-1]], help=argparse.SUPPRESS)
    parser.add_argument('-d', dest='background', action='store_true', help='the same as the command start')
    mode = parser.add_mutually_exclusive_group()
    add(mode, '--devel', action='store_true', help='debug mode; restart when a Python file changes')
    add(mode, '--deploy', metavar='NAME', type=_deployment, help='set SKITAIENV to NAME')
    add(parser, '--address', '--ip', metavar='ADDRESS', type=_text, help='listen on this address')
    add(parser, '--port', metavar='PORT', type=_number(0, 65535), help='listen on this port')
    add(parser, '--workers', metavar='N', type=_number(1), help='worker processes')
    add(parser, '--threads', metavar='N', type=_number(1), help='threads in each worker')
    add(parser, '--user', metavar='USER', type=_text, help='workers run as this user (start as root)')
    add(parser, '--group', metavar='GROUP', type=_text, help='workers run as this group')
    add(parser, '--disable-static', action='store_true', help='serve no directories')
    add(parser, '--log-format', choices=['text', 'json'], help='how log lines look')


def _number(low: int, high: int | None = None) -> Callable[[str], int]:
    def read(text: str) -> int:
        import argparse

        # Not int () alone: it takes ' 5', '5_0' and digits of other scripts.
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if number < low or (high is not None and number > high):
            bounds = f'from {low} to {high}' if high is not None else f'of {low} or more'
            raise argparse.ArgumentTypeError(f'a number {bounds} is needed, not {text!r}')
        return number

    return read


def _text(text: str) -> str:
    import argparse

    if not text:
        raise argparse.ArgumentTypeError('a value is needed')
    return text


def _deployment(text: str) -> str:
    import argparse

    if not _DEPLOYMENT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"letters, digits, '_', '-' and '.' are allowed, not {text!r}")
    if text == 'DEVEL':
        raise argparse.ArgumentTypeError('use --devel')
    return text


def _refuse_later(parser: argparse.ArgumentParser, word: str) -> NoReturn:
    parser.exit(2, f'{parser.prog}: {word} is not in this version yet\n')


# -- options of the launch script's own ----------------------------------------------------------


class CustomOptions(Mapping[str, Any]):
    """`skitai.options`: the declared custom options and their values on the command line now.

    A mapping from long name to value; lookups take '--name', 'name', '-n' or 'n'. Reading never fails
    because of the command line: see the rules above.
    """

    def __init__(self) -> None:
        self._declared: dict[str, CustomOption] = {}
        #: The words that were read last and what was found in them.
        self._read: tuple[list[str], dict[str, Any]] | None = None

    @property
    def declared(self) -> list[CustomOption]:
        return list(self._declared.values())

    def add(self, short: str | None, long: str, description: str = '', default: Any = None) -> None:
        """Declare an option. `short` is '-n', 'n' or None; `long` is 'name=VALUE' or 'name', for a flag.

        Declaring the same long name again replaces it. ValueError for a name that cannot be written, or
        that is taken by the engine or (a short one) by another option.
        """
        name, equals, metavar = long.removeprefix('--').partition('=')
        name = name.replace('_', '-')
        letter = (short or '').lstrip('-')
        if not _LONG.fullmatch(name):
            raise ValueError(f"option name {long!r}: letters, digits and '-' are needed, a letter first")
        if letter and not (len(letter) == 1 and letter.isascii() and letter.isalpha()):
            raise ValueError(f'option {long!r}: its short name {short!r} has to be one letter')
        for taken in (name, letter):
            if taken in _RESERVED:
                raise ValueError(f"option {long!r}: {taken!r} is one of the engine's own options")
        for other in self._declared.values():
            if letter and other.short == letter and other.name != name:
                raise ValueError(f'option {long!r}: -{letter} is short for --{other.name} already')
        value_name = (metavar or name.upper()) if equals else None
        self._declared[name] = CustomOption(letter, name, value_name, description, default)
        self._read = None

    def get_option(self, *names: str) -> Any:
        """The value of the option that `names` are names of: as given, else its default.

        Of several options the first that is on the command line. KeyError if none is declared.
        """
        found = [option for option in map(self._find, names) if option is not None]
        if not found:
            raise KeyError(f'option {", ".join(names)} is not declared; call skitai.add_option first')
        given = self._given()
        for option in found:
            if option.name in given:
                return given[option.name]
        return found[0].absent

    def __getitem__(self, name: str) -> Any:
        return self.get_option(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def _find(self, name: str) -> CustomOption | None:
        plain = name.lstrip('-').replace('_', '-')
        if plain in self._declared and not (len(plain) == 1 and name == '-' + plain):
            return self._declared[plain]
        return next((o for o in self._declared.values() if o.short and o.short == plain), None)

    def _given(self) -> dict[str, Any]:
        argv = list(getattr(sys, 'argv', ()))[1:]
        if self._read is None or self._read[0] != argv:
            self._read = argv, _given_custom(argv, self.declared)
        return self._read[1]


def _given_custom(argv: list[str], custom: list[CustomOption]) -> dict[str, Any]:
    """Values of those custom options that `argv` has, by name; other words are passed over."""
    import argparse

    class Unreadable(Exception):
        pass

    class Lenient(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise Unreadable(message)

    parser = _parser(Lenient(prog='', allow_abbrev=False, add_help=False), custom)
    parser.add_argument('-d', action='store_true')  # so that -dx is understood here as there
    try:
        found = vars(parser.parse_known_args(_with_dashes(argv))[0])
    except Unreadable:  # `run ()` tells the user
        return {}
    return {option.name: found[_destination(option)] for option in custom if _destination(option) in found}


options = CustomOptions()
add_option = options.add
get_option = options.get_option


def custom_options() -> list[CustomOption]:
    """What `skitai.add_option` has declared so far, for `parse`."""
    return options.declared
