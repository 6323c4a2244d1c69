"""The nouns that every room shares: tensor specs, precisions, graphs, bundles, processes. They decide nothing."""
