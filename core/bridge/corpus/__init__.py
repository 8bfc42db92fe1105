"""Text to run models on: documents, where they are read from, how they are split and sharded."""

from bridge.corpus.documents import Corpus, Document, Message
from bridge.corpus.read import BUNDLED, load_corpus

__all__ = ["BUNDLED", "Corpus", "Document", "Message", "load_corpus"]
