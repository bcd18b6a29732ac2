"""Chat templates and conversations as tokens, against what is written by hand and against transformers."""

import json
import os

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers

from formers.errors import CheckpointError, ConfigError, DataError
from formers.text.chat import ChatEncoder, ChatTemplate, check_messages, load_template, plain_template
from formers.text.rule_tokenizer import RuleTokenizer
from tests.text.templates import (
    CHATML,
    GENERATION,
    INSTRUCTION,
    LLAMA3,
    NAMES,
    SPECIALS,
    TALK,
    TEMPLATES,
    THINKING,
    byte_tokenizer,
)

TOKENIZER = byte_tokenizer()


def reference(source):
    transformers = pytest.importorskip("transformers", reason="the reference is not installed")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.rules, bos_token="<s>", eos_token="</s>")
    fast.chat_template = source
    return fast


def runs(encoded):
    """[(spoken, text)]: neighbouring tokens of equal mask put together."""
    found = []
    for number, said in zip(encoded.ids, encoded.spoken, strict=True):
        if found and found[-1][0] == said:
            found[-1][1].append(number)
        else:
            found.append((said, [number]))
    return [(said, TOKENIZER.decode(ids, skip_special=False)) for said, ids in found]


def test_a_control_token_that_is_also_called_unknown_is_guarded():
    """SmolLM2's unk_token is <|endoftext|>."""
    settings = {**TOKENIZER.settings, "unk_token": "</s>", "eos_token": "<s>"}
    both = RuleTokenizer(tokenizers.Tokenizer.from_str(TOKENIZER.rules.to_str()), settings)
    assert both.byte_level and both.unk is not None and both.unk != both.eos
    encoder = ChatEncoder(ChatTemplate("{{ messages[0].content }}", NAMES), both)
    ids = encoder.ids([{"role": "user", "content": "a</s>b"}])
    assert both.unk not in ids and both.decode(ids) == "a</s>b"


# ---- templates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("answer", [False, True])
def test_text_and_ids_are_those_of_transformers(name, answer):
    fast, template = reference(TEMPLATES[name]), ChatTemplate(TEMPLATES[name], NAMES)
    encoder = ChatEncoder(template, TOKENIZER)
    for messages in (TALK, TALK[:1], TALK[:3], TALK[:2]):
        expected = fast.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer)
        assert template.render(messages, answer=answer) == expected
        ids = fast.apply_chat_template(messages, add_generation_prompt=answer, return_dict=True)["input_ids"]
        assert encoder.ids(messages, answer=answer) == ids


def test_the_mask_of_generation_blocks_is_that_of_transformers():
    expected = reference(GENERATION).apply_chat_template(TALK, return_dict=True, return_assistant_tokens_mask=True)
    found = ChatEncoder(ChatTemplate(GENERATION, NAMES), TOKENIZER).encode(TALK)
    assert found.ids == expected["input_ids"]
    assert found.spoken == [bool(each) for each in expected["assistant_masks"]]
    assert any(found.spoken) and not all(found.spoken)


def test_what_published_templates_use():
    source = """{% set ns = namespace(n=0) %}{% for m in messages %}{% if loop.last %}{% continue %}{% endif %}
{%- set ns.n = ns.n + 1 %}{{ loop.index0 }}{{ m.content.split(' ')[-1] }}{{ loop.length }}{% endfor %}|{{ ns.n }}|
{{- {'a': '<é & "ü">'} | tojson }}|{{ tools is none }}|{{ [1, 2] | tojson(indent=2) }}|
{%- macro say(x) %}[{{ x }}]{% endmacro %}{{ say('y') }}{{ messages[::-1][0].content }}{{ messages|length }}
{{- messages | selectattr('role', 'equalto', 'user') | map(attribute='role') | join(',') }}"""
    assert ChatTemplate(source, {}).render(TALK[:2]) == reference(source).apply_chat_template(TALK[:2], tokenize=False)


def test_variables_reach_the_template():
    template = ChatTemplate("{{ tools[0].name }}{{ mood }}{{ missing }}", {})
    assert template.render(TALK, tools=[{"name": "f"}], mood="!") == "f!"


