"""Sessions: one person, day and place, however they are written; files of one recording."""

from __future__ import annotations

import datetime

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpora import manifest_of

from birdnb.config import SplitSettings
from birdnb.files import BirdnbError
from birdnb.split.dates import read_days
from birdnb.split.sides import (
    audit_split,
    check_species,
    groups,
    make_split,
    session_caveat,
    sessions,
)

FORMS = {
    "ISO": "%Y-%m-%dT%H:%M:00",
    "zone": "%Y-%m-%d %H:%M:00+02:00",
    "UTC": "%Y-%m-%dT%H:%M:00Z",
    "AudioMoth": "%Y%m%d_%H%M00",
    "Song Meter": "SMU01234_%Y%m%d$%H%M00",
    "site": "SITE_%Y%m%d_%H%M00.wav",
    "compact": "%Y%m%dT%H%M00Z",
    "digits": "%Y%m%d%H%M00",
    "dots in the time": "%Y-%m-%d %H.%M.26",
    "hyphens": "%Y-%m-%d-%H-%M",
    "underscores": "%Y_%m_%d_%H_%M_00",
    "no colon": "%Y-%m-%d %H%M",
    "comma": "%Y-%m-%d, %H:%M",
    "voice memo": "%Y-%m-%d at %H.%M",
    "EXIF": "%Y:%m:%d %H:%M:00",
    "slashes": "%Y/%m/%d %H:%M",
    "blanks": "%Y %m %d",
    "French time": "%Y-%m-%d %Hh%M",
    "day first": "%d.%m.%Y %H:%M",
    "web form": "%d/%m/%Y, %H:%M:00",
    "American": "%m/%d/%Y %I:%M %p",
    "two digits": "%d.%m.%y %H:%M",
    "short American": "%m/%d/%y %I:%M %p",
    "Zoom": "%y%m%d_%H%M",
    "words": "%d %B %Y %H:%M",
    "month in front": "%B %d, %Y",
    "military": "%d%b%Y",
    "ctime": "%a %b %d %H:%M:00 %Y",
    "mail": "%a, %d %b %Y %H:%M:00 GMT",
    "week": "%G-W%V-%u",
    "Japanese": "%Y年%m月%d日 %H:%M",
    "dash": "%Y–%m–%d",
}
COUNTED = {
    "Excel": lambda t: f"{(t - datetime.datetime(1899, 12, 30)) / datetime.timedelta(days=1):.5f}",
    "Excel day": lambda t: str((t - datetime.datetime(1899, 12, 30)).days),
    "seconds": lambda t: str(int((t - datetime.datetime(1970, 1, 1)).total_seconds())),
    "milliseconds": lambda t: str(int((t - datetime.datetime(1970, 1, 1)).total_seconds()) * 1000),
}
MONTHS = {
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "es": "enero febrero marzo abril mayo junio julio agosto setiembre octubre noviembre diciembre",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października "
    "listopada grudnia",
    "cs": "ledna února března dubna května června července srpna září října listopadu prosince",
    "ru": "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
    "tr": "Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık",
    "roman": "I II III IV V VI VII VIII IX X XI XII",
}
MOMENTS = st.datetimes(datetime.datetime(2002, 1, 1), datetime.datetime(2030, 12, 31))


def written(moment: datetime.datetime, form: str) -> str:
    """A moment in one of the forms; names of days and months in English whatever the locale."""
    if form in COUNTED:
        return COUNTED[form](moment)
    if form in MONTHS:
        return (
            f"{moment.day}. {MONTHS[form].split()[moment.month - 1]} {moment.year} {moment:%H:%M}"
        )
    return moment.strftime(FORMS[form])


def one_place(dates: list[str]) -> pd.DataFrame:
    """Recordings of one recordist in one place."""
    return manifest_of(
        date=dates, recordist=["Station 4"] * len(dates), locality=["Reed bed"] * len(dates)
    )


def of_files(*paths: str, **columns: list[str]) -> pd.DataFrame:
    """Recordings of which only the files are known, one folder a species."""
    return manifest_of(path=list(paths), species=[path.split("/")[0] for path in paths], **columns)


