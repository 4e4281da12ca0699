"""Mail: `was.email (subject, sender, to)` (SPEC WAS-05, B.15).

Composed with the standard library's `email` package and handed to the server of `skitai.set_smtp`. What ends
up in a header field is checked when it is given: control characters are a ValueError, and each address is
exactly one, so that what a client sent adds neither fields nor recipients.

An `Email` belongs to who makes it: one thread at a time. `send` blocks, at most the server's timeout for each
step; in an `async def` service leave it to a thread (`await asyncio.to_thread (mail.send)`).
"""

from __future__ import annotations

import contextlib
import os
import re
import smtplib
import socket
import ssl as tls
from collections.abc import Iterable
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from skitai import smtp
from skitai.mounts.mediatypes import media_type_of

if TYPE_CHECKING:
    from .upload import UploadedFile

_UNKNOWN = 'application/octet-stream'
_MEDIA = re.compile(r'[A-Za-z0-9][\w.+-]*/[A-Za-z0-9][\w.+-]*', re.ASCII).fullmatch
#: Lines end in CRLF, and nothing asks for 8BITMIME, which a server may not have.
_POLICY = SMTP.clone(cte_type='7bit')
#: Half a character, which JSON can hold and UTF-8 cannot.
_SURROGATE = re.compile('[\ud800-\udfff]')


class _Attachment(NamedTuple):
    content: bytes
    filename: str
    mimetype: str
    #: By what the HTML refers to it; None for a file to be saved.
    cid: str | None


class Email:
    """A mail that is being written.

    `subject`: one line. `sender` and each recipient: 'ann@example.com' or 'Ann <ann@example.com>'. `to`, `cc`
    and `bcc` are one address or a list of them; `bcc` is not told to anybody. `reply_to`: one address.

    ValueError for what is no address, and for control characters.
    """

    def __init__(
        self,
        subject: str,
        sender: str,
        to: str | Iterable[str],
        *,
        cc: str | Iterable[str] = (),
        bcc: str | Iterable[str] = (),
        reply_to: str | None = None,
    ) -> None:
        self.subject = _line(subject, 'the subject')
        self.sender = _address(sender)
        self.to, self.cc, self.bcc = _addresses(to), _addresses(cc), _addresses(bcc)
        self.reply_to = None if reply_to is None else _address(reply_to)
        if not (self.to or self.cc or self.bcc):
            raise ValueError('a mail needs a recipient')
        self._text: str | None = None
        self._html: str | None = None
        self._attachments: list[_Attachment] = []
        self._server: smtp.Server | None = None

    def add_content(self, content: str, mimetype: str = 'text/plain') -> Email:
        """Set the text, or with 'text/html' the HTML; with both the reader's program shows what it can.

        ValueError for another media type: attach that.
        """
        content = _SURROGATE.sub('\ufffd', content)
        if mimetype == 'text/plain':
            self._text = content
        elif mimetype == 'text/html':
            self._html = content
        else:
            raise ValueError(f"the content is 'text/plain' or 'text/html', not {mimetype!r}: attach it")
        return self

    def add_attachment(
        self,
        content: str | os.PathLike[str] | bytes | UploadedFile,
        filename: str | None = None,
        mimetype: str | None = None,
        cid: str | None = None,
    ) -> Email:
        """Attach a file: a path, bytes (with a `filename`), or what a client has uploaded. It is read now.

        `mimetype`: by default what the name's extension says. `cid`: show it where the HTML has
        `<img src="cid:...">`. OSError for a file that cannot be read.
        """
        if isinstance(content, bytes):
            data, name = content, filename
        elif isinstance(content, str | os.PathLike):
            with open(content, 'rb') as file:
                data = file.read()
            name = filename or os.path.basename(os.fspath(content))
        else:
            data, name = content.read(), filename or content.name
        if not name:
            raise ValueError('give the attachment a name: filename = ...')
        name = _line(name, "the attachment's name")
        media = mimetype or media_type_of(name).decode().partition(';')[0]
        if cid is not None and (not _line(cid, 'the cid') or not cid.isascii() or set(cid) & set('<> ')):
            raise ValueError(f'{cid!r} cannot be a cid: use letters and digits')
        self._attachments.append(_Attachment(data, name, _media(media), cid))
        return self

    def set_smtp(
        self,
        server: str,
        user: str | None = None,
        password: str | None = None,
        ssl: bool | Literal['starttls'] = False,
        timeout: float = smtp.TIMEOUT,
        context: tls.SSLContext | None = None,
    ) -> Email:
        """Another server for this mail alone; see `skitai.set_smtp`."""
        self._server = smtp.described(server, user, password, ssl, timeout, context)
        return self

    def message(self) -> EmailMessage:
        """The mail as it is sent. ValueError without any content."""
        if self._text is None and self._html is None and not self._attachments:
            raise ValueError('the mail is empty: add_content () or add_attachment () is missing')
        message = EmailMessage(policy=_POLICY)
        message['Subject'] = self.subject
        message['From'] = self.sender
        for name, addresses in (('To', self.to), ('Cc', self.cc)):
            if addresses:
                message[name] = addresses
        if self.reply_to is not None:
            message['Reply-To'] = self.reply_to
        message['Date'] = formatdate()
        message['Message-ID'] = make_msgid(domain=self.sender.domain)
        self._fill(message)
        return message

    def _fill(self, message: EmailMessage) -> None:
        inline = [item for item in self._attachments if item.cid is not None and self._html is not None]
        if self._text is not None or self._html is None:
            message.set_content(self._text or '')
        if self._html is not None:
            part = message
            if self._text is None:
                message.set_content(self._html, subtype='html')
            else:
                message.add_alternative(self._html, subtype='html')
                part = list(message.iter_parts())[-1]  # type: ignore[assignment]
            for item in inline:
                part.add_related(
                    item.content,
                    *item.mimetype.split('/'),
                    cid=f'<{item.cid}>',
                    filename=item.filename,
                    disposition='inline',
                )
        for item in self._attachments:
            if item not in inline:
                message.add_attachment(item.content, *item.mimetype.split('/'), filename=item.filename)

    def send(self) -> dict[str, tuple[int, bytes]]:
        """Hand the mail over; the recipients that the server has refused, with its answer: mostly {}.

        RuntimeError where no server is set. OSError, of which `smtplib.SMTPException` is a kind, where the
        server doesn't take the mail or none of its recipients, cannot be reached, does not answer in time, or
        is not who it should be (`ssl.SSLError`).
        """
        server = self._server or smtp.configured()
        message = self.message()
        everybody = [address.addr_spec for address in (*self.to, *self.cc, *self.bcc)]
        connection = _connected(server)
        try:
            if server.user is not None and server.password is not None:
                connection.login(server.user, server.password)
            refused = connection.sendmail(
                self.sender.addr_spec, list(dict.fromkeys(everybody)), message.as_bytes()
            )
            with contextlib.suppress(smtplib.SMTPException, OSError):
                connection.quit()  # however it goes: the server has the mail
        finally:
            connection.close()
        return refused


