"""What can be deployed: blocks, backbones, where a block goes, the user's own module."""
