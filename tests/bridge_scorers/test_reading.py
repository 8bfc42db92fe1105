"""Scorers of live activations and of topics against slow loops, and the judge that is made of the corpus."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bridge.cli import bridge as command
from bridge.corpus import Document
from bridge.dictionaries import ReLU, SparseAutoencoder
from bridge.errors import CorpusError
from bridge.metrics import Metric
from bridge.models import LoadedModel, Placement
from bridge.pipeline.score.judge import load_judge
from bridge.pipeline.verbalize.contexts import feature_contexts
from bridge.references import Site
from bridge.scorers import Evidence, Explained, Need, Scorer
from bridge.testing.synthetic import PairedWorld
from bridge.verbalizers import Explanation, Passage, Subject
from bridge_scorers.reading import Reading
from bridge_scorers.round_trip import RoundTrip
from bridge_scorers.topics import Topics, names_topic

WORLD = PairedWorld(10, 13).evidence([Need.READINGS, Need.EXPLANATIONS])


def scores(scorer: Scorer, evidence: Evidence = WORLD) -> dict[tuple[str, str], Metric]:
    return {(metric.name, metric.arm): metric for metric in scorer.score(evidence)}


def test_readings_against_a_loop() -> None:
    found, readings = scores(Reading()), WORLD.readings
    assert readings is not None and WORLD.judge is not None
    n = len(readings.texts)
    for arm, reading in readings.arms.items():
        e = np.zeros((n, n))
        for i, one in enumerate(reading.explanations):
            for j, text in enumerate(readings.texts):
                e[i, j] = WORLD.judge([one.text])[0] @ WORLD.judge([text[-70:]])[0] if one.text else 0.0
        others = (e.sum() - np.trace(e)) / (n * (n - 1))
        first = [i for i in range(n) if all(e[i, j] < e[i, i] for j in range(n) if j != i)]
        ends = [
            one.text.split()[-1:] == text.split()[-1:]
            for one, text in zip(reading.explanations, readings.texts, strict=True)
        ]
        named = [topic in one.text.split() for one, topic in zip(reading.explanations, readings.topics, strict=True)]
        expected = {
            "reading_match": np.trace(e) / n,
            "reading_specific": np.trace(e) / n - others,
            "reading_retrieval@1": len(first) / n,
            "last_word": np.mean(ends),
            "topic_named": np.mean(named),
        }
        for name, value in expected.items():
            assert found[name, arm].value == pytest.approx(value, abs=1e-5), (name, arm)
            assert found[name, arm].n == n
    assert found["reading_match", "mapped"].control == "mispaired"


def test_without_topics_none_is_scored() -> None:
    assert WORLD.readings is not None
    untold = dataclasses.replace(WORLD.readings, topics=[""] * len(WORLD.readings.texts))
    names = {name for name, _ in scores(Reading(), dataclasses.replace(WORLD, readings=untold))}
    assert "topic_named" not in names and "last_word" in names
    explained = {name: dataclasses.replace(one, topics=()) for name, one in WORLD.explained.items()}
    assert not scores(Topics(), dataclasses.replace(WORLD, explained=explained))


def test_round_trips_against_a_loop() -> None:
    found, readings = scores(RoundTrip()), WORLD.readings
    assert readings is not None
    for arm, reading in readings.arms.items():
        assert reading.rebuilt is not None
        error = spread = total = 0.0
        for x, back in zip(reading.truth.astype(float), reading.rebuilt.astype(float), strict=True):
            u, v, m = (row / np.sqrt(row @ row) for row in (x, back, reading.mean))
            error, spread, total = error + (u - v) @ (u - v), spread + (u - m) @ (u - m), total + u @ v
        assert found["round_trip_fve", arm].value == pytest.approx(1 - error / spread, abs=1e-6)
        # nla/schema.py of the released code, compute_predict_mean_baselines: the raw variance of unit vectors.
        units = [row / np.sqrt(row @ row) for row in reading.truth.astype(float)]
        variance = sum(float(((unit - np.mean(units, axis=0)) ** 2).sum()) for unit in units)
        assert found["round_trip_fve_nrm", arm].value == pytest.approx(1 - error / variance, abs=1e-6)
        assert found["round_trip_fve_nrm", arm].value < found["round_trip_fve", arm].value
        assert found["round_trip_cosine", arm].value == pytest.approx(total / len(readings.texts), abs=1e-6)
    # What went through a map that knows nothing comes back as nearly the mean.
    assert found["round_trip_fve", "mispaired"].high < found["round_trip_fve", "mapped"].low


def test_a_reader_without_the_way_back_has_no_round_trip() -> None:
    assert WORLD.readings is not None
    arms = {arm: dataclasses.replace(one, rebuilt=None) for arm, one in WORLD.readings.arms.items() if arm != "native"}
    arms["native"] = WORLD.readings.arms["native"]
    readings = dataclasses.replace(WORLD.readings, arms=arms)
    assert {arm for _, arm in scores(RoundTrip(), dataclasses.replace(WORLD, readings=readings))} == {"native"}


def test_topics_of_features() -> None:
    said = [Explanation(text) for text in ("the farm. a cow", "Sea and sand", "farms are many", "")]
    told = Explained(["a", "b", "c", "d"], said, {"mapped": said[::-1], "mispaired": said}, ["farm", "sea", "", "bank"])
    found = scores(Topics(), dataclasses.replace(WORLD, explained={"none": told}))
    native = found["feature_topic_named", "native"]
    assert (native.value, native.n) == (pytest.approx(2 / 3), 3)
    assert found["feature_topic_named", "mapped"].value == 0


@given(st.text(max_size=20), st.sampled_from(["farm", "sea", "a.b", "x+"]), st.text(max_size=20))
def test_a_topic_is_named_as_a_whole_word(before: str, topic: str, after: str) -> None:
    assert names_topic(f"{before} {topic.upper()}, {after}", topic)
    assert not names_topic(f"q{topic}q", topic)


def test_the_judge_of_the_corpus_knows_which_words_go_together() -> None:
    rng = np.random.default_rng(0)
    words = [[f"{topic}{index}" for index in range(200)] for topic in ("farm", "sea")]
    stories = [" ".join(rng.choice(words[day % 2], 30, replace=False)) for day in range(400)]
    judge = load_judge("lsa", stories, seed=3)
    rows = judge(["farm1 farm2 farm3 farm4 farm5", "farm6 farm7 farm8 farm9 farm10", "sea1 sea2 sea3 sea4", "", "qqq"])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    # No word in common: they stand in the same documents.
    assert rows[0] @ rows[1] > 0.15 > 0.1 > abs(rows[0] @ rows[2])
    assert rows[3] @ rows[0] == 0 and rows[4] @ rows[0] == 0
    np.testing.assert_array_equal(judge(["sea3"]), load_judge("lsa", stories, seed=3)(["sea3"]))
    for few in ([], ["one text"], ["", " "]):
        with pytest.raises(CorpusError, match="lsa"):
            load_judge("lsa", few)


class Told(Subject):
    """Two texts with activations made by hand: feature 0 is active on `whale`, feature 1 on every `the`."""

    d_model, n_layers, name, seed, site, placement = 2, 3, "told@1", 0, Site(1), Placement("cpu")
    texts = (("Once the whale saw the boat.", "sea"), ("Then the cow and the hen met the whale.", "farm"))

    def load(self) -> LoadedModel:
        raise NotImplementedError

    def passages(self, held_out: bool = False) -> Iterator[Passage]:
        for index, (text, topic) in enumerate(self.texts):
            words = list(re.finditer(r"\S+", text))
            x = [[float(word[0].startswith("whale")) * (2 - index), 3.0 * (word[0] == "the")] for word in words]
            ends = np.array([word.end() for word in words])
            yield Passage(Document(text, text, topic=topic), ends, np.array(x, np.float32))


def test_contexts_are_where_features_are_active() -> None:
    eye = np.eye(2, dtype=np.float32)
    dictionary = SparseAutoencoder(eye, np.zeros(2, np.float32), eye, np.zeros(2, np.float32), ReLU())
    whale, the = feature_contexts(Told(), dictionary, np.array([0, 1]))
    assert [[one.text[start:end].strip() for start, end, _ in one.spans] for one in whale.contexts] == [
        ["whale"],
        ["whale."],
    ]
    assert [[value for *_, value in one.spans] for one in whale.contexts] == [[2.0], [1.0]]
    assert (whale.topic, whale.share) == ("sea", pytest.approx(2 / 3))
    assert [len(one.spans) for one in the.contexts] == [2, 3] and the.topic == "farm"


def test_a_run_explains_its_own_dictionary_and_live_activations(tmp_path: Path, tiny_encoder: Path) -> None:
    pair = ("--src", "dyck:seed0@1", "--dst", "dyck:seed1@1", "--map", "procrustes", "--max-documents", "800")
    lens = ("--src-verbalizer", "logit_lens:top=2", "--dst-verbalizer", "logit_lens:top=2", "--washout", "none")
    asked = ("--dictionary", "own", "--features", "5", "--positions", "30", "--encoder", str(tiny_encoder))
    out = tmp_path / "run"
    result = CliRunner().invoke(command, ["run", *pair, *lens, *asked, "--out", str(out), "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    arms = {metric["arm"] for metric in found["metrics"] if metric["name"] == "last_word"}
    assert arms == {"native", "self", "mapped", "mispaired", "random_map", "raw"}
    assert {"sae_ev", "firing_r", "lift"} <= {metric["name"] for metric in found["metrics"]}
    contexts = [json.loads(line) for line in (out / "contexts.jsonl").read_text().splitlines()]
    assert [one["feature"] for one in contexts] == found["bridge"]["verbalized"]["features"]
    assert all(one["contexts"] for one in contexts)
    readings = [json.loads(line) for line in (out / "readings.jsonl").read_text().splitlines()]
    assert len(readings) == 30 and set(readings[0]["said"]) == arms
    # Alone, too: no dictionary is needed to read activations.
    alone = CliRunner().invoke(
        command, ["run", *pair, *lens, "--positions", "30", "--encoder", str(tiny_encoder), "--json", "--quiet"]
    )
    read = {(m["name"], m["arm"]): m["value"] for m in json.loads(alone.stdout)["metrics"]}
    assert read["reading_match", "mapped"] == next(
        m["value"] for m in found["metrics"] if (m["name"], m["arm"]) == ("reading_match", "mapped")
    )
    assert ("lift", "mapped") not in read
