"""Requests and responses of the test client (SPEC TC-02)."""

import datetime
import ipaddress
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from skitai.testing import Client, Response, test_client

SCRIPT = Path(__file__).with_name('serve_echo.py')


@pytest.fixture(scope='module')
def server():
    with test_client(SCRIPT, 0) as client:
        yield client


@pytest.fixture
def client(server):
    with server.clone() as client:
        yield client


@pytest.mark.parametrize('method', ['get', 'post', 'put', 'patch', 'delete', 'options'])
def test_each_method_sends_its_request(client, method):
    """SPEC TC-02."""
    asked = getattr(client, method)('/a/b', headers={'X-One': '1'}).data
    assert asked['method'] == method.upper()
    assert asked['path'] == '/a/b'
    assert asked['headers']['x-one'] == '1'


def test_head_has_headers_and_no_content(client):
    """SPEC TC-02."""
    response = client.head('/a')
    assert response.status_code == 200
    assert int(response.headers['Content-Length']) > 0
    assert response.content == b''
    assert response.data == ''


def test_the_response_is_that_of_requests(client):
    """SPEC TC-02: status_code, reason, text, content, headers, json ()."""
    response = client.get('/problem')
    assert isinstance(response, Response)
    assert isinstance(response, requests.Response)
    assert (response.status_code, response.reason) == (418, "I'm a Teapot")
    assert not response.ok
    assert response.text == '{"code": 41800}'
    assert response.content == b'{"code": 41800}'
    assert response.headers['content-type'] == 'application/problem+json'
    assert response.json() == {'code': 41800}
    assert response.request.method == 'GET'
    assert response.history == []


def test_data_is_the_decoded_json_and_one_object(client):
    """SPEC TC-02."""
    response = client.get('/problem')
    assert response.data == {'code': 41800}
    assert response.data is response.data


def test_data_is_the_text_of_what_is_not_json(client):
    """SPEC TC-02."""
    assert client.get('/text').data == 'grüß dich'


def test_data_of_broken_json_raises(client):
    with pytest.raises(ValueError):
        _ = client.get('/broken').data


def test_params_become_the_query(client):
    assert client.get('/a', {'b': 'x y', 'c': [1, 2]}).data['path'] == '/a?b=x+y&c=1&c=2'
    assert client.delete('/a', params={'b': 1}).data['path'] == '/a?b=1'


@pytest.mark.parametrize('method', ['post', 'put', 'patch'])
def test_a_dict_is_a_form_and_json_is_json(client, method):
    """SPEC TC-02."""
    call = getattr(client, method)
    form = call('/a', {'b': 'x y', 'c': 1}).data
    assert form['body'] == 'b=x+y&c=1'
    assert form['headers']['content-type'] == 'application/x-www-form-urlencoded'
    sent = call('/a', json={'b': [1]}).data
    assert sent['body'] == '{"b": [1]}'
    assert sent['headers']['content-type'] == 'application/json'


def test_bytes_text_and_iterables_are_bodies(client):
    assert client.post('/a', b'\x00\xff').data['body'] == '\x00\xff'
    assert client.post('/a', 'ü').data['body'].encode('latin-1').decode() == 'ü'
    chunked = client.post('/a', iter([b'one', b'two'])).data
    assert chunked['body'] == 'onetwo'
    assert chunked['headers']['transfer-encoding'] == 'chunked'


def test_upload_sends_files_and_fields_as_multipart_in_order(client, tmp_path):
    """SPEC TC-02."""
    path = tmp_path / 'note.txt'
    path.write_bytes(b'from disk')
    with path.open('rb') as file:
        parts = {
            'title': 'Grüße',
            'count': 3,
            'file': file,
            'raw': ('a.png', b'\x89PNG'),
            'typed': ('b', b'{}', 'application/json'),
            'many': ['x', 'y'],
        }
        asked = client.upload('/up', parts, headers={'X-One': '1'}).data
    assert asked['method'] == 'POST'
    assert asked['headers']['x-one'] == '1'
    media, _, boundary = asked['headers']['content-type'].partition('; boundary=')
    assert media == 'multipart/form-data'
    body = asked['body'].encode('latin-1').decode('utf-8', 'replace').replace('\r\n', '\n')
    file, png, json = ('Content-Type: ' + media for media in ('text/plain', 'image/png', 'application/json'))
    assert [part.strip('\n') for part in body.split('--' + boundary)[1:-1]] == [
        'Content-Disposition: form-data; name="title"\n\nGrüße',
        'Content-Disposition: form-data; name="count"\n\n3',
        f'Content-Disposition: form-data; name="file"; filename="note.txt"\n{file}\n\nfrom disk',
        f'Content-Disposition: form-data; name="raw"; filename="a.png"\n{png}\n\n\ufffdPNG',
        f'Content-Disposition: form-data; name="typed"; filename="b"\n{json}\n\n{{}}',
        'Content-Disposition: form-data; name="many"\n\nx',
        'Content-Disposition: form-data; name="many"\n\ny',
    ]


