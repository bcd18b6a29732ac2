"""The suites on small sets made here: what is measured, by which protocol, what is said of what is missing."""

import json

import numpy as np
import pytest

from formers.errors import ConfigError, DataError
from formers.metrics.correlation import spearman
from formers.systems.suites import likeness, transfer, understanding
from formers.systems.suites.logistic import STRENGTHS, best_by_folds, nested, stratified, with_folds, with_split
from formers.systems.suites.sets import find, read_scored
from formers.systems.suites.transfer import features_of
from formers.systems.suites.understanding import meeting
from formers.systems.system import result_of

GOOD, BAD = ["fine", "lovely", "great", "kind"], ["awful", "dull", "poor", "mean"]
PLAIN = ["film", "day", "story", "town", "meal", "song"]


def encode(texts):
    """A tiny encoder: how many letters of each kind a text has, and how many good and bad words."""
    rows = []
    for text in texts:
        words = text.split()
        letters = [text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"]
        rows.append([*letters, sum(w in GOOD for w in words), sum(w in BAD for w in words)])
    return np.array(rows, np.float32)


def run_to_its_end(measure):
    return lambda *arguments, **options: result_of(measure(*arguments, **options))


scored_pairs, sts, senteval, frozen, fine_tuned = map(
    run_to_its_end,
    (likeness.scored_pairs, likeness.sts, transfer.senteval, understanding.frozen, understanding.fine_tuned),
)


def opinions(count, seed):
    random = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        label = i % 2
        words = [*random.choice(PLAIN, 3), random.choice(GOOD if label else BAD)]
        rows.append({"text": f"{' '.join(words)} {seed}-{i}", "label": label})
    return rows


def likes(count, seed):
    random = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        first = list(random.choice(PLAIN, 4))
        shared = int(random.integers(0, 5))
        second = first[:shared] + list(random.choice(GOOD, 4 - shared))
        rows.append(
            {"sentence1": " ".join(first), "sentence2": " ".join(second), "score": float(shared), "source": "ab"[i % 2]}
        )
    return rows


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("sets")
    for i, name in enumerate(("mr", "cr")):
        write(place / "sentences" / f"{name}.jsonl", opinions(80, i))
    for i, part in enumerate(("train", "dev", "test")):
        write(place / "sst2" / f"{part}.jsonl", opinions(60, 10 + i))
        pairs = [
            {"sentence1": row["sentence1"], "sentence2": row["sentence2"], "label": int(row["score"] >= 3)}
            for row in likes(60, 20 + i)
        ]
        write(place / "mrpc" / f"{part}.jsonl", pairs)
        write(place / "cola" / f"{part}.jsonl", opinions(60, 40 + i))
    for year in (2012, 2016):
        write(place / "sts" / f"{year}-test.jsonl", likes(60, year))
    write(place / "sick" / "validation.jsonl", [row | {"source": "a"} for row in likes(50, 7)])
    return place


# ---- sts ---------------------------------------------------------------------------------------------------


def test_sts_of_years_sources_and_the_average(folder):
    results = sts(encode, folder)
    scores = {score.set: score for score in results.scores}
    assert list(scores) == ["sts-2012", "sts-2012/a", "sts-2012/b", "sts-2016", "sts-2016/a", "sts-2016/b", "sick"]
    pairs = read_scored(folder / "sts" / "2012-test.jsonl")
    a, b = encode(pairs.texts).astype(float), encode(pairs.seconds).astype(float)
    cosine = [float(u @ v / np.linalg.norm(u) / np.linalg.norm(v)) for u, v in zip(a, b, strict=True)]
    assert scores["sts-2012"].scores["spearman"] == pytest.approx(spearman(cosine, pairs.answers))
    assert scores["sts-2012/b"].scores["spearman"] == pytest.approx(spearman(cosine[1::2], pairs.answers[1::2]))
    whole = [scores[name].scores["spearman"] for name in ("sts-2012", "sts-2016", "sick")]
    assert results.averages["spearman"] == pytest.approx(np.mean(whole))
    assert results.averages["spearman of the years"] == pytest.approx(np.mean(whole[:2]))
    assert set(results.missing) == {"sts-2013", "sts-2014", "sts-2015", "sts-benchmark"}
    assert "60 pairs, but the published set has 3,108" in results.notes[0]
    assert any("sick: its validation part" in note for note in results.notes)


def test_each_sentence_is_encoded_once(folder):
    asked = []

    def counting(texts):
        asked.extend(texts)
        return encode(texts)

    results = sts(counting, folder)
    assert len(asked) == len(set(asked)) == results.sentences


def test_any_file_of_scored_pairs(tmp_path):
    rows = [{"a": row["sentence1"], "b": row["sentence2"], "score": row["score"]} for row in likes(30, 1)]
    write(tmp_path / "own.jsonl", rows)
    (score,) = scored_pairs(encode, tmp_path / "own.jsonl").scores
    assert score.set == "own" and score.examples == 30 and score.scores["pearson"] > 0.30
    write(tmp_path / "wrong.jsonl", [{"a": "x", "b": "y", "score": "high"}])
    with pytest.raises(DataError, match=r"wrong.jsonl, line 1: .*high.*, expected a finite number"):
        scored_pairs(encode, tmp_path / "wrong.jsonl")
    write(tmp_path / "other.jsonl", [{"x": "x", "b": "y", "score": 1}])
    with pytest.raises(DataError, match=r"has the columns .* expected one called sentence1"):
        scored_pairs(encode, tmp_path / "other.jsonl")


# ---- the classifier on frozen vectors ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def points():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 120)
    x = random.standard_normal((120, 6)).astype(np.float32)
    x[:, 0] += y
    return x, y


def test_folds_judge_every_example_once_and_keep_the_shares(points):
    _, y = points
    folds = stratified(y, 10, 1111)
    assert np.array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(len(y)))
    for train, test in folds:
        assert not set(train) & set(test) and abs(y[test].mean() - y.mean()) < 0.06
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(folds, stratified(y, 10, 1111), strict=True))
    with pytest.raises(DataError, match="10 examples of each, got 2 classes, the smallest with 3"):
        stratified(np.array([0] * 20 + [1] * 3), 10, 0)


