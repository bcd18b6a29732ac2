"""Templates that want much memory or time: one line, whatever the way; and what a null is written as."""

import json

import pytest

from formers.errors import CheckpointError, DataError
from formers.text import template_budget
from formers.text.chat import ChatEncoder, ChatTemplate, check_messages, load_template
from formers.text.template_budget import LARGEST
from tests.text.templates import NAMES, TALK, byte_tokenizer

LOOP = "{% for i in range(99999) %}@{% endfor %}"
TWICE = "{% for i in range(9999) %}" + LOOP + "{% endfor %}"
WIDE = [
    # widths that are values
    "{{ '%*d' % (1000000000, 1) }}",
    "{{ '%-*d' % (-1000000000, 1) }}",
    "{{ '%.*f' % (1000000000, 1.0) }}",
    "{{ '%*d' | format(1000000000, 1) }}",
    "{{ '%(a(b))1000000000d' % {'a(b)': 1} }}",
    "{{ ('%99999d' * 9999) % ((1,) * 9999) }}",
    "{{ ('%(a)s' * 99999) % {'a': 'b' * 99999} }}",
    "{{ ('%(a)s' * 99999) | format(a='b' * 99999) }}",
    "{{ '{:{}}'.format(1, 1000000000) }}",
    "{{ '{:{w}}'.format(1, w=1000000000) }}",
    "{{ '{0:{1[w]}}'.format(1, {'w': 1000000000}) }}",
    "{{ '{x:{w}}'.format_map({'x': 1, 'w': 1000000000}) }}",
    "{{ ('{0:{1[w]}}' | escape).format(1, {'w': 1000000000}) }}",
    "{{ '{:.{}f}'.format(1.0, 1000000000) }}",
    "{{ ('{0:99999}' * 9999).format(1) }}",
    "{{ ('{0}' * 99999).format('a' * 99999) }}",
    # functions that pad
    "{{ ('\n' * 99999) | indent(99999) }}",
    "{{ ('\n' * 99999) | indent(width=99999, blank=true) }}",
    "{{ ('\n' * 99999) | indent('a' * 99999, blank=true) }}",
    "{% filter indent(99999, blank=true) %}{{ '\n' * 99999 }}{% endfilter %}",
    "{{ [('\n' * 99999)] | map('indent', 99999, blank=true) | list }}",
    "{{ ('\t' * 99999).expandtabs(99999) }}",
    "{{ ('\t' * 99999).encode().expandtabs(99999) }}",
    "{{ (('\t' * 99999) | escape).expandtabs(99999) }}",
    "{{ [1] | tojson(indent=1000000000) }}",
    "{{ [1] | tojson(indent=99999) }}",
    "{{ [1] | tojson(indent=' ' * 99999) }}",
    "{{ ([1] * 99999) | tojson(separators=('a' * 4999999, 'b')) }}",
    "{{ 'a' | center(10**9) }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a'.rjust(10**9) }}",
    "{{ 'a'.zfill(10**9) }}",
    "{{ 'a'.encode().center(10**9) }}",
    "{{ ('a' | escape).center(10**9) }}",
    "{{ 1 | round(10**9) }}",
    # repeats
    "{{ ('a'.encode() * 4999999) * 9999 }}",
    "{{ 'a'.encode() * 10**9 }}",
    "{{ (1, 2) * 10**9 }}",
    "{{ (('a' | escape) * 499999) * 100 }}",
    "{{ ('a' * 99999).join(['b'] * 99999) }}",
    "{{ (['b'] * 99999) | join('a' * 99999) }}",
    "{{ ('b' * 99999) | replace('b', 'a' * 99999) }}",
    "{{ ('b' * 99999).translate({98: 'a' * 99999}) }}",
    "{{ {}.fromkeys(range(99999), 'a' * 99999) | string }}",
    "{{ ([1] * 9999) | batch(10**9, 'x') | list }}",
    "{{ [1] | slice(10**9) | list }}",
    "{% for x in [1] | batch(99999, 'a' * 999) %}{{ x | string }}{% endfor %}",
    "{{ '\U0001f600' * 4999999 }}",
    "{% set a = 'a' * 4999999 %}{{ a ~ a ~ a }}",
    "{% set a = 'a' * 4999999 %}{{ a + a + a }}",
    "{% set a = 'a' * 4999999 %}{{ [a, a, a] | join }}",
    "{% for i in range(9) %}{{ 'a' * 4999999 }}{% endfor %}",
    # enormous numbers
    "{{ 10 ** 10000 }}",
    "{{ ('f' * 499999) | int(0, 16) }}",
    "{{ (0).from_bytes('a'.encode() * 499999, 'big') }}",
    "{% set n = namespace(i=3) %}{% for i in range(99) %}{% set n.i = n.i * n.i %}{% endfor %}",
    "{{ 2 ** 9999 * 2 ** 9999 }}",
    "{{ (2 ** 99999) | filesizeformat }}",
    # encodings that take the square
    "{{ ('\u00e9' * 99999).encode('punycode') }}",
    "{{ ('\u00e9' * 99999).encode('idna') }}",
    "{{ ('\u00e9' * 99999).encode(encoding='unicode_escape') }}",
    "{{ 'a'.encode().decode('punycode') }}",
]
SLOW = [
    "range(99999) | max",
    "range(99999) | min",
    "range(99999) | list | length",
    "range(9999) | join | length",
    "range(9999) | sort | first",
    "range(9999) | unique | list | length",
    "range(999) | map('string') | list | length",
    "range(9999) | select('odd') | list | length",
    "range(9999) | reject('odd') | list | length",
    "range(9999) | batch(3) | list | length",
    "range(9999) | slice(3) | list | length",
    "range(9999) | reverse | list | length",
    "range(9999) | groupby('real') | length",
    "range(99999).index(99998)",
    "range(99999).count('a')",
    "'a' in range(99999)",
    "'a' is in range(99999)",
    "range(99999) == range(99998)",
    "[0] | select('in', range(9999)) | list",
    "('a' * 99999) | list | length",
    "('a ' * 99999).split() | length",
    "('a\n' * 99999).splitlines() | length",
    "('a ' * 99999) | wordcount",
    "('a ' * 99999) | title | length",
    "('a' * 9000).strip('b' * 9000 + 'a')",
    "('a' * 9000) | trim('b' * 9000 + 'a')",
    "('a' * 99999).encode().count('b'.encode())",
    "('ab' * 9999).find('ab' * 999 + 'c')",
    "('ab' * 9999) | replace('a', 'b') | length",
    "{}.fromkeys(range(9999)).items() | list | length",
    "{}.fromkeys(range(9999)) | items | list | length",
    "{}.fromkeys(range(9999)) | dictsort | length",
    "{}.fromkeys(range(9999)).values() | list | length",
    "{}.fromkeys(range(9999)) | tojson | length",
    "'%99999d' % 1",
    "'{:99999}'.format(1)",
    "'a' | center(99999)",
    "'\n' | indent(99999)",
]