def test_recordist_date_and_place():
    manifest = manifest_of(
        recordist=["Ann", "Ann", "Ann", "ann ", "Bo"],
        date=["2020-05-01", "2020-05-01", "2020-05-02", "2020-05-01", "2020-05-01"],
        locality=["Kew", "Hyde", "Kew", "KEW", "Kew"],
    )
    session = sessions(manifest).tolist()
    assert session[0] == session[3]
    assert len(set(session)) == 4
    assert session[0] == "ann | 2020-05-01 | kew"


@pytest.mark.parametrize("date", ["", "0000-00-00", "2020-00-00", "2020-05-00", "2020", "2020-05"])
def test_one_undated_recording_makes_one_session_of_its_recordist(date):
    manifest = manifest_of(
        recordist=["Ann", "Ann", "Ann", "Bo", "Bo"],
        date=["2020-05-01", date, "2020-05-02", "2020-05-01", "2020-05-02"],
        locality=["Kew", "Kew", "Hyde", "Kew", "Kew"],
    )
    session = sessions(manifest).tolist()
    assert len(set(session[:3])) == 1
    assert len(set(session)) == 3


def test_one_unplaced_recording_makes_one_session_of_its_day():
    manifest = manifest_of(
        recordist=["Ann"] * 4,
        date=["2020-05-01", "2020-05-01", "2020-05-01", "2020-05-02"],
        locality=["Kew", "", "Hyde", "Kew"],
    )
    session = sessions(manifest).tolist()
    assert len(set(session[:3])) == 1
    assert session[3] != session[0]


@pytest.mark.parametrize("behind", [" 06:03", "T06:03:00Z", "t0603", " 6h05"])
def test_a_time_of_day_makes_no_session(behind):
    manifest = manifest_of(
        recordist=["Ann"] * 3,
        date=["2020-05-01", f"2020-05-01{behind}", "2020-05-02"],
        locality=["Kew"] * 3,
    )
    session = sessions(manifest).tolist()
    assert session[0] == session[1] == "ann | 2020-05-01 | kew" != session[2]


def test_no_recordist():
    manifest = manifest_of(
        recordist=[""] * 6,
        date=["", "", "2020-05-01", "2020-05-01", "", ""],
        locality=["", "", "Kew", "Kew", "Kew", "Kew"],
    )
    session = sessions(manifest).tolist()
    assert session[0] != session[1], "nothing is known of these"
    assert len(set(session[2:])) == 1, "the undated ones may be of the same day in Kew"
    assert len(set(session)) == 3
    dated = manifest.iloc[[2, 3]].assign(locality=["Kew", "Hyde"])
    assert sessions(dated).nunique() == 2


def test_groups():
    manifest = manifest_of(
        recordist=["Ann", "ANN", "", ""],
        date=["2020-05-01", "2020-05-02"] * 2,
        locality=["Kew", "Kew", "Hyde", "Hyde"],
    )
    assert groups(manifest, "recording").tolist() == ["r0", "r1", "r2", "r3"]
    assert groups(manifest, "session").nunique() == 4
    by_recordist = groups(manifest, "recordist")
    assert by_recordist[0] == by_recordist[1]
    assert by_recordist.nunique() == 3
    with pytest.raises(BirdnbError, match="group_by"):
        groups(manifest, "moon")


@pytest.mark.parametrize("form", [*FORMS, *COUNTED, *MONTHS])
def test_a_day_is_one_session_in_every_form(form):
    morning = datetime.datetime(2023, 5, 12, 5, 3)
    dates = [written(morning + datetime.timedelta(minutes=k), form) for k in range(9)]
    dates += [written(morning + datetime.timedelta(days=1), form)]
    session = sessions(one_place(dates)).tolist()
    assert len(set(session[:9])) == 1
    assert session[9] != session[0]


@settings(max_examples=150, deadline=None)
@given(MOMENTS, st.sampled_from([*FORMS, *COUNTED, *MONTHS]), st.sampled_from([*FORMS, *MONTHS]))
def test_two_forms_of_a_day_in_one_table_are_one_session(moment, one, other):
    dates = [written(moment, one), written(moment.replace(hour=0), other)]
    assert sessions(one_place(dates)).nunique() == 1


