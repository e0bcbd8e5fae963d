"""Which partitions a node holds: all of them when it is alone, what the metadata say in a cluster."""
