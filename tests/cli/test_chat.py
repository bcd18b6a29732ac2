"""`formers chat` through a pipe: turns, commands, an interrupt; and what cannot be done in one line."""

import json
import signal

import pytest

import formers
from formers.systems.chat.session import Chat
from tests.cli.conftest import call, fails, start, works
from tests.systems.language.toy import TURNS, language


def saved(place, **options):
    model = language(**options)
    model.model.float()
    model.save(place)
    return place


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("chat") / "model", length=300, chat=True)


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("chat") / "bare", length=300)


def test_turns(folder):
    chat = Chat(formers.load(folder), system="Be kind.", max_tokens=6)
    answers = [chat.answer("Hi"), chat.answer("Lily")]
    out = works("chat", folder, "--system", "Be kind.", "--max-tokens", 6, stdin="Hi\n\nLily\n")
    assert out == "".join(each + "\n" for each in answers)
    assert works("chat", folder, stdin="") == ""


def test_commands(folder, tmp_path):
    chat = Chat(formers.load(folder), max_tokens=6)
    first = chat.answer("Hi")
    out = works("chat", folder, "--max-tokens", 6, stdin="Hi\n/save one.json\n/reset\nHi\n/help\n/quit\nHi\n")
    assert out.startswith(f"{first}\n{first}\n/reset ") and "--load reads" in out and not out.endswith(first + "\n")
    assert json.loads((tmp_path / "one.json").read_text("utf-8")) == chat.messages
    again = works("chat", folder, "--max-tokens", 6, "--load", "one.json", stdin="Lily\n/save two.json\n")
    assert json.loads((tmp_path / "two.json").read_text("utf-8"))[:2] == chat.messages and again
    path = works("chat", folder, "--max-tokens", 2, stdin="/etc/passwd is a file\n")  # no command
    assert path


def test_options_of_answers(folder):
    sample = ["--temperature", 1, "--top-k", 40, "--top-p", 0.9, "--min-p", 0.01, "--repetition-penalty", 1.1]
    one, two = (works("chat", folder, *sample, "--seed", 3, "--max-tokens", 8, stdin="Hi\n") for _ in range(2))
    assert one == two != works("chat", folder, *sample, "--seed", 4, "--max-tokens", 8, stdin="Hi\n")
    whole = works("chat", folder, "--seed", 3, "--max-tokens", 12, stdin="Hi\n")
    stop = whole[1:3]
    assert works("chat", folder, "--seed", 3, "--max-tokens", 12, "--stop", stop, stdin="Hi\n") == (
        whole[: whole.index(stop)] + "\n"
    )


def test_templates(folder, bare, tmp_path):
    assert "has no chat template" in fails("chat", bare, stdin="Hi\n")
    assert works("chat", bare, "--template", "plain", "--max-tokens", 3, stdin="Hi\n")
    (tmp_path / "turns.jinja").write_text(TURNS)
    assert works("chat", bare, "--template", "turns.jinja", "--max-tokens", 3, stdin="Hi\n") == works(
        "chat", folder, "--max-tokens", 3, stdin="Hi\n"
    )
    (tmp_path / "broken.jinja").write_text("{% for %}")
    assert "broken.jinja, line 1" in fails("chat", bare, "--template", "broken.jinja", stdin="Hi\n")
    assert "none.jinja: there is no such file" in fails("chat", bare, "--template", "none.jinja", stdin="Hi\n")
    (tmp_path / "evil.jinja").write_text("{{ ''.__class__.__mro__ }}")
    assert "evil.jinja" in fails("chat", bare, "--template", "evil.jinja", stdin="Hi\n")


def test_the_end_of_the_context(folder):
    lines = "tell me everything about the little girl\n" * 30
    said = call("chat", folder, "--max-tokens", 5, stdin=lines)
    assert said.exit_code == 2 and said.stdout
    last = said.stderr.splitlines()[-1]
    assert "the conversation has" in last and "at most 300; begin anew, or say truncate" in last
    assert len(works("chat", folder, "--max-tokens", 5, "--truncate", stdin=lines).splitlines()) >= 30


def test_an_interrupt_stops_the_answer_and_keeps_the_chat(tmp_path):
    long = saved(tmp_path / "long", length=50000, chat=True)
    with start("chat", long, "--max-tokens", 40000, "--temperature", 1, "--seed", 1, folder=tmp_path) as process:
        process.stdin.write("Hi\n")
        process.stdin.flush()
        assert process.stdout.read(5)  # it speaks
        process.send_signal(signal.SIGINT)
        line = process.stderr.readline()
        while line.startswith("compiling loops"):  # where that has not been done before
            line = process.stderr.readline()
        assert line == "(stopped)\n"
        process.stdin.write("/save kept.json\n")
        process.stdin.flush()
        assert "saved 2 messages" in process.stderr.readline()
        process.send_signal(signal.SIGINT)  # while nothing is said: leave
        assert process.stderr.read() == "formers: interrupted\n"
    assert process.returncode == 130
    user, said = json.loads((tmp_path / "kept.json").read_text("utf-8"))
    assert user == {"role": "user", "content": "Hi"} and len(said["content"]) >= 5


def test_faults(folder, trained, tmp_path):
    assert "expected a model for language" in fails("chat", trained.folder, stdin="Hi\n")
    assert 'there is no command "/sav"; did you mean "/save"?' in fails("chat", folder, stdin="/sav\n")
    assert "/save needs a file" in fails("chat", folder, stdin="/save\n")
    assert "a folder that exists" in fails("chat", folder, stdin="/save nowhere/x.json\n")
    assert "line 1, byte 1: not UTF-8" in fails("chat", folder, stdin=b"\xff\n")
    assert "min_p: got 7" in fails("chat", "nothing", "--min-p", 7, stdin="")  # before the model is looked for
    (tmp_path / "bad.json").write_text("{}")
    assert "bad.json" in fails("chat", folder, "--load", "bad.json", stdin="")
    chat = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]
    (tmp_path / "chat.json").write_text(json.dumps(chat))
    assert "system message of its own" in fails("chat", folder, "--load", "chat.json", "--system", "other", stdin="")