def fails(source):
    with pytest.raises(CheckpointError) as found:
        ChatTemplate(source, {}, where="x/chat_template.jinja").render(TALK)
    line = str(found.value)
    assert "x/chat_template.jinja" in line and "\n" not in line and len(line) < 400
    return line


@pytest.mark.parametrize("source", WIDE)
def test_a_value_that_would_be_enormous_is_refused_before_it_is_made(source):
    line = fails(source)
    wanted = ("enormous", "at most", "at a time", "two values", "repeats a value", "for the encoding", "indents JSON")
    assert any(words in line for words in wanted), line


@pytest.mark.parametrize("expression", SLOW)
def test_what_is_slow_pays_for_it(expression, monkeypatch):
    """Each alone is allowed (it takes an instant), but not a hundred million times."""
    monkeypatch.setattr(template_budget, "BUDGET", template_budget.BUDGET // 6)
    once = f"{{% set x = {expression} %}}"
    ChatTemplate(once, {}).render(TALK)
    assert "budget" in fails(TWICE.replace("@", once))


def test_all_that_is_written_counts():
    assert f"at most {LARGEST:,}" in fails(LOOP.replace("@", "{{ 'a' * 150 }}"))
    assert "budget" in fails(LOOP.replace("@", "{{ 'a' * 9999 }}"))


def test_a_template_of_more_than_a_megabyte_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="1,048,577 bytes long, at most 1,048,576"):
        ChatTemplate("a" * (2**20 + 1), {})
    assert ChatTemplate("a" * 2**20, {}).render(TALK) == "a" * 2**20
    with pytest.raises(CheckpointError, match="more than 50,000 words and signs"):  # would take gigabytes
        ChatTemplate("{{ a " + "< a" * 200_000 + "}}", {})
    with pytest.raises(CheckpointError, match="bytes long"):
        ChatTemplate("\u00e9" * 2**20, {})
    (tmp_path / "chat_template.jinja").write_text("a" * (2**20 + 1))
    with pytest.raises(CheckpointError, match="bytes long"):
        load_template(tmp_path)