@settings(max_examples=100, deadline=None)
@given(MOMENTS, st.sampled_from(["words", "ISO", "AudioMoth", "EXIF", "ctime", *COUNTED, *MONTHS]))
def test_the_day_itself_is_read(moment, form):
    assert read_days(pd.Series([written(moment, form)]))[0].tolist() == [moment.date().isoformat()]


@pytest.mark.parametrize(
    ("dates", "days", "said"),
    [
        (["12/05/2023", "13/05/2023", "2023-05-12"], ["2023-05-12", "2023-05-13"], "day first"),
        (["5/12/2023", "5/13/2023", "2023-05-12"], ["2023-05-12", "2023-05-13"], "month first"),
        (["01/02/2023", "03/04/2023"], ["2023-01-02", "2023-03-04"], "may mean 2023-01-02 or"),
        (
            ["12.05.2023", "2023-05-12", "2023-12-05"],
            ["2023-05-12"],
            "may mean 2023-05-12 or 2023-12-05",
        ),
        (["12/05/2023", "13/05/2023", "05/13/2023"], ["2023-05-12", "2023-05-13"], "may mean"),
        (["13052023", "12052023"], ["2023-05-12", "2023-05-13"], "day first"),
        (["230512", "990512", "2023-05-12"], ["1999-05-12", "2023-05-12"], "year first"),
        (["20/04/23", "13/05/23", "2023-04-20"], ["2023-04-20", "2023-05-13"], "day first"),
        (["20.04.23", "13.05.23", "2023-04-20"], ["2023-04-20", "2023-05-13"], "day first"),
        (["04/20/23", "05/12/23"], ["2023-04-20", "2023-05-12"], "month first"),
        (["99/05/12", "12/05/11"], ["1999-05-12", "2012-05-11"], "year first"),
        (["20-04-23", "2020-04-23"], ["2020-04-23"], "may mean 2020-04-23 or 2023-04-20"),
        (["2023-132", "2023132", "2023051205", "2023-05-12"], ["2023-05-12"], ""),
        (["1881021600", "2029-08-10"], ["2029-08-10"], ""),  # seconds, not an hour of 1881
        (["２０２３－０５－１２", "20230512"], ["2023-05-12"], ""),
    ],
)
def test_the_order_of_numbers_is_decided_for_the_table_and_said(dates, days, said):
    found, sentence = read_days(pd.Series(dates))
    assert sorted(set(found)) == days
    assert said in sentence
    assert bool(sentence) == bool(said)
    assert sentence in session_caveat(one_place(dates))


@pytest.mark.parametrize(
    "date",
    [
        "",
        "unknown",
        "nan",
        "None",
        "NaT",
        "null",
        "N/A",
        "?",
        "-",
        "n.d.",
        "0",
        "spring",
        "spring 2023",
        "2023",
        "2023-00",
        "2023-5",
        "May 2023",
        "12 May",
        "0000-00-00",
        "????-??-??",
        "2023-??-??",
        "2023-XX-XX",
        "00/00/0000",
        "00.00.0000",
        "1970-01-01",
        "1970-01-01 00:00:07",
        "1900-01-01",
        "9999-12-31",
        "2023-02-30",
        "31/02/2023",
        "20230500",
        "05:03:00",
        "202305",
        "12 or 13 May 2023",
        "2023-05-12 to 2023-05-14",
        "12.05.2023 - 14.05.2023",
        "12/05/2023-13/05/2023",
        "01-05-2023 - 02-05-2023",
        "01 - 05 - 2023 - 02 - 05 - 2023",
        "12.-14.05.2023",
        "12.05. bis 14.05.2023",
        "12.05.23-14.05.23",
        "May 12-14, 2023",
        "2023-05-12/13",
        "1234",
        "0.0",
        "99999999",
        "2020-05-00",
    ],
)
def test_what_is_no_day_is_undated_and_falls_on_the_safe_side(date):
    assert read_days(pd.Series([date]))[0].tolist() == [""]
    manifest = manifest_of(
        recordist=["Ann"] * 4 + ["Bo"],
        date=[date, date, "2023-05-12", "2023-06-01", "2023-05-12"],
        locality=["Kew", "Hyde", "Kew", "Ely", "Ely"],
    )
    session = sessions(manifest).tolist()
    assert len(set(session[:4])) == 1
    assert session[4] != session[0]
    assert "2 of 5 recordings have no date that names a day" in session_caveat(manifest)