def test_the_strength_is_the_one_scikit_learn_finds(points):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    x, y = points
    theirs = GridSearchCV(
        LogisticRegression(max_iter=2000, tol=1e-5),
        {"C": list(STRENGTHS)},
        cv=StratifiedKFold(5, shuffle=True, random_state=3),
    ).fit(x, y)
    strength, right = best_by_folds(x, y, 5, 3)
    assert strength == theirs.best_params_["C"] and right == pytest.approx(theirs.best_score_)


def test_nested_folds_never_see_what_they_judge(points):
    """With labels that mean nothing, a classifier that has peeked would be right too often."""
    x, _ = points
    y = np.random.default_rng(1).permutation(np.arange(len(x)) % 2)
    found = nested(x, y, folds=5)
    assert found.accuracy < 0.70 and found.accuracy == pytest.approx((found.predicted == y).mean())
    assert len(found.strengths) == 5 and set(found.strengths) <= set(STRENGTHS)
    peeking = np.concatenate([x, 3 * y[:, None]], 1).astype(np.float32)
    assert nested(peeking, y, folds=5).accuracy == 1


def test_split_and_folds_learn_from_the_training_part_alone(points):
    x, y = points
    train, dev, test = slice(0, 60), slice(60, 90), slice(90, None)
    found = with_split(x[train], y[train], (x[dev], y[dev]), (x[test], y[test]))
    assert found.accuracy > 0.50 and len(found.predicted) == 30 and found.strengths[0] in STRENGTHS
    wrong = with_split(x[train], y[train], (x[dev], y[dev]), (x[test], 1 - y[test]))
    assert np.array_equal(found.predicted, wrong.predicted)  # the answers of the test part change nothing
    one, two = with_folds(x[train], y[train], [(x[dev], y[dev]), (x[test], y[test])], folds=5)
    assert one.strengths == two.strengths and len(one.predicted) == len(two.predicted) == 30


# ---- senteval and glue-like --------------------------------------------------------------------------------


def test_senteval(folder):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    told = list(transfer.senteval(encode, folder, folds=3))
    results = senteval(encode, folder, folds=3)
    scores = {score.set: score for score in results.scores}
    assert list(scores) == ["mr", "cr", "sst2", "mrpc"] and [score.scores for score in told] == [
        score.scores for score in results.scores
    ]
    assert all(scores[name].scores["accuracy"] == 1 for name in ("mr", "cr", "sst2"))  # the encoder counts them
    assert (scores["mr"].part, scores["mr"].examples, scores["sst2"].examples) == ("3-fold", 80, 60)
    assert scores["mrpc"].scores.keys() == {"accuracy", "f1"} and scores["mrpc"].scores["accuracy"] > 0.70
    assert "train and validation" in scores["mrpc"].how  # as SentEval's training set
    assert results.averages["accuracy"] == pytest.approx(np.mean([s.scores["accuracy"] for s in results.scores]))
    assert set(results.missing) == {"subj", "mpqa", "trec"} and "no trec folder" in results.missing["trec"]
    assert any("SGD" in note for note in results.notes)


