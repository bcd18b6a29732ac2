"""Several processes, and terminals that cannot show everything: one speaks, in what can be shown."""

import json
import os
import subprocess
import sys

import pytest

from formers.errors import ConfigError, PeerFault, TrainingError
from formers.training.distributed import World, company, launched
from tests.cli.conftest import ROOT, SETS, fails

SEVERAL = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "2345"}
CONTRADICTIONS = [
    ({"RANK": ""}, 'RANK is "", expected a whole number'),
    ({"LOCAL_RANK": ""}, 'LOCAL_RANK is "", expected a whole number'),
    ({"WORLD_SIZE": "two"}, 'WORLD_SIZE is "two", expected a whole number'),
    ({"RANK": "-1"}, 'RANK is "-1", expected a whole number'),
    ({"RANK": "9" * 5000}, "expected a whole number"),
    ({"RANK": "1"}, "RANK is 1, but WORLD_SIZE is not set"),
    ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, but RANK is not set"),
    ({"RANK": "0", "WORLD_SIZE": "0"}, "RANK is 0, expected less than WORLD_SIZE, which is 0"),
    ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2, expected less than WORLD_SIZE, which is 2"),
    ({"LOCAL_RANK": "1"}, "LOCAL_RANK is 1, expected less than WORLD_SIZE, which is 1"),
    ({**SEVERAL, "LOCAL_RANK": "7"}, "LOCAL_RANK is 7, expected less than WORLD_SIZE, which is 2"),
    ({**SEVERAL, "MASTER_ADDR": ""}, "MASTER_ADDR is not set"),
    ({**SEVERAL, "MASTER_PORT": ""}, 'MASTER_PORT is "", expected a number from 1 to 65535'),
    ({**SEVERAL, "MASTER_PORT": "99999"}, 'MASTER_PORT is "99999"'),
]


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in (*SEVERAL, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("variables", "part"), CONTRADICTIONS, ids=str)
def test_launcher_variables_that_contradict_each_other(monkeypatch, variables, part):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as fault:
        launched()
    assert part in str(fault.value) and "torchrun, or unset RANK" in str(fault.value)
    assert part in fails("train", "translation", *SETS)


@pytest.mark.parametrize("variables", [{}, {"RANK": "0"}, {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}], ids=str)
def test_one_process_is_alone(monkeypatch, variables):
    for name, value in {**variables, "MASTER_ADDR": "somewhere"}.items():
        monkeypatch.setenv(name, value)
    assert launched() == (0, 1)


def test_the_end_of_another_process_is_one_line():
    lost = "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"
    for rank, kind in ((0, TrainingError), (1, PeerFault)):
        with (
            pytest.raises(kind, match=f"process {rank} of 2 ends, because another one has ended"),
            company(World(rank, 2)),
        ):
            raise RuntimeError(lost)
    for world, text in ((World(0, 1), lost), (World(1, 2), "shape '[2]' is invalid")):
        with pytest.raises(RuntimeError) as fault, company(world):
            raise RuntimeError(text)
        assert str(fault.value) == text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["train", "translatoin"], 'formers: error: there is no recipe "translatoin"; did you mean "translation"?'),
        (["train", "translation", *SETS, "--set", "data.train=none.tsv"], "formers: error: none.tsv: does not exist"),
        (["train", "translation", *SETS, "--set", "train.monitor=blue"], 'did you mean "bleu"?'),
        (["compare", "translation", "--over", "train.rate=1,2"], "trains in one process: start it without torchrun"),
        (["train", "translation", "--nothing"], "Usage: "),
    ],
    ids=["recipe", "data", "monitor", "compare", "usage"],
)
def test_of_several_processes_one_speaks(tmp_path, arguments, part):
    """What torchrun itself says of a process that failed follows, from its own line that begins with E or W on."""
    launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1", "--master_port=0"]
    launch += ["--rdzv_backend=c10d", "--rdzv_endpoint=127.0.0.1:0", "-m", "--", "formers"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launch, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode != 0 and done.stderr.count(part) == 1, done.stderr
    own = done.stderr[: done.stderr.index("torch/distributed/elastic")].splitlines()[:-1]
    assert "Traceback" not in "".join(own) and (len(own) == 1 or part == "Usage: "), done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252:strict"])
@pytest.mark.parametrize("arguments", [["--help"], ["data", "wörter.tsv", "--examples", "2"]], ids=" ".join)
def test_what_a_pipe_cannot_show_is_escaped(tmp_path, encoding, arguments):
    (tmp_path / "wörter.tsv").write_text("en\tde\nI ate – 吃 😀\tIch aß ▂\n" * 2, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "formers", *arguments]
    done = subprocess.run(command, capture_output=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert arguments == ["--help"] or b"\\u5403 \\ud83d\\ude00" in done.stdout


def test_escapes_are_those_of_json():
    text = "é吃😀\udc80"
    for encoding in ("ascii", "utf-8"):
        line = json.dumps(text, ensure_ascii=False).encode(encoding, "formers.escaped")
        assert json.loads(line) == text
    assert "aé吃".encode("latin-1", "formers.escaped") == b"a\xe9\\u5403"