def test_a_person_and_a_place_are_one_in_other_marks_accents_and_order():
    manifest = manifest_of(
        recordist=["J. Smith", "J Smith", "Smith, J.", "Jiří Novák", "Jiri Novak", "J. Smyth"],
        date=["2020-05-01"] * 6,
        locality=["Kew, London", "Kew London", "London - Kew", "Plot 1", "plot 1", "Kew, London"],
    )
    session = sessions(manifest).tolist()
    assert len(set(session[:3])) == len(set(session[3:5])) == 1
    assert len(set(session)) == 3
    assert groups(manifest, "recordist").nunique() == 3
    plots = manifest.assign(recordist="Ann", locality=[f"Plot {n}" for n in range(6)])
    assert sessions(plots).nunique() == 6


def test_coordinates_that_were_never_set_are_no_place():
    places = ["nan, nan", "0, 0", "0.0000, -0.0", "None,None"]
    assert sessions(manifest_of(locality=places)).nunique() == 4


def test_coordinates_in_columns_of_their_own_are_a_place():
    sites = [("47.1", "8.50001"), ("46.9", "8.5")] * 2
    columns = {"date": ["2020-05-01"] * 4, "recordist": ["", "", "Ann", "Ann"]}
    latitude, longitude = zip(*sites, strict=True)
    manifest = manifest_of(**columns, latitude=[*latitude], longitude=[*longitude])
    written = manifest_of(**columns, locality=[", ".join(site) for site in sites])
    assert sessions(manifest).tolist() == sessions(written).tolist()
    assert sessions(manifest).nunique() == 2 and "47.1, 8.5" in sessions(manifest)[0]
    undated = manifest.assign(date="", recordist="")
    assert sessions(undated).tolist() == [" |  | 47.1, 8.5", " |  | 46.9, 8.5"] * 2
    unset = manifest.assign(latitude="0", longitude="0", date="", recordist="")
    assert sessions(unset).nunique() == 4 and session_caveat(unset)
    # a name and coordinates may be the same place
    named = manifest.assign(locality=["", "", "Kew", ""])
    assert sessions(named)[2] == sessions(named)[3]
    # where there is a name it counts
    assert sessions(manifest.assign(locality="Kew")).nunique() == 1


def test_coordinates_are_one_place_however_they_are_written():
    places = ["45.1, 7.25", "45.1000,7.25", "45.1; 7.2500", "45.10004, 7.25", "45.2, 7.25"]
    manifest = manifest_of(recordist=["Ann"] * 5, date=["2020-05-01"] * 5, locality=places)
    session = sessions(manifest).tolist()
    assert len(set(session[:4])) == 1
    assert session[4] != session[0]


@pytest.mark.parametrize(
    "nothing",
    ["nan", "None", "NULL", "NA", "N/A", "unknown", "-", "--", "?", "<NA>", "Not specified"],
)
def test_a_placeholder_is_nobody_and_nowhere(nothing):
    manifest = manifest_of(recordist=[nothing] * 3, date=[nothing] * 3, locality=[nothing] * 3)
    assert sessions(manifest).nunique() == 3
    assert "3 of 3 recordings name neither" in session_caveat(manifest)


def test_the_unnamed_recordist_of_a_day_and_place_may_be_the_named_one():
    manifest = manifest_of(
        recordist=["Ann", "unknown", "Bo", "", "Cy"],
        date=["2020-05-01", "20200501_0630", "2020-05-02", "2020-05-03", "2020-05-01"],
        locality=["Kew", "kew", "Kew", "Kew", "Ely"],
    )
    session = sessions(manifest).tolist()
    assert session[0] == session[1]
    assert len(set(session)) == 4