def test_pairs_are_what_differs_and_what_agrees(folder):
    pairs = read_scored(folder / "sts" / "2012-test.jsonl")
    u, v = encode(pairs.texts), encode(pairs.seconds)
    assert np.array_equal(features_of(encode, pairs), np.concatenate([abs(u - v), u * v], 1))


def test_glue_like_of_a_frozen_encoder(folder):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    results = frozen(encode, folder, folds=5)
    scores = {score.set: score for score in results.scores}
    assert list(scores) == ["cola", "sst2", "mrpc", "sts-2012", "sts-2016", "sick"]
    assert scores["cola"].scores == {"matthews": 1, "accuracy": 1} and scores["cola"].part == "validation"
    assert "chosen on validation" in scores["sst2"].how and "5 folds" in scores["cola"].how
    assert list(scores["mrpc"].scores) == ["f1", "accuracy"]
    assert "trec" in results.missing and "sts-2013" in results.missing
    assert [score.set for score in frozen(encode, folder, only=["sick"]).scores] == ["sick"]


def test_glue_like_of_a_fine_tuned_model(folder):
    def classify(texts, seconds):
        return np.array([int(any(word in text.split() for word in GOOD)) for text in texts])

    results = fine_tuned(classify, ["1", "0"], None, folder)
    scores = {score.set: score.scores for score in results.scores}
    assert scores["sst2"] == {"accuracy": 0} and scores["cola"]["matthews"] == -1  # its labels are turned round
    assert "label, not a number" in results.missing["sick"]
    results = fine_tuned(classify, ["bad", "good"], None, folder, only=["sst2"])
    assert results.scores[0].scores == {"accuracy": 1}  # named: in order
    with pytest.raises(ConfigError, match=r"sst2: its labels \(0, 1\) are not this model's \(bad, good\); --only sst2"):
        fine_tuned(classify, ["bad", "good"], None, folder)
    number = fine_tuned(None, [], lambda pairs: np.array([len(each) for each in pairs.texts], float), folder)
    assert [score.set for score in number.scores] == ["sts-2012", "sts-2016", "sick"]
    assert "number, not a label" in number.missing["mrpc"]


def test_labels_meet_by_name():
    assert meeting(["positive", "Negative"], ["negative", "positive"], named=False).tolist() == [1, 0]
    assert meeting(["a", "b"], ["negative", "positive"], named=False) is None
    assert meeting(["a", "b", "c"], ["negative", "positive"], named=True) is None


# ---- faults ------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_said(tmp_path, folder):
    with pytest.raises(ConfigError, match="there is no such folder"):
        senteval(encode, tmp_path / "no")
    with pytest.raises(ConfigError, match=r"no set of the suite sts could be measured .*sts-2012: no sts/2012-test"):
        sts(encode, tmp_path)
    with pytest.raises(ConfigError, match='no set "sst"; did you mean "sst2"'):
        senteval(encode, folder, only=["sst"])
    with pytest.raises(DataError, match="not finite"):
        sts(lambda texts: np.full((len(texts), 2), np.nan), folder)
    with pytest.raises(DataError, match="another shape"):
        sts(lambda texts: np.zeros((1, 2)), folder)


def test_rows_that_are_left_out_are_counted(tmp_path):
    empty = {"sentence1": "", "sentence2": "b", "score": 1, "source": "a"}
    write(tmp_path / "sick" / "test.jsonl", [*likes(20, 1), empty])
    results = sts(encode, tmp_path, only=["sick"])
    assert results.scores[0].examples == 20 and "1 rows with an empty text" in results.notes[0]


def test_where_sets_lie(tmp_path):
    write(tmp_path / "subj.jsonl", opinions(4, 0))
    assert find(tmp_path, "subj") == tmp_path / "subj.jsonl" and find(tmp_path, "mr") is None
    write(tmp_path / "mr" / "train.jsonl", opinions(4, 0))
    assert find(tmp_path, "mr") == tmp_path / "mr" / "train.jsonl"
