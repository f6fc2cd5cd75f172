"""The data card: what hubs read, what people read, and a map where there are coordinates."""

from __future__ import annotations

import json
import math

import mistune
import numpy as np
import pandas as pd
import pytest
import yaml
from test_report import made_up_study

from birdnb.plots.corpus import recording_map, recording_times
from birdnb.report.collect import collect
from birdnb.report.corpus_card import card_table, hour_of, write_card
from birdnb.report.write import write_report


def card(tmp_path, change=None, synthetic=False):
    """The text of a made-up study's card, and its front matter."""
    datasets, runs = made_up_study(synthetic=synthetic)
    data = datasets[0]
    data.table["path"] = [f"a/{name}.WAV" for name in data.table["recording_id"]]
    data.cache.index = data.cache.index.assign(  # one more than the table, of a rare species
        path="a", sample_rate=44100, channels=1, seconds=np.arange(len(data.table) + 1) + 1.0
    )
    for name, values in (change or {}).items():
        data.table[name] = values
    text = write_card(collect(datasets, runs), tmp_path).read_text(encoding="utf-8")
    assert text.startswith("---\n")
    return text, yaml.safe_load(text.split("---")[1])


def test_what_hubs_read(tmp_path):
    text, head = card(tmp_path)
    assert head == {
        "pretty_name": "my_birds", "license": ["cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0"],
        "task_categories": ["audio-classification"], "size_categories": ["n<1K"],
        "tags": ["bioacoustics", "birds"],
    }  # fmt: skip
    one, head = card(tmp_path, {"license": "CC0 (synthesised)"}, synthetic=True)
    assert head["license"] == "cc0-1.0" and "synthetic-data" in head["tags"]
    assert "Invented birds" in one and "Invented birds" not in text
    assert card(tmp_path, {"license": "mine"})[1]["license"] == "other"
    assert card(tmp_path, {"license": ""})[1]["license"] == "unknown"


def test_what_people_read(tmp_path):
    text, _ = card(
        tmp_path, {"time": ["08:15"] * 30 + ["?"] * 90, "equipment": ["Zoom H5"] * 50 + [""] * 70}
    )
    assert "120 recordings of 5 species, 2 h 01 min of sound in all" in text  # 1 + 2 + ... + 120 s
    assert "| Turdus \\<merula\\> |  | 24 | 12 |" in text
    assert "| CC BY-NC-SA 4.0 | 96 |" in text and "| CC BY-NC-ND 4.0 | 24 |" in text
    assert "7 recordists." in text and "1 named place, no coordinates" in text
    assert "From 2024-05-01 to 2024-05-28; 120 recordings name a day, 30 an hour." in text
    assert "| Zoom H5 | 50 |" in text and "| wav | 120 |" in text and "| 44100 | 120 |" in text
    assert "lasts 1.0 s, the one in the middle 60.5 s, the longest 120.0 s" in text
    assert "| shorter than 1 s | 2 |" in text and "| species too rare to split | 1 |" in text
    assert (tmp_path / "figures/corpus_times.png").stat().st_size > 3000
    assert "corpus_map" not in text and not (tmp_path / "figures/corpus_map.png").exists()
    page = mistune.create_markdown(plugins=["table"])(text.split("---", 2)[2])
    assert page.count("<table>") == 8


def test_a_date_of_several_meanings_is_no_end_of_the_range(tmp_path):
    text, _ = card(tmp_path, {"date": [f"{1 + n % 28}/04/23" for n in range(120)]})
    assert "From 2023-04-01 to 2023-04-28; 120 recordings name a day." in text
    text, _ = card(tmp_path, {"date": ["2023-04-20"] * 100 + ["01-02-23"] * 20})
    assert "From 2023-04-20 to 2023-04-20; 100 recordings name a day; the dates of 20" in text
    text, _ = card(tmp_path, {"date": "01/02/2023"})
    assert "The dates of 120 recordings may each mean several days." in text


def test_a_map_where_there_are_coordinates(tmp_path):
    text, _ = card(tmp_path, {
        "latitude": ["-1.5"] * 60 + ["91", "", "x"] * 20, "longitude": "36.8",
        "locality": "-2, 37.5",
    })  # fmt: skip
    # 91 is no latitude; where the column says nothing the locality does
    assert "100 recordings have coordinates (latitude −2.0 to −1.5° and longitude 36.8" in text
    assert "![Where the recordings were made](figures/corpus_map.png)" in text
    assert (tmp_path / "figures/corpus_map.png").stat().st_size > 3000


