"""The folder is the architecture: who imports whom, what is allowed nowhere, how large a part may be."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from formers.fields import fields_of
from formers.registry import NAMES, systems
from formers.registry import system as declared

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "formers"
FILES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in [*FILES, *TESTS]}
EVERYTHING = None
GROUND = {"errors", "files", "fields", "notes", "shapes", "phrases", "extras"}
# Below the systems.
BELOW = {
    "kernels",
    "blocks",
    "models",
    "decoding",
    "diffusion",
    "text",
    "images",
    "sound",
    "data",
    "metrics",
    "adapters",
}

# Folder -> what of formers it may import besides itself and the ground, which is open to everyone.
INSIDE = {
    "kernels": set(),
    "blocks": {"kernels"},
    "models": {"blocks"},
    "decoding": {"blocks", "kernels"},
    "diffusion": {"blocks"},
    "text": set(),
    "images": set(),
    "sound": set(),
    "data": {"text", "images", "sound"},
    "metrics": set(),
    "training": set(),
    "adapters": set(),
    "pretrained": {"blocks", "models", "text", "images", "sound", "adapters"},
    # blocks: the loss, and attention maps; pretrained: a system saves its checkpoints; training: its protocol,
    # and objectives
    "systems": {*BELOW, "pretrained", "training", "pictures"},
    "recipe": {"registry", "systems"},
    "registry": {*BELOW, "pretrained", "training", "systems"},
    "errors": set(),
    "files": set(),
    "fields": set(),
    "notes": set(),
    "shapes": set(),
    "phrases": set(),
    "extras": set(),
    "pictures": set(),
    "launch": EVERYTHING, "parts": EVERYTHING, "processes": {"errors", "training"}, "comparison": EVERYTHING,
    "preview": EVERYTHING, "retrieval": {"registry", "systems", "training"},
    "cli": EVERYTHING, "server": EVERYTHING, "studio": EVERYTHING, "": EVERYTHING,
}  # fmt: skip
OF_BLOCKS = {"decoding": {"cache", "fused", "mode"}, "diffusion": {"cache", "mode"}}  # of all the parts there
# Folder -> what else it may import besides the standard library.
OUTSIDE = {
    "kernels": {"torch", "numpy", "numba"},
    "blocks": {"torch", "jaxtyping", "numpy"},
    "models": {"torch", "jaxtyping"},
    "decoding": {"torch", "jaxtyping", "numpy"},
    "diffusion": {"torch", "jaxtyping", "numpy"},
    "text": {"torch", "numpy", "tokenizers", "sentencepiece", "jinja2"},
    "images": {"torch", "numpy", "PIL"},
    "sound": {"torch", "numpy", "safetensors"},
    "data": {"torch", "numpy", "tokenizers", "pyarrow", "datasets", "huggingface_hub", "PIL", "soundfile"},
    "metrics": {"torch", "numpy", "sacrebleu", "jiwer", "sklearn", "scipy"},
    "training": {"torch", "jaxtyping", "numpy", "safetensors"},
    "adapters": {"torch", "jaxtyping"},
    "pretrained": {"torch", "numpy", "safetensors", "huggingface_hub", "tokenizers", "sentencepiece", "gguf"},
    "systems": {"torch", "numpy", "jaxtyping", "PIL", "sklearn", "tokenizers", "pyarrow", "rich", "matplotlib"},
    "pictures": {"numpy", "matplotlib", "PIL"},  # PIL: makes a large file smaller
    "recipe": set(), "registry": {"torch"}, "launch": {"torch"}, "processes": set(),
    **{name: set() for name in GROUND},
}  # fmt: skip
REFERENCES = {"transformers", "diffusers", "sentence_transformers", "peft"}
CIRCULAR: set[str] = set()  # rooms whose files import each other in a circle; none may
TWICE: set[str] = set()  # class names that stand for two things
# Systems with more than 600 lines: at most so many, and why.
RICH = {
    "translation": (850, "every option of decoding, attention of three kinds, languages, sentences that are too long"),
    "chat": (641, "sessions that keep their cache, three forms of conversations"),
    "tagging": (757, "windows over long texts, CoNLL, entities"),
    "classification": (796, "labels, several labels and numbers; pairs, windows, reranking; what is said of them"),
    "answering": (840, "windows, unanswerable questions, SQuAD's two forms"),
    "language": (979, "packed rows and streams, three looks of its own"),
    "clip": (950, "two towers in use and in training: locks, weights between two models, labels by words, recalls"),
    "whisper": (1450, "long recordings by seeking and in batches, trials, prompts, times of words, training"),
    "sounds": (695, "any length and each second, labels, official folds, mixing, vectors judged, starts from pictures"),
    "reconstruction": (
        1660,
        "pictures and documents, four tasks of repair, codes, latents and their teachers; the linear methods, drawn",
    ),
    "masked": (1125, "two objectives (BERT, ELECTRA), pairs of segments, whole words, heads carried over, lessons"),
    "speech": (1240, "joined and masked recordings, CTC and a decoder, hours in windows, search, why a run is stuck"),
    "painting": (
        2700,
        "ways to paint (words, pictures, holes, sizes), prompts, additions, learning, distilling, judging, looks",
    ),
    "embedding": (1585, "five objectives on five kinds of rows, vectors by several processes, five verbs, a map"),
}
WHOLE = 66_500  # lines of the package: 40,700 of text, then sight, sound, painting; see ARCHITECTURE.md
EMPTY_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "base", "core", "manager", "handler", "wrapper"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def part(path: Path) -> str:
    """`blocks` for formers/blocks/mask.py, `recipe` for formers/recipe.py, "" for formers/__init__.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first in ("__init__.py", "__main__.py") else first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import of a file, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def nodes(paths, kind) -> Iterator[tuple[str, ast.AST]]:
    for path in paths:
        for node in ast.walk(TREES[path]):
            if isinstance(node, kind):
                yield f"{name(path)}:{getattr(node, 'lineno', 0)}", node


