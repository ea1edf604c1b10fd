"""Container images in other people's registries: a disk is taken out of one of their layers.

The library ``oras`` is not used for that. It asks whatever address a registry names as its token server, follows
redirects wherever they lead, has no time limits, blocks its thread for minutes between tries, and keeps blobs in
memory or unverified; nothing of it is left once those are under a guard. Its parsers of references and challenges
take what they should not.
"""
