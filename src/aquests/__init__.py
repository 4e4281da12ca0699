"""aquests: the clients. Tasks, the event loop they run on, HTTP, RPC and databases; usable without a server."""
