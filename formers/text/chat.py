"""Conversations as text: the chat template that a checkpoint brings, and conversations as tokens.

    messages -> ChatTemplate.render (Jinja, sandboxed) -> text -> ChatEncoder.encode -> ids, and who said which

A message is {"role": "system" | "user" | "assistant" | "tool", "content": text}, as in every published template.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from jinja2 import TemplateError, TemplateSyntaxError

from formers.errors import MOST, CheckpointError, ConfigError, DataError, nearest, shortened
from formers.files import read_source
from formers.text.faults import reading
from formers.text.open import read_settings
from formers.text.rule_tokenizer import RuleTokenizer
from formers.text.sandbox import CLOSE, OPEN, Refusal, compiled, rendered
from formers.text.tokenizer import Tokenizer

Message = Mapping[str, Any]
ROLES = ("system", "user", "assistant", "tool")
FILE = "chat_template.jinja"
CUT = "\U000f0001"  # breaks the name of a special token in a message; private use, never text
MARKS = re.compile(f"[{CUT}{OPEN}{CLOSE}]")
# What a template can raise: its own faults, and Python's where it does what its values cannot
FAULTS = (
    *(TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError),
    *(MemoryError, AssertionError, SyntaxError),
)

# For models without a template: roles in plain words, so that no vocabulary needs new tokens; the end-of-text
# token, which every trained tokenizer has, ends an answer. Words can be imitated in a message: only the end cannot.
PLAIN = """\
{{ bos_token }}{% for message in messages %}
{{ message['role'] | capitalize }}:
{{ message['content'] }}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n\\n' }}
{%- endfor %}
{% if add_generation_prompt %}
Assistant:
{% endif %}
"""


class ChatTemplate:
    """Messages -> the text that a model was trained to read; a Jinja template, run in a sandbox with a budget."""

    def __init__(self, source: str, specials: Mapping[str, str], *, where: str = "the chat template") -> None:
        """specials: "bos_token" -> "<s>" ...; where: what errors call it. Raises CheckpointError: a syntax error."""
        self.source, self.specials, self.where = source, dict(specials), where
        try:
            self.template = compiled(source)
        except TemplateSyntaxError as fault:
            raise CheckpointError(f"{where}, line {fault.lineno}: {one_line(fault)}") from fault
        except FAULTS as fault:
            raise CheckpointError(f"{where} cannot be used: {one_line(fault)}") from fault

    def render(self, messages: Sequence[Message], *, answer: bool = False, **variables: Any) -> str:
        """The conversation as text; `answer`: with the words after which the assistant speaks.

        variables: more names for the template (tools, documents ...). Raises DataError where the template refuses
        the messages, CheckpointError where it fails, reaches for Python's internals or does not come to an end.
        """
        return MARKS.sub("", self.marked(mapped(messages, clean), answer=answer, **mapped(variables, clean)))

    def marked(self, messages: Sequence[Message], *, answer: bool = False, **variables: Any) -> str:
        """The same with OPEN and CLOSE around what `{% generation %}` blocks write."""
        names = {"tools": None, "documents": None, **self.specials, **variables}
        try:
            return rendered(self.template, {**names, "messages": list(messages), "add_generation_prompt": answer})
        except Refusal as fault:
            raise DataError(f"{self.where} refuses these messages: {one_line(fault)}") from fault
        except FAULTS as fault:
            raise CheckpointError(f"{self.where} fails: {one_line(fault)}") from fault

    def files(self) -> dict[str, bytes]:
        """The files that a model folder needs for this template."""
        return {FILE: self.source.encode()}


def load_template(folder: str | Path, settings: Mapping[str, Any] | None = None) -> ChatTemplate | None:
    """The chat template of a model folder: chat_template.jinja, else what tokenizer_config.json says; None: none.

    settings: tokenizer_config.json, where it was read already. Of several named templates the one called "default".
    """
    folder = Path(folder)
    settings = read_settings(folder) if settings is None else settings
    specials = special_texts(settings)
    path, where = folder / FILE, str(folder / "tokenizer_config.json")
    if os.path.lexists(path):
        return ChatTemplate(read_source(path, folder=folder), specials, where=str(path))
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = {str(entry.get("name")): entry.get("template") for entry in template if isinstance(entry, dict)}
        if "default" not in named:
            raise CheckpointError(f'{where}: of the chat templates ({", ".join(named) or "none"}) none is "default"')
        template = named["default"]
    if template is None:
        return None
    if not isinstance(template, str):
        raise CheckpointError(f"{where}: chat_template is a {type(template).__name__}, expected text")
    return ChatTemplate(template, specials, where=f"the chat_template of {where}")


def special_texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens that tokenizer_config.json names: "bos_token" -> "<s>" ..."""
    return {key: value for key, value in settings.items() if key.endswith("_token") and isinstance(value, str)}


