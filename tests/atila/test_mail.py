"""Mail (SPEC WAS-05, B.15), handed to a real SMTP server: one of sockets, in this process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import email.policy
import ipaddress
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

import skitai
from atila import Atila
from atila.mail import Email
from atila.upload import Spool, UploadedFile
from skitai import smtp
from skitai.testing import Client

DEADLINE = 20.0


class MailServer:
    """Takes mail on a free port. `context`: for STARTTLS, or with `tls` from the first byte."""

    def __init__(
        self, context: ssl.SSLContext | None = None, tls: bool = False, refused: tuple[str, ...] = ()
    ) -> None:
        self.context, self.tls, self.refused = context, tls, refused
        self.seen: list[str] = []
        self.mails: list[tuple[str, list[str], bytes]] = []
        self.silent = False
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(DEADLINE)
            # The client may not trust us, or leave.
            with connection, contextlib.suppress(OSError), contextlib.ExitStack() as opened:
                self._talk(connection, opened)

    def _talk(self, connection: socket.socket, opened: contextlib.ExitStack) -> None:
        secure = self.tls
        if self.tls:
            assert self.context is not None
            connection = opened.enter_context(self.context.wrap_socket(connection, server_side=True))
        if self.silent:
            connection.recv(1)
            return
        file = opened.enter_context(connection.makefile('rwb'))

        def say(text: str) -> None:
            file.write(text.encode() + b'\r\n')
            file.flush()

        say('220 test')
        sender, recipients = '', []
        while line := file.readline():
            command = line.decode().rstrip('\r\n')
            self.seen.append(command)
            verb = command.split(' ')[0].upper()
            if verb == 'EHLO':
                offers = ['AUTH PLAIN', '8BITMIME']
                if self.context is not None and not secure:
                    offers.append('STARTTLS')
                say(
                    '\r\n'.join(['250-test', *(f'250-{offer}' for offer in offers[:-1]), f'250 {offers[-1]}'])
                )
            elif verb == 'STARTTLS':
                assert self.context is not None
                say('220 go on')
                connection = opened.enter_context(self.context.wrap_socket(connection, server_side=True))
                file = opened.enter_context(connection.makefile('rwb'))
                secure = True
            elif verb == 'AUTH':
                _, user, password = base64.b64decode(command.split(' ')[2]).split(b'\0')
                say('235 welcome' if (user, password) == (b'ann', b'secret') else '535 no')
            elif verb == 'MAIL':
                sender = command
                say('250 ok')
            elif verb == 'RCPT':
                address = command.partition('<')[2].partition('>')[0]
                if address in self.refused:
                    say('550 nobody')
                else:
                    recipients.append(address)
                    say('250 ok')
            elif verb == 'DATA':
                say('354 go on')
                lines = []
                while (part := file.readline()) != b'.\r\n':
                    lines.append(part[1:] if part.startswith(b'.') else part)
                self.mails.append((sender, recipients, b''.join(lines)))
                say('250 ok')
            elif verb == 'QUIT':
                say('221 bye')
                return
            else:
                say('250 ok')


Start = Callable[..., MailServer]


@pytest.fixture
def mail_server() -> Iterator[Start]:
    """`mail_server (...)`: a server that `skitai.set_smtp` names, unless it speaks TLS."""
    servers: list[MailServer] = []
    before = smtp._server

    def start(*args: Any, **options: Any) -> MailServer:
        servers.append(MailServer(*args, **options))
        smtp.set_smtp(f'127.0.0.1:{servers[-1].port}', timeout=DEADLINE)
        return servers[-1]

    yield start
    smtp._server = before
    for server in servers:
        server.stop()


@pytest.fixture(scope='module')
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's, and that of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'localhost')])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address('127.0.0.1'))]), critical=False
        )
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    file = tmp_path_factory.mktemp('tls') / 'server.pem'
    file.write_bytes(
        certificate
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cadata=certificate.decode())


def parsed(server: MailServer) -> EmailMessage:
    (mail,) = server.mails
    found = BytesParser(policy=email.policy.default).parsebytes(mail[2].replace(b'\r\n', b'\n'))
    assert isinstance(found, EmailMessage)
    return found


def plain(subject: str = 'Hello', to: Any = 'bob@example.com', **options: Any) -> Email:
    return Email(subject, 'Ann <ann@example.com>', to, **options).add_content('text')


# -- what is sent ----------------------------------------------------------------------------------


def test_text(mail_server: Start) -> None:
    """SPEC WAS-05, B.15: any text comes as it was, lines of one dot, too."""
    server = mail_server()
    text = 'Grüße\n.\n..\n.x\n\nFrom here\n' + 'x' * 2000 + '\n'
    mail = Email('Grüße an Bob', 'Änn <ann@example.com>', ['Bob <bob@example.com>', 'eve@bücher.example'])
    assert mail.add_content(text).send() == {}
    found = parsed(server)
    assert found['Subject'] == 'Grüße an Bob'
    assert [a.display_name for a in found['From'].addresses] == ['Änn']
    assert found.get_content() == text
    assert found['Date'].datetime is not None
    assert found['Message-ID'].endswith('@example.com>')
    sender, recipients, raw = server.mails[0]
    assert '<ann@example.com>' in sender
    assert recipients == ['bob@example.com', 'eve@xn--bcher-kva.example']
    assert raw.count(b'\n') == raw.count(b'\r\n')


def test_html_text_pictures_and_attachments(mail_server: Start, tmp_path: Path) -> None:
    """SPEC WAS-05: text and HTML, a picture within it, files of any kind."""
    server = mail_server()
    (tmp_path / 'a.png').write_bytes(b'\x89PNG')
    upload = UploadedFile('übersicht.csv', 'text/csv', Spool())
    upload.receive(b'1;2\n3;4\n')
    mail = plain().add_content('<p>hi <img src="cid:logo"></p>', 'text/html')
    mail.add_attachment(tmp_path / 'a.png', cid='logo')
    mail.add_attachment(b'%PDF', 'bill.pdf').add_attachment(upload).add_attachment(
        b'x', 'a.eml', 'message/rfc822'
    )
    mail.send()
    found = parsed(server)
    text, html = found.get_body(('plain',)), found.get_body(('html',))
    assert text is not None
    assert html is not None
    assert (text.get_content(), html.get_content()) == ('text\n', '<p>hi <img src="cid:logo"></p>\n')
    pictures = [part for part in found.walk() if part.get_content_type() == 'image/png']
    assert [(p['Content-ID'], p.get_content()) for p in pictures] == [('<logo>', b'\x89PNG')]  # type: ignore[attr-defined]
    files = {part.get_filename(): part for part in found.iter_attachments()}
    assert {name: part.get_content_type() for name, part in files.items()} == {
        'bill.pdf': 'application/pdf',
        'übersicht.csv': 'text/csv',
        'a.eml': 'application/octet-stream',
    }
    assert files['bill.pdf'].get_content() == b'%PDF'
    assert files['übersicht.csv'].get_payload(decode=True) == b'1;2\n3;4\n'


@pytest.mark.parametrize('cid', [None, 'logo'])
def test_html_alone(mail_server: Start, cid: str | None) -> None:
    server = mail_server()
    mail = Email('s', 'a@example.com', 'b@example.com').add_content('<p>x</p>', 'text/html')
    mail.add_attachment(b'GIF', 'a.gif', cid=cid).send()
    found = parsed(server)
    assert found.get_content_type() == ('multipart/related' if cid else 'multipart/mixed')
    html = found.get_body(('html',))
    assert html is not None
    assert html.get_content() == '<p>x</p>\n'


def test_copies(mail_server: Start) -> None:
    """Who gets a blind copy is told to the server, to nobody else; each gets it once."""
    server = mail_server()
    plain(cc='carl@example.com', bcc=['dan@example.com', 'bob@example.com'], reply_to='re@example.com').send()
    found, recipients = parsed(server), server.mails[0][1]
    assert recipients == ['bob@example.com', 'carl@example.com', 'dan@example.com']
    assert (found['To'], found['Cc'], found['Reply-To'], found['Bcc']) == (
        'bob@example.com',
        'carl@example.com',
        're@example.com',
        None,
    )
    assert b'dan@' not in server.mails[0][2]


def test_half_characters_are_replaced(mail_server: Start) -> None:
    """JSON of a client may hold them."""
    server = mail_server()
    Email('s', 'a@example.com', 'b@example.com').add_content('a\ud800b').send()
    assert parsed(server).get_content() == 'a\ufffdb\n'


# -- header injection (PITFALLS, Security) ---------------------------------------------------------

EVIL = ['a\r\nBcc: eve@example.com', 'a\nX: y', 'a\rX', 'a\0', 'a\u2028b', 'a\x85b', '\ud800']


@pytest.mark.parametrize('evil', EVIL)
def test_nothing_splits_a_field(evil: str) -> None:
    """PITFALLS, Security: subject, names, addresses, file names; nothing gets as far as a server."""
    for make in (
        lambda: plain(evil),
        lambda: plain(to=f'{evil}@example.com'),
        lambda: plain(to=f'{evil} <bob@example.com>'),
        lambda: plain(cc=f'"{evil}" <bob@example.com>'),
        lambda: Email('s', f'{evil} <bob@example.com>', 'bob@example.com'),
        lambda: plain().add_attachment(b'', evil),
        lambda: plain().add_attachment(b'', 'a.png', cid=evil),
        lambda: plain().add_attachment(b'', 'a.png', f'image/{evil}'),
        lambda: plain(reply_to=f'{evil}@example.com'),
    ):
        with pytest.raises(ValueError):
            make()


@pytest.mark.parametrize(
    'address',
    [
        '',
        'bob',
        '@example.com',
        'bob@',
        'bob@example.com, eve@example.com',
        'bob@example.com eve@example.com',
        'friends: bob@example.com, eve@example.com;',
        'bob@example.com <eve@example.com>, x@example.com',
        '<bob@example.com',
        'a b@example.com',
        'bob@exa mple.com',
        'bob@example.com\t',
    ],
)
def test_an_address_is_one_address(address: str) -> None:
    """What a client sent as its address adds no recipients."""
    with pytest.raises(ValueError, match='address'):
        plain(to=address)
    with pytest.raises(ValueError, match='address'):
        plain(to=['bob@example.com', address])


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_subject_and_address(subject: str, address: str) -> None:
    """They are refused, or come back as they are from one field each."""
    try:
        mail = plain(subject, f'{address} <bob@example.com>')
    except ValueError:
        return
    raw = bytes(mail.message())
    found = BytesParser(policy=email.policy.default).parsebytes(raw)
    assert sorted(found.keys()) == sorted(
        'Subject From To Date Message-ID MIME-Version Content-Type Content-Transfer-Encoding'.split()  # noqa: SIM905
    )
    assert [a.addr_spec for a in found['To'].addresses] == ['bob@example.com']


def test_mistakes() -> None:
    with pytest.raises(ValueError, match='recipient'):
        plain(to=[])
    with pytest.raises(ValueError, match='empty'):
        Email('s', 'a@example.com', 'b@example.com').message()
    with pytest.raises(ValueError, match='attach'):
        plain().add_content('x', 'application/pdf')
    with pytest.raises(ValueError, match='name'):
        plain().add_attachment(b'')
    with pytest.raises(TypeError, match='subject'):
        plain(5)  # type: ignore[arg-type]
    with pytest.raises(OSError):
        plain().add_attachment('/no/such/file')


# -- the server ------------------------------------------------------------------------------------


def test_no_server_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEC B.15."""
    monkeypatch.setattr(smtp, '_server', None)
    with pytest.raises(RuntimeError, match=r'skitai\.set_smtp'):
        plain().send()


