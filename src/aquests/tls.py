"""TLS to a database: `skitai.alias (..., ssl = True)`.

A server must show a certificate for the host that the alias names, signed by an authority that the system
trusts, or one of those in the file that the environment's SSL_CERT_FILE names.
"""

from __future__ import annotations

import ssl

from .aliases import Alias


def context_of(alias: Alias) -> ssl.SSLContext | None:
    """What secures the connections of an alias; None where they are not to be. It takes a while: keep it."""
    return ssl.create_default_context() if alias.ssl else None


def words(error: BaseException) -> str:
    """Why a connection could not be made, or broke."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f'its certificate is not trusted ({error.verify_message.rstrip(".")}): it must be for the host '
            'that the alias names, and signed by an authority that the system knows or that is in the file '
            'that SSL_CERT_FILE names'
        )
    return str(error) or type(error).__name__
