"""The commands: one file each, a thin layer of options and output over the library."""
