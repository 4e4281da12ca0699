"""The todo list as a package: which database it uses, and what it is made of."""

import os

import skitai
from atila import Atila

from . import services, tables


def __config__(pref):
    """Once, before the workers are started."""
    member = os.environ.get('TODO_DB')
    if member:
        skitai.alias('@todo', skitai.DB_PGSQL, member)
    else:
        skitai.alias('@todo', skitai.DB_SQLITE3, 'todo.db')
    skitai.register_g('items')  # tells all workers when an item was last changed


def __app__():
    """In each worker."""
    return Atila(__name__)


def __setup__(app):
    app.mount('', tables, services)
