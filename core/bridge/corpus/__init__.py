"""Text to run models on: documents, their sources, splits and shards."""

from bridge.corpus.documents import Corpus as Corpus
from bridge.corpus.documents import Document, Message
from bridge.corpus.read import BUNDLED as BUNDLED
from bridge.corpus.read import load_corpus as load_corpus

__all__ = ["Document", "Message"]
