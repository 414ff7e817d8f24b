"""Texts: corpora, labelled texts, and the tokenizers that encode them."""
