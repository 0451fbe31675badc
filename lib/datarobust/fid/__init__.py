"""How near two sets of images are (Tables 1 and 5): :mod:`.features`, what a network makes of points, and
:mod:`.distances` of features, Fréchet's and the kernel's.
"""