SAME = [
    ["A/XC7.mp3", "A/XC7.wav"],
    ["A/XC7.mp3", "B/XC7.wav"],
    ["A/XC7.mp3", "A/XC7 (1).mp3", "A/XC7_1.wav", "B/XC7a.wav"],
    ["A/xeno-canto_XC7_Bird.mp3", "B/Bird-XC7.wav"],
    ["A/XC0007.wav", "A/xc 7.flac"],
    ["A/ML12345.wav", "B/ML12345_2.mp3"],
    ["A/iNat123.m4a", "A/iNaturalist_123_b.wav"],
    ["A/123456.mp3", "B/XC123456_2.wav"],
    ["A/robin 1.mp3", "A/Robin 1.WAV"],
    ["A/robin.wav.mp3", "A/robin.wav"],
    [
        "A/0.9_1_20230512_050000_3.0s_6.0s.wav",
        "B/0.712_2_20230512_050000_6.0s_9.0s.wav",
        "B/20230512_050000.flac",
    ],
    ["A/rec_0-5s.wav", "A/rec_5-10s.wav"],
    ["A/rec_0.0_3.0.wav", "A/rec_3.0_6.0.wav"],
    ["A/rec_0_5.wav", "A/rec_5_10.wav"],
    ["A/rec [0-5s].wav", "A/rec.wav"],
    ["A/rec1_chunk3.wav", "A/rec1_chunk4.wav"],
    ["A/rec-segment-01.wav", "A/rec.ogg"],
    ["A/rec part 1 of 2.wav", "A/rec part 2 of 2.wav"],
    ["A/rec_1of2.wav", "A/rec_2of2.wav"],
    ["A/rec_left.wav", "A/rec_right.wav"],
    ["A/123456_1.wav", "B/123456_2.wav"],
    ["A/20230512_050300_1.wav", "A/20230512_050300_2.wav"],
    ["A/S1_2023-05-12_05-03-00_clip1.wav", "B/S1_2023-05-12_05-03-00_clip2.wav"],
    ["A/robin.wav", "A/robin (1).wav"],
    ["A/robin.wav", "A/robin - Copy.wav", "A/Copy of robin.wav"],
    ["A/robin.wav", "A/robin_denoised.wav", "A/robin_16k.wav", "A/robin_denoised_16k.wav"],
    ["A/robin.wav", "A/robin-bandpass.wav", "A/robin_noisy.wav", "A/robin.original.wav"],
    ["A/robin.wav", "A/robin (copy).wav", "A/robin (another copy).wav", "A/robin~1.wav"],
    ["A/robin_48khz.wav", "A/robin_22.05kHz.wav"],
    ["A/robin_00m00s__00m05s.wav", "A/robin_00m05s__00m10s.wav"],
    ["A/robin_L.wav", "A/robin_R.wav"],
    ["A/ML123456.mp3", "B/123456.wav"],
    ["A/Erithacus-rubecula-123456.wav", "B/XC123456.mp3"],
    ["A/20230512T050300Z.flac", "B/2023-05-12 05-03-00.wav"],
    ["A/./robin.wav", "A//robin.mp3"],
]
OTHERS = [
    ["A/robin 1.wav", "A/robin 2.wav"],
    ["A/garden 3.wav", "A/garden 4.wav"],
    ["A/r0_1.wav", "A/r0_2.wav"],
    ["A/s0_1.wav", "A/s0_2.wav"],
    ["A/1.wav", "B/1.wav"],
    ["A/rec001.wav", "B/rec001.wav"],
    ["A/robin (1).wav", "A/robin (2).wav"],
    ["A/20230512_050300.wav", "A/20230512_051300.wav"],
    ["A/2023-05-12_05-03.wav", "A/2023-05-12_05-13.wav"],
    ["A/20230512_1.wav", "A/20230512_2.wav"],
    ["A/2023-05-12_05-03-10.wav", "A/2023-05-12_05-03-40.wav"],
    ["A/230512_0001.wav", "A/230512_0002.wav"],
    ["A/XC7.wav", "A/XC70.wav", "A/XC8.wav"],
    ["A/ZOOM0001.wav", "B/ZOOM0001.wav"],
    ["A/000001.wav", "B/000001.wav"],
    ["A/site_1_2.wav", "A/site_2_3.wav"],
    ["A/clip 1.wav", "A/clip 2.wav"],
    ["A/segment1.wav", "A/segment2.wav"],
    ["A/abethr1_1.wav", "A/abethr1_2.wav"],
    ["A/R1_2019.wav", "A/R1_2020.wav"],
    ["A/Turdus merula 1.wav", "B/Turdus merula 1.wav"],
    ["A/robin_a.wav", "A/robin_b.wav"],
]


