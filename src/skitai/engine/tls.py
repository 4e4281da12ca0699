"""Certificates as the engine wants them: a PEM chain, and the key as unencrypted PKCS#8."""

from __future__ import annotations

import os
import ssl
import tempfile

from cryptography.hazmat.primitives import serialization


def check(certfile: str, keyfile: str, password: str | None) -> None:
    """Fail in the master, in words, before any worker is started: ValueError naming the file."""
    for path in (certfile, keyfile):
        if not os.path.isfile(path):
            raise ValueError(f'TLS: there is no file {path}')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certfile, keyfile, password)
    except (ssl.SSLError, OSError) as error:
        raise ValueError(f'TLS: {certfile} and {keyfile} cannot be used together: {error}') from None


def as_pkcs8(keyfile: str, password: str | None) -> str:
    """The path of a file with the key as unencrypted PKCS#8: `keyfile` itself where it is that already.

    Otherwise a copy for this process only (mode 0600), removed by the caller once it has been read.
    """
    with open(keyfile, 'rb') as file:
        pem = file.read()
    if b'-----BEGIN PRIVATE KEY-----' in pem:
        return keyfile
    key = serialization.load_pem_private_key(pem, password.encode() if password else None)
    converted = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor, path = tempfile.mkstemp(prefix='skitai-key-')
    with os.fdopen(descriptor, 'wb') as file:
        file.write(converted)
    return path
