"""One attention block per file; the file's stem is the block's name, and nothing else lists it.

Contract of a file, read from its text by ``block_index`` (so that a name is known before torch is imported):

- the module docstring: its first line is the summary, its first link the paper;
- one public ``nn.Module`` class, whose first positional argument is the channel count and whose keyword-only
  arguments, annotated with int, float, bool, str or one of them ``| None``, are the block's options;
- ``forward`` maps ``(n, c, h, w)`` to ``(n, c, h, w)``;
- ``REPLACES_CONV3X3 = True`` if the block stands in for a 3x3 convolution instead; its class then takes
  ``(channels, out_channels, stride)``; with ``OWN_NORM = True`` it stands in for the normalisation and the activation
  after it too;
- ``AXES = ("batch",)`` if its weights belong to one height and width; its class then takes ``size``, the two.

``paper_places.py`` has the block's place in a backbone, if that is another than squeeze-and-excitation's.

A bad option raises InputError from the constructor.
"""
