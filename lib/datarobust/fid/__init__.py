"""How near two sets of images are: Fréchet and kernel distances of their features, distances of pairs (Tables 1 and 5).

::

    frechet    the Fréchet distance, and sums that give it      kid     the kernel distance
    features   what a network makes of points                   sides   images, features and pairs of two sets
"""