@pytest.mark.parametrize("paths", SAME, ids=lambda paths: paths[0])
def test_files_of_one_recording_are_in_one_session(paths):
    manifest = of_files(*paths, "A/other.wav")
    session = sessions(manifest)
    assert session[:-1].nunique() == 1
    assert session.nunique() == 2
    assert groups(manifest, "recording").nunique() == 2, "nor does a split by recording part them"
    assert f"{len(paths)} files come from 1 recordings, told by their names" in session_caveat(
        manifest
    )


@pytest.mark.parametrize("paths", OTHERS, ids=lambda paths: paths[0])
def test_numbered_recordings_are_sessions_of_their_own(paths):
    assert sessions(of_files(*paths)).nunique() == len(paths)


def test_addresses_and_ids_name_a_recording_too():
    manifest = of_files("A/a.wav", "A/b.wav", "A/c.wav", "A/d.wav")
    manifest["url"] = [
        "https://xeno-canto.org/7",
        "//www.xeno-canto.org/7",
        "https://xeno-canto.org",
        "",
    ]
    manifest["recording_id"] = ["a", "b", "c", "XC7-2"]
    assert sessions(manifest).tolist()[2] == "recording c"
    assert sessions(manifest).nunique() == 2


def test_recorders_that_start_together_in_two_places_are_two_recordings():
    paths = ["north/20230512_050000.wav", "south/20230512_050000.wav"]
    manifest = of_files(*paths, locality=["north", "south"], date=["2023-05-12"] * 2)
    assert sessions(manifest).nunique() == 2


def test_one_recording_joins_what_else_were_two_sessions():
    manifest = of_files(
        "A/XC7.wav", "B/XC7_2.wav", "A/x.wav", recordist=["Ann", "", "Ann"], date=["2020-05-01"] * 3
    )
    assert sessions(manifest).nunique() == 1
    assert groups(manifest, "recordist").nunique() == 1


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_session_and_no_recording_is_on_two_sides_whatever_the_table_looks_like(data):
    row = st.tuples(
        st.sampled_from(["A", "B", "C"]),
        st.integers(1, 12),
        st.sampled_from([".wav", ".mp3", "_2.wav", " (1).wav"]),
        st.sampled_from(["Ann", "ann ", "Bo", "", "nan"]),
        st.sampled_from(["2023-05-12", "12.05.2023", "20230513_0500", "?"]),
        st.sampled_from(["Kew", "KEW", "Ely", "unknown"]),
    )
    rows = data.draw(st.lists(row, min_size=12, max_size=60, unique_by=lambda r: r[:3]))
    manifest = of_files(
        *(f"{a}/XC{n}{end}" for a, n, end, *_ in rows),
        recordist=[r[3] for r in rows],
        date=[r[4] for r in rows],
        locality=[r[5] for r in rows],
    )
    if sessions(manifest).nunique() < 3:
        return
    side = make_split(manifest, SplitSettings(), 7)
    audit_split(manifest, side)
    number = manifest["path"].str.extract(r"XC(\d+)")[0]
    assert manifest["recording_id"].map(side).groupby(number).nunique().max() == 1
    who = manifest["recordist"].str.strip().str.casefold().replace("nan", "")
    undated = (manifest["date"] == "?") & (who != "")
    sides = manifest["recording_id"].map(side)
    assert (sides[who.isin(set(who[undated]))].groupby(who).nunique() == 1).all()


def test_recorder_names_do_not_hide_that_a_morning_is_one_session():
    dates = [f"20230512_05{n:02d}00" for n in range(18)] + [f"2023051{n}_0500" for n in range(3, 9)]
    paths = [f"{n}.wav" for n in range(len(dates))]
    manifest = one_place(dates).assign(species=["A", "B", "C"] * 8, path=paths)
    kept, report = check_species(manifest, SplitSettings())
    assert report["groups"].tolist() == [3, 3, 3]
    assert audit_split(kept, make_split(kept, SplitSettings(), 7))["sessions"].sum() == 7
