"""TLS: HTTP/1.1 and HTTP/2, kinds of keys, mistakes (SPEC B.10; h2c is HTTP/2 without TLS)."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from projects import Launcher, wait_for

from skitai.testing import ServerClient, free_port

SERVE = """
    import skitai
    from atila import Atila

    app = Atila (__name__)

    @app.route ('/')
    def index (was):
        request = was.request
        return was.API (version = request.version, scheme = request.scheme, url = was.env ['wsgi.url_scheme'])

    @app.route ('/echo', methods = ['POST'])
    def echo (was):
        return was.request.body

    @app.route ('/stream')
    def stream (was):
        return (chunk for chunk in ['x' * 50_000] * 20)

    if __name__ == '__main__':
        skitai.mount ('/', app)
        STATEMENTS
"""

PASSWORD = b'open sesame'
BODY = bytes(range(256)) * 4096  # a megabyte: above one window of HTTP/2


def self_signed(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'localhost')])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName('localhost'), x509.IPAddress(ipaddress.ip_address('127.0.0.1'))]
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


@pytest.fixture(scope='session')
def keys() -> dict[str, tuple[bytes, bytes]]:
    """By the key's kind: certificate and key as PEM."""
    rsa_key = rsa.generate_private_key(65537, 2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    locked = serialization.BestAvailableEncryption(PASSWORD)
    certificates = {'rsa': self_signed(rsa_key), 'ec': self_signed(ec_key)}
    forms = {
        'pkcs8': ('rsa', rsa_key, PrivateFormat.PKCS8, NoEncryption()),
        'pkcs1': ('rsa', rsa_key, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        'sec1': ('ec', ec_key, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        'encrypted-pkcs8': ('rsa', rsa_key, PrivateFormat.PKCS8, locked),
        'encrypted-pkcs1': ('rsa', rsa_key, PrivateFormat.TraditionalOpenSSL, locked),
    }
    return {
        kind: (certificates[name], key.private_bytes(Encoding.PEM, form, lock))
        for kind, (name, key, form, lock) in forms.items()
    }


def script(statements: str) -> dict[str, str]:
    return {'serve.py': SERVE.replace('STATEMENTS', statements.replace('\n', '\n        '))}


def files(keys: dict[str, tuple[bytes, bytes]], kind: str, statements: str) -> dict[str, str]:
    certificate, key = keys[kind]
    return {**script(statements), 'certs/cert.pem': certificate.decode(), 'certs/key.pem': key.decode()}


ENABLE = "skitai.enable_ssl ('certs/cert.pem', 'certs/key.pem')\nskitai.run ()"


@pytest.fixture(scope='module')
def secure(
    launch_module: Callable[[], Launcher], keys: dict[str, tuple[bytes, bytes]]
) -> tuple[ServerClient, Path]:
    """A server with TLS, and its certificate."""
    launcher = launch_module()
    client = launcher(files(keys, 'pkcs8', ENABLE), ssl=True)
    return client, launcher.directory / 'certs' / 'cert.pem'


def http(secure: tuple[ServerClient, Path], **options: object) -> httpx2.Client:
    """A client that checks the certificate."""
    client, certificate = secure
    context = ssl.create_default_context(cafile=str(certificate))
    return httpx2.Client(base_url=client.base_url, verify=context, timeout=20, **options)


def test_http_1_1_over_tls(secure: tuple[ServerClient, Path]) -> None:
    """SPEC B.10, RQ-03, RQ-04."""
    with http(secure) as client:
        answer = client.get('/')
        assert answer.http_version == 'HTTP/1.1'
        assert answer.json() == {'version': '1.1', 'scheme': 'https', 'url': 'https'}


def test_http_2_over_tls(secure: tuple[ServerClient, Path]) -> None:
    """SPEC B.10, RQ-03, RQ-04: negotiated by ALPN; bodies both ways above a window."""
    with http(secure, http1=False, http2=True) as client:
        answer = client.get('/')
        assert answer.http_version == 'HTTP/2'
        assert answer.json() == {'version': '2.0', 'scheme': 'https', 'url': 'https'}
        headers = {'Content-Type': 'application/octet-stream'}
        assert client.post('/echo', content=BODY, headers=headers).content == BODY
        assert client.post('/echo', content=iter([BODY, BODY]), headers=headers).content == BODY * 2
        assert client.get('/stream').text == 'x' * 1_000_000
        assert client.head('/').content == b''
        assert client.get('/nowhere').status_code == 404


def test_http_2_without_tls(launch: Launcher) -> None:
    """SPEC B.10: h2c with prior knowledge, beside HTTP/1.1 on one port."""
    served = launch(script('skitai.run ()'))
    with httpx2.Client(base_url=served.base_url, http1=False, http2=True, timeout=20) as client:
        answer = client.get('/')
        assert answer.http_version == 'HTTP/2'
        assert answer.json() == {'version': '2.0', 'scheme': 'http', 'url': 'http'}
        headers = {'Content-Type': 'application/octet-stream'}
        assert client.post('/echo', content=BODY, headers=headers).content == BODY
    assert served.get('/').data['version'] == '1.1'


def test_http_1_only(launch: Launcher, keys: dict[str, tuple[bytes, bytes]]) -> None:
    """`http2 = False`: who offers both gets HTTP/1.1, who speaks HTTP/2 only is refused."""
    client = launch(files(keys, 'pkcs8', ENABLE.replace('run ()', 'run (http2 = False)')), ssl=True)
    served = client, launch.directory / 'certs' / 'cert.pem'
    with http(served, http2=True) as both:
        answer = both.get('/')
        assert answer.http_version == 'HTTP/1.1'
        assert answer.json()['version'] == '1.1'
    with http(served, http1=False, http2=True) as modern, pytest.raises(httpx2.HTTPError):
        modern.get('/')


def test_http_1_only_without_tls(launch: Launcher) -> None:
    served = launch(script('skitai.run (http2 = False)'))
    with (
        httpx2.Client(base_url=served.base_url, http1=False, http2=True, timeout=20) as modern,
        pytest.raises(httpx2.HTTPError),
    ):
        modern.get('/')
    assert served.get('/').data['version'] == '1.1'


def test_the_start_names_the_https_address(secure: tuple[ServerClient, Path]) -> None:
    """SPEC ST-10."""
    client, _ = secure
    assert f'Serving https://127.0.0.1:{client.port}' in client.wait_for_output('Serving')


@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_of_tls(secure: tuple[ServerClient, Path], version: ssl.TLSVersion) -> None:
    """1.2 and 1.3 are served."""
    client, certificate = secure
    context = ssl.create_default_context(cafile=str(certificate))
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(('127.0.0.1', client.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname='localhost') as connection,
    ):
        connection.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
        assert connection.recv(65536).startswith(b'HTTP/1.1 200')
        assert connection.version() == version.name.replace('_', '.')


def test_what_is_no_tls_does_not_disturb_it(secure: tuple[ServerClient, Path]) -> None:
    client, _ = secure
    with socket.create_connection(('127.0.0.1', client.port), timeout=10) as connection:
        connection.sendall(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
        try:
            assert b'HTTP/1.1 200' not in connection.recv(65536)
        except ConnectionResetError:
            pass
    assert client.get('/').status_code == 200


@pytest.mark.parametrize('kind', ['pkcs1', 'sec1'])
def test_older_forms_of_keys(launch: Launcher, keys: dict[str, tuple[bytes, bytes]], kind: str) -> None:
    """SPEC B.10, by arguments of run. Absolute paths, too."""
    arguments = "certfile = skitai.abspath ('certs', 'cert.pem'), keyfile = skitai.abspath ('certs/key.pem')"
    client = launch(files(keys, kind, f'skitai.run ({arguments})'), ssl=True)
    assert client.get('/').data['scheme'] == 'https'


@pytest.mark.parametrize('kind', ['encrypted-pkcs8', 'encrypted-pkcs1'])
def test_encrypted_keys(
    launch: Launcher,
    keys: dict[str, tuple[bytes, bytes]],
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SPEC B.10: `enable_ssl (cert, key, passphrase)`; no readable copy of the key is left."""
    copies = tmp_path / 'copies'
    copies.mkdir()
    monkeypatch.setenv('TMPDIR', str(copies))
    statements = (
        f"skitai.enable_ssl ('certs/cert.pem', 'certs/key.pem', {PASSWORD.decode()!r})\nskitai.run ()"
    )
    client = launch(files(keys, kind, statements), ssl=True, workers=2)
    assert client.get('/').data['scheme'] == 'https'
    client.wait_for_output('Serving')
    assert [path for path in copies.iterdir() if 'key' in path.name] == []


def test_certificate_and_key_in_one_file(launch: Launcher, keys: dict[str, tuple[bytes, bytes]]) -> None:
    """SPEC B.10."""
    certificate, key = keys['pkcs8']
    one = {'certs/both.pem': (certificate + key).decode()}
    client = launch({**script("skitai.enable_ssl ('certs/both.pem')\nskitai.run ()"), **one}, ssl=True)
    assert client.get('/').data['scheme'] == 'https'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ("'certs/none.pem', 'certs/key.pem'", 'there is no file'),
        ("'certs/cert.pem', 'certs/other.pem'", 'cannot be used together'),
        ("'certs/cert.pem', 'certs/locked.pem', 'wrong'", 'cannot be used'),
        ("'certs/cert.pem', 'certs/locked.pem'", 'cannot be used'),
    ],
)
def test_mistakes_end_the_start_in_words(
    launch: Launcher, keys: dict[str, tuple[bytes, bytes]], arguments: str, message: str
) -> None:
    """SPEC B.10: in the master, before a worker is started. Nobody is asked for a passphrase."""
    other = {
        'certs/other.pem': keys['sec1'][1].decode(),
        'certs/locked.pem': keys['encrypted-pkcs8'][1].decode(),
    }
    statements = f'skitai.enable_ssl ({arguments})\nskitai.run ()'
    launch.write({**files(keys, 'pkcs8', statements), **other})
    server = launch.execute('--port', str(free_port()))
    assert server.wait() == 1
    assert message in server.output()


def test_devel_serves_its_failure_page_over_tls(
    launch: Launcher, keys: dict[str, tuple[bytes, bytes]]
) -> None:
    """SPEC ST-13, B.10."""
    sound = files(keys, 'pkcs8', ENABLE)
    client = launch(sound, ssl=True, devel=True)
    assert client.get('/').data['scheme'] == 'https'
    launch.write({'serve.py': sound['serve.py'].replace('return was.API', 'return was..API')})
    wait_for(lambda: client.get('/').status_code == 500, 'the failure')
    assert 'SyntaxError' in client.get('/').text
