"""The guestbook as a package: how it is configured and what it is made of."""

import os

import skitai
from atila import Atila

from . import pictures, services, storage


def __config__(pref):
    """Once, before the workers are started."""
    data = os.environ.get('GUESTBOOK_DATA') or skitai.abspath('data')
    pref.config.DATA = storage.prepare(data)
    pref.securekey = storage.secret(data)
    pref.session_timeout = 30 * 24 * 3600
    pref.set_static('/static')
    pref.set_media('/media', storage.pictures(data))
    # A larger body is refused with the server's own 413, before it is read. What is only a little above
    # the limit of a picture arrives, so that the form can be shown again.
    pref.config.MAX_UPLOAD_SIZE = 4 * pictures.MAX_SIZE


def __app__():
    """In each worker."""
    return Atila(__name__)


def __setup__(app):
    app.mount('', services)