@pytest.mark.parametrize(
    "source, message",
    [
        ("{{ ''.__class__.__mro__ }}", "__class__"),
        ("{{ ''['__class__'] }}", "__class__"),
        ("{{ cycler.__init__.__globals__ }}", "__init__"),
        ("{{ messages.__getitem__.__self__ }}", "__getitem__"),
        ("{{ '' | attr('__class__') }}", "__class__"),
        ("{{ '{0.__class__}'.format('') }}", "__class__"),
        ("{{ messages | map(attribute='__class__') | list }}", "__class__"),
        ("{{ raise_exception.__globals__ }}", "__globals__"),
        ("{{ messages.append(1) }}", "append"),
        ("{{ messages[0].update(role=1) }}", "update"),
        ("{{ range(10**9) | list }}", "1e+09"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "budget"),
        ("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}", "budget"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ 'a' * 10**9 }}", "repeats"),
        ("{{ [0] * 10**9 }}", "repeats"),
        ("{{ 10 ** (10**10) }}", "number"),
        ("{{ 'a' | center(10**9) }}", "1e+09"),
        ("{{ 'a'.ljust(10**9) }}", "1e+09"),
        ("{{ '%1000000000d' % 1 }}", "width"),
        ("{{ '%1000000000d' | format(1) }}", "width"),
        ("{{ '{:>1000000000}'.format(1) }}", "width"),
        ("{{ ('a' * 9**7).replace('', 'a' * 9**7) }}", "far larger"),
        (
            "{% set ns = namespace(s='aa') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
            "value of",
        ),
        (
            "{% set ns = namespace(s='aa') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
            "value of",
        ),
        (
            "{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}",
            "value of",
        ),
        (
            "{% set n = namespace(s='a') %}{% for i in range(99) %}"
            "{% set n.s %}{{ n.s }}{{ n.s }}{% endset %}{% endfor %}",
            "value of",
        ),
        ("{% set a = 'ab' * 2000000 %}{% for i in range(99999) %}{{ 'x' in a }}{% endfor %}", "budget"),
        ("{% set a = 'ab' * 2000000 %}{% for i in range(99999) %}{% if a[1:] %}{% endif %}{% endfor %}", "budget"),
        ("{% include 'other' %}", "loader"),
        ("{{ messages | random }}", "random"),
        ("{% for m in messages %}", "line 1"),
        ("{{ messages | nonsense }}", "nonsense"),
        ("{{ messages[0].a.b }}", "no attribute"),
        ("{{ 1 + 'a' }}", "unsupported"),
        ("{% break %}", "break"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "recursion"),
    ],
)
def test_a_template_that_reaches_out_or_runs_long_is_one_line(source, message):
    with pytest.raises(CheckpointError) as found:
        ChatTemplate(source, {}, where="x/chat_template.jinja").render(TALK)
    line = str(found.value)
    assert message in line and "x/chat_template.jinja" in line and "\n" not in line and len(line) < 400


def test_a_namespace_is_not_printed():
    assert ChatTemplate("{{ namespace(a=1) }}", {}).render(TALK) == "<namespace>"


def test_a_refusal_of_the_template_is_one_line():
    with pytest.raises(DataError, match=r"refuses these messages: Conversation roles must alternate"):
        ChatTemplate(INSTRUCTION, NAMES).render([TALK[0], TALK[0]])


# ---- files -------------------------------------------------------------------------------------------------


def folder(path, **settings):
    TOKENIZER.save(path)
    (path / "tokenizer_config.json").write_text(json.dumps({**NAMES, **settings}))
    return path


def test_a_template_is_found_in_its_places(tmp_path):
    assert load_template(folder(tmp_path)) is None
    assert load_template(folder(tmp_path, chat_template="A{{ bos_token }}")).render(TALK) == "A<s>"
    several = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    assert load_template(folder(tmp_path, chat_template=several)).render(TALK) == "D"
    as_object = folder(tmp_path, chat_template="{{ bos_token }}", bos_token={"content": "<|im_end|>", "lstrip": False})
    assert load_template(as_object).render(TALK) == "<|im_end|>"
    (tmp_path / "chat_template.jinja").write_text("J{{ eos_token }}")
    found = load_template(tmp_path)
    assert found.render(TALK) == "J</s>"
    assert found.files() == {"chat_template.jinja": b"J{{ eos_token }}"}
    assert load_template(tmp_path / "nowhere") is None