def test_what_long_conversations_need_is_allowed():
    source = """{{ bos_token }}{% for m in messages %}{% if messages | length >= loop.index and m.content %}
{{- '<|' + m.role | upper ~ '|>' + m.content | trim }}{{ (m.content.split('</think>') | last)[:9] | tojson }}
{{- m | tojson(indent=4) }}{% endif %}{% endfor %}{{ '%-9s|%5.2f' % ('a', 1.5) }}{{ '{:>{}}'.format('b', 4) }}"""
    talk = [{"role": "user", "content": "\u6e56 Caf\u00e9 " * 40} for _ in range(1000)]
    text = ChatTemplate(source, NAMES).render(talk)
    assert len(text) > 200_000 and text.endswith("a        | 1.50   b")


# ---- null --------------------------------------------------------------------------------------------------

CALLS = [TALK[0], {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}]


@pytest.mark.parametrize(
    "source",
    [
        "{{ m.content }}", "{{ m['content'] }}", "{{ '' + m.content }}", "{{ m.content + '' }}", "{{ '' ~ m.content }}",
        "{{ m.content | trim }}", "{{ m.content | string }}", "{{ m.content | upper }}", "{{ m.content.strip() }}",
        "{{ m.content | replace('o', 'e') }}", "{{ '%s' % m.content }}", "{{ '%s%s' % (m.content, '') }}",
        "{{ '%(a)s' % {'a': m.content} }}", "{{ '%s' | format(m.content) }}", "{{ '{}'.format(m.content) }}",
        "{{ '{a}'.format(a=m.content) }}", "{{ '{:s}'.format(m.content) }}", "{{ [m.content, ''] | join }}",
        "{{ ''.join([m.content]) }}", "{% set x %}{{ m.content }}{% endset %}{{ x }}",
        "{% macro f(x) %}{{ x }}{% endmacro %}{{ f(m.content) }}", "{{ m.content | default('') }}",
        "{% if '</think>' in m.content %}x{% endif %}", "{{ m.content.split('</think>')[-1] }}",
        "{% for part in m.content %}x{% endfor %}", "{{ m.content | indent(2) }}", "{{ m.content | escape }}",
        "{{ m.name }}", "{{ m.content[:3] }}", "{{ [m.content] | map('trim') | join }}",
        "{{ messages | map(attribute='content') | join }}", "{{ m.content | list | join }}",
        "{% filter trim %}{{ m.content }}{% endfilter %}", "{{ m.content if true }}", "{{ m.content | first }}",
    ],
)  # fmt: skip
def test_a_null_is_written_as_nothing(source):
    message = {"role": "assistant", "content": None, "name": None}
    assert ChatTemplate("<{% set m = messages[0] %}" + source + ">", {}).render([message]) == "<>"


def test_a_null_is_still_one():
    source = "{% for m in messages %}{{ m.content is none }}{{ m.content is string }}{{ m | tojson }}{% endfor %}"
    message = {"content": None, "role": "assistant"}
    assert ChatTemplate(source, {}).render([message]) == f"TrueFalse{json.dumps(message)}"


@pytest.mark.parametrize(
    "block", ["{{ m.content }}{{ end }}", "{% generation %}{{ m.content }}{{ end }}{% endgeneration %}"]
)
def test_a_null_is_nothing_to_learn(block):
    source = "{% for m in messages %}[{{ m.role }}]" + block.replace("end }}", "eos_token }}") + "{% endfor %}"
    tokenizer = byte_tokenizer()
    encoded = ChatEncoder(ChatTemplate(source, NAMES), tokenizer).encode(CALLS)
    assert "None" not in tokenizer.decode(encoded.ids, skip_special=False)
    spoken = [token for token, spoken in zip(encoded.ids, encoded.spoken, strict=True) if spoken]
    assert tokenizer.decode(spoken, skip_special=False).endswith("</s>")


def test_other_nulls_of_a_message_are_absent():
    """Rows of Parquet have every key, with null where a message lacks it."""
    rows = [{**TALK[0], "tool_calls": None, "name": None}, {**CALLS[1], "name": None}]
    assert check_messages(rows, "x") == CALLS
    with pytest.raises(DataError, match="its content is None"):
        check_messages([{"role": "user", "content": None}], "x")
