"""From a launch script to a server: preference, run, command line, --devel (SPEC chapter 1, B.1 to B.5)."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from projects import Launcher, Process, wait_for

import atila
import skitai
from skitai.testing import ServerClient, free_port

#: An app that tells what the process that serves it is like.
SERVE = """
    import os
    import sys
    import threading
    import time
    import skitai
    from atila import Atila

    app = Atila (__name__)

    @app.route ('/')
    def index (was):
        return 'Hello'

    @app.route ('/process')
    def process (was):
        return was.API (
            cwd = os.getcwd (), swd = skitai.getswd (), path = skitai.abspath ('a', 'b'),
            env = [skitai.getenv (), skitai.is_devel (), skitai.isdevel (), skitai.isproduction ()],
            debug = [app.debug, app.use_reloader, app.expose_spec],
            pid = os.getpid (), options = dict (skitai.options), sys_path = sys.path,
        )

    @app.route ('/slow')
    def slow (was):
        time.sleep (.3)
        return str (threading.get_ident ())

    skitai.add_option ('-n', 'name=NAME', 'whom to greet', 'world')
    skitai.add_option (None, 'loud', 'greet loudly')

    if __name__ == '__main__':
        skitai.mount ('/', app)
        skitai.run (SETTINGS)
"""


def script(settings: str = '') -> dict[str, str]:
    return {'serve.py': SERVE.replace('SETTINGS', settings)}


@pytest.fixture(scope='module')
def client(launch_module: Callable[[], Launcher]) -> ServerClient:
    """Production, from another working directory than the script's."""
    return launch_module()(script(), name='Ann', loud=True)


def get(port: int, path: str = '/', address: str = '127.0.0.1') -> requests.Response:
    return requests.get(f'http://{address}:{port}{path}', headers={'Connection': 'close'}, timeout=10)


# -- apps and preference -------------------------------------------------------------------------


def test_an_app_has_a_name_and_a_configuration() -> None:
    """SPEC ST-02."""
    app = atila.Atila('shop')
    assert app.name == app.app_name == 'shop'
    assert app.config.STATIC_URL == '/static/'


def test_default_configuration() -> None:
    """SPEC ST-08: unknown keys are free for the application."""
    app = atila.Atila('shop')
    assert dict(app.config) == {
        'MEDIA_URL': '/media/',
        'STATIC_URL': '/static/',
        'TEMPLATE_DIRS': [],
        'MINIFY_HTML': None,
        'MAX_UPLOAD_SIZE': 256 * 1024 * 1024,
        'MAINTAIN_INTERVAL': 60,
        'JSON_ENCODER': 'utcoffset',
        'PRETTY_JSON': False,
    }
    app.config.OWN = 1
    assert app.config['OWN'] == 1
    assert atila.Atila('other').config.TEMPLATE_DIRS is not app.config.TEMPLATE_DIRS


def test_default_attributes() -> None:
    """SPEC ST-09."""
    app = atila.Atila('shop')
    assert (app.debug, app.use_reloader, app.expose_spec) == (False, False, False)
    assert (app.enable_namespace, app.restrict_parameter_count) == (True, True)
    assert (app.securekey, app.session_timeout, app.authenticate) == (None, None, None)
    assert (app.access_control_allow_origin, app.access_control_max_age) == (None, 0)
    assert (app.realm, app.users) == ('App', {})


def test_preference_is_copied_onto_the_app() -> None:
    """SPEC ST-04, ST-09, ST-17: attributes and configuration; arbitrary ones too."""
    with skitai.preference(MAINTAIN_INTERVAL=5) as pref:
        pref.securekey = 'secret'
        pref.realm = 'Shop'
        pref.color = 'blue'
        pref.config.MINIFY_HTML = 'strip'
        pref.config.OWN = 1
    pref.late = 'after the block'  # leaving it has no effect
    app = atila.load(atila.Atila('shop'), pref)
    assert (app.securekey, app.realm, app.color, app.late) == ('secret', 'Shop', 'blue', 'after the block')
    assert (app.config.MAINTAIN_INTERVAL, app.config.MINIFY_HTML, app.config.OWN) == (5, 'strip', 1)
    assert app.config.JSON_ENCODER == 'utcoffset'


