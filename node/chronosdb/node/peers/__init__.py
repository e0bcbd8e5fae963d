"""The node's connections to other nodes: authenticated, one stream for each direction, any traffic."""