def _connected(server: smtp.Server) -> smtplib.SMTP:
    name = socket.gethostname()  # not `getfqdn`, which asks the network, without a deadline
    context = server.context or (tls.create_default_context() if server.ssl else None)
    if server.ssl is True:
        return smtplib.SMTP_SSL(server.host, server.port, name, timeout=server.timeout, context=context)
    connection = smtplib.SMTP(server.host, server.port, name, timeout=server.timeout)
    if server.ssl:
        try:
            connection.starttls(context=context)
        except BaseException:
            connection.close()
            raise
    return connection


# -- what may be in a header field -----------------------------------------------------------------


def _line(text: str, what: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f'{what} must be str, not {type(text).__name__}')
    # Also U+2028 and its like: `str.splitlines ()`, with which headers are folded, breaks lines there.
    if any(ord(c) < 32 or 127 <= ord(c) < 160 or c in '\u2028\u2029' for c in text):
        raise ValueError(f'{what} has control characters: {text!r}')
    if _SURROGATE.search(text):
        raise ValueError(f'{what} is no text: {text!r}')
    return text


def _address(text: str) -> Address:
    """Exactly one address, with or without a name."""
    field: Any = None
    text = _line(text, 'an address')
    try:
        field = _POLICY.header_factory('to', text)
        (address,) = field.addresses
        if field.defects or not address.username or not address.domain:
            raise ValueError(text)
        domain = address.domain.encode('idna').decode()
        return Address(address.display_name, address.username, domain)
    except (ValueError, IndexError, AttributeError, MessageError, UnicodeError):
        raise ValueError(
            f"{text!r} is no mail address: write 'ann@example.com' or 'Ann <ann@example.com>'"
        ) from None


def _addresses(given: str | Iterable[str]) -> tuple[Address, ...]:
    return tuple(_address(item) for item in ((given,) if isinstance(given, str) else given))


def _media(media: str) -> str:
    """A media type of two parts; a container of other parts is sent as mere bytes."""
    if not _MEDIA(media):
        raise ValueError(f"{media!r} is no media type: write it like 'image/png'")
    container = media.lower().startswith(('multipart/', 'message/'))
    return _UNKNOWN if container else media.lower()