def test_preference_without_with_and_its_other_names() -> None:
    """SPEC ST-04, ST-17."""
    assert skitai.pref is skitai.preference is atila.preference
    pref = skitai.preference(preset=True)
    assert pref.config.MAX_UPLOAD_SIZE == 256 * 1024 * 1024
    assert 'MAX_UPLOAD_SIZE' not in skitai.preference().config


def test_path_of_a_preference_is_first_on_the_import_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPEC ST-04."""
    monkeypatch.setattr(sys, 'path', list(sys.path))
    skitai.preference(path=str(tmp_path))
    assert sys.path[0] == str(tmp_path)


def test_mount_later_mounts_after_the_apps_own() -> None:
    """SPEC ST-07."""
    called = []
    app = atila.Atila('shop')
    app.mount('/own', lambda app: called.append('own'))
    pref = skitai.preference()
    pref.mount_later('/later', lambda app, mntopt: called.append(mntopt['point']), color='blue')
    atila.load(app, pref)
    assert called == ['own', '/later']


def test_add_static_is_looked_at_after_or_before_the_apps_own(launch: Launcher) -> None:
    """SPEC ST-07."""
    files = {
        'serve.py': """
            import skitai
            from atila import Atila

            app = Atila (__name__)

            if __name__ == '__main__':
                with skitai.preference () as pref:
                    pref.set_static ('/static', 'own')
                    pref.add_static ('behind')
                    pref.add_static ('before', front = True)
                    skitai.mount ('/', app, pref)
                skitai.run ()
        """
    }
    for name, directories in (('a', 'own behind before'), ('b', 'own behind'), ('c', 'behind')):
        files |= {f'{directory}/{name}': directory for directory in directories.split()}
    client = launch(files)
    found = [client.get(f'/static/{name}').text for name in 'abc']
    assert found == ['before', 'own', 'behind']


def test_load_builds_an_app_outside_a_server() -> None:
    """SPEC ST-17."""
    app = atila.Atila('shop')
    mounted = []
    app.mount('/', lambda app, mntopt: mounted.append(app))
    assert atila.load(app) is app
    assert mounted == [app]


# -- run -----------------------------------------------------------------------------------------


def test_run_takes_a_port_as_text_and_ip_for_address(launch: Launcher) -> None:
    """SPEC ST-10: and ignores unknown keywords."""
    port = free_port()
    launch.write(script(f"ip = '127.0.0.2', port = '{port}', verbose = True, quic = None"))
    server = launch.execute()
    server.wait_for_output(f'Serving http://127.0.0.2:{port}')
    assert get(port, address='127.0.0.2').text == 'Hello'
    with pytest.raises(requests.ConnectionError):
        get(port)


def test_only_this_machine_is_served_unless_told_otherwise(launch: Launcher) -> None:
    """SPEC ST-10, decided: the line at the start says how to accept others."""
    port = free_port()
    launch.write(script())
    output = launch.execute('--port', str(port)).wait_for_output('Serving')
    assert f'http://127.0.0.1:{port}' in output
    assert "address = '0.0.0.0'" in output
    assert skitai.Settings().address == '127.0.0.1'
    assert skitai.Settings().port == 5000

    port = free_port()
    output = launch.execute('--port', str(port), '--address', '0.0.0.0').wait_for_output('Serving')
    assert "address = '0.0.0.0'" not in output
    assert get(port, address='127.0.0.3').text == 'Hello'


def test_run_with_nothing_mounted_is_an_error(launch: Launcher) -> None:
    """SPEC ST-10."""
    launch.write({'serve.py': 'import skitai\nskitai.run ()\n'})
    server = launch.execute('--port', str(free_port()))
    assert server.wait() == 1
    assert 'nothing is mounted' in server.output()


def test_run_serves_ipv6(launch: Launcher) -> None:
    """SPEC ST-10: `address`; on a machine without IPv6 the server says so."""
    port = free_port()
    launch.write(script("address = '::1'"))
    server = launch.execute('--port', str(port))
    try:
        with socket.create_server(('::1', 0), family=socket.AF_INET6):
            pass
    except OSError:
        assert server.wait() == 1
        assert 'cannot listen on ::1' in server.output()
        return
    server.wait_for_output(f'http://[::1]:{port}')
    assert get(port, address='[::1]').text == 'Hello'


def test_a_taken_port_is_an_error_in_words(launch: Launcher) -> None:
    """SPEC ST-10."""
    launch.write(script())
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        server = launch.execute('--port', str(port))
        assert server.wait() == 1
    assert f'cannot listen on 127.0.0.1:{port}' in server.output()
    assert 'Traceback' not in server.output()


def test_settings_of_run_are_named_as_in_the_table(launch: Launcher) -> None:
    """SPEC B.1: port, name, address, workers, threads, backlog, keep_alive, network_timeout."""
    port = free_port()
    launch.write(
        script(
            f"port = {port}, name = 'shop', address = '127.0.0.1', workers = 2, threads = 3, backlog = 100, "
            'keep_alive = 10, network_timeout = 5'
        )
    )
    server = launch.execute()
    server.wait_for_output('Serving')
    assert Path(f'/proc/{server.pid}/cmdline').read_text().startswith('skitai/shop')
    assert len(workers_of(server)) == 2


def workers_of(server: Process) -> list[int]:
    return [int(pid) for pid in Path(f'/proc/{server.pid}/task/{server.pid}/children').read_text().split()]


def test_the_command_line_goes_above_run_above_functions(launch: Launcher) -> None:
    """SPEC B.3."""
    functions = (
        'skitai.set_503_estimated_timeout (3)\n        skitai.set_max_upload_size (1)\n        skitai.run'
    )
    text = SERVE.replace('skitai.run', functions).replace(
        'SETTINGS', 'port = 1, threads = 1, max_upload_size = 4'
    )
    client = launch({'serve.py': text}, threads=3)
    assert client.post('/', b'12345').status_code == 413
    assert client.post('/', b'1234', headers={'Content-Type': 'text/plain'}).status_code == 200
    assert time_of_slow_requests(client, 3) < 0.85  # one after the other, had `threads` been 1


def time_of_slow_requests(client: ServerClient, number: int) -> float:
    from concurrent.futures import ThreadPoolExecutor

    began = time.monotonic()
    with ThreadPoolExecutor(number) as executor:
        answers = list(executor.map(lambda _: get(client.port, '/slow').status_code, range(number)))
    assert answers == [200] * number
    return time.monotonic() - began


def test_threads_are_the_services_that_run_at_once(launch: Launcher) -> None:
    """SPEC B.3."""
    client = launch(script('threads = 4'), threads=1)
    assert time_of_slow_requests(client, 3) > 0.85


def test_workers_are_processes(launch: Launcher) -> None:
    """SPEC B.3, GEN-05."""
    client = launch(script(), workers=2)
    pids = {get(client.port, '/process').json()['pid'] for _ in range(100)}
    assert len(pids) == 2
    assert client.pid not in pids


def test_app_run_mounts_itself(launch: Launcher) -> None:
    """SPEC ST-14."""
    port = free_port()
    text = SERVE.replace("skitai.mount ('/', app)", 'pref = skitai.preference ()')
    text = text.replace(
        'skitai.run (SETTINGS)', f"app.run ('127.0.0.1', {port}, mount = '/shop', pref = pref)"
    )
    launch.write({'serve.py': text})
    launch.execute().wait_for_output('Serving')
    assert get(port, '/shop/').text == 'Hello'
    assert get(port, '/').status_code == 404


# -- where it runs -------------------------------------------------------------------------------


def test_paths_are_relative_to_the_launch_script(client: ServerClient, launch_module: object) -> None:
    """SPEC ST-11: also where it was started from another directory; the engine changes to it."""
    process = client.get('/process').data
    assert process['cwd'] == process['swd'] == process['sys_path'][0]
    assert process['swd'] != os.getcwd()
    assert process['path'] == os.path.join(process['swd'], 'a', 'b')
    assert skitai.joinpath is skitai.abspath


# -- environment ---------------------------------------------------------------------------------


def test_production_is_not_debug_mode(client: ServerClient) -> None:
    """SPEC ST-12, B.5."""
    process = client.get('/process').data
    assert process['env'] == ['PRODUCTION', False, False, True]
    assert process['debug'] == [False, False, False]


def test_production_overrules_the_preference(launch: Launcher) -> None:
    """SPEC ST-12."""
    mount = "pref = skitai.preference ()\n        pref.debug = True\n        skitai.mount ('/', app, pref)"
    client = launch({'serve.py': SERVE.replace("skitai.mount ('/', app)", mount).replace('SETTINGS', '')})
    assert client.get('/process').data['debug'] == [False, False, False]


def test_devel_is_debug_mode(launch: Launcher) -> None:
    """SPEC ST-12, B.5: whatever the preference says; PITFALLS: an app object serves with --devel too."""
    mount = "pref = skitai.preference ()\n        pref.debug = False\n        skitai.mount ('/', app, pref)"
    client = launch(
        {'serve.py': SERVE.replace("skitai.mount ('/', app)", mount).replace('SETTINGS', '')}, devel=True
    )
    process = client.get('/process').data
    assert process['env'] == ['DEVEL', True, True, False]
    assert process['debug'] == [True, True, True]


def test_deploy_names_the_environment(launch: Launcher) -> None:
    """SPEC ST-12, B.5."""
    client = launch(script(), deploy='STAGING')
    process = client.get('/process').data
    assert process['env'] == ['STAGING', False, False, False]
    assert process['debug'] == [False, False, False]


def test_under_pytest_the_environment_is_so_named() -> None:
    """SPEC B.5."""
    assert skitai.getenv() == 'PYTEST'
    assert not skitai.is_devel()
    assert not skitai.isproduction()


# -- the command line ----------------------------------------------------------------------------


def test_custom_options_reach_the_app(client: ServerClient) -> None:
    """SPEC B.3: skitai.add_option, skitai.options."""
    assert client.get('/process').data['options'] == {'name': 'Ann', 'loud': True}


def test_help_is_printed_without_serving(launch: Launcher) -> None:
    """SPEC B.3."""
    launch.write(script())
    server = launch.execute('--help')
    assert server.wait() == 0
    for word in (
        '--devel',
        '--port',
        '--threads',
        '--workers',
        '--name',
        'whom to greet',
        'start',
        'stop',
        'status',
    ):
        assert word in server.output()
    assert 'Serving' not in server.output()


def test_a_mistake_on_the_command_line_ends_with_2(launch: Launcher) -> None:
    """SPEC B.3, ST-12: --devel and --deploy exclude each other."""
    launch.write(script())
    for arguments in (['--prot=80'], ['--devel', '--deploy=X'], ['--port', 'x']):
        server = launch.execute(*arguments)
        assert server.wait() == 2
        assert arguments[0].partition('=')[0] in server.output()


def test_commands_of_a_real_launch_script(launch: Launcher) -> None:
    """SPEC B.2: start, status, restart, stop, -d; the foreground refuses beside the daemon."""
    port = free_port()
    launch.write(script(f"port = {port}, name = 'commands'"))

    def command(*arguments: str) -> tuple[int, str]:
        process = launch.execute(*arguments, SKITAI_RUN_DIR=str(launch.directory / 'run'))
        return process.wait(), process.output().strip()

    assert command('status') == (3, 'stopped')
    try:
        code, said = command('start')
        assert code == 0
        assert said.startswith('running:')
        pid = get(port, '/process').json()['pid']
        assert command('status') == (0, said)
        code, refused = command()
        assert code == 1
        assert 'in the background' in refused
        assert get(port, '/process').json()['cwd'] == str(launch.directory)
        assert command('restart')[0] == 0
        assert get(port, '/process').json()['pid'] != pid
    finally:
        assert command('stop') == (0, 'stopped')
    with pytest.raises(requests.ConnectionError):
        get(port)
    try:
        assert command('-d')[0] == 0
        assert get(port).text == 'Hello'
    finally:
        assert command('stop') == (0, 'stopped')


def test_disable_static_serves_no_directories(launch: Launcher) -> None:
    """SPEC B.3, DP-03."""
    text = SERVE.replace(
        "skitai.mount ('/', app)", "skitai.mount ('/', 'files')\n        skitai.mount ('/', app)"
    )
    files = {'serve.py': text.replace('SETTINGS', ''), 'files/a.txt': 'a file'}
    assert launch(files).get('/a.txt').text == 'a file'
    assert launch(files, disable_static=True).get('/a.txt').status_code == 404


# -- reloading -----------------------------------------------------------------------------------

PACKAGE = {
    'serve.py': """
        import skitai
        import shop

        if __name__ == '__main__':
            skitai.mount ('/', shop)
            skitai.run ()
    """,
    'shop/__init__.py': """
        from atila import Atila

        def __app__ ():
            return Atila (__name__)

        def __setup__ (app):
            from . import services
            app.mount ('/', services)
    """,
    'shop/services.py': """
        def __mount__ (app):
            @app.route ('/')
            def index (was):
                return 'old'

        def __umount__ (app):
            print ('old is unmounted')
    """,
}


def test_a_changed_service_module_is_served_within_a_second(launch: Launcher) -> None:
    """SPEC ST-13: the old module's __umount__ runs first."""
    client = launch(PACKAGE, devel=True)
    assert client.get('/').text == 'old'
    began = time.monotonic()
    launch.write({'shop/services.py': PACKAGE['shop/services.py'].replace("'old'", "'new'")})
    wait_for(lambda: client.get('/').text == 'new', 'the changed module')
    assert time.monotonic() - began < 1.5  # a second, and a loaded machine
    assert client.output().count('old is unmounted') == 1