def test_logging_in(mail_server: Start) -> None:
    """SPEC B.15: user and password; to this machine without TLS, too."""
    server = mail_server()
    plain().set_smtp(f'127.0.0.1:{server.port}', 'ann', 'secret').send()
    assert len(server.mails) == 1
    with pytest.raises(smtplib.SMTPAuthenticationError):
        plain().set_smtp(f'127.0.0.1:{server.port}', 'ann', 'wrong').send()
    assert len(server.mails) == 1


@pytest.mark.parametrize('kind', [True, 'starttls'])
def test_tls(mail_server: Start, contexts: Any, kind: Any) -> None:
    """SPEC B.15: from the first byte, or begun before anything is told; the certificate is checked."""
    server = mail_server(contexts[0], tls=kind is True)
    address = f'127.0.0.1:{server.port}'
    smtp.set_smtp(address, 'ann', 'secret', kind, DEADLINE, contexts[1])
    plain().send()
    assert len(server.mails) == 1
    with pytest.raises(ssl.SSLCertVerificationError):
        plain().set_smtp(address, 'ann', 'secret', kind, DEADLINE).send()
    assert sum(line.startswith('AUTH') for line in server.seen) == 1


def test_a_server_that_does_not_offer_tls_gets_no_mail(mail_server: Start, contexts: Any) -> None:
    server = mail_server()
    with pytest.raises(smtplib.SMTPNotSupportedError):
        plain().set_smtp(f'127.0.0.1:{server.port}', 'ann', 'secret', 'starttls').send()
    assert all(line.split()[0] in ('ehlo', 'QUIT') for line in server.seen)


