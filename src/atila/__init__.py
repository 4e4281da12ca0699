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

__all__ = ['Atila', 'HTTPError', 'load', 'preference']
