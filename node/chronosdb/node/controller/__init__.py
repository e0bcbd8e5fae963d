"""Who is alive, who leads what, who holds what: decided on the node that leads the metadata."""