def test_upload_of_fields_alone_is_multipart_too(client):
    asked = client.upload('/up', {'a': 'b'}).data
    assert asked['headers']['content-type'].startswith('multipart/form-data; boundary=')


def test_upload_of_nothing_is_refused(client):
    with pytest.raises(ValueError, match='at least one part'):
        client.upload('/up', {})


def test_redirects_are_shown_unless_asked_to_follow(client):
    response = client.get('/moved')
    assert (response.status_code, response.headers['Location']) == (301, '/text')
    followed = client.get('/moved', allow_redirects=True)
    assert followed.status_code == 200
    assert [step.status_code for step in followed.history] == [301]


def test_cookies_are_kept_between_calls_but_not_in_a_clone(client):
    """SPEC TC-02."""
    client.get('/login')
    assert client.get('/a').data['headers']['cookie'] == 'user=hans'
    assert client.session.cookies['user'] == 'hans'
    assert 'cookie' not in client.clone().get('/a').data['headers']


def test_default_headers_go_with_every_request_and_into_a_clone(client):
    """SPEC TC-02: `set_default_header`."""
    client.set_default_header('X-One', '1')
    assert client.get('/a').data['headers']['x-one'] == '1'
    assert client.post('/a', headers={'X-One': '2'}).data['headers']['x-one'] == '2'
    other = client.clone()
    assert other.get('/a').data['headers']['x-one'] == '1'
    client.set_default_header('X-One', None)
    assert 'x-one' not in client.get('/a').data['headers']
    assert other.get('/a').data['headers']['x-one'] == '1'


@pytest.mark.parametrize(('uri', 'path'), [('a', '/a'), ('', '/'), ('?b=1', '/?b=1'), ('/a?b=1', '/a?b=1')])
def test_paths_are_relative_to_the_server(client, uri, path):
    assert client.get(uri).data['path'] == path


def test_an_address_on_the_server_is_accepted_and_on_another_refused(client):
    assert client.get(client.base_url + '/a').data['path'] == '/a'
    for other in (f'{client.base_url}1/a', 'http://example.com/', 'https://127.0.0.1/'):
        with pytest.raises(ValueError, match='is not below'):
            client.get(other)


def test_a_call_ends_at_its_timeout(client):
    with pytest.raises(requests.ReadTimeout):
        client.get('/slow', timeout=0.1)


def test_a_server_that_is_not_there_is_a_connection_error():
    with test_client(SCRIPT, 0) as client:
        port = client.port
    with test_client(port=port) as client, pytest.raises(requests.ConnectionError):
        client.get('/')


def test_proxies_of_the_environment_are_not_used(client, monkeypatch):
    monkeypatch.setenv('HTTP_PROXY', 'http://127.0.0.1:1')
    monkeypatch.setenv('NO_PROXY', '')
    assert client.get('/text').status_code == 200


def test_ssl_accepts_the_certificate_of_this_machine_without_a_warning(tmp_path):
    """SPEC TC-01: `ssl = True`. Warnings are errors here."""
    path = tmp_path / 'server.pem'
    path.write_bytes(self_signed())
    with test_client(SCRIPT, 0, ssl=True, certificate=path) as client:
        assert client.base_url.startswith('https://127.0.0.1:')
        assert client.get('/text').status_code == 200
        assert client.get('/moved', allow_redirects=True).data == 'grüß dich'


def test_all_clients_are_of_one_kind(client):
    assert isinstance(client, Client)


def self_signed() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'skitai test')])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address('127.0.0.1'))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
