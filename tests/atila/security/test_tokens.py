"""JSON Web Tokens (SPEC RQ-20, HE-05, HE-06, A-140), made and verified by PyJWT in both directions."""

from __future__ import annotations

import base64
import datetime
import hmac
import json
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from projects import Launcher
from serving import Direct, parse_answer, request_bytes, send_raw

from atila import Atila
from atila.security import tokens
from skitai.testing import Client

Make = Callable[..., Client]

KEY = 'k' * 64
OLD_KEY = 'o' * 64
#: The seed's: shorter than RFC 7518 wants it.
SHORT_KEY = 'ds8fdsflksdjf9879dsf;?<>Asda'


def in_an_hour() -> int:
    return int(time.time()) + 3600


# -- what a request brings (RQ-20) -----------------------------------------------------------------


def asking_app() -> Atila:
    app = Atila('app')
    app.securekey = [KEY, OLD_KEY]

    @app.route('/')
    def index(was):
        assert was.request.JWT == was.decode_jwt() == was.dejwt()
        return was.API(was.request.JWT)

    return app


@pytest.fixture
def ask(client_for: Make) -> Callable[..., Any]:
    """`ask (authorization)`: what `was.request.JWT` is for that header."""
    client = client_for(asking_app())

    def get(authorization: str | None = None) -> Any:
        response = client.get('/', headers={'Authorization': authorization} if authorization else {})
        assert response.status_code == 200
        return response.data

    return get


@pytest.mark.parametrize('algorithm', ['HS256', 'HS384', 'HS512'])
@pytest.mark.parametrize('key', [KEY, OLD_KEY])
def test_claims_of_a_good_token(ask: Callable[..., Any], algorithm: str, key: str) -> None:
    """RQ-20; older keys of a rotation are still accepted."""
    claims = {'username': 'hans', 'exp': in_an_hour()}
    assert ask('Bearer ' + jwt.encode(claims, key, algorithm)) == claims