def test_a_change_in_a_new_module_is_seen(launch: Launcher) -> None:
    """SPEC ST-13."""
    client = launch(PACKAGE, devel=True)
    services = PACKAGE['shop/services.py'].replace("return 'old'", 'from .texts import text; return text')
    launch.write({'shop/texts/__init__.py': "text = 'first'", 'shop/services.py': services})
    wait_for(lambda: client.get('/').text == 'first', 'the new module')
    launch.write({'shop/texts/__init__.py': "text = 'second'"})
    wait_for(lambda: client.get('/').text == 'second', 'its change')


@pytest.mark.parametrize('broken', ['def __mount__ (app:', 'import nowhere'])
def test_a_broken_module_is_shown_until_it_is_mended(launch: Launcher, broken: str) -> None:
    """SPEC ST-13, decided: in the browser and in the terminal; the supervisor stays."""
    client = launch(PACKAGE, devel=True)
    assert client.get('/').text == 'old'
    launch.write({'shop/services.py': broken})
    wait_for(lambda: client.get('/').status_code == 500, 'the failure')
    page = client.get('/', headers={'Accept': 'text/html'})
    assert page.headers['Content-Type'].startswith('text/html')
    for text in (page.text, client.output()):
        assert 'services.py' in text
        assert 'Traceback' in text
    launch.write({'shop/services.py': PACKAGE['shop/services.py'].replace("'old'", "'mended'")})
    wait_for(lambda: client.get('/').text == 'mended', 'the mended module')


def test_production_does_not_reload(client: ServerClient, launch: Launcher) -> None:
    """SPEC ST-12."""
    quiet = launch(PACKAGE)
    launch.write({'shop/services.py': PACKAGE['shop/services.py'].replace("'old'", "'new'")})
    deadline = time.monotonic() + 0.6
    while time.monotonic() < deadline:
        assert quiet.get('/').text == 'old'
        time.sleep(0.05)
