"""What a report counts, from a corpus that was opened, extracted and split as a study does it."""

from __future__ import annotations

import json

import pandas as pd
from small_corpora import extracted
from sound_files import recording, write

from birdnb.data import open_study
from birdnb.report.collect import collect
from birdnb.report.write import write_report


def test_a_file_left_out_is_counted_once_wherever_it_was_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    root = tmp_path / "birds"
    rows = ["recording_id,path,species"]
    for number in range(12):
        write(root / f"{number}.wav", recording(4.5, 1, 2, seed=number))
        rows.append(f"r{number},{number}.wav,{'Parus niger' if number % 2 else 'Alauda alba'}")
    write(root / "stray.wav", recording(4.5, 1, 2))  # left out with the table: no row names it
    (root / "broken.wav").write_bytes(b"no sound")  # left out by the extraction
    rows += ["gone,gone.wav,Parus niger", "broken,broken.wav,Parus niger"]
    (root / "manifest.csv").write_text("\n".join(rows))
    data = open_study(extracted(root), progress=False)
    assert not data.corpus.left_out.empty and len(data.cache.quarantine) == 3

    folder = write_report(collect([data], {}), {}, tmp_path / "report")
    listed = pd.read_csv(folder / "quarantine.csv", keep_default_na=False)
    assert sorted(listed["path"]) == ["broken.wav", "gone.wav", "stray.wav"]
    counts = json.loads((folder / "metrics.json").read_text())["quarantine"]
    assert len(counts) == 3 and set(counts.values()) == {1}
