"""Atila: backends in plain Python functions.

from atila import Atila

app = Atila (__name__)

@app.route ('/')
def index (was):
    return 'Hello, World'
"""

from skitai import preference

from .app import Atila, load
from .errors import HTTPError
from .upload import UploadedFile

__all__ = ['Atila', 'HTTPError', 'UploadedFile', 'load', 'preference']