def test_every_part_has_its_rule():
    assert {part(path) for path in FILES} <= INSIDE.keys()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_who_imports_whom(path):
    own = part(path)
    for line, imported in imports(path):
        where = f"{name(path)}:{line}: imports {imported}"
        first, *rest = imported.split(".")
        if first == "formers":
            allowed = INSIDE[own]
            if allowed is not EVERYTHING and rest and rest[0] not in {own, *GROUND} | allowed:
                pytest.fail(where)
            if own in ("decoding", "diffusion") and rest[0] == "blocks":
                assert rest[1] in OF_BLOCKS[own], f"{where}, but only {OF_BLOCKS[own]} are open to it"
            if own == "systems" and rest[0] == "training":
                seen = {"task", "contrastive", "run"}  # `run`: the learning curve of one
                assert rest[1] in seen or rest[1:] == ["distributed", "gather"], (
                    f"{where}, but systems see the trainer's protocol only"
                )
        elif first not in sys.stdlib_module_names:
            assert first not in REFERENCES, where
            if own in OUTSIDE:
                assert first in OUTSIDE[own], where


def folder_of_system(path: Path) -> str:
    """`tagging` for formers/systems/tagging/data.py, "" for what stands beside the folders."""
    parts = path.relative_to(PACKAGE).parts
    return parts[1] if parts[0] == "systems" and len(parts) > 2 else ""


@pytest.mark.parametrize("path", [path for path in FILES if folder_of_system(path) in NAMES], ids=name)
def test_a_system_imports_no_other_system(path):
    for line, imported in imports(path):
        parts = imported.split(".")
        if parts[:2] == ["formers", "systems"] and len(parts) > 2 and parts[2] in NAMES:
            assert parts[2] == folder_of_system(path), f"{name(path)}:{line}: imports {imported}"


@pytest.mark.parametrize("system", NAMES)
def test_a_system_is_one_folder_and_stays_small(system):
    files = sorted((PACKAGE / "systems" / system).glob("*.py"))
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    most, why = RICH.get(system, (600, ""))
    assert lines <= most, f"systems/{system} has {lines} lines"
    needed = {"__init__.py", "verbs.py", "task.py", "data.py"}
    if declared(system).open.startswith(f"systems.{system}."):  # else the loaded system stands beside the folders
        needed |= {"system.py"}
    assert {path.name for path in files} >= needed


def test_the_command_line_and_the_whole_stay_small():
    def lines(paths):
        return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)

    assert lines([path for path in FILES if part(path) == "cli"]) <= 1720  # search, --ignore-key, --skip-bad
    assert lines(FILES) <= WHOLE


def test_what_a_declaration_names_is_there():
    from formers.systems.system import resolve

    for each in systems():
        for place in (each.open, each.sizes, each.rows, each.task, each.prepare):
            assert callable(resolve(place)), place
        for verb in (*each.verbs, *each.looks):
            assert callable(resolve(verb.run)) and fields_of(resolve(verb.options)) is not None, verb.name


def circle(graph: dict[str, set[str]]) -> set[str]:
    """The files that import each other in a circle, or lie between two circles."""
    left = set(graph)
    while True:
        ends = {file for file in left if not graph[file] & left or not any(file in graph[each] for each in left)}
        if not ends:
            return left
        left -= ends


def test_a_circle_is_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == {"b", "c"}
    assert not circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


@pytest.mark.parametrize("room", sorted({part(path) for path in FILES if path.parent != PACKAGE}))
def test_no_circle_inside_rooms(room):
    files = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES}
    graph = {
        file: {
            module
            for _, imported in imports(path)
            if (module := imported if imported in files else imported.rpartition(".")[0]) in files
            and part(files[module]) == room
            and module != file
        }
        for file, path in files.items()
        if part(path) == room
    }
    assert bool(circle(graph)) == (room in CIRCULAR), f"in a circle: {', '.join(sorted(circle(graph)))}"