def test_broken_template_files(tmp_path):
    with pytest.raises(CheckpointError, match=r'\(a, b\) none is "default"'):
        load_template(folder(tmp_path, chat_template=[{"name": "a", "template": ""}, {"name": "b", "template": ""}]))
    with pytest.raises(CheckpointError, match="is a int, expected text"):
        load_template(folder(tmp_path, chat_template=3))
    with pytest.raises(CheckpointError, match=r"tokenizer_config.json, line 2: "):
        load_template(folder(tmp_path, chat_template="\n{% if %}"))
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(CheckpointError, match="no text in UTF-8"):
        load_template(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("x" * (2**20 + 1))
    with pytest.raises(CheckpointError, match="1,048,577 bytes long, expected at most 1,048,576"):
        load_template(tmp_path)


def test_a_template_is_a_file_of_its_folder(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "m").mkdir()
    path = tmp_path / "m" / "chat_template.jinja"
    for target in ("../secret", "/dev/zero", "nowhere", "chat_template.jinja"):
        path.symlink_to(target)
        with pytest.raises(CheckpointError, match=r"outside of its folder|no such file|cannot be read"):
            load_template(tmp_path / "m")
        path.unlink()
    (tmp_path / "m" / "other.jinja").write_text("here")
    path.symlink_to("other.jinja")
    assert load_template(tmp_path / "m").source == "here"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="no regular file"):
        load_template(tmp_path / "m")


def test_files_of_a_hub_snapshot_are_links_to_its_blobs(tmp_path):
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "0"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "1").write_text("blob")
    (snapshot / "chat_template.jinja").symlink_to("../../blobs/1")
    assert load_template(snapshot).source == "blob"


# ---- messages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "messages, expected",
    [
        ("hello", "expected a list of messages"),
        ([], "expected a list of messages"),
        (["hello"], "message 1: got 'hello'"),
        ([{"content": "a"}], "message 1: it has no role"),
        ([TALK[0], {"role": "asistant", "content": "a"}], '2: the role "asistant" is not known; did you mean "assis'),
        ([{"role": "user", "content": None}], "message 1: its content is None (NoneType), expected text"),
        ([{"role": "user", "content": [{"type": "image"}]}], "message 1: its content is [{'type': 'image'}] (list)"),
        ([{"role": "user"}], "message 1: its content is None"),
        ([TALK[0], {"role": "assistant", "content": " \n"}], "message 2: the answer is empty"),
        ([TALK[0]], "no assistant turn among the 1 messages"),
    ],
)
def test_messages_that_are_none(messages, expected):
    with pytest.raises(DataError) as found:
        check_messages(messages, "x.jsonl, line 3", answered=True)
    assert expected in str(found.value) and str(found.value).startswith("x.jsonl, line 3")


def test_messages_that_are():
    calls = [TALK[0], {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}]
    assert check_messages(calls, "x", answered=True) == calls
    assert check_messages(TALK[:1], "x") == TALK[:1]


# ---- who said what -----------------------------------------------------------------------------------------


def test_spoken_tokens_of_chatml():
    found = ChatEncoder(ChatTemplate(CHATML, NAMES), TOKENIZER).encode(TALK)
    assert runs(found) == [
        (
            False,
            "<|im_start|>system\nBe helpful.<|im_end|>\n<|im_start|>user\nWhat is the sea?<|im_end|>\n"
            "<|im_start|>assistant\n",
        ),
        (True, "Water, with a lot of salt.<|im_end|>"),
        (False, "\n<|im_start|>user\n  And a lake? \n<|im_end|>\n<|im_start|>assistant\n"),
        (True, "Less of both… 湖 is the word.<|im_end|>"),
        (False, "\n"),
    ]


def test_spoken_tokens_one_by_one():
    talk = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello"}]
    found = ChatEncoder(ChatTemplate(GENERATION, NAMES), TOKENIZER).encode(talk)
    names = TOKENIZER.pieces(found.ids)
    expected = [
        ("<|im_start|>", False),
        ("user", False),
        ("\n", False),
        ("hello", False),
        ("<|im_end|>", False),
        ("\n", False),
        ("<|im_start|>", False),
        ("assistant", False),
        ("\n", False),
        ("hello", True),
        ("<|im_end|>", True),
        ("\n", False),
    ]
    assert list(zip(names, found.spoken, strict=True)) == expected
    plain = ChatEncoder(ChatTemplate(CHATML, NAMES), TOKENIZER)
    system = {"role": "system", "content": "hello"}
    found = plain.encode([system, *talk])
    assert list(zip(TOKENIZER.pieces(found.ids), found.spoken, strict=True))[6:] == expected


