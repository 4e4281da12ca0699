"""Who may do what: tokens so far; authentication, permissions and the rest come beside them."""
