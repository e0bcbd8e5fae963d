"""The members of groups, on one node and in the cluster, and which partitions each of them is sent."""
