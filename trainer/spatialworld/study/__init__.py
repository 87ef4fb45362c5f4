"""The study: which objective makes a model rational, at what price, from which data. See ``docs/spatialworld.md``.

A study is a folder. Candidates are drawn from the base once, judged by the exact judge, and paired; every *cell* (an
arm at a seed) trains through the trainer's own engine on the same pairs and is measured on the same held-out
conditions; the report is written from what the cells left. Each part is a file of its own that is published by rename,
so a study that was killed goes on where it stopped.
"""
