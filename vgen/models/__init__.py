"""Networks, what they need to be run, and the release files that carry them.

Nothing here imports torch until a network is built: plans are made from headers alone.
"""
