"""The engine: the only room that knows which server carries the requests."""
