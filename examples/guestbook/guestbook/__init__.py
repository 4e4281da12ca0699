"""The guestbook as a package: how it is configured and what it is made of."""

import os

import skitai
from atila import Atila

from . import services, storage

MEGABYTE = 1 << 20


def __config__(pref):
    """Once, before the workers are started."""
    data = os.environ.get('GUESTBOOK_DATA') or skitai.abspath('data')
    pref.config.DATA = storage.prepare(data)
    pref.securekey = storage.secret(data)
    pref.session_timeout = 30 * 24 * 3600
    pref.set_static('/static')
    pref.set_media('/media', storage.pictures(data))
    # A form with a picture has to fit; a larger one is refused with 413 before it is read.
    pref.config.MAX_UPLOAD_SIZE = 2 * MEGABYTE


def __app__():
    """In each worker."""
    return Atila(__name__)


def __setup__(app):
    app.mount('', services)