def test_refused_recipients(mail_server: Start) -> None:
    server = mail_server(refused=('bob@example.com',))
    refused = plain(to=['bob@example.com', 'carl@example.com']).send()
    assert refused == {'bob@example.com': (550, b'nobody')}
    assert server.mails[0][1] == ['carl@example.com']
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        plain().send()


def test_a_silent_server(mail_server: Start) -> None:
    """Each wait has a deadline."""
    server = mail_server()
    server.silent = True
    began = time.monotonic()
    with pytest.raises(smtplib.SMTPServerDisconnected, match='timed out'):
        plain().set_smtp(f'127.0.0.1:{server.port}', timeout=0.2).send()
    assert time.monotonic() - began < 5


def test_nobody_there() -> None:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        plain().set_smtp(f'127.0.0.1:{port}').send()


@pytest.mark.parametrize('path', ['/plain', '/async', '/generator'])
def test_was_email(mail_server: Start, client_for: Callable[..., Client], path: str) -> None:
    """SPEC WAS-05, B.15: `was.email (subject, from, to)`, `skitai.set_smtp`; a client adds nobody."""
    assert skitai.set_smtp is smtp.set_smtp
    server, app = mail_server(), Atila('app')

    def send(was: Any, to: str) -> str:
        try:
            was.email('Hello', 'ann@example.com', to).add_content('text').send()
        except ValueError:
            return 'no address'
        return 'sent'

    app.route('/plain')(send)

    @app.route('/async')
    async def awaits(was: Any, to: str) -> str:
        return await asyncio.to_thread(send, was, to)

    @app.route('/generator')
    def generator(was: Any, to: str) -> Iterator[str]:
        yield send(was, to)

    client = client_for(app)
    assert client.get(path, params={'to': 'bob@example.com'}).text == 'sent'
    evil = 'bob@example.com\r\nBcc: eve@example.com'
    assert client.get(path, params={'to': evil}).text == 'no address'
    assert [mail[1] for mail in server.mails] == [['bob@example.com']]