def test_the_map_draws_a_dot_a_place_and_the_times_what_is_named():
    table = pd.DataFrame({
        "latitude": [1.0, 1.0, 60.0, np.nan], "longitude": [2.0, 2.0, 3.0, 4.0],
        "month": [5, 5, 6, np.nan], "hour": np.nan,
    })  # fmt: skip
    ax = recording_map(table).axes[0]
    dots = ax.collections[0]
    assert dots.get_offsets().tolist() == [[2.0, 1.0], [3.0, 60.0]]
    assert dots.get_sizes()[0] > dots.get_sizes()[1]
    assert "3 recordings at 2 places" in ax.get_title(loc="left") + ax.get_title()
    assert ax.get_aspect() == pytest.approx(1 / math.cos(math.radians(30.5)))
    axes = recording_times(table).axes
    assert len(axes) == 1  # no hour is named
    assert all(float(tick).is_integer() for tick in axes[0].get_yticks())
    assert [bar.get_height() for bar in axes[0].patches][4:6] == [2, 1]


def test_a_busy_place_does_not_hide_its_neighbours():
    table = pd.DataFrame({"latitude": [1.0] * 3000 + [1.1], "longitude": 2.0})
    few, many = sorted(recording_map(table).axes[0].collections[0].get_sizes())
    assert few >= 12 and many < 36**2


def test_the_map_goes_over_the_date_line():
    table = pd.DataFrame({"latitude": -17.0, "longitude": [179.5, -179.8, 178.0]})
    dots = recording_map(table).axes[0].collections[0].get_offsets()
    assert sorted(dots[:, 0]) == pytest.approx([178.0, 179.5, 180.2])


def test_a_recordist_is_one_in_whichever_writing(tmp_path):
    (data,), runs = made_up_study(synthetic=False)
    n = len(data.table)
    names = ["J. Smith"] * (n // 2) + ["Smith, J."] * (n // 4)
    data.table["recordist"] = names + ["Ann Lee"] * (n - len(names))
    text = card_of(data, runs, tmp_path / "report")
    assert "2 recordists" in text and f"| J. Smith | {len(names)} |" in text
    told = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert "Smith, J." not in text and told["split"]["train"]["recordists"] == 2


@pytest.mark.parametrize(
    ("time", "hour"),
    [
        ("08:00", 8), ("8.30", 8), ("5:15 pm", 17), ("12:05 AM", 0), ("12:00 pm", 12), ("7 am", 7),
        ("8:00 p.m.", 20), ("7:30:00 P.M.", 19), ("12:10 a.m.", 0), ("8 p.m.", 20), ("9 a. m.", 9),
        ("8:00-9:30 pm", None), ("8 to 9 a.m.", None), ("8:00 am-9:30 pm", 8),
        ("23:59:10", 23), ("", None), ("?", None), ("25:00", None), ("morning", None),
    ],
)  # fmt: skip
def test_hours(time, hour):
    found = hour_of(time)
    assert math.isnan(found) if hour is None else found == hour


def test_it_names_what_stays_on_one_side(tmp_path):
    (data,), runs = made_up_study(synthetic=False)
    assert "Shared out by recording sessions: " in card_of(data, runs, tmp_path / "a")
    for run in runs[0].values() if isinstance(runs, list) else runs.values():
        (run[0] if isinstance(run, list) else run).config["corpus"] = {
            "split": {"group_by": "recordist"}
        }
    assert "Shared out by recordists: " in card_of(data, runs, tmp_path / "b")


def card_of(data, runs, folder):
    folder = write_report(collect([data], runs), {}, folder)
    return (folder / "corpus_card.md").read_text(encoding="utf-8")


def test_it_comes_with_every_report_also_over_folds(tmp_path):
    for folds in (0, 4):
        datasets, runs = made_up_study(folds=folds, synthetic=False)
        folder = write_report(collect(datasets, runs), {}, tmp_path / str(folds))
        text = (folder / "corpus_card.md").read_text(encoding="utf-8")
        assert ("In 4 folds" in text) == bool(folds)
        assert "`corpus_card.md`" in (folder / "PHASE3_RESULTS.md").read_text(encoding="utf-8")
        assert str(tmp_path) not in text


def test_every_recording_is_in_the_table_once():
    datasets, runs = made_up_study(synthetic=False)
    table = card_table(collect(datasets, runs))
    assert table["recording_id"].tolist() == datasets[0].table["recording_id"].tolist()
    assert table["month"].eq(5).all()