def test_what_is_wrong_is_said(ask: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """RQ-20, HE-06: a reason, never an exception."""
    late = jwt.encode({'exp': 1}, KEY)
    early = jwt.encode({'exp': in_an_hour(), 'nbf': in_an_hour()}, KEY)
    forged = jwt.encode({'exp': in_an_hour()}, 'x' * 64)
    unsigned = jwt.encode({'exp': in_an_hour()}, None, 'none')
    assert ask() == ask('Basic abc') == ask('Bearer') == {'err': 'no bearer token'}
    assert ask('Bearer ' + late) == {'err': 'token expired'}
    assert ask('Bearer ' + early) == {'err': 'token not activated yet'}
    assert ask('Bearer ' + forged) == {'err': 'invalid signature'}
    for bad in (unsigned, 'a.b.c', 'garbage', late[:-4] + 'AAAA.x', '...', late + '=', late + '\xe4'):
        assert ask('Bearer ' + bad) == {'err': 'invalid token'}
    assert not caplog.records


# -- made here (HE-05) -----------------------------------------------------------------------------


def test_making_and_verifying(client_for: Make) -> None:
    """A-140."""
    app = Atila('app')
    app.securekey = SHORT_KEY

    @app.route('/make_jwt')
    def make_jwt(was):
        return was.encode_jwt({'iss': 'example.com', 'exp': time.time() + 3600})

    @app.route('/verify_token')
    def verify_jwt(was):
        claims = was.request.JWT
        return claims['err'] if 'err' in claims else claims['iss']

    client = client_for(app)
    token = client.get('/make_jwt').text
    assert client.get('/verify_token').text == 'no bearer token'
    assert client.get('/verify_token', headers={'Authorization': 'Bearer ' + token}).text == 'example.com'


def test_members_of_was(client_for: Make) -> None:
    """HE-05, WAS-05: `salt` replaces the key; the short names."""
    app = Atila('app')
    app.securekey = KEY

    @app.route('/')
    def index(was):
        claims = {'exp': 4e9, 'aud': 'us'}
        assert was.dejwt(was.mkjwt(claims)) == claims
        token = was.encode_jwt(claims, OLD_KEY, alg='HS512')
        assert jwt.get_unverified_header(token) == {'alg': 'HS512', 'typ': 'JWT'}
        assert was.decode_jwt(token) == {'err': 'invalid signature'}
        assert was.decode_jwt(token, OLD_KEY) == was.decode_jwt(token, OLD_KEY.encode()) == claims
        assert was.decode_jwt(token, salt=OLD_KEY, algorithms=['HS256']) == {'err': 'invalid token'}
        assert was.decode_jwt(token, OLD_KEY, audience='them') == {'err': 'invalid token'}
        return 'ok'

    assert client_for(app).get('/').text == 'ok'


@pytest.mark.parametrize('algorithm', ['HS256', 'HS384', 'HS512'])
@pytest.mark.parametrize('key', [KEY, KEY.encode(), SHORT_KEY])
def test_pyjwt_verifies_it(algorithm: str, key: Any) -> None:
    """HE-05."""
    claims = {'exp': in_an_hour(), 'name': 'hänß', 'rights': [1, {'a': None}], 'aud': ['a', 'b']}
    token = tokens.encode(claims, key, algorithm)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the key's length
        assert jwt.decode(token, key, algorithms=[algorithm], audience='b') == claims
    assert tokens.decode(token, key) == claims


def test_it_is_base64url_without_padding() -> None:
    """HE-05; PITFALLS, Security: JWTs that are not base64url."""
    for size in range(60):
        token = tokens.encode({'exp': in_an_hour(), 'x': 'ÿþ?>~' * size}, KEY)
        header, payload, signature = token.split('.')
        assert not set(token) & set('+/=')
        data = base64.urlsafe_b64decode(payload + '=' * (-len(payload) % 4))
        assert json.loads(data)['x'] == 'ÿþ?>~' * size
        expected = hmac.digest(KEY.encode(), f'{header}.{payload}'.encode(), 'sha256')
        assert base64.urlsafe_b64decode(signature + '=') == expected


def test_dates() -> None:
    """As epoch seconds; naive ones are UTC."""
    end = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
    token = tokens.encode({'exp': end, 'nbf': datetime.datetime(2000, 1, 1)}, KEY)
    assert tokens.decode(token, KEY) == {'exp': 4102444800, 'nbf': 946684800}


def test_what_is_no_claim() -> None:
    """HE-05: `exp` is mandatory."""
    with pytest.raises(AssertionError, match='exp'):
        tokens.encode({'iss': 'x'}, KEY)
    for end in (None, 'tomorrow', True, float('inf'), [1]):
        with pytest.raises(TypeError, match="'exp'"):
            tokens.encode({'exp': end}, KEY)
    with pytest.raises(TypeError, match='the token holds a object'):
        tokens.encode({'exp': 1, 'x': object()}, KEY)
    with pytest.raises(ValueError, match='16384 at most'):
        tokens.encode({'exp': 1, 'x': 'x' * 16384}, KEY)
    for algorithm in ('none', 'RS256', 'hs256', ''):
        with pytest.raises(ValueError, match='use one of HS256'):
            tokens.encode({'exp': 1}, KEY, algorithm)


@pytest.mark.parametrize('key', [None, '', b'', [], ['']])
def test_without_a_key_it_is_our_fault(key: Any) -> None:
    for call in (lambda: tokens.decode('a.b.c', key), lambda: tokens.encode({'exp': 1}, key)):
        with pytest.raises(RuntimeError, match='Secret key is not configured'):
            call()


def test_keys_are_rotated() -> None:
    """The newest makes, all verify; the reason is the best known."""
    token = tokens.encode({'exp': 4e9}, [KEY, OLD_KEY])
    assert tokens.decode(token, KEY) == tokens.decode(token, [OLD_KEY, KEY]) == {'exp': 4e9}
    assert tokens.decode(token, OLD_KEY) == {'err': 'invalid signature'}


# -- claims (HE-06) --------------------------------------------------------------------------------


def signed(payload: bytes, header: bytes = b'{"alg":"HS256"}', key: str = KEY) -> str:
    """A token of any payload and header, by hand."""
    text = b'.'.join(base64.urlsafe_b64encode(part).rstrip(b'=') for part in (header, payload))
    signature = base64.urlsafe_b64encode(hmac.digest(key.encode(), text, 'sha256')).rstrip(b'=')
    return (text + b'.' + signature).decode()


@pytest.mark.parametrize(
    'payload',
    [
        b'',
        b'[]',
        b'1',
        b'"x"',
        b'null',
        b'{',
        b'\xff',
        b'{"exp":null}',
        b'{"exp":"4000000000"}',
        b'{"exp":true}',
        b'{"exp":[]}',
        b'{"exp":1e999}',
        b'{"exp":NaN}',
        b'{"exp":Infinity}',
        b'{"exp":4000000000,"nbf":{}}',
        b'{"x":' + b'[' * 5000 + b']' * 5000 + b'}',
    ],
)
def test_signed_nonsense(payload: bytes) -> None:
    """HE-06: from who has the key, but nonsense."""
    assert tokens.decode(signed(payload), KEY) == {'err': 'invalid token'}


@pytest.mark.parametrize(
    'header',
    [
        b'{}',
        b'[]',
        b'{"alg":"none"}',
        b'{"alg":"None"}',
        b'{"alg":null}',
        b'{"alg":["HS256"]}',
        b'{"alg":{}}',
        b'{"alg":"RS256"}',
        b'{"alg":"HS256","crit":["exp"]}',
        b'{"alg":"HS256","kid":1}',
        b'{"alg":"HS256","b64":false,"crit":["b64"]}',
        b'[' * 6000,
    ],
)
def test_headers_that_are_refused(header: bytes) -> None:
    """HE-06: the algorithm is ours to say."""
    assert tokens.decode(signed(b'{"exp":4000000000}', header), KEY) == {'err': 'invalid token'}


def test_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """HE-06: `exp` and `nbf` to the second."""
    token = jwt.encode({'exp': 2000, 'nbf': 1000}, KEY)
    for now, expected in (
        (999, 'token not activated yet'),
        (1000, None),
        (1999, None),
        (2000, 'token expired'),
        (9999, 'token expired'),
    ):
        monkeypatch.setattr(time, 'time', lambda now=now: now)
        assert tokens.decode(token, KEY).get('err') == expected


@pytest.mark.parametrize(
    ('named', 'wanted', 'good'),
    [
        ('a', None, True),
        (['a', 'b'], None, True),
        ('a', 'a', True),
        ('a', 'b', False),
        (['a', 'b'], 'b', True),
        (['a', 'b'], ['c', 'b'], True),
        (['a', 'b'], ['c'], False),
        (None, 'a', False),
        ('abc', 'a', False),
        ([{}], 'a', False),
        (1, 'a', False),
    ],
)
def test_audience(named: Any, wanted: Any, good: bool) -> None:
    """HE-06: looked at when it is asked for."""
    token = signed(json.dumps({'exp': 4e9, **({'aud': named} if named is not None else {})}).encode())
    assert ('err' not in tokens.decode(token, KEY, audience=wanted)) is good


# -- key pairs -------------------------------------------------------------------------------------


class Pair(NamedTuple):
    private: Any
    private_pem: str
    public_pem: str
    algorithm: str


def pair(private: Any, algorithm: str) -> Pair:
    return Pair(
        private,
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        public_form(private, serialization.Encoding.PEM).decode(),
        algorithm,
    )


def public_form(
    private: Any, encoding: Any, form: Any = serialization.PublicFormat.SubjectPublicKeyInfo
) -> bytes:
    data: bytes = private.public_key().public_bytes(encoding, form)
    return data


RSA = pair(rsa.generate_private_key(65537, 2048), 'RS256')
EC = pair(ec.generate_private_key(ec.SECP256R1()), 'ES256')
PAIRS = [
    RSA,
    EC,
    pair(ec.generate_private_key(ec.SECP384R1()), 'ES384'),
    pair(ec.generate_private_key(ec.SECP521R1()), 'ES512'),
    pair(ed25519.Ed25519PrivateKey.generate(), 'EdDSA'),
    RSA._replace(algorithm='PS512'),
]


def certificate_of(private: Any) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'test')])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        name, name, private.public_key(), 1, now, now + datetime.timedelta(days=1)
    )
    return builder.sign(private, hashes.SHA256())


