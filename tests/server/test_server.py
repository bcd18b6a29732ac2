"""The server: every verb is a route, streams are events, a wrong request is one line, one request at a time."""

import json
import threading
import time

import pytest
from starlette.testclient import TestClient

from formers.data.source import Source
from formers.decoding.settings import Settings
from formers.models.transformer import Transformer
from formers.registry import system, verbs, verbs_of
from formers.server.app import make_app
from formers.server.models import Models, Served, open_fields
from formers.systems.sizes import TransformerSizes
from formers.systems.system import Origin, resolve
from formers.systems.translation.system import Translator
from formers.text.open import train_bpe


@pytest.fixture(scope="module")
def translator():
    table = Source(train="builtin:phrasebook", count=200).read("train", columns=["en", "de"])
    tokenizer = train_bpe(table.columns["en"] + table.columns["de"], 200)
    sizes = TransformerSizes(dim=16, encoder_layers=1, decoder_layers=1, heads=2, hidden=32, length=32)
    settings = Settings(start=tokenizer.pad, stop=(tokenizer.eos,), pad=tokenizer.pad, forbidden=(tokenizer.pad,))
    return Translator(Transformer(sizes.config(tokenizer.vocab)).eval(), tokenizer, settings)


def served(translator, name="small"):
    declared = system("translation")
    return Served(name, declared, translator, verbs_of(declared), Origin(name))


@pytest.fixture(scope="module")
def client(translator):
    return TestClient(make_app(Models({"small": served(translator)})), base_url="http://127.0.0.1")


def ask(client, verb="translate", **fields):
    return client.post(f"/{verb}", json=fields)


def test_a_verb_is_a_route(client, translator):
    texts = ["I ate an apple", "You see"]
    answer = ask(client, texts=texts, beams=2).json()
    assert answer["model"] == "small"
    assert [result["translation"] for result in answer["results"]] == translator.translate(texts, beams=2)
    assert ask(client, texts=texts[0], model="small").json()["results"][0]["text"] == texts[0]


def test_a_stream_is_events(client, translator):
    with client.stream("POST", "/translate", json={"texts": ["I ate", "You see"], "stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [
            dict(line.split(": ", 1) for line in part.split("\n"))
            for part in answer.read().decode().split("\n\n")
            if part
        ]
    assert [event["event"] for event in events] == ["result", "result", "done"]
    translations = [json.loads(event["data"])["translation"] for event in events[:2]]
    assert translations == translator.translate(["I ate", "You see"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"texts": ["a"], "beam": 2}, 'POST /translate has no key "beam"; did you mean "beams"?'),
        ({"texts": ["a"], "beams": 0}, "beams (0) must be at least 1"),
        ({"texts": ["a"], "beams": "two"}, "POST /translate beams: got 'two' (str), expected int"),
        ({"texts": []}, "POST /translate texts: got [], expected a text or a list of texts"),
        ({"texts": [3]}, "POST /translate texts: got [3], expected a text or a list of texts"),
        ({}, 'POST /translate: the key "texts" is missing'),
        ({"texts": ["a"], "model": "large"}, 'there is no model "large"; known: small'),
        ({"texts": ["a"], "stream": 1}, "POST /translate: stream is true or false, and model a name"),
        ({"texts": ["house " * 60], "no_split": True}, "reads at most 32"),
    ],
)
def test_a_wrong_request_is_one_line(client, fields, message):
    answer = ask(client, **fields)
    assert answer.status_code == 400 and message in answer.json()["error"] and "\n" not in answer.json()["error"]
    if "texts" in fields and fields.get("stream") is None:
        assert ask(client, **fields, stream=True).status_code == 400  # before the first event


def test_what_is_not_json_or_not_a_route(client):
    headers = {"content-type": "application/json"}
    for body in ("{", "[1]", '"a"', "[" * 100_000, b"\xff", '{"texts": ["\\ud800"]}', '{"beams": NaN}', "1" * 5000, ""):
        answer = client.post("/translate", content=body, headers=headers)
        assert answer.status_code == 400 and answer.json()["error"].startswith("POST /translate: ")
    assert "content-type: application/json" in client.post("/translate", content="{}").json()["error"]
    assert client.post("/nothing", json={}).status_code == 404
    assert client.get("/translate").status_code == 405
    assert client.get("/health", headers={"host": "elsewhere.example"}).status_code == 400


def test_a_request_names_no_file_of_the_server(client, tmp_path):
    (tmp_path / "pairs.tsv").write_text("en\tde\na\tb\n")
    answer = ask(client, "evaluate", data=str(tmp_path / "pairs.tsv"))
    assert answer.status_code == 400 and "data names a file of the server" in answer.json()["error"]
    assert "has no key" in ask(client, texts=["a"], file="x").json()["error"]


@pytest.mark.parametrize(
    "verb", [verb for owners in verbs().values() for _, verb in owners], ids=lambda verb: verb.options
)
def test_no_verb_takes_the_name_of_a_file_from_a_request(verb):
    files = {"data", "file", "folder", "data_folder", "load", "template", "out"}
    if verb.options.startswith("systems.clip."):  # where a template is a text around a label
        files -= {"template"}
    open_ones = open_fields(resolve(verb.options))
    assert not files & open_ones.keys()
    assert not [
        name for name, field in open_ones.items() if "FILE" in field.help or "file" in field.help.lower().split()
    ]


def test_what_there_is_describes_itself(client):
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/models").json() == [
        {"name": "small", "system": "translation", "verbs": ["translate", "evaluate"]}
    ]
    described = client.get("/openapi.json").json()["paths"]["/translate"]["post"]
    fields = described["requestBody"]["content"]["application/json"]["schema"]
    assert {"model", "stream", "texts", "beams"} <= fields["properties"].keys() and fields["required"] == ["texts"]
    assert "data" not in json.dumps(client.get("/openapi.json").json()["paths"]["/evaluate"]["post"]["requestBody"])
    page = client.get("/docs").text
    assert "POST /translate" in page and "http" not in page  # nothing is loaded from elsewhere


def test_two_models_must_be_told_apart(translator):
    both = Models({name: served(translator, name) for name in ("one", "two")})
    client = TestClient(make_app(both), base_url="http://127.0.0.1")
    assert "say which model" in ask(client, texts=["a"]).json()["error"]
    assert ask(client, texts=["a"], model="two").json()["model"] == "two"


def test_a_model_answers_one_request_at_a_time(translator, monkeypatch):
    model, inside, most = served(translator), [], []

    def slowly(opened, options):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        yield from ()

    monkeypatch.setattr("formers.server.models.resolve", lambda place: slowly)
    verb = model.verbs["translate"]
    threads = [threading.Thread(target=lambda: list(model.run(verb, None))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


def test_who_leaves_ends_the_work(translator, monkeypatch):
    model, made = served(translator), []

    def endless(opened, options):
        while True:
            made.append(1)
            yield None

    monkeypatch.setattr("formers.server.models.resolve", lambda place: endless)
    events = model.run(model.verbs["translate"], None)
    next(events)
    events.close()
    assert model.worker.submit(lambda: "free").result(timeout=10) == "free"
