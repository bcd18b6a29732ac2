"""Small language models with random weights, and a tokenizer that knows a few words, for the tests beside this."""

import torch
from tokenizers import AddedToken

from formers.blocks.stack import StackConfig
from formers.decoding.settings import Settings
from formers.models.causal import CausalConfig, CausalLM
from formers.systems.language_model import LanguageModel
from formers.text.chat import ChatTemplate
from formers.text.rule_tokenizer import RuleTokenizer
from formers.text.training import train_byte_bpe

TEXT = "The capital of France is Paris. Once upon a time, there was a little girl named Lily. " * 3
TURNS = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
FORMS = ("learned", "rotary", "windows")


def tokenizer() -> RuleTokenizer:
    """300 tokens: bytes, a few words, the marks of a conversation; any text is a text to it."""
    made = train_byte_bpe([TEXT], 290)
    made.rules.add_special_tokens(["<|im_start|>", AddedToken("<|im_end|>", special=True)])
    return made


def network(form: str = "rotary", *, vocab: int, length: int = 48, seed: int = 0) -> CausalLM:
    """Double precision: the same in any batch."""
    stack = StackConfig(dim=16, layers=2, heads=4, kv_heads=2, hidden=24)
    config = CausalConfig(
        stack=stack,
        vocab=vocab,
        length=length,
        positions="learned" if form == "learned" else "rotary",
        windows=(4, 0) if form == "windows" else (),
        tied=False,
    )
    torch.manual_seed(seed)
    model = CausalLM(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return model.double().eval()


def language(form: str = "rotary", *, length: int = 48, seed: int = 0, chat: bool = False) -> LanguageModel:
    words = tokenizer()
    settings = Settings(start=words.eos, stop=(words.eos,), pad=words.eos, bos=words.eos)
    model = network(form, vocab=words.vocab, length=length, seed=seed)
    return LanguageModel(model, words, settings, template=ChatTemplate(TURNS, {}) if chat else None)
