"""What a client keeps for us between its requests: cookies, sessions, messages (SPEC chapters 16-18)."""
