"""What both trainings on conversations share: rows as messages, the model and how it is spoken to, its answers.

rows -> `messages_reader` -> messages;   model.start or a new model + template -> LanguageModel, ChatEncoder
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from formers.data.forms import read_form
from formers.data.sources import Table
from formers.decoding.options import DecodingOptions
from formers.errors import ConfigError
from formers.files import expanded, read_source
from formers.systems.begin import Beginning, Prepared, on_device
from formers.systems.language_model import LanguageModel, open_language
from formers.systems.next_token import new_language, obtain_tokenizer
from formers.text.chat import ChatEncoder, ChatTemplate, Message, load_template, plain_template, special_names
from formers.training.task import Batches, Task


def messages_reader(forms: Sequence[Sequence[str]], convert: Callable[..., Table]) -> Callable[..., Table]:
    """A reader for `Source`: rows of one of `forms`, converted to messages."""

    def read(name: str, *, drop_empty: bool, **options: Any) -> Table:
        table = read_form(name, forms=forms, drop_empty=drop_empty, **options)
        return convert(table.usable(lambda row: convert(row, drop_empty)), drop_empty)

    return read


def texts_of(conversations: Iterable[Sequence[Message]]) -> list[str]:
    """Everything that is said and by whom, to train a tokenizer on."""
    return [
        text
        for messages in conversations
        for message in messages
        for text in (f"{message['role'].capitalize()}:\n", message.get("content"))
        if text
    ]


def spoken(messages: Sequence[Message]) -> str:
    """A conversation on one line, to look at."""
    if len(messages) == 1:
        return str(messages[0].get("content") or "")
    return " | ".join(f"{message['role']}: {message.get('content') or ''}" for message in messages)


def answers(
    language: LanguageModel, encoder: ChatEncoder, conversations: Sequence[Sequence[Message]], limit: int
) -> list[str]:
    """What the model says to each conversation, greedily, at most `limit` tokens; "" where it has no room left."""
    prompts = [encoder.ids(messages) for messages in conversations]
    fit = [at for at, prompt in enumerate(prompts) if len(prompt) < language.model.config.length]
    greedy = DecodingOptions(max_tokens=limit, temperature=0.0, beams=1)
    written = language.writer().write([prompts[at] for at in fit], greedy)
    texts = dict(zip(fit, (several[0].text for several in written), strict=True))
    return [texts.get(at, "") for at in range(len(conversations))]


def sample_answers(
    language: LanguageModel, encoder: ChatEncoder, config: Any, usual: Callable[[], Sequence[Sequence[Message]]]
) -> list[tuple[str, str]]:
    """Questions with the model's answers, the likeliest token each time.

    config: the section [task], with its `samples` and `sample_tokens`; usual: conversations, where it names none.
    """
    questions: Sequence[Sequence[Message]] = [[{"role": "user", "content": text}] for text in config.samples]
    questions = questions or usual()
    given = answers(language, encoder, questions, config.sample_tokens)
    return [(spoken(messages), answer) for messages, answer in zip(questions, given, strict=True)]


def obtain_model(beginning: Beginning, system: str, texts: list[str]) -> tuple[LanguageModel, ChatEncoder]:
    """The model to start with, or a new one with a tokenizer trained on `texts`, and how it is spoken to.

    The template is that of rows.template, else the model's own, else roles in plain words; it is saved with the model.
    """
    if beginning.start is not None:
        language = open_language(beginning.loaded(), system)
    else:
        language = new_language(beginning.sizes, obtain_tokenizer(beginning, texts))
        language.system = system
    if beginning.rows.template:
        language.template = read_template(beginning.rows.template, special_names(language.needs_tokenizer()))
    encoder = encoder_of(language)
    # whoever decodes the saved model stops where it was taught to stop
    language.settings = replace(language.settings, stop=tuple(dict.fromkeys((*language.ends, *encoder.ending()))))
    on_device(language.model)
    return language, encoder


def encoder_of(language: LanguageModel) -> ChatEncoder:
    """How the model is spoken to; one without a template of its own from now on in plain words."""
    tokenizer = language.needs_tokenizer()
    language.template = language.template or plain_template(tokenizer)
    return ChatEncoder(language.template, tokenizer)


def read_template(name: str, specials: dict[str, str]) -> ChatTemplate:
    """The template in a file, or of a model folder."""
    place = expanded(name)
    if place.is_dir():
        template = load_template(place)
        if template is None:
            raise ConfigError(f"rows.template {place}: there is no chat template in this folder")
        return ChatTemplate(template.source, specials, where=template.where)
    return ChatTemplate(read_source(place, option="rows.template"), specials, where=str(place))


def prepared(
    beginning: Beginning,
    task: Task,
    batches: Batches,
    lines: list[str],
    language: LanguageModel,
    encoder: ChatEncoder,
    *,
    sides: int = 1,
) -> Prepared:
    """The report with its lines on template, tokenizer, model and memory; a batch has so many `sides`."""
    tokenizer, template = encoder.tokenizer, encoder.template
    end = "".join(tokenizer.pieces(encoder.ending())) or "no special token, so nothing says where it ends"
    lost = [
        name
        for name in dict.fromkeys(re.findall(r"<\|[^|<>]+\|>", template.source))
        if tokenizer.rules.token_to_id(name) is None
    ]
    lines = [
        *lines,
        f"template: {template.where}; an answer ends with {end}",
        *[f"the template writes {name}, which is no token of this tokenizer, so anybody can write it" for name in lost],
    ]
    tokens = sides * beginning.rows.tokens_per_batch
    return beginning.prepared(task, batches, lines, tokenizer, tokens=tokens, beside=language.beside)
