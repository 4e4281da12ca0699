"""`skitai.config_executors`: how many Threads and Processes run in a worker (SPEC TH-01); scripts without a
guard whose functions are sent to processes.
"""

from __future__ import annotations

from typing import Any

import pytest
from projects import Launcher

import skitai

SERVE = """
    import time
    import skitai
    from aquests import pools
    from atila import Atila

    app = Atila (__name__)

    @app.route ('/')
    def sizes (was):
        sizes = pools.sizes
        return was.API (threads = sizes.threads, processes = sizes.processes, timeout = sizes.timeout)

    @app.route ('/hangs')
    def hangs (was):
        return str (was.Thread (time.sleep, 2).dispatch ().status_code)

    if __name__ == '__main__':
        CONFIGURE
        skitai.mount ('/', app)
        skitai.run (port = 5000, threads = 3)
"""


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skitai, '_wanted', {})


def test_what_is_said_holds_in_the_workers(launch: Launcher) -> None:
    site = launch({'serve.py': SERVE.replace('CONFIGURE', 'skitai.config_executors (2, 0.5, "spawn")')})
    assert site.get('/').json() == {'threads': 2, 'processes': 2, 'timeout': 0.5}
    assert site.get('/hangs').text == '730'


def test_what_holds_if_nothing_is_said(launch: Launcher) -> None:
    """Threads enough to wait with; `workers = None` changes the time only."""
    site = launch({'serve.py': SERVE.replace('CONFIGURE', 'skitai.config_executors (zombie_timeout = None)')})
    sizes = site.get('/').json()
    assert sizes['threads'] == 128
    assert sizes['processes'] >= 1
    assert sizes['timeout'] is None


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        ({'workers': 0}, 'workers = 0'),
        ({'workers': 2.5}, 'workers = 2.5'),
        ({'workers': True}, 'workers = True'),
        ({'zombie_timeout': 0}, 'zombie_timeout = 0'),
        ({'zombie_timeout': '5'}, "zombie_timeout = '5'"),
        ({'zombie_timeout': True}, 'zombie_timeout = True'),
        ({'process_start_method': 'fork'}, "'fork'.*spawn"),
        ({'process_start_method': 'forkserver'}, "'forkserver'.*spawn"),
    ],
)
def test_what_cannot_be(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        skitai.config_executors(**given)
    assert skitai._wanted == {}


UNGUARDED = """
    import os
    import aquests
    import skitai
    from atila import Atila

    app = Atila (__name__)

    def double (x):
        return x * 2

    if 'ONCE' in os.environ: # who made the Process
        os.environ.pop ('ONCE')
        try:
            print ('result', aquests.Process (double, 4).fetch ())
        except aquests.errors.NotPicklable as error:
            print ('refused', error)
        raise SystemExit
    RUN
"""


@pytest.mark.parametrize('run', ["skitai.mount ('/', app); skitai.run (port = 0)", 'app.run (port = 0)'])
def test_a_script_without_a_guard_does_not_serve_in_a_process(launch: Launcher, run: str) -> None:
    launch.write({'serve.py': UNGUARDED.replace('RUN', run)})
    process = launch.execute(ONCE='1')
    assert process.wait() == 0
    line = process.output().splitlines()[-1]
    assert line.startswith('refused')
    assert "if __name__ == '__main__'" in line
    assert 'skitai.run' in line