@pytest.mark.parametrize('keys', PAIRS, ids=lambda keys: keys.algorithm)
def test_key_pairs_with_pyjwt(keys: Pair) -> None:
    """RS256, ES256 and their like, in both directions."""
    claims = {'exp': in_an_hour(), 'iss': 'example.com'}
    theirs = jwt.encode(claims, keys.private_pem, keys.algorithm)
    assert tokens.decode(theirs, keys.public_pem) == claims
    assert tokens.decode(theirs, keys.public_pem.encode(), algorithms=[keys.algorithm]) == claims
    ours = tokens.encode(claims, keys.private_pem, keys.algorithm)
    assert jwt.decode(ours, keys.public_pem, algorithms=[keys.algorithm]) == claims
    assert tokens.decode(ours[:-8] + 'AAAAAAAA', keys.public_pem) in (
        {'err': 'invalid signature'},
        {'err': 'invalid token'},
    )


def test_forms_of_a_public_key() -> None:
    token = tokens.encode({'exp': 4e9}, RSA.private_pem, 'RS256')
    certificate = certificate_of(RSA.private)
    for key in (
        RSA.private_pem,
        '\n some words\n' + RSA.public_pem,
        public_form(RSA.private, serialization.Encoding.DER),
        public_form(RSA.private, serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
        public_form(RSA.private, serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH),
        certificate.public_bytes(serialization.Encoding.PEM),
        certificate.public_bytes(serialization.Encoding.DER),
        [KEY, EC.public_pem, RSA.public_pem],
    ):
        assert tokens.decode(token, key) == {'exp': 4e9}


@pytest.mark.parametrize('keys', [RSA, EC], ids=['RSA', 'EC'])
def test_a_public_key_is_never_a_secret(keys: Pair) -> None:
    """Algorithm confusion: whoever knows the public key signs with its text by HMAC."""
    der = public_form(keys.private, serialization.Encoding.DER)
    ssh = public_form(keys.private, serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    for secret in (keys.public_pem.encode(), keys.public_pem.strip().encode(), der, ssh):
        for name, digest in (('HS256', 'sha256'), ('HS384', 'sha384'), ('HS512', 'sha512')):
            header = json.dumps({'alg': name}).encode()
            text = b'.'.join(
                base64.urlsafe_b64encode(part).rstrip(b'=') for part in (header, b'{"exp":4000000000}')
            )
            signature = base64.urlsafe_b64encode(hmac.new(secret, text, digest).digest()).rstrip(b'=')
            forged = (text + b'.' + signature).decode()
            for key in (secret, keys.public_pem):
                assert tokens.decode(forged, key) == {'err': 'invalid token'}
                with pytest.raises(ValueError, match='is not for this key'):
                    tokens.decode(forged, key, algorithms=['HS256', keys.algorithm, name])


def test_the_algorithms_of_a_key() -> None:
    """The allow-list is what the caller says, as far as the key goes."""
    token = tokens.encode({'exp': 4e9}, RSA.private_pem, 'RS512')
    assert tokens.decode(token, RSA.public_pem, algorithms='RS512') == {'exp': 4e9}
    assert tokens.decode(token, RSA.public_pem, algorithms=['RS256']) == {'err': 'invalid token'}
    assert tokens.decode(token, EC.public_pem) == {'err': 'invalid token'}
    assert tokens.decode(token, KEY) == {'err': 'invalid token'}
    for key, names in ((RSA.public_pem, 'ES256'), (EC.public_pem, 'ES512'), (KEY, 'RS256'), (KEY, 'none')):
        with pytest.raises(ValueError, match='is not for this key'):
            tokens.decode(token, key, algorithms=names)


def test_what_is_no_key() -> None:
    """Our own fault, said without the key."""
    weak = pair(rsa.generate_private_key(65537, 1024), 'RS256')
    odd = pair(ec.generate_private_key(ec.SECP256K1()), 'ES256')
    for key, words in (
        (RSA.public_pem[:200], 'is no public key'),
        ('-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----', 'is no public key'),
        ('ssh-rsa AAAA', 'is no public key'),
        ('{"kty": "oct", "k": "abc"}', 'give it as PEM'),
        (weak.public_pem, '1024 bits'),
        (odd.public_pem, 'another kind'),
    ):
        with pytest.raises(ValueError, match=words) as failure:
            tokens.decode('a.b.c', key)
        assert key not in str(failure.value)
    with pytest.raises(ValueError, match='the private key'):
        tokens.encode({'exp': 1}, RSA.public_pem, 'RS256')
    with pytest.raises(ValueError, match='use one of RS256'):
        tokens.encode({'exp': 1}, RSA.private_pem)


# -- anything --------------------------------------------------------------------------------------

segments = st.text('ABCabc019-_=+/ .', max_size=40) | st.binary(max_size=60).map(
    lambda data: base64.urlsafe_b64encode(data).decode().rstrip('=')
)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.none() | st.text() | st.binary() | st.integers() | st.lists(segments, max_size=5).map('.'.join))
def test_any_token_gives_a_reason(token: Any) -> None:
    """HE-06; PITFALLS, Security: garbage is no 500."""
    for key in (KEY, RSA.public_pem, EC.public_pem):
        assert tokens.decode(token, key).keys() == {'err'}


@given(st.binary())
def test_any_field_gives_a_reason(field: bytes) -> None:
    assert tokens.decode(tokens.bearer_token(field), KEY).keys() == {'err'}


@given(
    st.dictionaries(st.sampled_from(['alg', 'crit', 'kid', 'b64', 'typ', 'zip', 'jwk']), json_values),
    json_values,
)
def test_any_header_with_a_forged_signature(header: dict[str, Any], payload: Any) -> None:
    token = signed(json.dumps(payload).encode(), json.dumps({'alg': 'HS256', **header}).encode(), 'x')
    assert tokens.decode(token, KEY).keys() == {'err'}


@given(st.dictionaries(st.sampled_from(['exp', 'nbf', 'iat', 'aud', 'sub', 'jti', 'iss', 'x']), json_values))
def test_any_claims_with_a_good_signature(claims: dict[str, Any]) -> None:
    """Claims or a reason; never an exception."""
    found = tokens.decode(signed(json.dumps(claims).encode()), KEY, audience='us')
    assert isinstance(found, dict)
    if 'err' in found:
        assert found['err'] in ('invalid token', 'token expired', 'token not activated yet')


@given(st.data())
def test_a_changed_token_is_refused(data: st.DataObject) -> None:
    """Not one character may be another."""
    token = tokens.encode({'exp': 4_000_000_000, 'user': 'hans'}, KEY)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda character: character != token[at]))
    assert tokens.decode(token[:at] + other + token[at + 1 :], KEY).keys() == {'err'}


