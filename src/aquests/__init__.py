"""aquests: the clients. Tasks, the event loop they run on, HTTP, RPC, databases; usable without a server."""
