"""The ChronosDB node: the process that stores events, fires them on time and delivers them.

See node/README.md for how the pieces fit together.
"""
