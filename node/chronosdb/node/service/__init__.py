"""What clients are served: connections, the protocol session, and what each message does."""
