"""The command line of a launch script (SPEC B.2, B.3, ST-12)."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest

from skitai.config import Settings
from skitai.options import CommandLine, CustomOptions, parse


def refused(capsys: pytest.CaptureFixture[str], *argv: str, custom: CustomOptions | None = None) -> str:
    """What standard error says where `argv` is refused with exit code 2."""
    with pytest.raises(SystemExit) as stopped:
        parse(list(argv), custom.declared if custom is not None else [])
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ''
    return captured.err


def helped(capsys: pytest.CaptureFixture[str], custom: CustomOptions) -> str:
    with pytest.raises(SystemExit) as stopped:
        parse(['--help'], custom.declared)
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.fixture
def custom() -> CustomOptions:
    options = CustomOptions()
    options.add('-n', '--name=WHO', 'whom to greet, at 100%', 'world')
    options.add(None, 'dry-run', 'change nothing')
    options.add('x', 'level=')
    return options


def test_no_words_mean_foreground_and_no_settings() -> None:
    assert parse([], []) == CommandLine(None, {}, None, {}, [])


@pytest.mark.parametrize('command', ['start', 'stop', 'status', 'restart'])
@pytest.mark.parametrize('before', [True, False])
def test_command_before_and_after_options(command: str, before: bool) -> None:
    """SPEC B.2, DP-01."""
    words = ['--port', '80', '--devel']
    line = parse([command, *words] if before else [*words, command], [])
    assert line.command == command
    assert line.settings == {'port': 80, 'devel': True}


def test_d_is_start() -> None:
    """SPEC B.2."""
    assert parse(['-d', '--port=1'], []).command == 'start'
    assert parse(['start', '-d'], []).command == 'start'


def test_d_with_another_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert '-d' in refused(capsys, '-d', 'stop')


def test_settings_have_the_names_and_types_of_the_record() -> None:
    """SPEC B.3."""
    words = '--port=80 --address :: --workers 3 --threads=8 --user=web --group www'
    line = parse([*words.split(), '--disable-static', '--log-format=json', '--devel'], [])
    assert line.settings == {
        'port': 80,
        'address': '::',
        'workers': 3,
        'threads': 8,
        'user': 'web',
        'group': 'www',
        'disable_static': True,
        'log_format': 'json',
        'devel': True,
    }
    assert set(line.settings) <= {field.name for field in fields(Settings)}


def test_underscores_and_dashes_are_equal() -> None:
    assert parse(['--disable_static', '--log_format=json'], []).settings == {
        'disable_static': True,
        'log_format': 'json',
    }


def test_underscores_in_a_value_stay() -> None:
    assert parse(['--user=my_user', '--group', 'my_group'], []).settings == {
        'user': 'my_user',
        'group': 'my_group',
    }


def test_deploy_is_no_setting() -> None:
    """SPEC ST-12."""
    line = parse(['--deploy=STAGING'], [])
    assert line.deploy == 'STAGING'
    assert line.settings == {}


def test_deploy_and_devel_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """SPEC ST-12."""
    message = refused(capsys, '--devel', '--deploy=QA')
    assert '--deploy' in message
    assert '--devel' in message


@pytest.mark.parametrize(
    'word',
    [
        *('--port=65536', '--port=-1', '--port=x', '--port=', '--port=8_0', '--port= 80', '--port=٣'),
        *('--port=99999999999999999999', '--workers=0', '--threads=0', '--threads=1.5', '--address='),
        *(
            '--user=',
            '--group=',
            '--deploy=',
            '--deploy=a b',
            '--deploy=DEVEL',
            '--log-format=xml',
            '--devel=1',
        ),
    ],
)
def test_bad_value_is_refused_naming_the_option(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert word.partition('=')[0] in refused(capsys, word)


@pytest.mark.parametrize('word', ['--prot=80', '--por=80', '---profile', '-p', '-z'])
def test_unknown_option_is_refused_by_name(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert word in refused(capsys, word)


def test_unknown_command_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert 'strat' in refused(capsys, 'strat')
    assert 'stop' in refused(capsys, 'start', 'stop')


@pytest.mark.parametrize('word', ['install', 'update', 'uninstall', 'remove', '--nginx-conf=example.org'])
def test_words_of_a_later_version_are_refused_clearly(capsys: pytest.CaptureFixture[str], word: str) -> None:
    """SPEC DP-01, DP-02."""
    message = refused(capsys, '--disable-static', word)
    assert word.partition('=')[0] in message
    assert 'not in this version yet' in message


def test_help_lists_options_commands_and_custom_options(
    capsys: pytest.CaptureFixture[str], custom: CustomOptions
) -> None:
    """SPEC B.3."""
    text = helped(capsys, custom)
    words = '--help -d --devel --deploy --address --port --workers --threads --user --group --disable-static'
    words += ' --log-format start stop status restart --name -n --dry-run --level'
    for word in words.split():
        assert word in text
    assert 'whom to greet, at 100%' in text


def test_custom_options_are_parsed_beside_the_engines(custom: CustomOptions) -> None:
    """SPEC B.3."""
    line = parse(['-n', 'Ann', '--port=80', 'start', '--dry_run', '--level=3'], custom.declared)
    assert line.custom == {'name': 'Ann', 'dry-run': True, 'level': '3'}
    assert line.settings == {'port': 80}


def test_arguments_are_the_options_without_the_command(custom: CustomOptions) -> None:
    """SPEC DP-01: what starts the same server in the foreground."""
    words = ['--deploy', 'start', '-d', 'start', '--log_format=json', '-n', 'stop', '--dry-run', '--name=a b']
    line = parse(words, custom.declared)
    assert line.command == 'start'
    again = parse(line.arguments, custom.declared)
    assert again.command is None
    assert (again.settings, again.deploy, again.custom) == (line.settings, line.deploy, line.custom)
    assert again.custom == {'name': 'a b', 'dry-run': True}
    assert again.arguments == line.arguments


def test_custom_option_without_its_value_is_refused(
    capsys: pytest.CaptureFixture[str], custom: CustomOptions
) -> None:
    assert '--name' in refused(capsys, '--name', custom=custom)


def test_options_are_read_before_run(monkeypatch: pytest.MonkeyPatch, custom: CustomOptions) -> None:
    """SPEC B.3: skitai.options, skitai.get_option."""
    monkeypatch.setattr(sys, 'argv', ['serve.py', 'start', '--port', '80', '--name', 'Ann', '--dry_run'])
    for name in ('--name', 'name', '-n', 'n'):
        assert custom.get_option(name) == 'Ann'
        assert custom[name] == 'Ann'
    assert custom.get_option('-n', '--name') == 'Ann'
    assert custom.get_option('--dry-run') is True
    assert custom.get_option('dry_run') is True
    assert custom.get_option('--level') is None
    assert dict(custom) == {'name': 'Ann', 'dry-run': True, 'level': None}
    assert '--name' in custom
    assert '--port' not in custom


def test_absent_options_have_their_defaults(monkeypatch: pytest.MonkeyPatch, custom: CustomOptions) -> None:
    monkeypatch.setattr(sys, 'argv', ['serve.py'])
    assert dict(custom) == {'name': 'world', 'dry-run': False, 'level': None}


def test_of_several_the_given_one_counts(monkeypatch: pytest.MonkeyPatch, custom: CustomOptions) -> None:
    monkeypatch.setattr(sys, 'argv', ['serve.py', '--level=9'])
    assert custom.get_option('--name', '--level') == '9'


def test_an_option_declared_later_is_read_too(monkeypatch: pytest.MonkeyPatch, custom: CustomOptions) -> None:
    monkeypatch.setattr(sys, 'argv', ['serve.py', '--later', 'value', '--name=Ann'])
    assert custom['name'] == 'Ann'
    custom.add('-l', 'later=VALUE')
    assert custom['later'] == 'value'


@pytest.mark.parametrize('argv', [['/bin/pytest', '-x', '--name', '-q', 'tests/a.py::b'], ['--'], [''], []])
def test_a_foreign_command_line_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, custom: CustomOptions, argv: list[str]
) -> None:
    monkeypatch.setattr(sys, 'argv', argv)
    assert custom['name'] == 'world'


def test_undeclared_option_is_a_key_error(custom: CustomOptions) -> None:
    with pytest.raises(KeyError, match='add_option'):
        custom.get_option('--nmae')


def test_declaring_again_replaces(monkeypatch: pytest.MonkeyPatch, custom: CustomOptions) -> None:
    monkeypatch.setattr(sys, 'argv', ['serve.py'])
    custom.add('-n', 'name=WHO', default='moon')
    assert custom['name'] == 'moon'
    assert len(custom) == 3


@pytest.mark.parametrize(
    ('short', 'long'),
    [
        *((None, 'port=PORT'), ('-d', 'debug'), ('-h', 'host='), ('-n', 'number='), (None, 'log_format=')),
        *((None, ''), (None, '-x'), (None, 'a b'), ('-ab', 'thing'), ('-1', 'thing')),
    ],
)
def test_impossible_names_are_value_errors(custom: CustomOptions, short: str | None, long: str) -> None:
    with pytest.raises(ValueError, match='option'):
        custom.add(short, long)


def test_a_launch_script_uses_the_public_names() -> None:
    """SPEC B.3: before `run ()`, and after the engine's own module of that name was imported."""
    script = """
import skitai
skitai.add_option ('-g', 'greet=WHO', 'whom', 'world')
print (skitai.options ['--greet'], skitai.get_option ('-g'))
import skitai.options
from skitai.options import parse
print (skitai.options ['greet'])
"""
    command = [sys.executable, '-c', script, '--greet=moon']
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ('moon moon\nmoon\n', '')