def test_spoken_tokens_of_llama3():
    found = ChatEncoder(ChatTemplate(LLAMA3, NAMES), TOKENIZER).encode(TALK, date_string="1 May")
    header = "<|start_header_id|>{}<|end_header_id|>\n\n"
    assert runs(found) == [
        (
            False,
            "<s>"
            + header.format("system")
            + "Today Date: 1 May\n\n<|eot_id|>"
            + header.format("user")
            + "What is the sea?<|eot_id|>"
            + header.format("assistant"),
        ),
        (True, "Water, with a lot of salt.<|eot_id|>"),
        (False, header.format("user") + "And a lake?<|eot_id|>" + header.format("assistant")),
        (True, "Less of both… 湖 is the word.<|eot_id|>"),
    ]


def test_without_words_that_ask_the_answer_begins_with_its_text():
    found = runs(ChatEncoder(ChatTemplate(INSTRUCTION, NAMES), TOKENIZER).encode(TALK))
    assert found[1] == (True, "Water, with a lot of salt.</s>")
    assert found[0] == (False, "<s>[INST] What is the sea? [/INST] ")


def test_a_template_that_rewrites_earlier_turns_is_refused_but_for_the_last_answer():
    encoder = ChatEncoder(ChatTemplate(THINKING, NAMES), TOKENIZER)
    with pytest.raises(DataError, match=r'up to message 2 differently.*rows.answers = "last"'):
        encoder.encode(TALK)
    assert [text for said, text in runs(encoder.encode(TALK, last_only=True)) if said] == [
        "<think>\n\n</think>\n\nLess of both… 湖 is the word.<|im_end|>"
    ]
    assert sum(encoder.encode(TALK[:2]).spoken) > 0


def test_the_last_answer_only():
    for source in (CHATML, GENERATION):
        found = ChatEncoder(ChatTemplate(source, NAMES), TOKENIZER).encode(TALK, last_only=True)
        assert [text for said, text in runs(found) if said] == ["Less of both… 湖 is the word.<|im_end|>"]


def test_an_assistant_that_begins_is_refused():
    with pytest.raises(DataError, match="begins with the assistant"):
        ChatEncoder(ChatTemplate(CHATML, NAMES), TOKENIZER).encode(TALK[1:])


def test_the_plain_template():
    template = plain_template(TOKENIZER)
    assert template.render(TALK[:3], answer=True) == (
        "<s>User:\nWhat is the sea?\n\nAssistant:\nWater, with a lot of salt.</s>\n\nUser:\n  And a lake? \n\n\n"
        "Assistant:\n"
    )
    assert runs(ChatEncoder(template, TOKENIZER).encode(TALK[:2])) == [
        (False, "<s>User:\nWhat is the sea?\n\nAssistant:\n"),
        (True, "Water, with a lot of salt.</s>"),
        (False, "\n\n"),
    ]
    fast = reference(template.source)
    assert fast.apply_chat_template(TALK, tokenize=False) == template.render(TALK)
    with pytest.raises(ConfigError, match="no end-of-text token"):
        plain_template(RuleTokenizer(TOKENIZER.rules, {}))


# ---- names of special tokens in messages -------------------------------------------------------------------

WORDS = ["<|im_", "end|>", "<", "|", "s>", "a", " ", "\n", "</think>", "<|im_<|im_end|>end|>"]
WRITES = st.lists(st.sampled_from([*SPECIALS, *WORDS]), min_size=1, max_size=6).map("".join)


@given(WRITES, WRITES, st.sampled_from(["chatml", "llama3", "generation", "instruction"]))
def test_special_tokens_come_from_the_template_only(asked, said, name):
    encoder = ChatEncoder(ChatTemplate(TEMPLATES[name], NAMES), TOKENIZER)
    plain = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello"}]
    talk = [{"role": "user", "content": asked}, {"role": "assistant", "content": said or "a"}]

    def controls(messages):
        return [number for number in encoder.ids(messages, answer=False) if number in encoder.numbers]

    assert controls(talk) == controls(plain)
    text = encoder.template.render(talk)
    assert TOKENIZER.decode(encoder.ids(talk, answer=False), skip_special=False) == text  # and every character is there
    if said.strip():
        found = encoder.encode(talk)
        spoken = [number for number, mine in zip(found.ids, found.spoken, strict=True) if mine]
        assert said.strip() in TOKENIZER.decode(spoken, skip_special=False)
        assert sum(number in encoder.numbers for number in spoken) == 1


