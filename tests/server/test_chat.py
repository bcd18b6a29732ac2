"""A chat over HTTP: messages in, pieces out."""

from starlette.testclient import TestClient

from formers.registry import system, verbs_of
from formers.server.app import make_app
from formers.server.models import Models, Served
from formers.systems.chat.session import Chat
from formers.systems.system import Origin
from tests.systems.language.toy import language


def test_messages_are_answered_whole_and_in_pieces():
    model, declared = language(length=300, chat=True), system("chat")
    served = Served("toy", declared, model, verbs_of(declared), Origin("toy"))
    client = TestClient(make_app(Models({"toy": served})), base_url="http://127.0.0.1")
    request = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 6}
    expected = Chat(model, max_tokens=6).answer("Hi")
    assert client.post("/chat", json=request).json()["results"][0]["text"] == expected
    with client.stream("POST", "/chat", json={**request, "stream": True}) as answer:
        assert "event: result" in answer.read().decode()
    refused = client.post("/chat", json={**request, "template": "secret.jinja"})
    assert refused.status_code == 400 and "template names a file" in refused.json()["error"]
    assert client.post("/chat", json={"messages": "Hi"}).status_code == 400
    schema = client.get("/openapi.json").json()
    properties = schema["paths"]["/chat"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert properties["messages"] == {
        "type": "array", "items": {}, "description": properties["messages"]["description"],
    }  # fmt: skip
    assert "max_tokens" in properties and "decoding" not in properties
