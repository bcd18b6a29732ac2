"""A small classifier with random weights and word pieces of a few sentences."""

import torch

from formers.data.builtin.opinions import opinions
from formers.models.heads import HeadConfig, SequenceClassifier
from formers.systems.classification.system import RAW, Classifier
from formers.systems.sizes import EncoderSizes
from formers.text.training import train_word_pieces

TEXTS = [text for text, _ in opinions("train", 200)]
NAMES = {"one": ("bad", "fair", "good"), "several": ("food", "music", "place"), "number": ("score",)}


def classifier(kind: str = "one", *, pooling: str = "first", length: int = 40, activation: str = RAW) -> Classifier:
    """Every parameter random, so that no part can be left out unseen."""
    tokenizer = train_word_pieces(TEXTS, 200)
    encoder = EncoderSizes(dim=16, layers=2, heads=2, hidden=32, length=length).config(tokenizer.vocab)
    model = SequenceClassifier(HeadConfig(encoder=encoder, labels=NAMES[kind], kind=kind, pooling=pooling)).eval()
    torch.manual_seed(5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            torch.nn.init.normal_(weight, mean=float("norm" in name and name.endswith("weight")), std=0.3)
    return Classifier(model, tokenizer, activation=activation)
