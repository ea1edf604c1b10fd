"""Container images in other people's registries: a disk is taken out of one of their layers.

The library ``oras`` is not used for that: ``hyperd/registryauth.py`` says why.
"""
