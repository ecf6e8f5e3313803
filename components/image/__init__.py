"""Container images made from Debian packages, wheels and source, without a container engine.

A layer is a plan (what files it has) -> a tar archive whose bytes depend on the plan alone.
"""