def test_a_class_name_exists_once():
    places: dict[str, list[str]] = {}
    for where, node in nodes(FILES, ast.ClassDef):
        places.setdefault(node.name, []).append(where)
    assert {name: where for name, where in places.items() if len(where) > 1}.keys() == TWICE, places


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_has_at_most_400_lines_and_says_what_it_is(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert not text.strip() or ast.get_docstring(TREES[path]), "no docstring"


def test_no_name_that_says_nothing():
    found = [
        name(p) for p in PACKAGE.rglob("*") if EMPTY_NAMES & set(re.split(r"[_.]", p.name.rstrip("s") + "." + p.name))
    ]
    assert not found


def test_no_constructor_takes_more_than_twelve_parameters():
    for where, node in nodes(FILES, ast.FunctionDef):
        if node.name == "__init__":
            arguments = node.args
            count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs) - 1
            assert count <= 12, f"{where}: {count} parameters"


def test_blocks_and_models_define_no_function_at_every_call():
    """Tests check the shapes of every function there, which takes a thousand times as long to prepare as to do."""
    rooms = [path for path in FILES if part(path) in ("blocks", "models")]
    for where, node in nodes(rooms, ast.FunctionDef):
        inner = [each.name for each in ast.walk(node) if isinstance(each, ast.FunctionDef) and each is not node]
        assert not inner, f"{where}: {node.name} defines {inner[0]}; make it a method, or `partial` of one"


def test_the_stack_config_has_its_sixteen_fields():
    import dataclasses

    from formers.blocks.stack import StackConfig

    assert [field.name for field in dataclasses.fields(StackConfig)] == [
        "dim", "layers", "heads", "hidden", "kv_heads", "head_dim", "norm", "norm_eps", "norm_first",
        "activation", "gated", "bias", "feed_forward_bias", "qk_norm", "scale", "dropout",
    ]  # fmt: skip


def test_models_inherit_from_module_only():
    allowed = {"nn.Module", "Protocol", "NamedTuple", "torch.autograd.Function", "torch.nn.Module"}
    kinds_of_tensor = {"Weight"}  # the only way that PyTorch has for a matrix in another form
    for folder in ("kernels", "blocks", "models"):
        for where, node in nodes([p for p in FILES if part(p) == folder], ast.ClassDef):
            bases = {ast.unparse(base).split("[")[0] for base in node.bases}
            tensor = {"torch.Tensor"} if node.name in kinds_of_tensor else set()
            assert bases <= allowed | tensor, f"{where}: {node.name} inherits from {bases - allowed}"


def test_nothing_is_caught_that_is_not_named():
    for where, node in nodes(FILES, ast.ExceptHandler):
        caught = "" if node.type is None else ast.unparse(node.type)
        assert caught and not re.search(r"\b(Base)?Exception\b", caught), f"{where}: except {caught}"


def test_no_hasattr_and_no_code_from_files():
    for where, node in nodes(FILES, ast.Call):
        called = ast.unparse(node.func)
        assert called not in {"hasattr", "eval", "exec"}, f"{where}: {called}"
        if called == "torch.load":
            assert "weights_only=True" in [ast.unparse(k) for k in node.keywords], f"{where}: torch.load of code"
    for path in FILES:
        for line, imported in imports(path):
            assert imported.split(".")[0] not in {"dill", "cloudpickle", "marshal"}, f"{name(path)}:{line}"
            assert not imported.startswith("pickle."), f"{name(path)}:{line}: {imported}"
    for where, node in nodes(FILES, ast.Attribute):  # the error of a file that weights_only refuses may be named
        if isinstance(node.value, ast.Name) and node.value.id == "pickle":
            assert node.attr == "UnpicklingError", f"{where}: pickle.{node.attr}"


def test_every_skip_and_xfail_says_why():
    for where, node in nodes(TESTS, ast.Call):
        called = ast.unparse(node.func)
        if called in {"pytest.skip", "pytest.xfail"}:
            assert node.args or node.keywords, f"{where}: {called} without a reason"
        elif called.startswith("pytest.mark.") and called.split(".")[-1] in {"skip", "skipif", "xfail"}:
            reason = next((k.value for k in node.keywords if k.arg == "reason"), None)
            assert reason is not None and ast.unparse(reason) not in ("''", "None"), (
                f"{where}: {called} without a reason"
            )
    for where, node in nodes(TESTS, ast.FunctionDef | ast.ClassDef):
        bare = {ast.unparse(d) for d in node.decorator_list} & {"pytest.mark.skip", "pytest.mark.xfail"}
        assert not bare, f"{where}: {bare} without a reason"


def test_no_path_of_one_machine():
    machine = re.compile(r"(?<![\w.~])/" + r"(?:work|root|home|Users|opt|mnt|data)/\w")
    kinds = {".py", ".md", ".toml", ".sh", ".yml", ".yaml", ".html", ".css", ".js", ".json", ".txt"}
    outside = {".git", ".venv", "venv", "runs", "build", "dist", "node_modules", "__pycache__"}
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if outside & set(parts) or any(p.startswith(".") and p != ".ci" for p in parts) or not path.is_file():
            continue
        if path.suffix in kinds or path.name in ("Makefile", "run"):
            found = machine.search(path.read_text(encoding="utf-8"))
            assert not found, f"{name(path)}: {found and found.group()}"