def special_names(tokenizer: Tokenizer) -> dict[str, str]:
    """What a template calls the tokens that begin and end a text: "bos_token" -> "<s>", "eos_token" -> "</s>"."""
    known = {"bos_token": tokenizer.bos, "eos_token": tokenizer.eos}
    return {name: tokenizer.pieces([number])[0] for name, number in known.items() if number is not None}


def plain_template(tokenizer: Tokenizer) -> ChatTemplate:
    """The template for a model that has none: roles as words, the tokenizer's end-of-text token after an answer."""
    specials = special_names(tokenizer)
    if "eos_token" not in specials:
        raise ConfigError(
            "the tokenizer has no end-of-text token (eos_token in tokenizer_config.json), without which "
            "an answer has no end; give one, or a chat_template.jinja"
        )
    return ChatTemplate(PLAIN, specials, where="roles in plain words")


def check_messages(messages: Any, where: str, *, answered: bool = False) -> list[Message]:
    """The messages themselves, if they are messages. Raises DataError, one line that begins with `where`.

    A null besides the content is left out: tables write one wherever a message lacks what another one has.
    answered: an assistant must have spoken, and every answer must hold something.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise DataError(f"{where}: got {messages!r:.60}, expected a list of messages")
    for number, message in enumerate(messages, 1):
        here = f"{where}, message {number}"
        if not isinstance(message, Mapping):
            raise DataError(f'{here}: got {message!r:.60}, expected {{"role": ..., "content": ...}}')
        if "role" not in message:
            raise DataError(f"{here}: it has no role (keys: {', '.join(map(str, message))}); known: {', '.join(ROLES)}")
        role, content = message["role"], message.get("content")
        if role not in ROLES:
            raise DataError(f'{here}: the role "{shortened(str(role), MOST)}" is not known{nearest(str(role), ROLES)}')
        calls = role == "assistant" and bool(message.get("tool_calls"))
        if not isinstance(content, str) and not (content is None and calls):
            raise DataError(f"{here}: its content is {content!r:.60} ({type(content).__name__}), expected text")
        if answered and role == "assistant" and not calls and not str(content).strip():
            raise DataError(f"{here}: the answer is empty; remove the row or write one")
    if answered and all(message["role"] != "assistant" for message in messages):
        raise DataError(f"{where}: no assistant turn among the {len(messages)} messages, so there is nothing to learn")
    return [
        {key: value for key, value in message.items() if value is not None or key == "content"} for message in messages
    ]


@dataclass(frozen=True)
class EncodedChat:
    """A conversation as tokens."""

    ids: list[int]
    spoken: list[bool]
    """For each token whether an assistant says it: the answer with the token that ends the turn."""


class ChatEncoder:
    """Conversations -> tokens.

    Guaranteed: special tokens come from the template only. Where a message contains the name of one, such as
    `<|im_end|>`, it is read as the characters of that name, so nobody ends a turn or begins another role by writing
    it; in all turns but the assistant's the same holds for every added token that the template writes. Where no
    message contains such a name the ids are those of the rendered text.
    """

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer | None) -> None:
        if not isinstance(tokenizer, RuleTokenizer):
            raise ConfigError(
                "conversations need a tokenizer.json, whose special tokens can be told from text; this "
                f"model has {'no tokenizer' if tokenizer is None else 'another kind of tokenizer'}"
            )
        self.template, self.tokenizer = template, tokenizer
        # without the post-processor: the template writes the special tokens, and offsets keep their spaces
        table = json.loads(tokenizer.rules.to_str())
        self.rules = tokenizers.Tokenizer.from_str(json.dumps({**table, "post_processor": None}))
        # text itself may be unknown, but not to bytes: there "unknown" is another name of a control token
        unknown = None if tokenizer.byte_level else tokenizer.unk
        added = [(token["content"], token["id"], token["special"]) for token in table["added_tokens"]]
        controls = {name for name, id, special in added if (special and id != unknown) or id == tokenizer.eos}
        written = {name for name, _, _ in added if name in template.source}
        self.controls, self.guarded = Names(controls), Names(controls | written)
        self.numbers = {id for name, id, _ in added if name in controls}

    def encode(self, messages: Sequence[Message], *, last_only: bool = False, **variables: Any) -> EncodedChat:
        """The tokens of a whole conversation and who said them; last_only: as if only the last answer was spoken.

        Spoken is what `{% generation %}` blocks write; in a template without them, what follows the words that ask
        for an answer, up to the special token that ends it. Raises what `ChatTemplate.render` raises, and DataError
        where the template writes a turn differently once the conversation goes on.
        """
        messages, variables = [self.guard(message) for message in messages], mapped(variables, self.guarded.cut)
        text = self.template.marked(messages, **variables)
        if OPEN in text:
            spans = [found.span() for found in re.finditer(f"{OPEN}[^{CLOSE}]*{CLOSE}", text)]
        else:
            turns = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
            spans = [self.turn(messages, at, text, variables) for at in (turns[-1:] if last_only else turns)]
        ids, offsets = self.tokens(text)
        spoken = [False] * len(ids)
        for span in spans[-1:] if last_only else spans:
            first, last = (at - len(MARKS.findall(text, 0, at)) for at in span)
            for i, (start, end) in enumerate(offsets):
                spoken[i] |= start < last and end > first if start < end else first <= start < last
        return EncodedChat(ids, spoken)

    def ids(self, messages: Sequence[Message], *, answer: bool = True, **variables: Any) -> list[int]:
        """The tokens alone, by default up to where the assistant is to speak: what a chat gives to its model."""
        guarded = [self.guard(message) for message in messages]
        return self.tokens(self.template.marked(guarded, answer=answer, **mapped(variables, self.guarded.cut)))[0]

    def ending(self) -> list[int]:
        """The special token that ends an answer; empty where the template writes none, or refuses to be asked."""
        example = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        try:
            chat = self.encode(example)
        except DataError:
            return []
        answer = [number for number, spoken in zip(chat.ids, chat.spoken, strict=True) if spoken]
        return [number for number in answer[-1:] if number in self.numbers]

    def guard(self, message: Message) -> Message:
        """The message with the names of special tokens in it cut in two."""
        names = self.controls if message.get("role") == "assistant" else self.guarded
        return mapped(message, names.cut)

    def turn(self, messages: Sequence[Message], at: int, text: str, variables: Mapping[str, Any]) -> tuple[int, int]:
        """Where in the text message `at` is spoken: from the end of all before it, to the end of its turn."""
        if at == 0:
            raise DataError("the conversation begins with the assistant, but an answer needs something before it")
        earlier = self.template.marked(messages[:at], **variables)
        before = self.template.marked(messages[:at], answer=True, **variables)
        after = text if at == len(messages) - 1 else self.template.marked(messages[: at + 1], **variables)
        if not (text.startswith(before) and text.startswith(after)):
            raise DataError(
                f"{self.template.where} writes the conversation up to message {at + 1} differently when it goes on, so "
                "nobody can say what the assistant spoke; give a template with {% generation %} blocks, or learn only "
                'the last answers (rows.answers = "last")'
            )
        start, end = len(before), len(after)
        if before == earlier:  # no words ask for an answer: it begins where its text does
            start = max(start, text.find(str(messages[at].get("content") or "").strip(), start, end))
        closed = max((found.end() for found in self.controls.whole.finditer(text, start, end)), default=end)
        return start, end if text[closed:end].strip() else closed

    def plain_tokens(self, text: str) -> tokenizers.Encoding:
        with reading(text):
            return self.rules.encode(text, add_special_tokens=False)

    def tokens(self, marked: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of a marked text, and where in the text without marks each of them lies."""
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        done = written = 0
        for piece in marked.replace(OPEN, "").replace(CLOSE, "").split(CUT):
            # after a line feed, for some tokenizers put a space before what stands first
            lead = self.plain_tokens("\n" + piece) if done else None
            inside = [start >= 1 for start, _ in lead.offsets] if lead else []
            if (
                lead
                and inside == sorted(inside)
                and (1, 1) not in lead.offsets
                and all(end <= 1 for (_, end), kept in zip(lead.offsets, inside, strict=True) if not kept)
            ):
                skip, found, shift = inside.count(False), lead, done - 1
            else:
                skip, found, shift = 0, self.plain_tokens(piece), done
            ids += found.ids[skip:]
            offsets += [(start + shift, end + shift) for start, end in found.offsets[skip:]]
            done += len(piece)
            written += len(self.controls.whole.findall(piece))
        if sum(number in self.numbers for number in ids) > written:
            raise DataError(
                "this tokenizer reads a special token out of ordinary text, so what a message says cannot "
                f"be kept apart from what the template says: {MARKS.sub('', marked)!r:.80}"
            )
        return ids, offsets


class Names:
    """Names of tokens that a text must not be read as."""

    def __init__(self, names: set[str]) -> None:
        anything = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)) or "(?!)"
        self.whole, self.start = re.compile(anything), re.compile(f"(?={anything}).", re.DOTALL)
        self.beginnings = {name[:size] for name in names for size in range(1, len(name))}
        self.longest = max(map(len, names), default=0)

    def cut(self, text: str) -> str:
        """The text with a CUT inside every name, and where it ends in the beginning of one."""
        text = self.start.sub(lambda found: found[0] + CUT, clean(text))
        end = len(text.rstrip())
        begun = any(text[max(0, end - size) : end] in self.beginnings for size in range(1, self.longest))
        return text[:end] + CUT + text[end:] if begun else text


def clean(text: str) -> str:
    """The text without our private marks."""
    return MARKS.sub("", text)


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """The value with every text in it changed, in lists and objects too, keys aside."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(part, change) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [mapped(part, change) for part in value]
    return value


def one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:300] or type(fault).__name__
