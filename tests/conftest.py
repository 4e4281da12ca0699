"""Fixtures for all tests. Projects are launched on free ports of 127.0.0.1 and stopped at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from projects import Launcher
from serving import Direct, build

from skitai.engine.asgi import AsgiEngine
from skitai.mounting import Mounts
from skitai.testing import Client, InProcessClient, ServerClient

if TYPE_CHECKING:
    from databases import Mongo, Postgres, Redis


@pytest.fixture(scope='session', autouse=True)
def _state_of_daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('SKITAI_RUN_DIR', str(tmp_path_factory.mktemp('run')))
        patch.delenv('SKITAIENV', raising=False)
        yield


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launcher]:
    """A project for one test."""
    launcher = Launcher(tmp_path)
    yield launcher
    launcher.stop()


@pytest.fixture(scope='module')
def launch_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Launcher]]:
    """Makes projects that a module's tests share."""
    launchers: list[Launcher] = []

    def make() -> Launcher:
        launchers.append(Launcher(tmp_path_factory.mktemp('project')))
        return launchers[-1]

    yield make
    for launcher in launchers:
        launcher.stop()


@pytest.fixture(params=['direct', 'asgi'])
def client_for(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """`client_for (app, pref, point = '/', **settings)`: a client of `app` on either engine, in this process.

    Directly: the real engine behind a socket, in a thread. As ASGI: called without sockets.
    """
    clients: list[Client] = []
    engines: list[Direct] = []
    mounted: list[Mounts] = []

    def make(app: Any, pref: Any = None, **options: Any) -> Client:
        if request.param == 'asgi':
            table, settings, mounts = build(app, pref, **options)
            mounted.append(mounts)
            clients.append(InProcessClient(AsgiEngine(table, settings)))
        else:
            engines.append(Direct(app, pref, **options))
            clients.append(ServerClient(engines[-1].port))
        return clients[-1]

    yield make
    for client in clients:
        client.stop()
    for engine in engines:
        engine.stop()
    for mounts in mounted:
        mounts.umount()


@pytest.fixture
def direct_for() -> Iterator[Callable[..., Direct]]:
    """`direct_for (app, ...)`: the real engine alone, for tests that talk in bytes."""
    engines: list[Direct] = []

    def make(app: Any, pref: Any = None, **options: Any) -> Direct:
        engines.append(Direct(app, pref, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()


# Database servers, started for the first test that wants them. All tests share them: let each use names of
# its own, and a test that kills one start it again.


@pytest.fixture(scope='session')
def postgres() -> Iterator[Postgres]:
    import databases

    with databases.postgres() as server:
        yield server


@pytest.fixture(scope='session')
def redis_server() -> Iterator[Redis]:
    import databases

    with databases.redis() as server:
        yield server


@pytest.fixture(scope='session')
def mongo() -> Iterator[Mongo]:
    import databases

    with databases.mongo() as server:
        yield server