@pytest.fixture(scope='module')
def site() -> Any:
    engine = Direct(asking_app())
    yield engine
    engine.stop()


@given(st.binary(max_size=200).filter(lambda value: not set(value) & set(b'\r\n\x00')))
def test_any_authorization_field_on_the_wire(site: Any, field: bytes) -> None:
    """Never a 5xx."""
    for scheme in (b'', b'Bearer '):
        request = request_bytes(headers=b'Authorization: ' + scheme + field + b'\r\n')
        assert parse_answer(send_raw(site.connect(), request)).status in (200, 400)


def test_the_example_of_rfc_7515() -> None:
    """Appendix A.1."""
    key = base64.urlsafe_b64decode(
        'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow=='
    )
    token = (
        'eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.'
        'eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.'
        'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, 'time', lambda: 1300819379.0)
        assert tokens.decode(token, key) == {
            'iss': 'joe',
            'exp': 1300819380,
            'http://example.com/is_root': True,
        }


# -- what is written (the issue: no secret in a log line or an error page) --------------------------

SECRETS_SITE = {
    'serve.py': f"""
        import skitai
        from atila import Atila

        app = Atila (__name__)
        app.securekey = '{KEY}'

        @app.route ('/bearer')
        def bearer (was):
            return was.API (was.request.JWT)

        @app.route ('/csrf', methods = ['POST'])
        @app.csrf_verification_required
        def csrf (was, password):
            return 'ok'

        @app.route ('/login', methods = ['POST'])
        def login (was, password, salt, sig):
            if not was.verify_password (password, salt, sig):
                raise was.Error ('401 Unauthorized')
            return 'ok'

        @app.route ('/otp')
        def otp (was):
            if not was.verify_otp (was.request.get_header ('x-otp')):
                raise was.Error ('403 Forbidden')
            return 'ok'

        @app.route ('/ott', methods = ['POST'])
        def ott (was, token):
            was.revoke_ott (token)
            return was.API (answer = was.decode_ott (token))

        @app.route ('/broken', methods = ['POST'])
        def broken (was, token, password):
            claims, known = was.decode_jwt (token), was.encrypt_password (password)
            was.decode_jwt (token, '-----BEGIN PUBLIC KEY-----' + was.app.securekey)

        if __name__ == '__main__':
            with skitai.preference () as pref:
                skitai.mount ('/', app, pref)
            skitai.run (port = 5000)
    """
}


def test_nothing_secret_is_written(launch: Launcher) -> None:
    """Nor shown, in debug mode either."""
    client = launch(SECRETS_SITE, devel=True)
    token = jwt.encode({'exp': in_an_hour(), 'x': 1}, KEY)
    forged = jwt.encode({'exp': in_an_hour(), 'y': 1}, 'x' * 64)
    one_time, password = 'A' * 43 + '?' + 'QUFB' * 9, 'pa55word-of-hans'
    given = {
        'password': password,
        'salt': 'scrypt$4$8$1$' + 'S' * 22,
        'sig': 'G' * 43,
        'XSRF_TOKEN': 'X' * 66,
    }
    cookie = {'Cookie': 'XSRF_TOKEN=' + 'C' * 66}
    answers = [
        client.get('/bearer', headers={'Authorization': 'Bearer ' + token}),
        client.get('/bearer', headers={'Authorization': 'Bearer ' + forged}),
        client.post('/csrf', given, headers=cookie),
        client.post('/login', given),
        client.get('/otp', headers={'X-OTP': 'O' * 64}),
        client.post('/ott', {'token': one_time}),
        client.post('/broken', {'token': token, 'password': password}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 400, 401, 403, 200, 500]
    assert 'Traceback' in answers[-1].text
    written = client.wait_for_output('POST /broken HTTP') + ''.join(answer.text for answer in answers)
    for secret in (KEY, token, forged, one_time, password, 'S' * 22, 'G' * 43, 'X' * 66, 'C' * 66, 'O' * 64):
        assert secret not in written
