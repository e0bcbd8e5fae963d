"""What can be set about a node, and where a setting may come from."""
