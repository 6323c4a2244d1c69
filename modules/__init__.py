"""The modules that can be deployed: blocks, backbones, blocks in backbones, the user's own module."""
