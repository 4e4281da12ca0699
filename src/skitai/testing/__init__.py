"""Clients for tests: of a server, launched or running, and of an ASGI application in this process.

Nothing of the engine belongs here: what is tested runs in its own process or is an ASGI application.
"""

from .client import Client, ServerClient, test_client
from .inprocess import InProcessClient
from .launcher import Server, free_port
from .response import Response

__all__ = ['Client', 'InProcessClient', 'Response', 'Server', 'ServerClient', 'free_port', 'test_client']
