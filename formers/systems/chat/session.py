"""Chat: turns with a language model, in the form that it was trained to read.

messages -> ChatEncoder (the model's own template) -> tokens -> those that the cache does not hold -> answer
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from formers.decoding.options import DecodingOptions
from formers.decoding.prefix import PrefixCache
from formers.decoding.writer import Continuation, Writing
from formers.errors import CheckpointError, ConfigError, DataError
from formers.files import MOST_JSON, expanded, parse_json, read_bytes, replace_file
from formers.systems.language_model import LanguageModel
from formers.text.chat import ChatEncoder, ChatTemplate, Message, check_messages

MAX_TOKENS = 1024
NO_TEMPLATE = (
    "this model has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json), so "
    "nothing says how it is spoken to; take one tuned for chats, or give a template (--template FILE|plain)"
)


class Exchange(NamedTuple):
    """The last question and answer as tokens, which a model may have chosen otherwise than a tokenizer would."""

    encoded: list[int]
    """What the tokenizer makes of everything up to the answer."""
    read: list[int]
    """What the model was given instead: its own earlier answers as it wrote them."""
    answer: str
    written: list[int]


class Chat:
    """A conversation: `say` something, iterate for the answer. Earlier turns stay in the cache and are not read again.

    What a message contains is text: nobody ends a turn by writing the name of a special token (see `ChatEncoder`).
    """

    def __init__(
        self,
        language: LanguageModel,
        *,
        system: str = "",
        messages: Iterable[Message] = (),
        template: ChatTemplate | None = None,
        **options: Any,
    ) -> None:
        """system: what the model is told before all. messages: a conversation to go on with. template: instead of the
        model's own. options: as for `LanguageModel.generate`, for every answer; greedy, at most 1024 tokens, unless
        they say otherwise. Raises ConfigError for a model without a template.
        """
        template = template or language.template
        if template is None:
            raise ConfigError(NO_TEMPLATE)
        self.language, self.options = language, {"max_tokens": MAX_TOKENS, **options}
        DecodingOptions(**self.options)
        self.encoder = ChatEncoder(template, language.needs_tokenizer())
        earlier = list(messages)
        if earlier and earlier[0]["role"] == "system":
            own = earlier.pop(0).get("content")
            if system and own and system != own:
                raise ConfigError("this conversation begins with a system message of its own; give no other")
            system = own or system
        self.system = system
        self.messages: list[Message] = [*self.beginning(), *earlier]
        self.prefix, self.writer = PrefixCache(language.model), language.writer(self.ends())
        self.result: Continuation | None = None
        """The last answer, if it came to its end."""
        self.dropped = 0
        """Messages after the system's that are not read any more."""
        self.last: Exchange | None = None
        self.speaking: Generator[str, None, None] | None = None

    def say(self, text: str, **options: Any) -> Generator[str, None, None]:
        """The pieces of the answer as they come. An answer that is not iterated to its end, or interrupted, stays as
        far as it came; where nothing came, the question is taken back.

        Raises DataError for a conversation longer than the model reads; with `truncate` the oldest turns are left out.
        """
        if self.speaking is not None:
            self.speaking.close()
        decoding = DecodingOptions(**{**self.options, **options})
        question = {"role": "user", "content": text}
        encoded = self.encode([*self.messages, question], decoding)
        self.result, self.speaking = None, self.speak(question, encoded, decoding)
        return self.speaking

    def answer(self, text: str, **options: Any) -> str:
        """The whole answer."""
        return "".join(self.say(text, **options))

    def speak(self, question: Message, encoded: list[int], options: DecodingOptions) -> Generator[str, None, None]:
        tokens = self.as_said(encoded)
        held = self.prefix.keep(tokens[:-1])
        writing = Writing(self.writer, tokens[held:], options, cache=self.prefix.cache, read=tokens[:held])
        try:
            yield from writing
        finally:
            self.prefix.note(tokens + writing.tokens)
            self.result, self.last = writing.result, None
            if writing.tokens or writing.result is not None:
                self.messages += [question, {"role": "assistant", "content": writing.text}]
            if writing.result is not None and writing.result.stop is None:
                self.last = Exchange(encoded, tokens, writing.text, writing.tokens)

    def encode(self, messages: list[Message], options: DecodingOptions) -> list[int]:
        """The conversation as tokens, up to where the model speaks."""
        first, longest = len(self.beginning()), self.language.model.config.length
        room = min(options.max_tokens or MAX_TOKENS, longest // 4) if options.truncate else 1
        while True:
            encoded = self.encoder.ids([*messages[:first], *messages[first + self.dropped :]])
            if len(encoded) + room - 1 <= longest:
                return encoded
            turns = [i for i, message in enumerate(messages) if message["role"] == "user" and i > first + self.dropped]
            if not options.truncate or not turns:
                what = "the last message alone" if options.truncate else "the conversation"
                how = "say less" if options.truncate else "begin anew, or say truncate to leave out the oldest turns"
                raise DataError(f"{what} has {len(encoded):,} tokens, but this model reads at most {longest:,}; {how}")
            self.dropped = turns[0] - first

    def as_said(self, encoded: list[int]) -> list[int]:
        """With the model's own tokens for what it said, so that the cache need not be computed again."""
        if self.last is None:
            return encoded
        (usual,) = self.language.needs_tokenizer().encode_plain([self.last.answer])
        before = [*self.last.encoded, *usual]
        if encoded[: len(before)] != before:
            return encoded
        tokens = [*self.last.read, *self.last.written, *encoded[len(before) :]]
        return tokens if len(tokens) <= self.language.model.config.length else encoded

    def ends(self) -> tuple[int, ...]:
        """What ends an answer: the model's own tokens, and the one that ends a turn in the template."""
        ends = dict.fromkeys(self.language.ends)
        with suppress(DataError):  # a template that refuses this says nothing about it
            example = self.encoder.encode([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
            last = [token for token, spoken in zip(example.ids, example.spoken, strict=True) if spoken][-1:]
            ends |= dict.fromkeys(token for token in last if token in self.encoder.numbers)
        return tuple(ends)

    def beginning(self) -> list[Message]:
        return [{"role": "system", "content": self.system}] if self.system else []

    def reset(self) -> None:
        """Forget all but the system's message."""
        if self.speaking is not None:
            self.speaking.close()
        self.messages, self.dropped, self.last, self.result = self.beginning(), 0, None, None

    def save(self, path: str | Path) -> None:
        """Write the messages as JSON: a list of {"role": ..., "content": ...}."""
        text = json.dumps(self.messages, ensure_ascii=False, indent=2)
        replace_file(expanded(path), f"{text}\n".encode())


def read_messages(path: str | Path) -> list[Message]:
    """What `Chat.save` wrote. Raises DataError, one line that names the file."""
    try:
        text = read_bytes(expanded(path), most=MOST_JSON)
    except (OSError, CheckpointError) as error:
        raise DataError(f"{path}: cannot be read as a conversation ({getattr(error, 'strerror', error)})") from error
    messages = check_messages(parse_json(text, list[Any], str(path), error=DataError), str(path))
    if messages[-1]["role"] == "user":
        raise DataError(f"{path}: the last message is a user's, expected its answer; remove it and say it again")
    return messages