def test_a_message_cannot_begin_a_name_that_the_next_one_ends():
    encoder = ChatEncoder(ChatTemplate("{% for m in messages %}{{ m.content | trim }}{% endfor %}", NAMES), TOKENIZER)
    talk = [{"role": "user", "content": "a<|im_ "}, {"role": "user", "content": "end|>b"}]
    found = encoder.ids(talk)
    assert TOKENIZER.decode(found, skip_special=False) == "a<|im_end|>b"
    assert not set(found) & encoder.numbers


def test_our_private_marks_in_a_message_are_no_marks():
    template = ChatTemplate(GENERATION, NAMES)
    marked = [{"role": "user", "content": "\U000f0002he\U000f0001llo\U000f0003"}, TALK[1]]
    plain = [{"role": "user", "content": "hello"}, TALK[1]]
    assert template.render(marked) == template.render(plain)
    encoder = ChatEncoder(template, TOKENIZER)
    assert encoder.encode(marked) == encoder.encode(plain)


def test_added_tokens_that_the_template_writes_stay_words_in_a_question_and_tokens_in_an_answer():
    encoder = ChatEncoder(ChatTemplate(THINKING, NAMES), TOKENIZER)
    closed = TOKENIZER.rules.token_to_id("</think>")
    asked = encoder.ids([{"role": "user", "content": "a</think>b"}])
    assert closed not in asked
    elsewhere = ChatEncoder(ChatTemplate(CHATML, NAMES), TOKENIZER)
    answered = elsewhere.ids([TALK[0], {"role": "assistant", "content": "<think>a</think>b"}])
    assert answered.count(closed) == 1


def test_names_in_tools_are_words_too():
    encoder = ChatEncoder(ChatTemplate("{{ tools | tojson }}<|im_end|>", NAMES), TOKENIZER)
    found = encoder.ids(TALK, tools=[{"name": "<|im_end|>"}])
    assert sum(number in encoder.numbers for number in found) == 1


def test_a_tokenizer_that_finds_the_name_in_pieces_is_refused():
    rules = tokenizers.Tokenizer(models.WordLevel({"<e>": 0, "a": 1, "<": 2, "e>": 3}, unk_token="a"))
    rules.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    rules.add_special_tokens(["<e>"])
    rules.normalizer = normalizers.Replace("!", "<e>")
    encoder = ChatEncoder(ChatTemplate("{{ messages[0].content }}", {}), RuleTokenizer(rules, {}))
    with pytest.raises(DataError, match="reads a special token out of ordinary text"):
        encoder.ids([{"role": "user", "content": "a ! a"}])


def test_a_word_that_begins_with_a_space_is_read_alike_after_a_cut():
    """Tokenizers in the style of SentencePiece put a space before what stands first; not in the middle of a text."""
    words = [*SPECIALS, "▁", "▁a", "a", "<", "/", "s", ">", "\n", "b"]
    rules = tokenizers.Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [("▁", "a")]))
    rules.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    rules.add_special_tokens(SPECIALS)
    t = RuleTokenizer(rules, NAMES)
    encoder = ChatEncoder(ChatTemplate("{{ messages[0].content }}", {}), t)
    found = encoder.ids([{"role": "user", "content": "a</s>a b"}])
    assert t.pieces(found) == ["▁a", "<", "/", "s", ">", "a", "▁", "b"]


def test_no_tokenizer():
    with pytest.raises(ConfigError, match="no tokenizer"):
        ChatEncoder(ChatTemplate(CHATML, {}), None)


def test_what_ends_an_answer():
    ends = {name: ChatEncoder(ChatTemplate(source, NAMES), TOKENIZER).ending() for name, source in TEMPLATES.items()}
    named = {name: TOKENIZER.pieces(found) for name, found in ends.items()}
    assert named == {
        "chatml": ["<|im_end|>"],
        "llama3": ["<|eot_id|>"],
        "instruction": ["</s>"],
        "thinking": ["<|im_end|>"],
        "generation": ["<|im_end|>"],
    }
    words = ChatTemplate("{% for m in messages %}{{ m.content }}\n{% endfor %}", NAMES)
    assert ChatEncoder(words, TOKENIZER).ending() == []
    picky = ChatTemplate("{{ raise_exception('never') }}", NAMES)
    assert ChatEncoder(picky, TOKENIZER).ending() == []


def test_half_of_a_character_in_a_conversation_is_one_line():
    talk = [{"role": "user", "content": "a \ud800 b"}]
    with pytest.raises(DataError, match=r"is not Unicode: character \d+ is '\\ud800'; give the text in UTF-8"):
        ChatEncoder(ChatTemplate(CHATML, NAMES), TOKENIZER).ids(talk)
