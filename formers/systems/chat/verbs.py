"""The verbs of chats: what they take, what they give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from formers.decoding.options import DecodingOptions
from formers.errors import ConfigError, DataError
from formers.fields import Part, check
from formers.files import expanded, read_source
from formers.systems.language_scores import EvaluateLanguage, named_scores, task_report
from formers.systems.system import Event, Piece, Typed

if TYPE_CHECKING:
    from formers.systems.chat.session import Chat
    from formers.systems.language_model import LanguageModel
    from formers.text.chat import ChatTemplate, Message


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """A conversation, and how it is answered."""

    messages: tuple[Any, ...] = ()
    """The conversation so far, a list of {"role": ..., "content": ...} that ends in a user's message."""
    system: str = ""
    """What the model is told before the conversation."""
    template: Annotated[str, Typed(metavar="FILE|plain", file=True)] = ""
    """A Jinja chat template instead of the model's; plain: roles in words, for a model without one."""
    decoding: Annotated[DecodingOptions, Part()] = field(default_factory=DecodingOptions)
    """How to write."""

    def __post_init__(self) -> None:
        check(self)
        if self.decoding.several or (self.decoding.beams or 1) > 1:
            raise ConfigError("a chat has one answer: leave out samples, nbest and beams")

    def open(self, language: LanguageModel, messages: list[Message]) -> Chat:
        """The conversation with this model, after these messages."""
        from formers.systems.chat.session import Chat

        template = chat_template(self.template, language) if self.template else None
        return Chat(language, system=self.system, messages=messages, template=template, **self.decoding.asked())


@dataclass(frozen=True)
class ChatAnswer:
    """What the model says."""

    text: str
    reason: Literal["stop", "length"]
    """Whether it ended by itself or a stop string, or had to."""
    message: Mapping[str, str]
    """The answer as a message, to go on with."""

    def line(self) -> str:
        return self.text


def chat(language: LanguageModel, options: ChatOptions) -> Iterator[Event]:
    """The answer to the last message, as it is written."""
    from formers.text.chat import check_messages

    messages = check_messages(list(options.messages), "messages")
    if messages[-1]["role"] != "user":
        raise DataError(f'messages: the last is from "{messages[-1]["role"]}", expected a user\'s, which is answered')
    talk = options.open(language, messages[:-1])
    for piece in talk.say(str(messages[-1]["content"])):
        yield Piece(piece)
    assert talk.result is not None  # it has come to its end
    text = talk.result.text
    yield ChatAnswer(text, talk.result.reason, {"role": "assistant", "content": text})


def chat_template(name: str, language: LanguageModel) -> ChatTemplate:
    """A template of a file, or "plain"."""
    from formers.text.chat import ChatTemplate, plain_template

    plain = plain_template(language.needs_tokenizer())
    if name == "plain":
        return plain
    return ChatTemplate(read_source(expanded(name), option="--template", error=DataError), plain.specials, where=name)


def evaluate(language: LanguageModel, options: EvaluateLanguage) -> Iterator[Event]:
    """--text, --choices, or a run's test conversations, else those that it was watched on."""
    if options.text or options.choices:
        yield from named_scores(language, options)
        return
    from formers.systems.chat.task import task_of
    from formers.systems.conversing import encoder_of

    beginning = options.beginning("chat")
    table = beginning.judged()
    yield task_report(options, task_of(language, encoder_of(language), table, beginning), table.name)
